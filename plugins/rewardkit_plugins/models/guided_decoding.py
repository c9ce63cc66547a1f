"""Decoding guided by autoregressive reward models (GenARM, 2410.08193): log π = log π_base + Σ α·log π_r, renormalised.

A logits processor for transformers' `generate`. Importing this module imports transformers; no reward does so. Scoring
what was written is `autoregressive_reward`.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from transformers import LogitsProcessor

from rewardkit.errors import ConfigError, RewardError
from rewardkit_plugins.engine import loading
from rewardkit_plugins.engine.config import EngineConfig
from rewardkit_plugins.models.agreement import check_vocabularies
from rewardkit_plugins.rules.rule import check_number


def mix(base: torch.Tensor, guides: Sequence[torch.Tensor], alphas: Sequence[float]) -> torch.Tensor:
    """Return log_softmax(base + Σ α·guide) over the last axis; all are logits or log-probabilities, [..., vocabulary].

    The same as the normalised mixture (base + Σ α·guide) / (1 + Σ α) at temperature 1 / (1 + Σ α). What the base rules
    out (-inf) stays so. A guide with α = 0 is not looked at.
    """
    mixed = base.double() if base.dtype == torch.float64 else base.float()
    for guide, alpha in zip(guides, alphas, strict=True):
        if alpha:
            mixed = mixed + alpha * guide.to(mixed)
    return mixed.log_softmax(-1)


@dataclass(frozen=True, slots=True, eq=False)
class Guide:
    """An autoregressive reward model: a causal language model of transformers, its tokenizer, and its weight α >= 0."""

    model: Any
    tokenizer: Any
    alpha: float = 1.0

    def __post_init__(self) -> None:
        check_number("guided decoding: alpha", self.alpha, low=0.0)
        if self.model.training:
            raise ConfigError(
                f"guided decoding: {self.name!r} is being trained, and would drop out at random: eval() it"
            )

    @classmethod
    def load(cls, model: str, *, alpha: float = 1.0, **engine: Any) -> Self:
        """Load a guide with the options of `EngineConfig`, onto the first of its devices; raises ConfigError."""
        config = EngineConfig.of("guided decoding", {"model": model, **engine})
        tokenizer = loading.load_tokenizer(config)
        return cls(loading.load_model(config, "causal", loading.devices_of(config)[0]), tokenizer, alpha)

    @property
    def name(self) -> str:
        """What the model is called where it was loaded from."""
        return str(getattr(self.model.config, "name_or_path", "")) or type(self.model).__name__


class GuidedDecoding(LogitsProcessor):
    """Bends the distribution of a base model towards what its guides like: `generate(logits_processor=[this])`.

    `tokenizer` is the base model's; the guides must share it. Every guide reads what was written with a cache of its
    own, one new token a step; a sequence that does not continue the last one (another call, beams that moved) is read
    from its start. Sampling options such as the temperature act on the mixture, as GenARM has it.

    Prompts may be padded on the left: the pad tokens that a row begins with are not read. Where prompts begin with the
    pad token themselves, give the `attention_mask` that `generate` gets, [prompts, prompt length]; it then holds for
    that batch only. Raises ConfigError for tokenizers that differ, RewardError where there is no token to read.
    """

    def __init__(self, guides: Sequence[Guide], *, tokenizer: Any, attention_mask: torch.Tensor | None = None) -> None:
        if not guides:
            raise ConfigError("guided decoding: guides must name at least one reward model, not []")
        for guide in guides:
            check_vocabularies(("the base model", tokenizer), (guide.name, guide.tokenizer))
        self._size = 1 + max(tokenizer.get_vocab().values())
        self._pad = tokenizer.pad_token_id
        self._ambiguous = self._pad is not None and self._pad == tokenizer.bos_token_id
        self._prompts = attention_mask
        self._alphas = [guide.alpha for guide in guides if guide.alpha]
        self._readers = [_CachedGuide(guide) for guide in guides if guide.alpha]

    @torch.no_grad()
    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the log-probabilities of the mixture for the next token, in the shape of `scores`.

        `input_ids` is [batch, tokens so far], `scores` what the base model gives, [batch, vocabulary].
        Numbers beyond the tokenizer's, which only fill up the model's head, become -inf.
        """
        if not input_ids.shape[1]:
            raise RewardError("guided decoding reads the prompt's tokens: give generate input_ids, not inputs_embeds")
        mask = self._mask(input_ids)
        likes = [self._known(reader.read(input_ids, mask), reader.name) for reader in self._readers]
        mixed = mix(self._known(scores, "the base model"), likes, self._alphas)
        whole = mixed.new_full(scores.shape, -torch.inf)
        whole[:, : self._size] = mixed
        return whole

    def _known(self, logits: torch.Tensor, name: str) -> torch.Tensor:
        if logits.shape[-1] < self._size:
            raise ConfigError(
                f"{name} has {logits.shape[-1]} outputs for {self._size} tokens: it has another tokenizer"
            )
        return logits[:, : self._size]

    def _mask(self, ids: torch.Tensor) -> torch.Tensor:
        """Return which tokens are read, [batch, tokens]; generated ones always are."""
        if self._prompts is not None:
            return self._given(self._prompts.to(ids.device), ids)
        if self._pad is None:
            return torch.ones_like(ids)
        if self._ambiguous and bool((ids[:, 0] == self._pad).any()):
            raise ConfigError(
                "the pad token also begins texts, so that padding cannot be told from it: give guided decoding the "
                "attention_mask of the prompts"
            )
        read: torch.Tensor = (ids != self._pad).long().cummax(1).values
        return read

    def _given(self, prompts: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        copies, rest = divmod(len(ids), len(prompts))
        if rest or ids.shape[1] < prompts.shape[1]:
            raise ConfigError(
                f"the attention_mask is {list(prompts.shape)}, which does not fit tokens of {list(ids.shape)}: "
                "make a new GuidedDecoding for every batch, or leave attention_mask out"
            )
        mask = torch.ones_like(ids)
        mask[:, : prompts.shape[1]] = prompts.repeat_interleave(copies, 0)
        return mask


@dataclass(slots=True, eq=False)
class _CachedGuide:
    """A guide with the cache of what it has read."""

    guide: Guide
    _cache: Any = None
    _seen: torch.Tensor = field(default_factory=lambda: torch.empty(0, 0, dtype=torch.long))

    @property
    def name(self) -> str:
        return self.guide.name

    def read(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the logits of the next token, [batch, vocabulary], having read only what is new."""
        model = self.guide.model
        known = self._seen.shape[1] if self._continues(ids) else 0
        options = {
            "input_ids": ids[:, known:],
            "attention_mask": mask,
            "past_key_values": self._cache if known else None,
            "use_cache": True,
            "position_ids": (mask.cumsum(1) - 1).clamp(min=0)[:, known:],
            "logits_to_keep": 1,
        }
        taken = inspect.signature(model.forward).parameters
        output = model(
            **{
                name: value.to(model.device) if isinstance(value, torch.Tensor) else value
                for name, value in options.items()
                if name in taken
            }
        )
        self._cache, self._seen = getattr(output, "past_key_values", None), ids.clone()
        logits: torch.Tensor = output.logits[:, -1].to(ids.device)
        return logits

    def _continues(self, ids: torch.Tensor) -> bool:
        seen = self._seen.to(ids.device)
        longer = len(seen) == len(ids) and 0 < seen.shape[1] < ids.shape[1]
        return self._cache is not None and longer and bool((ids[:, : seen.shape[1]] == seen).all())
