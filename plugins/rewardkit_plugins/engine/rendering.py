"""Conversations as tokens: the chat template, and which characters and tokens each message became.

Everything that decides what a model sees is here: the template writes all control tokens (the tokenizer adds none, so
no beginning-of-sequence token comes twice), padding is not used, and a message cannot bring control tokens of its own.
To templates that ask, today is always 26 July 2024, or else scores would change overnight.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rewardkit.errors import ConfigError, RewardError
from rewardkit.types import Message, Trajectory
from rewardkit_plugins.engine.config import EngineConfig
from rewardkit_plugins.engine.identity import chat_template_of

Span = tuple[int, int]

_TODAY = (  # 26 July 2024, which Llama 3 writes where it knows no other day
    *("%d 26", "%-d 26", "%m 07", "%y 24", "%Y 2024", "%j 208", "%F 2024-07-26", "%a Fri", "%A Friday", "%b Jul"),
    *("%B July", "%H 00", "%I 12", "%M 00", "%S 00", "%p AM"),
)
_CLOCK = "{% macro strftime_now(format) %}{{ format"
_CLOCK += "".join(" | replace({!r}, {!r})".format(*pair.split()) for pair in _TODAY)
_CLOCK += " }}{% endmacro %}"
_MARK = "xQz{}zQx"  # stands for a message while the template is looked at; letters survive every template


@dataclass(frozen=True, slots=True)
class Rendered:
    """A conversation as text and tokens.

    `offsets` says for each token which characters [start, end) of `text` it stands for; `messages` where the content of
    each message lies in `text`. Of a message with tool calls that is everything the model wrote, its calls included.
    """

    text: str
    ids: list[int]
    offsets: list[Span]
    messages: tuple[Span, ...]

    def tokens(self, span: Span) -> range:
        """Return the tokens that hold any character of [start, end); empty for an empty span."""
        start, end = span
        if start >= end:
            return range(0)
        first = bisect_right(self.offsets, start, key=lambda offset: offset[1])
        last = bisect_left(self.offsets, end, key=lambda offset: offset[0])
        return range(first, last)

    def token_at(self, character: int) -> int:
        """Return the token that holds the character at this place of the text.

        Some tokenizers leave blanks to no token; it is then the last one that begins no later, or the first of all.
        """
        found = self.tokens((character, character + 1))
        return found[0] if found else max(0, bisect_right(self.offsets, character, key=lambda offset: offset[0]) - 1)


class Renderer:
    """Renders with one tokenizer and one template; raises ConfigError when there is no template."""

    def __init__(self, tokenizer: Any, config: EngineConfig) -> None:
        template = chat_template_of(config.model, config.revision, config.chat_template)
        if template is None:
            raise ConfigError(
                f"model {config.model!r} has no chat template: name one with chat_template=chatml, "
                "chat_template=plain, or the path of a .jinja file"
            )
        self.tokenizer = tokenizer
        self._template = (_CLOCK if "strftime_now" in template else "") + template
        self._model = config.model
        controls = {str(t) for t in tokenizer.all_special_tokens}
        controls |= {str(t) for t in tokenizer.added_tokens_decoder.values() if t.special}
        self._control = re.compile("|".join(map(re.escape, sorted(filter(None, controls)))) or r"(?!)")

    def render(self, messages: Sequence[Message], *, generate: bool = False) -> Rendered:
        """Return the tokens of a conversation; with `generate` the model's own turn is opened at the end.

        Raises RewardError when the template refuses the messages, or when a message holds a control token.
        """
        return self.render_all([messages], generate=generate)[0]

    def render_all(self, conversations: Sequence[Sequence[Message]], *, generate: bool = False) -> list[Rendered]:
        """Return the tokens of several conversations, in order."""
        texts = [self._text(messages, generate) for messages in conversations]
        spans = [self._spans(m, text, generate) for m, text in zip(conversations, texts, strict=True)]
        return [
            Rendered(text, ids, offsets, where)
            for text, (ids, offsets), where in zip(texts, self.tokenize(texts), spans, strict=True)
        ]

    def continuations(self, messages: Sequence[Message], texts: Sequence[str], *, role: str = "user") -> list[Rendered]:
        """Return the conversation followed by one more message, once for each of `texts`.

        The common beginning is tokenized once. Equal to rendering each by itself.
        """
        if not texts:
            return []
        last = [Message(role=role, content=text) for text in texts]  # type: ignore[arg-type]
        first = self.render([*messages, last[0]])
        start, end = first.messages[-1]
        head, tail = first.text[:start], first.text[end:]
        cut = self._cut(first, start)
        if cut is None or any(text != text.strip() for text in texts):
            return self.render_all([[*messages, message] for message in last])
        at = first.offsets[cut - 1][1]
        for text in texts:
            self.check_content(text)
        found = []
        for text, (ids, offsets) in zip(texts, self.tokenize([head[at:] + t + tail for t in texts]), strict=True):
            moved = [(a + at, b + at) for a, b in offsets]
            span = (start, start + len(text))
            whole = head + text + tail
            where = (*first.messages[:-1], span)
            found.append(Rendered(whole, first.ids[:cut] + ids, first.offsets[:cut] + moved, where))
        if found[0].ids != first.ids:
            return self.render_all([[*messages, message] for message in last])
        return found

    def tokenize(self, texts: Sequence[str]) -> list[tuple[list[int], list[Span]]]:
        """Return the ids and the character spans of the tokens of each text; nothing is added to it."""
        if not texts:
            return []
        encoded = self.tokenizer(
            list(texts),
            add_special_tokens=False,
            return_offsets_mapping=True,
            return_attention_mask=False,
            verbose=False,
        )
        return list(zip(encoded["input_ids"], encoded["offset_mapping"], strict=True))

    def check_content(self, content: str) -> None:
        """Raise RewardError for text that holds a control token, or that is no text."""
        check_characters(content)
        if found := self._control.search(content):
            raise RewardError(
                f"a message holds {found[0]!r}, a control token of {self._model!r}, with which it could write turns "
                "of others: strip it where trajectories are made"
            )

    def _text(self, messages: Sequence[Message], generate: bool) -> str:
        try:
            shapes = [_shape(message) for message in messages]
            for text in _strings(shapes):
                self.check_content(text)
        except RecursionError as error:
            raise RewardError("the arguments of a tool call are nested too deeply to be shown to a model") from error
        return self._apply(shapes, generate)

    def _apply(self, shapes: list[dict[str, Any]], generate: bool) -> str:
        import jinja2  # it comes with the extra, and rewards that build on this are listed without

        try:
            return str(
                self.tokenizer.apply_chat_template(
                    shapes, chat_template=self._template, tokenize=False, add_generation_prompt=generate
                )
            )
        except jinja2.TemplateSyntaxError as error:
            raise ConfigError(f"the chat template of {self._model!r} is broken: {error}") from error
        except Exception as error:  # a template is a program of others, and may raise anything
            roles = ", ".join(shape["role"] for shape in shapes) or "none"
            raise RewardError(
                f"the chat template of {self._model!r} rejects these messages ({roles}): {' '.join(str(error).split())}"
            ) from error

    def _spans(self, messages: Sequence[Message], text: str, generate: bool) -> tuple[Span, ...]:
        """Find each message's content in the rendered text, by what the template writes around marks in its place."""
        spans = self._marked_at_once(messages, text, generate)
        if spans is None:
            spans = self._marked_alone(messages, text, generate)
        for number, message in enumerate(messages):
            if number not in spans and not message.content.strip():
                end = spans[number - 1][1] if number else 0
                spans[number] = (end, end)  # of calls without a word some templates write the calls alone
                continue
            start, end = spans.get(number) or self._sought(number, messages, text, spans)
            spans[number] = (
                start,
                self._end_of_calls(messages[: number + 1], text, end) if message.tool_calls else end,
            )
        return tuple(spans[number] for number in range(len(messages)))

    def _marked_at_once(self, messages: Sequence[Message], text: str, generate: bool) -> dict[int, Span] | None:
        """Find all contents with a mark for each; None where a message is left out, or changes what is around it."""
        marks = [_MARK.format(i) for i in range(len(messages))]
        shapes = [{**_shape(m), "content": mark} for m, mark in zip(messages, marks, strict=True)]
        parts = re.split(f"({'|'.join(map(re.escape, marks)) or r'(?!)'})", self._apply(shapes, generate))
        spans: dict[int, Span] = {}
        at = 0
        for piece, mark, after in zip(parts[::2], parts[1::2], parts[2::2], strict=False):
            number, start = marks.index(mark), at + len(piece)
            content = messages[number].content
            shown = next((c for c in (content, content.strip()) if text.startswith(c, start)), None)
            at = start + len(shown or "")
            if shown is None or not text.startswith(piece, start - len(piece)) or not text.startswith(after, at):
                return None
            spans[number] = (start, at)
        return spans if all(n in spans or not m.content.strip() for n, m in enumerate(messages)) else None

    def _marked_alone(self, messages: Sequence[Message], text: str, generate: bool) -> dict[int, Span]:
        """Find the contents with one mark at a time, which leaves out only those to which the template itself reacts.

        Raises RewardError for a message that the template does not write.
        """
        shapes = [_shape(message) for message in messages]
        spans: dict[int, Span] = {}
        for number, message in enumerate(messages):
            mark, content = _MARK.format(number), message.content
            marked = {**shapes[number], "content": mark}
            parts = self._apply([*shapes[:number], marked, *shapes[number + 1 :]], generate).split(mark)
            if len(parts) == 1 and content.strip():
                raise self._dropped(message) if message.role == "system" else self._changed(content)
            shown = next((c for c in (content, content.strip()) if len(parts) > 1 and c.join(parts) == text), None)
            if shown is not None:
                end = len(text) - len(parts[-1])
                spans[number] = (end - len(shown), end)
            elif len(parts) == 2 and not content.strip() and text.startswith(parts[0]):
                spans[number] = (len(parts[0]), len(parts[0]))  # only with a word some begin the calls in a new line
        return spans

    def _sought(self, number: int, messages: Sequence[Message], text: str, spans: dict[int, Span]) -> Span:
        """Find a content to which the template reacts by its text, between the messages around it."""
        content = messages[number].content.strip()
        low = spans[number - 1][1] if number else 0
        high = next((spans[n][0] for n in range(number + 1, len(messages)) if n in spans), len(text))
        start = text.find(content, low, high)
        if start < 0:
            raise self._changed(content)
        if text.find(content, start + 1, high) >= 0:
            raise RewardError(
                f"the chat template of {self._model!r} reacts to the message {content[:40]!r}, and its text stands "
                "there more than once, so that its tokens cannot be told: give another template with chat_template"
            )
        return start, start + len(content)

    def _dropped(self, message: Message) -> RewardError:
        return RewardError(
            f"the chat template of {self._model!r} drops the system prompt {message.content[:40]!r}: put it into the "
            "first user message, or give another template with chat_template"
        )

    def _changed(self, content: str) -> RewardError:
        return RewardError(
            f"the chat template of {self._model!r} changes the message {content[:40]!r}, so that its tokens cannot be "
            "told: give another template with chat_template"
        )

    def _end_of_calls(self, messages: Sequence[Message], text: str, end: int) -> int:
        """Return where the last message's tool calls end: before what the template writes after any message."""
        until = self._apply([_shape(message) for message in messages], False)
        before = [_shape(message) for message in messages[:-1]]
        plain = self._apply([*before, {"role": "assistant", "content": _MARK}], False)
        closing = plain.rpartition(_MARK)[2]
        return len(until) - len(closing) if text.startswith(until) and until.endswith(closing) else end

    def _cut(self, rendered: Rendered, start: int) -> int | None:
        """Return how many tokens end before `start` with a control token, at which no tokenizer merges; or None."""
        special = set(self.tokenizer.all_special_ids)
        for at in range(rendered.tokens((start, start + 1))[0] - 1, -1, -1) if start < len(rendered.text) else ():
            if rendered.ids[at] in special:
                return at + 1
        return None


def check_characters(text: str) -> None:
    """Raise RewardError for half of a surrogate pair, which no tokenizer reads."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RewardError(
            f"a text holds {text[error.start]!r}, half of a character: strip it where trajectories are made"
        ) from error


def action_indices(trajectory: Trajectory) -> list[int]:
    """Return where in `trajectory.messages` the action of each step stands."""
    indices, at = [], len(trajectory.task.prompt)
    for step in trajectory.steps:
        at += len(step.observation)
        indices.append(at)
        at += 1
    return indices


def _shape(message: Message) -> dict[str, Any]:
    shape: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        shape["tool_calls"] = [
            {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": _arguments(c.arguments)}}
            for c in message.tool_calls
        ]
    if message.tool_call_id is not None:
        shape["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        shape["name"] = message.name
    return shape


def _strings(value: Any) -> Iterator[str]:
    """Yield every text in JSON values: contents of messages, and all that tool calls say."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from (key, *_strings(inner))
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def _arguments(text: str) -> Any:
    """Return the arguments as templates want them, an object; the text itself where it is not JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text
