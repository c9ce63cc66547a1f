"""Texts as vectors: one forward pass over all of them, pooled as the checkpoint says.

Covers what sentence-transformers writes as Transformer, Pooling (mean, cls or last token) and Normalize. Layers behind
the pooling (Dense), weighted poolings, sparse and multi-vector models are refused, not approximated.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from rewardkit.errors import ConfigError, RewardError
from rewardkit_plugins.engine import identity
from rewardkit_plugins.engine.config import EngineConfig
from rewardkit_plugins.engine.reader import Reader, Reading
from rewardkit_plugins.engine.rendering import check_characters

if TYPE_CHECKING:
    import torch

Pooling = Literal["auto", "mean", "cls", "last"]
Cut = Literal["right", "error"]

_MODES = {"mean_tokens": "mean", "cls_token": "cls", "lasttoken": "last", "mean": "mean", "cls": "cls"}
_COVERED = ("Transformer", "Pooling", "Normalize")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a checkpoint is read: its pooling, the most tokens of a text (None: no limit), and whether case counts.

    `unit` says that it scales its vectors to length 1 (Normalize), which is left to the caller.
    """

    pooling: str
    longest: int | None
    lower: bool
    unit: bool

    @classmethod
    def of(cls, config: EngineConfig, pooling: Pooling) -> Self:
        """Read the files that sentence-transformers wrote beside the model; without them it is mean pooling.

        Raises ConfigError for what is not covered, and when there is no such model.
        """
        files = identity.files_of(config.model, config.revision)
        modules = _read(files / "modules.json") or []
        kinds = [str(module.get("type")).rpartition(".")[2] for module in modules]
        for kind in kinds:
            if kind not in _COVERED:
                raise ConfigError(f"model {config.model!r} embeds with a layer {kind!r}, which is not covered")
        own: dict[str, Any] = next((_read(path) for path in sorted(files.glob("sentence_*_config.json"))), {})
        stated = own.get("max_seq_length") or (_read(files / "tokenizer_config.json") or {}).get("model_max_length")
        known = [config.max_length or stated, identity.window_of(config.model, config.revision)]
        paths = [module.get("path") for module in modules if str(module.get("type")).endswith("Pooling")]
        where = (paths[0] if paths else "") or "1_Pooling"
        found = _pooling(config.model, _read(files / where / "config.json") or {}) if pooling == "auto" else pooling
        longest = min((int(n) for n in known if n), default=None)
        return cls(found, longest, bool(own.get("do_lower_case")), "Normalize" in kinds)


class Embedder:
    """Embeds texts with a loaded model; each text by itself, whatever the others are.

    The tokenizer adds its own control tokens ([CLS] and [SEP], say); control tokens in a text are taken for text.
    """

    def __init__(self, engine: Reader, recipe: Recipe, *, cut: Cut = "right") -> None:
        self._engine = engine
        self.recipe = recipe
        self._cut: Cut = cut
        added = engine.tokenizer("a", return_special_tokens_mask=True, split_special_tokens=True)["special_tokens_mask"]
        if recipe.longest is not None and recipe.longest <= sum(added):
            raise ConfigError(
                f"{recipe.longest} tokens leave no room for text: the tokenizer of {engine.config.model!r} adds "
                f"{sum(added)} of its own, so raise max_length"
            )
        self._behind = next((place for place, is_added in enumerate(reversed(added)) if not is_added), 0)

    def embed(self, texts: Sequence[str]) -> tuple[torch.Tensor, list[int]]:
        """Return one vector for each text, float32 [texts, width], and how many tokens of it were cut off at its end.

        Equal texts are read once. Raises RewardError for a text that is too long where `cut` is "error".
        """
        import torch

        distinct = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        ids, dropped = self._tokens(list(distinct))
        readings = [Reading(one, self._positions(len(one))) for one in ids]
        vectors = [states.mean(dim=0) for states in self._engine.hidden(readings)]
        if not vectors:
            return torch.empty(0, 0), []
        found = torch.stack(vectors)
        if not bool(found.isfinite().all()):
            raise RewardError("an embedding is not finite: load the model with another dtype")
        places = [distinct[text] for text in texts]
        return found[places], [dropped[place] for place in places]

    def _positions(self, length: int) -> Sequence[int]:
        if self.recipe.pooling == "mean":
            return range(length)
        return [0] if self.recipe.pooling == "cls" else [length - 1]

    def _tokens(self, texts: Sequence[str]) -> tuple[list[list[int]], list[int]]:
        """Return the ids of each text, cut to the longest length, and how many were cut off."""
        if not texts:
            return [], []
        for text in texts:
            check_characters(text)
        wanted = [text.lower() for text in texts] if self.recipe.lower else list(texts)
        encoded = self._engine.tokenizer(
            wanted, return_attention_mask=False, return_token_type_ids=False, split_special_tokens=True, verbose=False
        )["input_ids"]
        longest = self.recipe.longest
        dropped = [0 if longest is None else max(0, len(ids) - longest) for ids in encoded]
        if self._cut == "error" and longest is not None and any(dropped):
            raise RewardError(
                f"a text has {longest + max(dropped)} tokens, and {longest} are read: split it, or take its beginning "
                "with truncation=right"
            )
        return [self._shortened(ids, n) for ids, n in zip(encoded, dropped, strict=True)], dropped

    def _shortened(self, ids: list[int], dropped: int) -> list[int]:
        end = len(ids) - self._behind
        return ids[: end - dropped] + ids[end:] if dropped else ids


def unit(vectors: torch.Tensor) -> torch.Tensor:
    """Return the vectors [n, width] scaled to length 1; a vector of zeros stays one."""
    lengths = (vectors * vectors).sum(dim=1, keepdim=True).sqrt()
    return vectors / lengths.clamp(min=1e-12)


def _pooling(model: str, config: dict[str, Any]) -> str:
    """Return the mode that a checkpoint's configuration names, in the older form or in the one since version 5."""
    if config.get("include_prompt") is False:
        raise ConfigError(
            f"model {model!r} leaves prompts out of its pooling: that is not covered, choose pooling=mean"
        )
    older = [key.removeprefix("pooling_mode_") for key, wanted in config.items() if wanted is True]
    modes = config.get("pooling_mode") or [key for key in older if key != "include_prompt"] or "mean"
    found = [_MODES.get(mode, mode) for mode in ([modes] if isinstance(modes, str) else modes)]
    if len(found) > 1 or found[0] not in _MODES.values():
        raise ConfigError(
            f"model {model!r} pools by {' and '.join(found)}, which is not covered: choose pooling=mean, cls or last"
        )
    return found[0]


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}") from error
