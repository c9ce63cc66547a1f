"""The `length_group` reward: shorter right attempts gain, longer and wrong ones lose, within the attempts at one task.

For a length that is measured against a fixed limit, see `length`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import get_args

from rewardkit.types import Score, Trajectory
from rewardkit_plugins.rules.correctness import Correctness
from rewardkit_plugins.rules.length import Unit, measure
from rewardkit_plugins.rules.rule import check_choice


class LengthGroup:
    """The length reward of Kimi k1.5 (arXiv 2501.12599, section 2.3.3).

    With λ = 0.5 - (length - shortest) / (longest - shortest), a right attempt gets λ and a wrong one min(0, λ); all
    get 0.0 where all are equally long. Values lie in [-0.5, 0.5]. `correct` is the SPEC of the reward that tells right
    from wrong; where it abstains, so does this one, though the attempt's length still counts as a rival's. `unit` is as
    in `length`.
    Raises ConfigError for an option that cannot be right, RewardError for tokens that are missing.
    """

    def __init__(self, *, correct: str = "math", unit: Unit = "words") -> None:
        check_choice("length_group: unit", unit, get_args(Unit))
        self._unit: Unit = unit
        self._correctness = Correctness(correct)

    def signature_fields(self) -> Mapping[str, str]:
        """Return the unit and the judge's whole signature."""
        return {"unit": self._unit, "correct": self._correctness.signature()}

    def setup(self) -> None:
        """Set up the reward that tells right from wrong."""
        self._correctness.setup()

    def score_group(self, group: Sequence[Trajectory], /) -> list[Score]:
        """Return one Score each, in order; the part `length` is the length in units."""
        lengths = [measure(trajectory, self._unit) for trajectory in group]
        shortest, longest = min(lengths), max(lengths)
        verdicts = self._correctness.of(group)
        return [_score(n, right, shortest, longest) for n, right in zip(lengths, verdicts, strict=True)]

    def close(self) -> None:
        """Close the reward that tells right from wrong."""
        self._correctness.close()


def _score(length: int, right: bool | None, shortest: int, longest: int) -> Score:
    parts = {"length": float(length)}
    if right is None:
        return Score(value=None, parts=parts, explanation="the reward that tells right from wrong abstains")
    value = 0.5 - (length - shortest) / (longest - shortest) if longest > shortest else 0.0
    return Score(value=value if right else min(0.0, value), parts={**parts, "correct": float(right)})
