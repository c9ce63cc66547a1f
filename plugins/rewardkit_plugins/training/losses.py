"""Losses on the rewards of preference pairs: Bradley–Terry with its options, and the sums of comparisons built on it.

Everything is a pure, differentiable function that stays in the dtype of its arguments and is finite for finite rewards;
the caller takes the mean. Losses on log-probabilities are `implicit`, losses that know how strong a preference is
`strength`, on several attributes `attributes`, on hidden states `contrast`. No models, no batches, no optimiser.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from rewardkit.errors import ConfigError


def preference(difference: Tensor, *, probability: Tensor | float = 1.0) -> Tensor:
    """Return −p·logσ(d) − (1−p)·logσ(−d): the cross-entropy of "the first is better", true with `probability` p.

    Shape and dtype are those of `difference`. With p = 1 the gradient with respect to d is −σ(−d).
    """
    p = like(difference, probability=probability)
    return -p * logsigmoid(difference) - (1 - p) * logsigmoid(-difference)


def bradley_terry(
    chosen: Tensor, rejected: Tensor, *, margin: Tensor | float | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Return −logσ(chosen − rejected − margin) of each pair, in the shape of the two.

    `margin` is one number or one per pair. `label_smoothing` ε, in [0, 0.5), is the share of wrong labels expected: the
    loss is then (1−ε) of this one plus ε of the loss of the pair turned round. Only the difference of the rewards
    matters. Raises ConfigError for shapes that differ and for ε out of range.
    Source: TRL, RewardTrainer; OpenRLHF's LogExpLoss is the same number.
    """
    same_shape(chosen=chosen, rejected=rejected)
    if not 0 <= label_smoothing < 0.5:
        raise ConfigError(f"label_smoothing is {label_smoothing!r}: give 0 or more, and less than 0.5")
    difference = chosen - rejected
    if margin is not None:
        difference = difference - like(difference, margin=margin)
    return preference(difference, probability=1 - label_smoothing)


def centre(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Return (chosen + rejected)² of each pair: add it with a weight of 0.01 or so to keep rewards around 0.

    Source: Eisenstein et al. 2023 (Helping or Herding), Eq. 2; TRL, `center_rewards_coefficient`.
    """
    same_shape(chosen=chosen, rejected=rejected)
    return (chosen + rejected) ** 2


def armap_centre(chosen: Tensor, rejected: Tensor, *, weight: float = 1e-3) -> Tensor:
    """Return weight·|mean(chosen + rejected)|, one number for the batch, to be added to the mean loss.

    It centres the batch, where `centre` centres every pair. Raises ConfigError for an empty batch.
    Source: Chen et al. 2025 (ARMAP), its code.
    """
    same_shape(chosen=chosen, rejected=rejected)
    if not chosen.numel():
        raise ConfigError(f"chosen has shape {tuple(chosen.shape)}: give at least one pair, for the mean")
    return weight * (chosen + rejected).mean().abs()


def ppo_m(
    *,
    chosen_high: Tensor,
    chosen_low: Tensor,
    rejected_high: Tensor,
    rejected_low: Tensor,
    plain: tuple[Tensor, Tensor] | None = None,
    across: bool = False,
) -> Tensor:
    """Return the loss of PPO-M for each pair: confidence must pay for chosen answers and cost for rejected ones.

    Each answer is scored twice, with high and with low confidence stated. The combined variant compares chosen and
    rejected answers too: `plain` are their rewards without any confidence. `across` adds chosen with high confidence
    over rejected with low. Source: Leng et al. 2024 (Taming Overconfidence).
    """
    same_shape(chosen_high=chosen_high, chosen_low=chosen_low, rejected_high=rejected_high, rejected_low=rejected_low)
    loss = bradley_terry(chosen_high, chosen_low) + bradley_terry(rejected_low, rejected_high)
    if plain is not None:
        same_shape(chosen_high=chosen_high, plain_chosen=plain[0])
        loss = loss + bradley_terry(*plain)
    if across:
        loss = loss + bradley_terry(chosen_high, rejected_low)
    return loss


def pit(
    *,
    chosen_over_rejected: Tensor,
    chosen_over_chosen: Tensor,
    rejected_over_rejected: Tensor,
    rejected_over_chosen: Tensor,
) -> Tensor:
    """Return the loss of a relative reward g(x, y, reference), "how much better y is", for each pair.

    Each argument is g of one answer with another as the reference. Five comparisons put chosen over rejected above an
    answer over itself, and that above rejected over chosen; their weights are equal, which is an assumption.
    For g = r(y) − r(reference) all five hold if and only if r(chosen) > r(rejected).
    Source: Wang et al. 2023 (PIT), Eq. 2, from a review of it.
    """
    best, worst = chosen_over_rejected, rejected_over_chosen
    loss = bradley_terry(best, worst)
    for itself in (chosen_over_chosen, rejected_over_rejected):
        loss = loss + bradley_terry(best, itself) + bradley_terry(itself, worst)
    return loss


def same_shape(**tensors: Tensor) -> None:
    """Raise ConfigError unless all have one shape: broadcasting [n] with [n, 1] would compare every pair with every."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ConfigError(f"shapes differ: {listed}; give tensors of one shape")


def like(tensor: Tensor, **number: Tensor | float) -> Tensor:
    """Return the one named number, or one per element of `tensor`, in the dtype and on the device of `tensor`."""
    ((name, value),) = number.items()
    values = torch.as_tensor(value, dtype=tensor.dtype, device=tensor.device)
    if values.ndim:
        same_shape(**{"rewards": tensor, name: values})
    return values


def positive(**number: float) -> None:
    """Raise ConfigError unless the named number is above 0."""
    ((name, value),) = number.items()
    if not value > 0:
        raise ConfigError(f"{name} is {value!r}: give a number above 0")
