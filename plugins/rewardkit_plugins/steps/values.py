"""Values and labels of steps that training process reward models needs; sampling the completions is not done here."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from rewardkit.errors import RewardError
from rewardkit_plugins.rules.rule import check_number
from rewardkit_plugins.steps.scores import checked

_ROUNDING = 1e-9  # .72 / .9 is not less than .8; shares of K completions differ by more


def rest_mcts_value(parent: float, *, right: bool, missing: int) -> float:
    """Return the value of a step after a state worth `parent`, in [0, 1] (ReST-MCTS*, 2406.03816).

    `missing` is how many steps, this one included, a solution still needs at least. A right step closes its share of
    the gap to 1, a wrong one loses as much, not below 0. The root is worth 0.
    """
    checked([parent], low=0.0, high=1.0)
    if missing < 1:
        raise RewardError(f"missing={missing!r}: count the step itself, so at least 1")
    return max(0.0, parent + (1 - parent) / missing * (1 if right else -1))


def relative_progress(estimates: Sequence[float]) -> list[float | None]:
    """Return MC after / MC before each step (GenPRM, 2504.00891), from the estimates of the question and each prefix.

    One fewer than `estimates`. From a question that was never solved it is 0.0, and None for all steps after an
    estimate of 0, from where nothing can be told.
    """
    progress: list[float | None] = []
    lost = False
    for before, after in pairwise(checked(estimates, low=0.0, high=1.0)):
        progress.append(None if lost else after / before if before else 0.0)
        lost = lost or before == 0 or after == 0
    return progress


def rpe_labels(estimates: Sequence[float], *, epsilon: float = 0.8) -> list[int]:
    """Return 1 for each step that keeps at least `epsilon` of the chance of success, else 0.

    Once an estimate is 0, all later steps are 0.
    """
    check_number("rpe_labels: epsilon", epsilon, low=0.0)
    return [int(kept is not None and kept >= epsilon - _ROUNDING) for kept in relative_progress(estimates)]
