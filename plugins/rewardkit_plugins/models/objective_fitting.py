"""Fitting the heads and the gate of `multi_objective` on hidden states; the model that gave them stays as it is.

Collecting hidden states and labels is the caller's business. Source: ArmoRM's code; unlike there, the gate is fitted on
rewards that verbosity has been taken out of, which is how it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import dropout, linear, relu

from rewardkit.errors import ConfigError
from rewardkit_plugins.models.multi_objective import Gate
from rewardkit_plugins.training.losses import bradley_terry

ALPHAS: Final = tuple(10.0**power for power in range(-4, 5))


def ridge(features: Tensor, labels: Tensor, *, alpha: float) -> Tensor:
    """Return w [width] that minimises |Xw − y|² + alpha·|w|², without an intercept, in float64.

    `features` X is [n, width], `labels` y [n]; rows without a label (NaN) do not count. Raises ConfigError when no row
    has one.
    """
    labelled = ~labels.isnan()
    if not bool(labelled.any()):
        raise ConfigError(f"none of the {len(labels)} labels is a number: give some, or leave the objective out")
    x, y = features[labelled].double(), labels[labelled].double()
    weight: Tensor = torch.linalg.solve(x.T @ x + alpha * torch.eye(x.shape[1], dtype=torch.float64), x.T @ y)
    return weight


def fit_heads(
    features: Tensor, labels: Tensor, *, alphas: Sequence[float] = ALPHAS, validation: float = 0.2, seed: int = 42
) -> Tensor:
    """Return one linear head for each objective, [objectives, width]: `features` [n, width], `labels` [n, objectives].

    Each head has the alpha with the least squared error on a share of rows held out (`validation`), on which it is not
    fitted. The rows are drawn by torch, so they are not those of upstream's split. Raises ConfigError for an objective
    without labels on either side.
    """
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))
    held_out = max(1, round(validation * len(features)))
    test, train = order[:held_out], order[held_out:]
    return torch.stack([_fit_head(features, column, train, test, alphas) for column in labels.T])


def fit_gate(
    prompts: Tensor,
    chosen: Tensor,
    rejected: Tensor,
    *,
    hidden: int = 1024,
    depth: int = 3,
    temperature: float = 10.0,
    drop: float = 0.2,
    rate: float = 1e-3,
    steps: int = 2000,
    batch: int = 1024,
    seed: int = 0,
) -> Gate:
    """Return the gate under which chosen answers score above rejected ones (Bradley–Terry), its scale learned as well.

    `prompts` is [n, width]; `chosen` and `rejected` are the rewards R·T of the two answers, [n, objectives]. AdamW
    without weight decay, a cosine schedule, batches drawn with replacement.
    """
    draw = torch.Generator().manual_seed(seed)
    sizes = [prompts.shape[1], *[hidden] * depth, chosen.shape[1]]
    layers = [_layer(a, b, draw) for a, b in pairwise(sizes)]
    scale = torch.ones(1, requires_grad=True)
    optimizer = torch.optim.AdamW([*(p for layer in layers for p in layer), scale], lr=rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _ in range(steps):
            rows = torch.randint(len(prompts), (batch,), generator=draw)
            weights = _forward(layers, prompts[rows].float(), drop, temperature) * scale
            margins = ((x[rows].float() * weights).sum(-1) for x in (chosen, rejected))
            loss = bradley_terry(*margins).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    fitted = tuple((weight.detach(), bias.detach()) for weight, bias in layers)
    return Gate(fitted, temperature, float(scale.detach()))


def _fit_head(features: Tensor, labels: Tensor, train: Tensor, test: Tensor, alphas: Sequence[float]) -> Tensor:
    labelled = test[~labels[test].isnan()]
    if not len(labelled):
        raise ConfigError("an objective has no label among the rows held out: give more, or another seed")
    x, y = features[labelled].double(), labels[labelled].double()
    fits = [ridge(features[train], labels[train], alpha=alpha) for alpha in alphas]
    return min(fits, key=lambda weight: float((x @ weight - y).square().mean()))


def _layer(inputs: int, outputs: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    bound = inputs**-0.5
    weight = (torch.rand(outputs, inputs, generator=draw) * 2 - 1) * bound
    bias = (torch.rand(outputs, generator=draw) * 2 - 1) * bound
    return weight.requires_grad_(), bias.requires_grad_()


def _forward(layers: Sequence[tuple[Tensor, Tensor]], states: Tensor, drop: float, temperature: float) -> Tensor:
    for weight, bias in layers[:-1]:
        states = dropout(relu(linear(states, weight, bias)), drop)
    return (linear(states, *layers[-1]) / temperature).softmax(-1)
