"""Losses that know how strong a preference is: said by annotators (HelpSteer2) or voted by an ensemble (Secrets II).

The ensemble is trained elsewhere; this module reads the differences of its rewards.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from rewardkit.errors import ConfigError
from rewardkit_plugins.training.losses import bradley_terry, like, preference, same_shape

Form = Literal["regular", "margin", "scaled"]


class LabelPlan(NamedTuple):
    """What to do with each pair's label: three masks that do not overlap; a pair in none of them is kept as it is."""

    flip: Tensor
    soft: Tensor
    strong: Tensor


def annotated_strength(first: Tensor, second: Tensor, strength: Tensor, *, form: Form = "regular") -> Tensor:
    """Return the loss of each pair whose annotators gave a signed strength, −3 to 3; negative prefers the first.

    With d = preferred − other: `regular` −logσ(d), `margin` −logσ(d − |s|), `scaled` −|s|·logσ(d). A tie (s = 0)
    prefers neither and is dropped: its loss and gradient are 0, so divide the sum by the number of the others.
    NeMo-Aligner reads a tie as "the second is better". Raises ConfigError for another form.
    Source: Wang et al. 2024 (HelpSteer2-Preference).
    """
    if form not in ("regular", "margin", "scaled"):
        raise ConfigError(f"form is {form!r}: give 'regular', 'margin' or 'scaled'")
    same_shape(first=first, second=second, strength=strength)
    signed = like(first, strength=strength)
    firsts = signed < 0
    margin = signed.abs() if form == "margin" else None
    loss = bradley_terry(*flip_labels(second, first, firsts), margin=margin)
    weight = signed.abs() if form == "scaled" else 1.0
    return torch.where(signed == 0, 0.0, weight * loss)


def vote_strength(differences: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and population standard deviation over the last axis: [n, models] gives two of [n].

    `differences` are chosen − rejected by each model of the ensemble. Raises ConfigError when there is no model.
    Source: Wang et al. 2024 (Secrets of RLHF II).
    """
    if not differences.ndim or not differences.shape[-1]:
        raise ConfigError(f"differences has shape {tuple(differences.shape)}: give [pairs, models], one model or more")
    return differences.mean(-1), differences.std(-1, correction=0)


def label_plan(strength: Tensor, *, flip: float = 0.2, soft: float = 0.2, strong: float = 0.6) -> LabelPlan:
    """Sort the pairs of a data set by mean strength [n] and plan their labels, by shares from weakest to strongest.

    The lowest share is probably labelled the wrong way round: flip it. The next is ambiguous: `soft_label`. The
    strongest are learned too fast: `adaptive_margin` or label smoothing. What is left between is kept. A pair of the
    lowest share that the ensemble agrees with (strength >= 0) is softened rather than flipped. Of equal strengths the
    earlier pair counts as weaker; shares are rounded to whole pairs. Raises ConfigError for shares that are negative or
    sum to more than 1. Source: Secrets of RLHF II, for the default shares.
    """
    if strength.ndim != 1:
        raise ConfigError(f"strength has shape {tuple(strength.shape)}: give one number per pair")
    if min(flip, soft, strong) < 0 or not flip + soft + strong <= 1 + 1e-9:
        raise ConfigError(f"the shares are {flip!r}, {soft!r} and {strong!r}: give 0 or more each, 1 at most in all")
    n = len(strength)
    weak, middle = round(n * flip), round(n * (flip + soft))
    rank = torch.empty(n, dtype=torch.long, device=strength.device)
    rank[strength.argsort(stable=True)] = torch.arange(n, device=strength.device)
    wrong = (rank < weak) & (strength < 0)
    return LabelPlan(wrong, (rank < middle) & ~wrong, rank >= max(middle, n - round(n * strong)))


def flip_labels(chosen: Tensor, rejected: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return chosen and rejected with the pairs under `mask` swapped; doing it twice changes nothing."""
    same_shape(chosen=chosen, rejected=rejected, mask=mask)
    return torch.where(mask, rejected, chosen), torch.where(mask, chosen, rejected)


def soft_label(chosen: Tensor, rejected: Tensor, strength: Tensor) -> Tensor:
    """Return the cross-entropy of each pair with p = σ(mean strength) for "chosen is better".

    Source: Secrets of RLHF II.
    """
    same_shape(chosen=chosen, rejected=rejected, strength=strength)
    return preference(chosen - rejected, probability=strength.sigmoid())


def adaptive_margin(chosen: Tensor, rejected: Tensor, strength: Tensor) -> Tensor:
    """Return −logσ(chosen − rejected − mean strength) of each pair.

    The paper prints the strength outside logσ, where it would have no gradient. Source: Secrets of RLHF II.
    """
    return bradley_terry(chosen, rejected, margin=strength)
