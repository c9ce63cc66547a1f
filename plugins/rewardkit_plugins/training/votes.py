"""Labels by vote: models trained on the same pairs say how strong each preference is, and which label may be wrong.

`vote_columns` is the arithmetic; `write_votes` does it with checkpoints, and writes pairs that `train-rm` reads.
Source: Wang et al. 2024 (Secrets of RLHF II); the shares are `strength.label_plan`'s.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rewardkit.errors import ConfigError
from rewardkit.serialize.writing import message_to_json
from rewardkit_plugins.engine.config import EngineConfig
from rewardkit_plugins.training.checkpoints import rewards
from rewardkit_plugins.training.encoding import Encoder
from rewardkit_plugins.training.pairs import Example, LeftOut, read_examples
from rewardkit_plugins.training.strength import label_plan, vote_strength


def vote_columns(
    differences: Tensor, *, flip: float = 0.2, soft: float = 0.2, strong: float = 0.6
) -> list[dict[str, float]]:
    """Return the fields of each pair for chosen − rejected by each model, [pairs, models].

    `vote_mean` and `vote_std` are what the models say. A pair to be flipped has the `label` 0, an ambiguous one
    σ(mean), a strong one the mean as its `margin`. Shares are of all pairs, from weakest to strongest.
    """
    means, stds = vote_strength(differences.double())
    plan = label_plan(means, flip=flip, soft=soft, strong=strong)
    columns = []
    for i, (mean, std) in enumerate(zip(means.tolist(), stds.tolist(), strict=True)):
        fields = {"vote_mean": mean, "vote_std": std}
        if plan.flip[i]:
            fields["label"] = 0.0
        elif plan.soft[i]:
            fields["label"] = float(means[i].sigmoid())
        elif plan.strong[i]:
            fields["margin"] = mean
        columns.append(fields)
    return columns


def write_votes(
    path: str | os.PathLike[str], models: Sequence[str], output: Path, *, shares: Sequence[float] = (0.2, 0.2, 0.6)
) -> list[LeftOut]:
    """Let reward models vote on the pairs of a file and write them to `output` with their `vote_columns`.

    A label or a strength that the file had is replaced. Returns the lines left out, which are not written: they cannot
    be read, or one of the models cannot judge them. Raises ConfigError without a model or a pair.
    """
    if not models:
        raise ConfigError("a vote needs at least one model")
    read = read_examples(path)
    kept, left_out = read.kept, list(read.left_out)
    encoders = [Encoder(EngineConfig.of("write_votes", {"model": model})) for model in models]
    for encoder in encoders:
        encoded, bad = encoder.encode(kept)
        kept, left_out = [one.example for one in encoded], [*left_out, *bad]
    if not kept:
        raise ConfigError(f"{read.name!r} has no pair that every model can judge; {len(left_out)} lines were left out")
    said = [rewards(encoder.config, encoder.encode(kept)[0])[:, 0] for encoder in encoders]
    flip, soft, strong = shares
    columns = vote_columns(
        torch.stack([one[::2] - one[1::2] for one in said], dim=1), flip=flip, soft=soft, strong=strong
    )
    lines = [json.dumps({**_pair_json(pair), **fields}) for pair, fields in zip(kept, columns, strict=True)]
    output.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return left_out


def _pair_json(pair: Example) -> dict[str, Any]:
    named = {"prompt": pair.prompt, "chosen": pair.answers[0], "rejected": pair.answers[1]}
    return {name: [message_to_json(message) for message in messages] for name, messages in named.items()}
