"""What is held out from training, and what a trained model makes of it: accuracy with its interval, errors."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from rewardkit.errors import ConfigError
from rewardkit_plugins.training.pairs import Example

_Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How many of the pairs have a higher reward for the better answer; `low` and `high` bound it with 95 %.

    `ties` are pairs with equal rewards: they count as wrong.
    """

    pairs: int
    right: int
    ties: int
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Fit:
    """How well one attribute is predicted: root mean square error, and that of always saying the mean of training."""

    labels: int
    error: float
    error_of_mean: float


def split(examples: Sequence[Example], *, share: float, seed: int = 0) -> tuple[list[Example], list[Example]]:
    """Return what to train on and what to hold out; examples with the same first user message stay together.

    Which topics are held out depends on them and on the seed, not on their order. At least the `share` is held out if
    it is above 0. Raises ConfigError for a share outside [0, 1), and when nothing would be left on either side.
    """
    if not 0 <= share < 1:
        raise ConfigError(f"eval_share is {share!r}: give 0 or more, and less than 1")
    topics: dict[str, int] = {}
    for one in examples:
        topics[one.topic] = topics.get(one.topic, 0) + 1
    held: set[str] = set()
    count = 0
    for topic in sorted(topics, key=lambda topic: hashlib.sha256(f"{seed}:{topic}".encode()).digest()):
        if count >= share * len(examples):
            break
        held.add(topic)
        count += topics[topic]
    if share and len(held) == len(topics):
        raise ConfigError(
            f"{len(topics)} prompts are too few to hold out {share:.0%} of them: give more, or eval_share=0"
        )
    sides: tuple[list[Example], list[Example]] = ([], [])
    for one in examples:
        sides[one.topic in held].append(one)
    return sides


def wilson(right: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of which `right` of `n` were seen; (0, 1) when nothing was.

    Source: Wilson 1927, without correction for continuity.
    """
    if not 0 <= right <= n:
        raise ConfigError(f"{right} of {n} is no share")
    if not n:
        return 0.0, 1.0
    share, z2 = right / n, _Z95**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return middle - half if right else 0.0, middle + half if right < n else 1.0


def accuracy(chosen: Tensor, rejected: Tensor) -> Accuracy:
    """Return how often chosen is above rejected, [n] both; a tie counts as wrong."""
    right, n = int((chosen > rejected).sum()), chosen.numel()
    return Accuracy(n, right, int((chosen == rejected).sum()), right / n if n else 0.0, *wilson(right, n))


def fits(predicted: Tensor, labels: Tensor, means: Tensor) -> list[Fit]:
    """Return how well each attribute is predicted: [n, attributes] both, labels NaN where there are none.

    `means` [attributes] are those of the training part. Without a label the errors are 0.
    """
    found = []
    for column in range(labels.shape[1]):
        present = ~labels[:, column].isnan()
        wanted = labels[present, column].double()
        errors = [(guess - wanted).square().mean().sqrt() for guess in (predicted[present, column], means[column])]
        error, of_mean = (float(e) if len(wanted) else 0.0 for e in errors)
        found.append(Fit(len(wanted), error, of_mean))
    return found
