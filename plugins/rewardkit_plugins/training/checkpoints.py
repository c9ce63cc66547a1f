"""A reward model on disk: saved so that `reward_model` loads it, read as that reward reads it, and measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rewardkit_plugins.engine import identity
from rewardkit_plugins.engine.config import EngineConfig
from rewardkit_plugins.engine.engine import Engine
from rewardkit_plugins.engine.loading import quiet
from rewardkit_plugins.engine.reader import Reading
from rewardkit_plugins.training.encoding import Encoded, Encoder
from rewardkit_plugins.training.held_out import accuracy, fits
from rewardkit_plugins.training.trainer import rating_targets


def save(model: Any, encoder: Encoder, folder: Path) -> None:
    """Save the model, its tokenizer, and the chat template that it was trained with."""
    config, tokenizer = encoder.config, encoder.tokenizer
    tokenizer.chat_template = identity.chat_template_of(config.model, config.revision, config.chat_template)
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    with quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def rewards(config: EngineConfig, encoded: Sequence[Encoded]) -> Tensor:
    """Return what the model says of each answer at its last token, answers of an example in a row: [answers, labels].

    Float64 on the CPU. Raises ConfigError for a checkpoint that does not load or was not trained.
    """
    engine = Engine(config, "sequence")
    try:
        said = engine.classes([Reading(ids, (len(ids) - 1,)) for one in encoded for ids in one.ids])
    finally:
        engine.close()
    return torch.cat(said).double()


def measure_pairs(config: EngineConfig, held: Sequence[Encoded]) -> dict[str, Any]:
    """Return the accuracy on pairs that were held out, and mean and standard deviation of the rewards of both sides."""
    said = rewards(config, held)
    measured = dataclasses.asdict(accuracy(said[::2, 0], said[1::2, 0]))
    return {**measured, "reward_mean": float(said.mean()), "reward_std": float(said.std(correction=0))}


def measure_ratings(
    config: EngineConfig, held: Sequence[Encoded], *, trained: Sequence[Encoded], names: Sequence[str]
) -> dict[str, Any]:
    """Return how well each attribute is predicted, beside the mean of what was trained on."""
    targets = rating_targets(names)
    known, wanted = (
        torch.tensor([targets(one)["labels"] for one in some], dtype=torch.double) for some in (trained, held)
    )
    found = fits(rewards(config, held), wanted, known.nanmean(0))
    return {"attributes": {name: dataclasses.asdict(fit) for name, fit in zip(names, found, strict=True)}}
