"""Losses on several attributes of one answer: masked regression, its scalar, and the weights of SteerLM 2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from rewardkit.errors import ConfigError
from rewardkit_plugins.training.losses import same_shape

ATTRIBUTES: Final = (  # in NeMo-Aligner's order; HelpSteer2 has the last five, 0 to 4
    "quality",
    "toxicity",
    "humor",
    "creativity",
    "helpfulness",
    "correctness",
    "coherence",
    "complexity",
    "verbosity",
)


def attribute_loss(predicted: Tensor, labels: Tensor, *, missing: float = -100.0) -> Tensor:
    """Return the mean squared error of each row over the attributes that are labelled: [n, attributes] gives [n].

    A label that is `missing` or NaN is not counted and has no gradient; a row without labels has the loss 0.
    NeMo-Aligner pools the labels of the batch instead, so that a row weighs as much as it has labels.
    Source: Wang et al. 2024 (HelpSteer2).
    """
    same_shape(predicted=predicted, labels=labels)
    present = (labels != missing) & ~labels.isnan()
    squares = torch.where(present, predicted - labels.to(predicted.dtype), 0.0) ** 2
    return squares.sum(-1) / present.sum(-1).clamp(min=1)


def attribute_score(attributes: Tensor, *, weights: Sequence[float] | None = None) -> Tensor:
    """Return the weighted sum over the last axis; without weights every attribute has 1/number, which is the mean.

    Raises ConfigError when the number of weights is not that of the attributes.
    """
    count = attributes.shape[-1] if attributes.ndim else 0
    if not count or (weights is not None and len(weights) != count):
        given = "no weights" if weights is None else f"{len(weights)} weights"
        raise ConfigError(f"attributes has shape {tuple(attributes.shape)} with {given}: give one weight per attribute")
    chosen = [1 / count] * count if weights is None else list(weights)
    return attributes @ torch.tensor(chosen, dtype=attributes.dtype, device=attributes.device)


def steerlm2_weights(*, attributes: Tensor, prior: Tensor, proposal: Tensor, policy: Tensor) -> Tensor:
    """Return what each sample of a prompt weighs in the gradient of log Q(y | attributes), without a gradient itself.

    All are log-probabilities [prompts, samples]: of the attributes given the sample, and of the sample under the base
    model, under the model that drew it, and under the model that is trained. With w = softmax(attributes + prior −
    proposal) and b = softmax(policy − proposal) the weights are w − b; they sum to 0, and −Σ(w − b)·policy is the loss.
    Source: HelpSteer2, SteerLM 2.0.
    """
    same_shape(attributes=attributes, prior=prior, proposal=proposal, policy=policy)
    wanted = (attributes + prior - proposal).softmax(-1)
    return (wanted - (policy - proposal).softmax(-1)).detach()
