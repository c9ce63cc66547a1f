"""The contract tests of rewards: inherit `RewardContract` in a test file, or call `run_contract`.

What is checked, and what to do when a check fails, is `checks`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rewardkit.registry import RewardSpec
from rewardkit.testing.checks import CHECKS, Check, ContractViolation, NotApplicable
from rewardkit.testing.subject import Subject, subject_of
from rewardkit.types import Trajectory


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOutcome:
    """What one check found: `ok` is None where it says nothing about this reward; `message` says why or what to do."""

    name: str
    ok: bool | None
    message: str = ""


def run_contract(
    spec: RewardSpec, options: Mapping[str, Any], samples: Sequence[Trajectory] | None = None
) -> list[CheckOutcome]:
    """Run every check against the reward that `spec` and `options` build.

    `samples` are attempts that deserve a high score; without them the built-in ones are used. Raises what
    `RewardSpec.build` raises when there is no reward to check.
    """
    spec.build(**options)
    subject = Subject(spec, options, samples)
    return [_outcome(check, subject) for check in CHECKS]


class RewardContract:
    """Tests that every reward must pass; inherit them and say which reward: `class TestShout(RewardContract)`.

    `reward` is a registered name with or without options ("bleu:max_order=2"), "package.module:attribute",
    "file.py:attribute", a RewardSpec, or a class or function at module level. `options` are added to it. Override
    `trajectories` to give attempts that deserve a high score from this reward.
    """

    reward: ClassVar[Any] = None
    options: ClassVar[Mapping[str, Any]] = {}
    tolerance: ClassVar[float] = 1e-6

    def trajectories(self) -> Sequence[Trajectory] | None:
        """Return attempts that deserve a high score; None for the built-in ones."""
        return None

    def _subject(self) -> Subject:
        reward = inspect.getattr_static(self, "reward")  # a function must not become a method
        return subject_of(reward, self.options, self.trajectories(), tolerance=self.tolerance)


def _test_of(check: Check) -> Callable[[RewardContract], None]:
    def test(self: RewardContract) -> None:
        subject = self._subject()
        try:
            check.against(subject)
        except ContractViolation as violation:
            message = f"reward {subject.spec.name!r}, check {check.name!r}: {violation}"
            raise ContractViolation(message) from violation.__cause__

    test.__doc__ = f"Check that {check.name}."
    return test


for _check in CHECKS:
    setattr(RewardContract, "test_" + _check.name.replace(" ", "_"), _test_of(_check))


def _outcome(check: Check, subject: Subject) -> CheckOutcome:
    try:
        check.against(subject)
    except NotApplicable as reason:
        return CheckOutcome(name=check.name, ok=None, message=str(reason))
    except ContractViolation as violation:
        return CheckOutcome(name=check.name, ok=False, message=str(violation))
    return CheckOutcome(name=check.name, ok=True)
