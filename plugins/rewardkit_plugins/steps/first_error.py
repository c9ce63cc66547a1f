"""The first wrong step: which one a process reward model points at, and ProcessBench's measure of that (2412.06559)."""

from __future__ import annotations

from collections.abc import Sequence

from rewardkit_plugins.steps.scores import checked


def first_below(scores: Sequence[float], threshold: float = 0.5) -> int:
    """Return the place (from 0) of the first score strictly below `threshold`, or -1 when all steps are good.

    Raises RewardError for a score that is not finite.
    """
    return next((place for place, score in enumerate(checked(scores)) if score < threshold), -1)


def processbench_f1(wrong: float, right: float) -> float:
    """Return the harmonic mean of two accuracies: on solutions with an error, and on those without.

    Where both are 0 it is 0, and not ProcessBench's NaN. Always answering -1, or always step 0, earns 0.
    """
    accuracies = checked((wrong, right), low=0.0, high=1.0)
    return 2 * wrong * right / sum(accuracies) if any(accuracies) else 0.0
