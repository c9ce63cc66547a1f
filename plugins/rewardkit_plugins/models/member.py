"""One reward model that is loaded: conversations in, verdicts out. What the head says is `heads`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from rewardkit.errors import ConfigError, RewardError
from rewardkit.types import Message
from rewardkit_plugins.engine.config import EngineConfig
from rewardkit_plugins.engine.reader import Reader, Reading
from rewardkit_plugins.engine.rendering import Rendered
from rewardkit_plugins.models.head_options import HeadOptions
from rewardkit_plugins.models.heads import Head, open_head
from rewardkit_plugins.models.model_reward import open_engine
from rewardkit_plugins.models.readout import Verdict


@dataclass(frozen=True, slots=True)
class Asked:
    """What the model is asked about one conversation, and how many of its oldest tokens were cut off."""

    reading: Reading
    truncated: int


class Member:
    """A model with its head; raises ConfigError when they do not fit together.

    A decoder is read at the last token that the template writes; with `append_eos` at the end-of-sequence token that it
    writes behind the answer, or at one appended. An encoder is given the tokens that its tokenizer puts around a text.
    """

    def __init__(self, reader: Reader, head: Head, *, append_eos: bool = False) -> None:
        self.reader = reader
        self.head = head
        self._eos: int | None = reader.tokenizer.eos_token_id if append_eos else None
        if append_eos and self._eos is None:
            raise ConfigError(f"the tokenizer of {reader.config.model!r} has no end-of-sequence token: no append_eos")

    @classmethod
    def load(cls, config: EngineConfig, options: HeadOptions, *, append_eos: bool) -> Self:
        """Load a model and its head; raises ConfigError."""
        reader = open_engine(config, options.kind)
        try:
            reader.renderer  # noqa: B018  a model without a chat template is refused now, not at the first attempt
            return cls(reader, open_head(config, reader, options), append_eos=append_eos)
        except BaseException:
            reader.close()
            raise

    def ask(self, conversations: Sequence[Sequence[Message]]) -> list[Asked]:
        """Return what to read for each conversation that ends with what is judged; raises RewardError."""
        rendered = self.reader.renderer.render_all(conversations)
        prompts = self.reader.renderer.render_all([c[:-1] for c in conversations]) if self.head.gated else rendered
        return [self._ask(*pair) for pair in zip(rendered, prompts, strict=True)]

    def judge(self, asked: Sequence[Asked]) -> list[Verdict]:
        """Return one verdict for each of what `ask` returned; raises RewardError."""
        return self.head.verdicts(self.reader, [one.reading for one in asked])

    def _ask(self, rendered: Rendered, prompt: Rendered) -> Asked:
        answer = rendered.tokens(rendered.messages[-1])
        if not answer:
            raise RewardError(
                f"the chat template of {self.reader.config.model!r} writes nothing of the agent's last answer: give "
                "another template with chat_template"
            )
        if self._eos is not None:
            rendered = self._ended(rendered, answer.stop)
        rendered = self.reader.enclosed(rendered)
        points = [len(rendered.ids) - 1]
        if self.head.gated:
            points.insert(0, self._end_of_prompt(rendered, prompt))
        start = rendered.tokens(rendered.messages[-1]).start
        keep = range(min(start, points[0]), len(rendered.ids))
        cut, _, dropped = self.reader.fit(rendered, keep)
        return Asked(Reading(cut.ids, [point - dropped for point in points]), dropped)

    def _ended(self, rendered: Rendered, answer_end: int) -> Rendered:
        """Return the tokens up to the end-of-sequence token behind the answer, appended where there is none."""
        assert self._eos is not None
        behind = rendered.ids[answer_end:]
        if self._eos in behind:
            end = answer_end + behind.index(self._eos) + 1
            return replace(rendered, ids=rendered.ids[:end], offsets=rendered.offsets[:end])
        end = len(rendered.text)
        return replace(rendered, ids=[*rendered.ids, self._eos], offsets=[*rendered.offsets, (end, end)])

    def _end_of_prompt(self, rendered: Rendered, prompt: Rendered) -> int:
        """Return the last token before the header of the judged answer, at which the gate reads the prompt."""
        if not prompt.text or not rendered.text.startswith(prompt.text):
            raise RewardError(
                f"the chat template of {self.reader.config.model!r} writes a prompt otherwise when an answer follows "
                "it, so that the gate cannot be read: give another template with chat_template"
            )
        return rendered.token_at(len(prompt.text) - 1)
