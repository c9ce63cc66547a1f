"""Rewards of several objectives made one: verbosity taken out of each, then weighed by a gate that reads the prompt.

Pure functions on tensors, and the layout of files that hold such heads. How heads and gates are fitted is
`objective_fitting`. Source: Wang et al. 2024 (ArmoRM, arXiv 2406.12845), its code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import linear, relu

from rewardkit.errors import ConfigError

ARMORM: Final = (  # in the order of its regression layer; HelpSteer's five are (rating + 0.5) / 5
    "helpsteer-helpfulness",
    "helpsteer-correctness",
    "helpsteer-coherence",
    "helpsteer-complexity",
    "helpsteer-verbosity",
    "ultrafeedback-overall_score",
    "ultrafeedback-instruction_following",
    "ultrafeedback-truthfulness",
    "ultrafeedback-honesty",
    "ultrafeedback-helpfulness",
    "beavertails-is_safe",
    "prometheus-score",
    "argilla-overall_quality",
    "argilla-judge_lm",
    "code-complexity",
    "code-style",
    "code-explanation",
    "code-instruction-following",
    "code-readability",
)
PENALTIES: Final = (
    *(0.0, 0.01, 0.025, 0.05, 0.075, 0.1, 0.125, 0.15),
    *(i / 20 for i in range(4, 20)),
)
REGRESSION, TRANSFORM, GATE = "regression_layer", "reward_transform_matrix", "gating"


@dataclass(frozen=True, slots=True)
class Gate:
    """A perceptron with ReLU whose last layer, over `temperature` and through a softmax, weighs the objectives."""

    layers: tuple[tuple[Tensor, Tensor], ...]
    temperature: float = 10.0
    scale: float = 1.0

    def __call__(self, prompts: Tensor) -> Tensor:
        """Return the weights for hidden states of prompts, [n, width] to [n, objectives]; rows sum to `scale`."""
        for weight, bias in self.layers[:-1]:
            prompts = relu(linear(prompts, weight, bias))
        logits = linear(prompts, *self.layers[-1])
        return (logits / self.temperature).softmax(-1) * self.scale


@dataclass(frozen=True, slots=True)
class Objectives:
    """Linear heads `weight` [objectives, width], `transform` [objectives, objectives], and a gate or None."""

    names: tuple[str, ...]
    weight: Tensor
    transform: Tensor
    gate: Gate | None = None

    @classmethod
    def of(
        cls,
        tensors: Mapping[str, Tensor],
        *,
        names: Sequence[str] | None = None,
        temperature: float = 10.0,
    ) -> Objectives:
        """Return what tensors named as ArmoRM names them hold, in float32; raises ConfigError.

        `regression_layer.weight` must be there; `reward_transform_matrix` (default: the identity) and
        `gating.layers.0.weight` with `.bias`, ..., `gating.logit_scale` may be.
        """
        held = {name: tensor.float() for name, tensor in tensors.items()}
        weight = held.get(f"{REGRESSION}.weight")
        if weight is None or weight.ndim != 2:
            raise ConfigError(f"there is no matrix '{REGRESSION}.weight' among {sorted(held)[:5]}")
        count, width = weight.shape
        transform = held.get(TRANSFORM, torch.eye(count))
        gate = _gate_of(held, temperature)
        chosen = _names_of(names, count)
        if transform.shape != (count, count):
            raise ConfigError(f"{TRANSFORM} is {tuple(transform.shape)} for {count} objectives")
        if gate and (gate.layers[0][0].shape[1] != width or gate.layers[-1][0].shape[0] != count):
            raise ConfigError(f"the gate does not go from {width} numbers to {count} objectives")
        if not all(bool(torch.isfinite(tensor).all()) for tensor in held.values()):
            raise ConfigError("the objectives hold weights that are not finite: the file is broken")
        return cls(chosen, weight, transform, gate)

    def rewards(self, states: Tensor) -> Tensor:
        """Return what the heads say, as they were fitted: [n, width] to [n, objectives]."""
        return linear(states, self.weight)

    def score(self, rewards: Tensor, weights: Tensor) -> Tensor:
        """Return Σ (R·T)·w for rewards R and weights w, both [n, objectives], shape [n]."""
        return ((rewards @ self.transform) * weights).sum(-1)

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that `of` reads, for a safetensors file."""
        held = {f"{REGRESSION}.weight": self.weight, TRANSFORM: self.transform}
        if self.gate is not None:
            for i, (weight, bias) in enumerate(self.gate.layers):
                held |= {f"{GATE}.layers.{i}.weight": weight, f"{GATE}.layers.{i}.bias": bias}
            held[f"{GATE}.logit_scale"] = torch.tensor([self.gate.scale])
        return {name: tensor.detach().contiguous() for name, tensor in held.items()}

    def metadata(self) -> dict[str, str]:
        """Return what belongs into the file's metadata: the names, and the gate's temperature."""
        temperature = 10.0 if self.gate is None else self.gate.temperature
        return {"names": json.dumps(self.names), "temperature": str(temperature)}


