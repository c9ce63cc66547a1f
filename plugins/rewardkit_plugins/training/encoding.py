"""Examples as tokens, by the code that renders what a reward model judges: same template, window and truncation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from rewardkit.errors import RewardError
from rewardkit.types import Message
from rewardkit_plugins.engine import loading
from rewardkit_plugins.engine.config import EngineConfig
from rewardkit_plugins.engine.reader import Reader, Reading
from rewardkit_plugins.engine.rendering import Rendered
from rewardkit_plugins.training.pairs import Example, LeftOut, Messages

_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Encoded:
    """An example with the token ids of each answer behind its prompt, and how many were cut off in all."""

    example: Example
    ids: tuple[list[int], ...]
    truncated: int

    @property
    def length(self) -> int:
        """Tokens of the longest answer with its prompt, which is what an example costs in a batch."""
        return max(map(len, self.ids))


class Encoder(Reader):
    """Reads conversations as a reward does, but has no model."""

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config, loading.load_tokenizer(config))
        self._whole = loading.classifies_whole(config)

    @property
    def classifies_whole(self) -> bool:
        """Whether what is trained classifies sequences by a head that is not read at one token."""
        return self._whole

    def encode(self, examples: Sequence[Example]) -> tuple[list[Encoded], list[LeftOut]]:
        """Return the examples as tokens, and those left out: too long, refused by the template, or twice the same."""
        encoded, left_out = [], []
        for start in range(0, len(examples), _AT_ONCE):
            for example, found in self._encode_some(examples[start : start + _AT_ONCE]):
                if isinstance(found, LeftOut):
                    left_out.append(found)
                elif len(found.ids) == 2 and found.ids[0] == found.ids[1]:
                    left_out.append(LeftOut(example.where, "both answers are the same, as the model sees them"))
                else:
                    encoded.append(found)
        return encoded, left_out

    def logprobs(self, readings: Sequence[Reading]) -> list[torch.Tensor]:
        """Raise ConfigError: there is no model."""
        raise self._only_here("log-probabilities", readings)

    def classes(self, readings: Sequence[Reading]) -> list[torch.Tensor]:
        """Raise ConfigError: there is no model."""
        raise self._only_here("classes", readings)

    def close(self) -> None:
        """Do nothing."""

    def _encode_some(self, examples: Sequence[Example]) -> Iterator[tuple[Example, Encoded | LeftOut]]:
        """Render together what can be, and one by one where the template or the tokenizer refuses a message."""
        dialogues = [dialogue for example in examples for dialogue in _dialogues(example)]
        try:
            rendered = iter(self.renderer.render_all(dialogues))
        except RewardError:
            rendered = None
        for example in examples:
            try:
                if rendered is None:
                    yield example, self._fitted(example, self.renderer.render_all(_dialogues(example)))
                else:
                    yield example, self._fitted(example, [next(rendered) for _ in example.answers])
            except RewardError as error:
                yield example, LeftOut(example.where, str(error))

    def _fitted(self, example: Example, answers: Sequence[Rendered]) -> Encoded:
        ids, truncated = [], 0
        for one in map(self.enclosed, answers):
            judged = range(one.tokens(one.messages[-1]).start, len(one.ids))
            cut, _, dropped = self.fit(one, judged)
            ids.append(cut.ids)
            truncated += dropped
        return Encoded(example, tuple(ids), truncated)


def _dialogues(example: Example) -> list[Messages]:
    """Return the prompt with each answer; as in scoring, whitespace around what the assistant says is not judged."""
    return [(*example.prompt, *map(_stripped, answer)) for answer in example.answers]


def _stripped(message: Message) -> Message:
    return replace(message, content=message.content.strip()) if message.role == "assistant" else message
