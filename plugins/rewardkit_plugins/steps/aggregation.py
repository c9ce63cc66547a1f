"""One number from the scores of a response's steps; for how steps are paid one by one see `shaping`.

The definitions are those of RewardMATH's evaluation (Kim et al. 2024). Padding a solution with good steps raises mean,
last, max, sum, geometric_mean, mean_logit and mean_odd; min and prod it cannot raise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from rewardkit.errors import RewardError
from rewardkit_plugins.rules.rule import check_choice
from rewardkit_plugins.steps.scores import checked

Aggregator = Callable[[Sequence[float]], float]

EDGE = 2.0**-25  # a float32 holds no probability nearer to 1, other than 1 itself


def minimum(scores: Sequence[float]) -> float:
    """Return the lowest score, of any range: a solution is as good as its worst step."""
    return min(_some(scores))


def maximum(scores: Sequence[float]) -> float:
    """Return the highest score, of any range."""
    return max(_some(scores))


def last(scores: Sequence[float]) -> float:
    """Return the score of the last step, of any range."""
    return _some(scores)[-1]


def total(scores: Sequence[float]) -> float:
    """Return the sum of scores of any range: the return, where the scores are step rewards (of `shaping`)."""
    return math.fsum(_some(scores))


def mean(scores: Sequence[float]) -> float:
    """Return the arithmetic mean of scores of any range."""
    return math.fsum(_some(scores)) / len(scores)


def product(probabilities: Sequence[float]) -> float:
    """Return the product, in [0, 1]: the chance that all steps are right, were they independent."""
    return math.prod(_probabilities(probabilities))


def geometric_mean(probabilities: Sequence[float]) -> float:
    """Return the n-th root of the product of n steps, in [0, 1]; logarithms keep long products from vanishing."""
    found = _probabilities(probabilities)
    return math.exp(math.fsum(map(math.log, found)) / len(found)) if all(found) else 0.0


def mean_logit(probabilities: Sequence[float]) -> float:
    """Return the logistic function of the mean log-odds, in (0, 1), with probabilities clipped to [EDGE, 1 - EDGE].

    RewardMATH does not clip, and has NaN for a 0 beside a 1. Their published scores lie between .011 and .9998.
    """
    found = _inside(probabilities)
    return 1 / (1 + math.exp(-math.fsum(math.log(p / (1 - p)) for p in found) / len(found)))


def mean_odd(probabilities: Sequence[float]) -> float:
    """Return the mean odds p / (1 - p), in (0, 2^25), with probabilities clipped as in `mean_logit`.

    RewardMATH also takes the larger of this and 0, which changes nothing for probabilities.
    """
    found = _inside(probabilities)
    return math.fsum(p / (1 - p) for p in found) / len(found)


AGGREGATORS: Mapping[str, Aggregator] = {
    "min": minimum,
    "prod": product,
    "last": last,
    "mean": mean,
    "geometric_mean": geometric_mean,
    "max": maximum,
    "mean_logit": mean_logit,
    "mean_odd": mean_odd,
    "sum": total,
}


def aggregator(name: str) -> Aggregator:
    """Return the function of AGGREGATORS; raises ConfigError for a name that is not there.

    Every one raises RewardError for no steps, for a score that is not finite and, where it takes probabilities, for one
    outside [0, 1].
    """
    check_choice("aggregator", name, list(AGGREGATORS))
    return AGGREGATORS[name]


def _some(scores: Sequence[float], *, low: float = -math.inf, high: float = math.inf) -> list[float]:
    if not scores:
        raise RewardError("a response without steps has no score to aggregate: abstain instead")
    return checked(scores, low=low, high=high)


def _probabilities(scores: Sequence[float]) -> list[float]:
    return _some(scores, low=0.0, high=1.0)


def _inside(scores: Sequence[float]) -> list[float]:
    return [min(max(p, EDGE), 1 - EDGE) for p in _probabilities(scores)]
