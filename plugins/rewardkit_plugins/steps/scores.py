"""The check that numbers on steps are numbers; what they mean is the matter of the modules that use them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rewardkit.errors import RewardError


def checked(scores: Sequence[float], *, low: float = -math.inf, high: float = math.inf) -> list[float]:
    """Return `scores` as floats; raises RewardError unless every one is a finite number from `low` to `high`."""
    for place, score in enumerate(scores):
        if score is None or not math.isfinite(score) or not low <= score <= high:
            within = "" if high == math.inf else f" from {low:g} to {high:g}"
            raise RewardError(f"the score of step {place} is {score!r}: it must be a finite number{within}")
    return [float(score) for score in scores]
