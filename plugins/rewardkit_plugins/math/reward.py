"""The `math` reward: 1.0 if the final answer equals a reference mathematically, else 0.0; the work is not judged.

Everything is decided in the calling process by bounded arithmetic: there is no timeout to choose, no signal and no
worker, so the verdict is the same in any thread, event loop or process.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, get_args

from rewardkit.errors import ConfigError
from rewardkit.types import Score, Trajectory
from rewardkit_plugins.math.answers import Expected, Verdict, compare
from rewardkit_plugins.math.evaluation import DIGITS, context
from rewardkit_plugins.math.extract import extract

Percent = Literal["auto", "strict", "lenient"]
_SHOWN = 120
_NUMBER = re.compile(r"[-+\u2212]?\s?(?:\\?\$)?\d(?:[\d, ]|\{,\})*(?:\.\d*)?(?:\s?\\?%)?")
_PERCENT_BEHIND_BOX = re.compile(r"\\boxed\{[^{}]{1,40}\}\s?\$?\s?\\?%")


class MathReward:
    """Scores the final answer of the last action against `task.references`, any of which is right.

    The value is 1.0 or 0.0; None (abstains) if the task has no reference that holds an answer. A response without an
    answer scores 0.0, and so does one beyond the limits (2,000 characters, huge powers): what is hostile is wrong.

    `tolerance` is relative and lets numbers differ by rounding (0.0: a decimal of fewer than six significant digits
    must be exact). `percent` says whether 10 and 10% pass for each other: "strict" never, "lenient" always, "auto"
    where the question or the response speaks of percent. With `require_boxed` only a boxed answer counts, with
    `require_number` only one that is worked out: 42 or 6 * 7 = 42, not 6 * 7.
    Raises ConfigError for an option that cannot be right.
    """

    def __init__(
        self,
        *,
        tolerance: float = 0.0,
        percent: Percent = "auto",
        require_boxed: bool = False,
        require_number: bool = False,
    ) -> None:
        if not 0 <= tolerance < 1:
            raise ConfigError(f"math: tolerance must be in [0, 1), not {tolerance!r}")
        if percent not in get_args(Percent):
            raise ConfigError(f"math: percent must be 'auto', 'strict' or 'lenient', not {percent!r}")
        self.tolerance = tolerance
        self.percent: Percent = percent
        self.require_boxed = require_boxed
        self.require_number = require_number

    def setup(self) -> None:
        """Import the arithmetic that the first hard pair would otherwise wait for."""
        for digits in DIGITS:
            context(digits)

    def score_batch(self, batch: Sequence[Trajectory], /) -> list[Score]:
        """Return one Score each; `metadata` holds the answer found and the one expected."""
        return [self._score(trajectory) for trajectory in batch]

    def close(self) -> None:
        """Do nothing: there is nothing to free."""

    def _score(self, trajectory: Trajectory) -> Score:
        expected = _expected(trajectory.task.references)
        if not expected:
            return Score(value=None, explanation="the task has no reference that holds an answer")
        response = trajectory.completion
        answer = extract(response, require_boxed=self.require_boxed)
        wanted = expected[0].text
        if answer is None:
            missing = "no boxed answer found" if self.require_boxed else "no answer found"
            return Score(value=0.0, explanation=missing, metadata={"answer": None, "expected": wanted})
        verdict = self._judge(expected, answer, trajectory)
        if verdict.right and self.require_number and not _NUMBER.fullmatch(answer.rpartition("=")[2].strip()):
            verdict = Verdict(False, "it is no number")
        return Score(
            value=1.0 if verdict.right else 0.0,
            explanation="" if verdict.right else _explanation(verdict, answer, wanted),
            metadata={"answer": answer, "expected": wanted},
        )

    def _judge(self, expected: tuple[Expected, ...], answer: str, trajectory: Trajectory) -> Verdict:
        verdict = Verdict(False)
        for one in expected:
            unit = "%" in answer + one.text and self._percent_is_unit(answer, trajectory)
            verdict = compare(one, answer, tolerance=self.tolerance, percent_is_unit=unit)
            if verdict.right:
                break
        return verdict

    def _percent_is_unit(self, answer: str, trajectory: Trajectory) -> bool:
        if self.percent != "auto":
            return self.percent == "lenient"
        spoken = trajectory.task.question + trajectory.completion.replace(answer, "")
        return "percent" in spoken.lower() or _PERCENT_BEHIND_BOX.search(trajectory.completion) is not None


@lru_cache(maxsize=16_384)
def _expected(references: tuple[str, ...]) -> tuple[Expected, ...]:
    found = (Expected.read(reference) for reference in references)
    return tuple(one for one in found if one is not None)


def _explanation(verdict: Verdict, answer: str, expected: str) -> str:
    reason = f" ({verdict.reason})" if verdict.reason else ""
    return f"found {answer[:_SHOWN]!r}, expected {expected[:_SHOWN]!r}{reason}"
