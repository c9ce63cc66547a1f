"""Losses and scores on the hidden states of a reward model: SimCSE, goal-conditioned contrast, MetaRM's spread.

Which states are drawn, and from where, is the caller's choice. SwAV is not here.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy, logsigmoid, normalize

from rewardkit.errors import ConfigError
from rewardkit_plugins.training.losses import positive, same_shape


def simcse(features: Tensor, again: Tensor, *, temperature: float = 0.05) -> Tensor:
    """Return the loss of each row [n] that it should be nearest to itself: −log softmax_j(cos(h_i, h'_j)/τ) at j = i.

    `features` and `again` are [n, size], from two passes with different dropout. Give features of single answers, or
    the differences chosen − rejected of pairs. A row of zeros is like nothing; one row alone has the loss 0.
    Source: Gao et al. 2021 (SimCSE); Secrets of RLHF II, which adds it to the loss of the reward model.
    """
    same_shape(features=features, again=again)
    positive(temperature=temperature)
    if features.ndim != 2:
        raise ConfigError(f"features has shape {tuple(features.shape)}: give [rows, size]")
    tiny = torch.finfo(features.dtype).eps
    cosines = normalize(features, dim=-1, eps=tiny) @ normalize(again, dim=-1, eps=tiny).T
    return cross_entropy(cosines / temperature, torch.arange(len(features), device=features.device), reduction="none")


def goal_contrast(towards: Tensor, away: Tensor, *, weight: float = 0.5) -> Tensor:
    """Return weight·(−log mean σ(towards) − log(1 − mean σ(away))) of each pair, to be added to its Bradley–Terry loss.

    Both are similarities, means over the last axis: `towards` of states of the chosen answer with later states of it,
    `away` of states of the chosen answer with states of the rejected one; 16 of each in the paper.
    Source: Nath et al. 2024 (goal-conditioned representations for reward models).
    """
    if not towards.numel() or not away.numel() or towards.shape[:-1] != away.shape[:-1]:
        shapes = f"{tuple(towards.shape)} and {tuple(away.shape)}"
        raise ConfigError(f"towards and away have shapes {shapes}: give [..., samples] both, one sample or more each")
    return -weight * (_log_mean_sigmoid(towards) + _log_mean_sigmoid(-away))


def goal_values(states: Tensor, goal: Tensor) -> Tensor:
    """Return how near each state is to the goal, −1 to 1: states [..., steps, size] and goal [size] give [..., steps].

    The goal is the mean of states at which good answers ended.
    """
    if goal.ndim != 1 or states.shape[-1:] != goal.shape:
        shapes = f"{tuple(states.shape)} and {tuple(goal.shape)}"
        raise ConfigError(f"states and goal have shapes {shapes}: give [..., steps, size] and [size]")
    return cosine_similarity(states, goal.expand_as(states), dim=-1).clamp(-1, 1)


def keeps_to_goal(values: Tensor, *, threshold: float) -> Tensor:
    """Return whether no step's value is below `threshold`: [..., steps] gives booleans [...]; −1 keeps everything.

    Answers that are not kept have no vote in a majority. Fill what is no step with 1.0.
    """
    return values.amin(-1) >= threshold


def difference_score(rewards: Tensor) -> Tensor:
    """Return MetaRM's J = (2/k²)·Σ_{i<j} σ(|r_i − r_j|) of k answers to one prompt: [..., k] gives [...].

    To be maximised, so that a reward model tells apart what the new policy writes. J ≥ (k−1)/(2k), where all rewards
    are equal. Raises ConfigError without an answer. Source: Secrets of RLHF II (MetaRM).
    """
    if not rewards.ndim or not rewards.shape[-1]:
        raise ConfigError(f"rewards has shape {tuple(rewards.shape)}: give [..., answers], one answer or more")
    k = rewards.shape[-1]
    one, other = torch.triu_indices(k, k, 1, device=rewards.device)
    return (rewards[..., one] - rewards[..., other]).abs().sigmoid().sum(-1) * (2 / k**2)


def _log_mean_sigmoid(values: Tensor) -> Tensor:
    return logsigmoid(values).logsumexp(-1) - math.log(values.shape[-1])
