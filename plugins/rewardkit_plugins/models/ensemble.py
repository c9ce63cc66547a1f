"""Several reward models as one: their values on a common scale, then the mean, the least, or the mean minus the spread.

Median, variance penalties and pessimistic means are not here; nor are models that share a trunk.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Literal

from rewardkit.errors import ConfigError
from rewardkit_plugins.models.readout import Verdict

Combination = Literal["mean", "min", "mean_minus_std"]


@dataclass(frozen=True, slots=True)
class Scale:
    """The mean and the standard deviation of a model's values on some sample: values become z-scores."""

    mean: float = 0.0
    std: float = 1.0

    @classmethod
    def each(cls, count: int, *, mean: float | Sequence[float], std: float | Sequence[float]) -> list[Scale]:
        """Return one scale for each of `count` models, from one number for all or one for each; raises ConfigError."""
        means, stds = _spread("mean", mean, count), _spread("std", std, count)
        for deviation in stds:
            if deviation <= 0:
                raise ConfigError(f"std={std!r} cannot be right: a standard deviation is above 0")
        return [cls(*pair) for pair in zip(means, stds, strict=True)]

    def apply(self, verdict: Verdict) -> Verdict:
        """Return the verdict on this scale; what the heads said stays as it is."""
        uncertainty = None if verdict.uncertainty is None else verdict.uncertainty / self.std
        return Verdict((verdict.value - self.mean) / self.std, uncertainty, verdict.parts, verdict.gate)


def combine(verdicts: Sequence[Verdict], *, how: Combination = "mean") -> Verdict:
    """Return one verdict of several, with each model's value as the parts `model_1`, `model_2` and so on.

    The uncertainty is the population standard deviation of the values; where the models give one of their own, it is
    that of the mixture: the root of the mean variance plus the variance of the means. `mean_minus_std` takes off one
    standard deviation of the values. A single verdict stays as it is.
    """
    if len(verdicts) == 1:
        return verdicts[0]
    values = [one.value for one in verdicts]
    mean, std = fmean(values), pstdev(values)
    value = {"mean": mean, "min": min(values), "mean_minus_std": mean - std}[how]
    own = [one.uncertainty for one in verdicts if one.uncertainty is not None]
    uncertainty = math.hypot(std, math.sqrt(fmean(u * u for u in own))) if own else std
    return Verdict(value, uncertainty, {f"model_{i}": one for i, one in enumerate(values, start=1)})


def _spread(name: str, numbers: float | Sequence[float], count: int) -> list[float]:
    found = [float(numbers)] * count if isinstance(numbers, (int, float)) else list(map(float, numbers))
    if len(found) != count:
        raise ConfigError(f"{name}={numbers!r} has {len(found)} numbers for {count} models: give one for each, or one")
    if not all(map(math.isfinite, found)):
        raise ConfigError(f"{name}={numbers!r} cannot be right: give finite numbers")
    return found
