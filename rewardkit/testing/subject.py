"""A reward under test: how to build it, what it is given, and its scores in this thread to compare others with.

What must hold of it is `checks`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any

from rewardkit.judging import judge
from rewardkit.plugins import Plugins
from rewardkit.registry import RewardSpec
from rewardkit.terms import parse_term
from rewardkit.testing.samples import sample_trajectories, spoiled
from rewardkit.types import Outcome, Score, Trajectory


class Subject:
    """One reward with its options and the attempts it is tried on: every good one, followed by its spoiled copies.

    `samples` are attempts that deserve a high score; without them the built-in ones are used. Scores are equal when
    they differ by at most `tolerance`, relative or absolute.
    """

    def __init__(
        self,
        spec: RewardSpec,
        options: Mapping[str, Any],
        samples: Sequence[Trajectory] | None = None,
        *,
        tolerance: float = 1e-6,
    ) -> None:
        self._spec = spec
        self.options = dict(options)
        self.tolerance = tolerance
        self.good: list[Trajectory] = []
        self.attempts: list[Trajectory] = []
        self.kinds: list[str] = []
        for number, sample in enumerate(sample_trajectories() if samples is None else samples):
            group = {"group": f"sample-{number}"}
            for kind, attempt in {"good": sample, **spoiled(sample)}.items():
                self.kinds.append(kind)
                self.attempts.append(replace(attempt, metadata={**attempt.metadata, **group}))
        self.good = [one for kind, one in zip(self.kinds, self.attempts, strict=True) if kind == "good"]

    @cached_property
    def spec(self) -> RewardSpec:
        """The spec, with the need of whole groups where the reward has it; an address cannot say so."""
        if hasattr(self._spec.build(**self.options), "score_group"):
            return replace(self._spec, needs=self._spec.needs | {"group"})
        return self._spec

    @property
    def compares_groups(self) -> bool:
        """Whether this is a GroupReward."""
        return "group" in self.spec.needs

    @cached_property
    def baseline(self) -> list[Outcome]:
        """What a fresh reward says of the attempts in the calling thread, in order."""
        with self.running() as reward:
            return self.score(reward, self.attempts)

    def build(self) -> Any:
        """Return a new reward, not yet set up."""
        return self.spec.build(**self.options)

    @contextmanager
    def running(self, reward: Any = None) -> Iterator[Any]:
        """Set up `reward`, or a new one, and close it afterwards."""
        reward = self.build() if reward is None else reward
        reward.setup()
        try:
            yield reward
        finally:
            reward.close()

    def call(self, reward: Any, batch: Sequence[Trajectory]) -> Any:
        """Return what the reward itself answers, unchecked, for a batch or one whole group."""
        return (reward.score_group if self.compares_groups else reward.score_batch)(batch)

    def score(self, reward: Any, attempts: Sequence[Trajectory]) -> list[Outcome]:
        """Return one outcome each, in order; a group reward gets each group by itself."""
        return [outcome for unit in self.units(attempts) for outcome in judge(self.spec, reward, unit)]

    def units(self, attempts: Sequence[Trajectory]) -> list[Sequence[Trajectory]]:
        """Cut `attempts` into what one call takes: all of them, or one group each."""
        if not self.compares_groups:
            return [attempts]
        groups: dict[str, list[Trajectory]] = {}
        for attempt in attempts:
            groups.setdefault(attempt.group, []).append(attempt)
        return list(groups.values())

    def difference(self, outcomes: Sequence[Outcome], expected: Sequence[Outcome]) -> str:
        """Return the first difference in words, or "" when the outcomes are equal."""
        if len(outcomes) != len(expected):
            return f"{len(outcomes)} scores instead of {len(expected)}"
        for number, (one, other) in enumerate(zip(outcomes, expected, strict=True)):
            if not self._equal(one, other):
                return f"attempt {number} ({self.kinds[number]}) got {_shown(one)} instead of {_shown(other)}"
        return ""

    def _equal(self, one: Outcome, other: Outcome) -> bool:
        if not isinstance(one, Score) or not isinstance(other, Score):
            return isinstance(one, type(other)) and getattr(one, "kind", "") == getattr(other, "kind", "")
        ours, theirs = (one.value, *(one.steps or ())), (other.value, *(other.steps or ()))
        return len(ours) == len(theirs) and all(map(self._close, ours, theirs))

    def _close(self, one: float | None, other: float | None) -> bool:
        if one is None or other is None:
            return one is other
        return math.isclose(one, other, rel_tol=self.tolerance, abs_tol=self.tolerance)


def subject_of(
    reward: Any, options: Mapping[str, Any], samples: Sequence[Trajectory] | None = None, *, tolerance: float = 1e-6
) -> Subject:
    """Return the subject for a RewardSpec, for text as in `--reward`, or for a class or function at module level."""
    if isinstance(reward, str):
        term = parse_term(reward, Plugins.load().rewards)
        reward, options = term.spec, {**term.options, **options}
    elif not isinstance(reward, RewardSpec):
        target = inspect.unwrap(reward)
        # By file: test modules cannot be imported by name in the process that a worker is.
        reward = RewardSpec(name=target.__name__, factory=f"{inspect.getfile(target)}:{target.__qualname__}")
    return Subject(reward, options, samples, tolerance=tolerance)


def _shown(outcome: Outcome) -> str:
    if not isinstance(outcome, Score):
        return f"the failure {outcome.message!r}"
    return "no value (it abstains)" if outcome.value is None else f"{outcome.value:g}"
