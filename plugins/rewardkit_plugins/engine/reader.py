"""What rewards ask of a model, wherever it runs: in this process (`engine`) or behind a server (`server`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rewardkit.errors import ConfigError, RewardError
from rewardkit_plugins.engine import identity
from rewardkit_plugins.engine.config import EngineConfig
from rewardkit_plugins.engine.rendering import Rendered, Renderer

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Reading:
    """Token ids, and the tokens at which the model is read: what it says after having seen that token."""

    ids: list[int]
    positions: Sequence[int]


class Reader(ABC):
    """A model with its tokenizer. A server answers `logprobs` and `classes` only; the others then raise ConfigError."""

    def __init__(self, config: EngineConfig, tokenizer: Any) -> None:
        self.config = config
        self.tokenizer = tokenizer
        self._renderer: Renderer | None = None
        self._around: tuple[list[int], list[int]] | None = None
        known = [n for n in (config.max_length, identity.window_of(config.model, config.revision)) if n is not None]
        self.window = min(known, default=None)

    @abstractmethod
    def logprobs(self, readings: Sequence[Reading]) -> list[torch.Tensor]:
        """Return for each position read the log-probability (nats) of the token after it; float32 [positions] each."""

    @abstractmethod
    def classes(self, readings: Sequence[Reading]) -> list[torch.Tensor]:
        """Return what the classification head says at each position; float32 [positions, classes] each.

        An encoder classifies a sequence as a whole: one row each, whatever the positions.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the model."""

    def logits(self, readings: Sequence[Reading], token_ids: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """Return the logits of the given tokens at each position; float32 [positions, tokens] each.

        `token_ids` has one list for each reading, all of one length, or one list for all of them.
        """
        raise self._only_here("logits", readings, token_ids)

    def hidden(self, readings: Sequence[Reading]) -> list[torch.Tensor]:
        """Return the last hidden states at each position; float32 [positions, width] each."""
        raise self._only_here("hidden states", readings)

    def read(self, readings: Sequence[Reading], head: Any) -> list[torch.Tensor]:
        """Return what `head` makes of the tokens read, as `engine.Engine.read` says."""
        raise self._only_here("hidden states", readings, head)

    @property
    def renderer(self) -> Renderer:
        """What turns conversations into tokens; raises ConfigError when the model has no chat template."""
        if self._renderer is None:
            self._renderer = Renderer(self.tokenizer, self.config)
        return self._renderer

    @property
    def classifies_whole(self) -> bool:
        """Whether sequences are classified by a head that is not read at one token, as those of encoders are."""
        return False

    def enclosed(self, rendered: Rendered) -> Rendered:
        """Return a conversation as a model was trained to read it that classifies whole sequences, else as it is.

        That is between the tokens which the tokenizer puts around a text ([CLS] and [SEP], say), each once: most chat
        templates write none or one of them.
        """
        if not self.classifies_whole:
            return rendered
        if self._around is None:
            self._around = _around(self.tokenizer)
        before, after = self._around
        before = [] if rendered.ids[: len(before)] == before else before
        after = [] if rendered.ids[len(rendered.ids) - len(after) :] == after else after
        end = len(rendered.text)
        offsets = [*[(0, 0)] * len(before), *rendered.offsets, *[(end, end)] * len(after)]
        return replace(rendered, ids=[*before, *rendered.ids, *after], offsets=offsets)

    def fit(self, rendered: Rendered, keep: range) -> tuple[Rendered, range, int]:
        """Return a conversation cut to the window, where the tokens `keep` are in it now, and how many were cut off.

        Raises RewardError when it is too long and `truncation` is "error", or when `keep` itself does not fit behind
        one token of context.
        """
        length, window = len(rendered.ids), self.window
        if window is None or length <= window:
            return rendered, keep, 0
        opening = (self.tokenizer.bos_token_id, self.tokenizer.cls_token_id)
        first = 1 if rendered.ids[0] in opening else 0
        dropped = length - window
        if self.config.truncation == "error" or keep.start - dropped < first + 1:
            cure = "raise max_length" if self.config.max_length else "choose a model with a longer window"
            if self.config.truncation == "error" and keep.start - dropped >= first + 1:
                cure += ", or drop its oldest tokens with truncation=left"
            raise RewardError(
                f"the conversation has {length} tokens ({len(keep)} of them judged), and at most {window} fit: {cure}"
            )
        kept = [*range(first), *range(first + dropped, length)]
        cut = Rendered(
            rendered.text,
            [rendered.ids[i] for i in kept],
            [rendered.offsets[i] for i in kept],
            rendered.messages,
        )
        return cut, range(keep.start - dropped, keep.stop - dropped), dropped

    def check(self, reading: Reading) -> None:
        """Raise RewardError for an empty sequence, and for one that is longer than the window."""
        if not reading.ids:
            raise RewardError("there is no token to read a model at: the text is empty")
        if self.window is not None and len(reading.ids) > self.window:
            raise RewardError(f"a sequence has {len(reading.ids)} tokens, and at most {self.window} fit")

    def _only_here(self, what: str, *_: Any) -> ConfigError:
        return ConfigError(f"a server gives no {what} of {self.config.model!r}: load the model here, without server=")


def _around(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Return the ids that a tokenizer puts before a text, and those behind it."""
    encoded = tokenizer("a", return_special_tokens_mask=True)
    ids, added = encoded["input_ids"], encoded["special_tokens_mask"]
    text = [place for place, is_added in enumerate(added) if not is_added] or [len(ids)]
    return ids[: text[0]], ids[text[-1] + 1 :]
