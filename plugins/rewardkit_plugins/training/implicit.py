"""Losses on log-probabilities of whole answers: the rewards implicit in a policy (DPO, GenARM, Selfie, D3PO).

A log-probability is the sum over the tokens of an answer, in nats. Adding it up is the caller's work, and so is mixing
the logits of two models for Selfie.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rewardkit.errors import ConfigError, RewardError
from rewardkit_plugins.training.losses import bradley_terry, positive, preference, same_shape


def implicit_reward(policy: Tensor, reference: Tensor, *, beta: float = 0.1) -> Tensor:
    """Return β·(log π − log π_ref) of each answer. Source: Rafailov et al. 2023 (DPO)."""
    same_shape(policy=policy, reference=reference)
    positive(beta=beta)
    return beta * (policy - reference)


def implicit_margin(
    *,
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    beta: float = 0.1,
) -> Tensor:
    """Return the implicit reward of each chosen answer minus that of the rejected one."""
    same_shape(policy_chosen=policy_chosen, policy_rejected=policy_rejected)
    chosen = implicit_reward(policy_chosen, reference_chosen, beta=beta)
    return chosen - implicit_reward(policy_rejected, reference_rejected, beta=beta)


def dpo(
    *,
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    beta: float = 0.1,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return the DPO loss of each pair: Bradley–Terry on implicit rewards. `label_smoothing` makes it conservative."""
    chosen = implicit_reward(policy_chosen, reference_chosen, beta=beta)
    rejected = implicit_reward(policy_rejected, reference_rejected, beta=beta)
    return bradley_terry(chosen, rejected, label_smoothing=label_smoothing)


def genarm(chosen: Tensor, rejected: Tensor, *, beta: float = 0.05) -> Tensor:
    """Return −logσ(β·(log π_r(chosen) − log π_r(rejected))) of each pair: DPO without a reference model.

    Source: Xu et al. 2024 (GenARM).
    """
    positive(beta=beta)
    return bradley_terry(beta * chosen, beta * rejected)


def d3po(
    *,
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    beta: float = 0.1,
    clip: float = 0.1,
) -> Tensor:
    """Return −logσ(β·(log ρ_chosen − log ρ_rejected)) for each denoising step of each pair.

    ρ = π/π_ref is clipped to [1 − clip, 1 + clip], beyond which there is no gradient. `clip` lies in (0, 1).
    Source: Yang et al. 2023 (D3PO).
    """
    if not 0 < clip < 1:
        raise ConfigError(f"clip is {clip!r}: give a number above 0 and below 1")
    positive(beta=beta)
    bounds = (math.log1p(-clip), math.log1p(clip))
    chosen = implicit_reward(policy_chosen, reference_chosen, beta=1.0).clamp(*bounds)
    rejected = implicit_reward(policy_rejected, reference_rejected, beta=1.0).clamp(*bounds)
    return bradley_terry(beta * chosen, beta * rejected)


def selfie(
    margin: Tensor,
    mixed: Tensor,
    *,
    threshold: float | None,
    progress: float,
    warm_up: float = 0.2,
    alpha: float = 0.1,
) -> Tensor:
    """Return the noise-aware loss of each pair that a model labelled itself, given its implicit margin.

    `mixed` is the margin under mixed (extrapolated) logits, which only decides: a pair is doubted when it is not above
    `threshold` (`MarginQuantile`; None doubts nothing), and its label is then smoothed by `alpha`, in [0, 0.5).
    `progress` is the share of training done, 0 to 1; below `warm_up` nothing is doubted.
    Source: Kim et al. 2024 (Selfie, the code is called SPA).
    """
    same_shape(margin=margin, mixed=mixed)
    if not 0 <= alpha < 0.5:
        raise ConfigError(f"alpha is {alpha!r}: give 0 or more, and less than 0.5")
    if not 0 <= progress <= 1:
        raise ConfigError(f"progress is {progress!r}: give the share of the training steps done, 0 to 1")
    if threshold is None or progress < warm_up:
        return preference(margin)
    doubted = mixed <= threshold
    return preference(margin, probability=1 - alpha * doubted.to(margin.dtype))


class MarginQuantile:
    """Keeps the mean margins of the last training steps, and their low quantile: Selfie's moving threshold.

    The `threshold` is the mean of the sorted margins number ⌊n·share⌋ and the next (from 0; the last stands for both at
    the end). While there are fewer than `window` it is taken of those there are, and is None before the first; the
    authors' code uses 0 until the window is full.
    """

    def __init__(self, *, share: float = 0.1, window: int = 50) -> None:
        if not 0 <= share < 1 or window < 1:
            raise ConfigError(f"share is {share!r} and window {window!r}: give 0 <= share < 1 and window >= 1")
        self._share = share
        self._margins: deque[float] = deque(maxlen=window)

    @property
    def threshold(self) -> float | None:
        """The quantile of the margins kept, or None when there are none."""
        if not self._margins:
            return None
        ordered = sorted(self._margins)
        low = int(len(ordered) * self._share)
        return (ordered[low] + ordered[min(low + 1, len(ordered) - 1)]) / 2

    def update(self, mixed: Tensor) -> None:
        """Add the mean of one step's mixed margins, of any shape; raises RewardError when that is not finite."""
        mean = float(torch.as_tensor(mixed).detach().double().mean())
        if not math.isfinite(mean):
            raise RewardError(f"the mean of the margins is {mean!r}: give one finite margin or more")
        self._margins.append(mean)

    def state_dict(self) -> dict[str, Any]:
        """Return the margins kept, oldest first; it goes through JSON."""
        return {"margins": list(self._margins)}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Replace the margins by those of `state_dict`; of more than the window holds, the newest are kept."""
        self._margins = deque(map(float, state["margins"]), maxlen=self._margins.maxlen)