def spearman(one: Tensor, other: Tensor) -> float:
    """Return the rank correlation of two vectors, ties sharing their mean rank; 0 where one of them is constant."""
    a, b = (ranks - ranks.mean() for ranks in (_ranks(one.double()), _ranks(other.double())))
    norm = float(a.norm() * b.norm())
    return float(a @ b) / norm if norm > 0 else 0.0


def verbosity_penalties(
    rewards: Tensor, *, verbosity: int, threshold: float = 0.03, candidates: Sequence[float] = PENALTIES
) -> Tensor:
    """Return for each objective the least share of the verbosity reward to take off, from rewards [n, objectives].

    It is the least of `candidates` after which the rank correlation with verbosity is at most `threshold` (a strongly
    negative one passes, as upstream), and 1 where none is enough and for verbosity itself.
    """
    count = rewards.shape[1]
    if not 0 <= verbosity < count:
        raise ConfigError(f"verbosity={verbosity!r} is no objective: there are {count}, counted from 0")
    rewards = rewards.double()
    own = rewards[:, verbosity]
    found = torch.ones(count, dtype=torch.float64)
    for i in range(count):
        if i != verbosity:
            fitting = (p for p in sorted(candidates) if spearman(rewards[:, i] - p * own, own) <= threshold)
            found[i] = next(fitting, 1.0)
    return found


def transform_matrix(penalties: Tensor, *, verbosity: int) -> Tensor:
    """Return T = I with the penalties taken off the row of verbosity, so that R·T is R without it."""
    matrix = torch.eye(len(penalties), dtype=penalties.dtype)
    matrix[verbosity] -= penalties
    return matrix


def _ranks(values: Tensor) -> Tensor:
    values = values.contiguous()
    order = values.sort().values
    return (torch.searchsorted(order, values) + torch.searchsorted(order, values, right=True) + 1) / 2


def _gate_of(held: Mapping[str, Tensor], temperature: float) -> Gate | None:
    layers: list[tuple[Tensor, Tensor]] = []
    while (weight := held.get(f"{GATE}.layers.{len(layers)}.weight")) is not None:
        bias = held.get(f"{GATE}.layers.{len(layers)}.bias", torch.zeros(len(weight)))
        layers.append((weight, bias))
    if not layers:
        return None
    if temperature <= 0:
        raise ConfigError(f"the gate's temperature is {temperature!r}: it must be above 0")
    scale = held.get(f"{GATE}.logit_scale")
    return Gate(tuple(layers), temperature, 1.0 if scale is None else float(scale.reshape(-1)[0]))


def _names_of(names: Sequence[str] | None, count: int) -> tuple[str, ...]:
    if names is None:
        return ARMORM if count == len(ARMORM) else tuple(f"objective_{i}" for i in range(1, count + 1))
    if len(names) != count:
        raise ConfigError(f"heads names {len(names)} objectives ({', '.join(names)}), and there are {count}")
    return tuple(names)
