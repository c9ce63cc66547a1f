"""What the outputs of a reward model mean: heads with names and weights, or the mean and the spread of a Gaussian.

Numbers in, numbers out. Where they come from is `heads`; a gate that weighs them by the prompt is `multi_objective`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from rewardkit.errors import ConfigError, RewardError
from rewardkit.registry import did_you_mean

Gaussian = Literal["log_variance", "variance", "std"]
Weights = Sequence[float] | Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one model says of one conversation: `value`, its standard deviation where the model gives one, its heads.

    `gate` is what each head weighed for this prompt, where that depends on the prompt.
    """

    value: float
    uncertainty: float | None = None
    parts: Mapping[str, float] = field(default_factory=dict)
    gate: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Readout:
    """The names of the outputs, and how they become one value: a weighted sum, or the mean of a Gaussian."""

    names: tuple[str, ...]
    weights: tuple[float, ...]
    gaussian: Gaussian | None = None

    @classmethod
    def of(cls, names: Sequence[str], *, weights: Weights | None, gaussian: Gaussian | None = None) -> Readout:
        """Return the readout of outputs called `names`; raises ConfigError, which names them.

        A single output needs no weight. Names that a mapping of weights leaves out count nothing.
        """
        if gaussian is None:
            return cls(tuple(names), weights_of(names, weights))
        if len(names) != 2:
            raise ConfigError(
                f"gaussian={gaussian!r} reads two outputs, a mean and a spread, and the model has {_listed(names)}: "
                "leave gaussian out, or give a model with a Gaussian head"
            )
        if weights is not None:
            raise ConfigError(f"gaussian={gaussian!r} takes the mean for the value: leave out weights={weights!r}")
        return cls(tuple(names), (1.0, 0.0), gaussian)

    def verdict(self, outputs: Sequence[float]) -> Verdict:
        """Return what these outputs say, one for each name; raises RewardError where they are no numbers."""
        if len(outputs) != len(self.names):
            raise RewardError(f"the model gives {len(outputs)} outputs, and its configuration names {len(self.names)}")
        parts = finite(self.names, outputs)
        if self.gaussian is not None:
            mean, spread = outputs
            return Verdict(mean, _std(self.gaussian, spread), parts)
        value = sum(weight * output for weight, output in zip(self.weights, outputs, strict=True))
        return Verdict(value, None, parts)


def weights_of(names: Sequence[str], weights: Weights | None) -> tuple[float, ...]:
    """Return one weight for each name, or raise ConfigError."""
    if weights is None:
        if len(names) == 1:
            return (1.0,)
        raise ConfigError(
            f"the model has {_listed(names)}, and nothing says what they are worth: give weights={{{names[0]!r}: 1}}"
        )
    if isinstance(weights, Mapping):
        for name in weights:
            if name not in names:
                raise ConfigError(
                    f"weights names {name!r}{did_you_mean(str(name), list(names))}: the model has {_listed(names)}"
                )
        found = tuple(float(weights.get(name, 0.0)) for name in names)
    else:
        found = tuple(map(float, weights))
    if len(found) != len(names):
        raise ConfigError(f"weights has {len(found)} numbers, and the model has {_listed(names)}: give one for each")
    if not all(map(math.isfinite, found)) or not any(found):
        raise ConfigError(f"weights={weights!r} cannot be right: give finite numbers that are not all 0")
    return found


def finite(names: Sequence[str], outputs: Sequence[float]) -> dict[str, float]:
    """Return the outputs by name, or raise RewardError for one that is not finite."""
    for name, output in zip(names, outputs, strict=True):
        if not math.isfinite(output):
            raise RewardError(f"the model's output {name!r} is {output!r}: try another dtype")
    return dict(zip(names, outputs, strict=True))


def _std(gaussian: Gaussian, spread: float) -> float:
    if gaussian != "log_variance":
        if spread < 0:
            raise RewardError(f"the model's spread is {spread!r}, which is no {gaussian}: choose another gaussian")
        return spread if gaussian == "std" else math.sqrt(spread)
    try:
        return math.exp(spread / 2)
    except OverflowError as error:
        raise RewardError(f"the model's log-variance is {spread!r}: choose another gaussian") from error


def _listed(names: Sequence[str]) -> str:
    return f"{len(names)} outputs ({', '.join(names)})" if len(names) != 1 else f"1 output ({names[0]})"
