"""From the steps of an attempt to the tokens at which a process reward model is read; `process_formats` says how.

Positions come from where this module put its own step tokens and answers, never from a search for them: what a step
says cannot move a reading. A step that holds the step token all the same is refused, because the model would take it
for the end of a step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from rewardkit.errors import ConfigError, RewardError
from rewardkit.types import Message, Trajectory
from rewardkit_plugins.engine.reader import Reader, Reading
from rewardkit_plugins.engine.rendering import Rendered, Renderer, Span, action_indices
from rewardkit_plugins.models.process_formats import CHAT, StepFormat
from rewardkit_plugins.models.process_steps import JudgedStep

_MARK = "xQzCurrentzQx"  # stands for the steps while it is looked where a prompt writes them


@dataclass(frozen=True, slots=True)
class Laid:
    """Where to read: one reading with a position for each step, or a reading with one position for each step."""

    readings: tuple[Reading, ...]
    dropped: int = 0


class StepLayout:
    """Lays attempts out for one reader and one format; raises ConfigError where the two do not fit.

    `answers` are the ids of the tokens `good` and `bad`, None for classifiers.
    """

    def __init__(self, reader: Reader, form: StepFormat, *, window: int | None = None) -> None:
        self.reader = reader
        self.form = form
        self.window = window
        self._plain = Renderer(reader.tokenizer, replace(reader.config, chat_template="plain"))
        self._prompt = None if form.prompt in (None, CHAT) else _template(form.prompt or "")
        self._tag = (form.step_token or "").strip()
        self.answers = (
            None if form.good is None or form.bad is None else [self._answer(t) for t in (form.good, form.bad)]
        )
        if self.answers and self.answers[0] == self.answers[1]:
            raise ConfigError(f"good={form.good!r} and bad={form.bad!r} are one token of {reader.config.model!r}")

    def lay(self, trajectory: Trajectory, steps: Sequence[JudgedStep]) -> Laid:
        """Return where to read for these steps; raises RewardError for what cannot be judged."""
        self._check(trajectory, steps)
        layouts: dict[str, Callable[[Trajectory, Sequence[JudgedStep]], Laid]] = {
            "chat": self._chat,
            "plain": self._text,
            "pieces": self._pieces,
            "turns": self._turns,
            "prefixes": self._prefixes,
        }
        return layouts[self.form.layout](trajectory, steps)

    def _check(self, trajectory: Trajectory, steps: Sequence[JudgedStep]) -> None:
        for text in (trajectory.task.question, *(part for step in steps for part in (step.before, step.text))):
            self._plain.check_content(text)
        held = next((s for s in steps if self._tag and (self._tag in s.text or self._tag in s.before)), None)
        if held is not None:
            raise RewardError(
                f"a step holds the step token {self._tag!r}, with which it could end steps by itself: strip it, or "
                f"split at it with split=delimiter and delimiter={self._tag!r}"
            )

    def _chat(self, trajectory: Trajectory, steps: Sequence[JudgedStep]) -> Laid:
        messages = list(trajectory.messages)
        indices = action_indices(trajectory)
        turns: dict[int, list[str]] = {}
        for step in steps:
            turns.setdefault(step.place, []).append(step.text if step.span else messages[indices[step.place]].content)
        for place, texts in turns.items():
            at = indices[place]
            messages[at] = replace(messages[at], content=self.form.joint.join(text.strip() for text in texts))
        rendered = self.reader.renderer.render(messages)
        ends: list[int] = []
        for place, texts in turns.items():
            start, end = rendered.messages[indices[place]]
            if start == end:
                raise RewardError(
                    f"the chat template of {self.reader.config.model!r} writes nothing of the agent's turn {place + 1}"
                    ": give another template with chat_template"
                )
            for text in texts[:-1]:
                ends.append(start + len(text))
                start = ends[-1] + len(self.form.joint)
            ends.append(end)
        return self._tagged(rendered.text, ends, rendered.messages[indices[steps[0].place]][0])

    def _tagged(self, text: str, ends: Sequence[int], first: int) -> Laid:
        """Write a step token into the text at each of `ends`."""
        tag = self.form.step_token or ""
        pieces = [text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True)]
        whole = tag.join(pieces)
        spans = [(end + n * len(tag), end + (n + 1) * len(tag)) for n, end in enumerate(ends)]
        (ids, offsets), *_ = self._plain.tokenize([whole])
        return self._read_at(Rendered(whole, ids, offsets, ()), spans, first)

    def _text(self, trajectory: Trajectory, steps: Sequence[JudgedStep]) -> Laid:
        form, text = self.form, self._head(trajectory)
        first, spans = len(text), list[Span]()
        for n, step in enumerate(steps):
            text += (form.joint if n else "") + step.before + step.text
            spans.append((len(text), len(text) + len(form.step_token or "")))
            text += form.step_token or ""
        return self._read_at(self._encoded(text), spans, first)

    def _pieces(self, trajectory: Trajectory, steps: Sequence[JudgedStep]) -> Laid:
        bos = self.reader.tokenizer.bos_token_id if self.form.prompt != CHAT else None
        head = self._head(trajectory)
        parts = [(step.before, step.text, self.form.step_token or "") for step in steps]
        tokens = iter(self._plain.tokenize([head, *(text for part in parts for text in part)]))
        found = Rendered("", [] if bos is None else [bos], [] if bos is None else [(0, 0)], ())
        found = _joined(found, head, *next(tokens))
        first, positions = len(found.ids), list[int]()
        for part in parts:
            for text in part:
                found = _joined(found, text, *next(tokens))
            positions.append(len(found.ids) - 1)
        return self._fitted(found, positions, first)

    def _turns(self, trajectory: Trajectory, steps: Sequence[JudgedStep]) -> Laid:
        good = self.form.good or ""
        messages: list[Message] = []
        for n, step in enumerate(steps):
            asked = (self._head(trajectory) if not n else "") + step.before + step.text
            messages += [Message(role="user", content=asked), Message(role="assistant", content=good)]
        rendered = self.reader.renderer.render(messages)
        places = [rendered.token_at(start) for start, _ in rendered.messages[1::2]]
        assert self.answers is not None
        if any(rendered.ids[place] != self.answers[0] for place in places):
            raise RewardError(f"the answer {good!r} melts with the text around it: give another template or good=...")
        first = rendered.messages[0][1] - len(steps[0].text)
        return self._fitted(rendered, [place - 1 for place in places], rendered.token_at(first))

    def _prefixes(self, trajectory: Trajectory, steps: Sequence[JudgedStep]) -> Laid:
        shown = [
            self._asked(trajectory, step) if self._prompt is None else self._shown(trajectory, steps[: n + 1])
            for n, step in enumerate(steps)
        ]
        whole = [(self.reader.enclosed(text), start) for text, start in shown]
        laid = [self._fitted(text, [len(text.ids) - 1], text.token_at(start)) for text, start in whole]
        return Laid(self._merged([one.readings[0] for one in laid]), max(one.dropped for one in laid))

    def _merged(self, readings: list[Reading]) -> tuple[Reading, ...]:
        """Return one reading for all where each text is the beginning of the next and the model sees no later token."""
        longest = readings[-1].ids
        blind = getattr(self.reader, "is_causal", False) and not self.reader.classifies_whole
        if blind and all(longest[: len(one.ids)] == one.ids for one in readings):
            return (Reading(longest, [len(one.ids) - 1 for one in readings]),)
        return tuple(readings)

    def _asked(self, trajectory: Trajectory, step: JudgedStep) -> tuple[Rendered, int]:
        """Return the conversation up to the end of this step, with the question that the format asks, if any.

        The number is the character at which the step begins; before it, by the blanks a template may have trimmed.
        """
        at = action_indices(trajectory)[step.place]
        messages = list(trajectory.messages[: at + 1])
        action = messages[at]
        if step.span is not None and step.span[1] < len(action.content.rstrip()):
            messages[at] = replace(action, content=action.content[: step.span[1]], tool_calls=())
        rendered = self._question(messages)
        start, blanks = rendered.messages[at][0], len(action.content) - len(action.content.lstrip())
        return rendered, start + max(0, step.span[0] - blanks if step.span else 0)

    def _question(self, messages: list[Message]) -> Rendered:
        form = self.form
        if form.ask is None:
            return self.reader.renderer.render(messages)
        asked = self.reader.renderer.render([*messages, Message(role="user", content=form.ask)], generate=True)
        if not form.opening:
            return asked
        text = asked.text + form.opening
        (ids, offsets), *_ = self._plain.tokenize([text])
        return Rendered(text, ids, offsets, asked.messages)

    def _shown(self, trajectory: Trajectory, steps: Sequence[JudgedStep]) -> tuple[Rendered, int]:
        """Return the prompt with these steps, and where the last begins; a window shows the last of them apart."""
        texts = [step.before + step.text for step in steps]
        cut = 0 if self.window is None else max(0, len(texts) - self.window)
        previous, current = self.form.joint.join(texts[:cut]), self.form.joint.join(texts[cut:])
        text = self._filled(trajectory, previous=previous, current=current)
        head, _, tail = self._filled(trajectory, previous=previous, current=_MARK).partition(_MARK)
        certain = head + current + tail == text  # or else nothing of the prompt may be cut off
        return self._encoded(text), len(head + current) - len(steps[-1].text) if certain else 0

    def _head(self, trajectory: Trajectory) -> str:
        """Return what stands before the first step."""
        if self._prompt is None:
            return self.reader.renderer.render(trajectory.task.prompt, generate=True).text
        return self._filled(trajectory)

    def _filled(self, trajectory: Trajectory, **more: str) -> str:
        assert self._prompt is not None
        try:
            return str(self._prompt.render(question=trajectory.task.question, **more))
        except Exception as error:  # a template may raise anything
            raise ConfigError(f"process_reward: prompt {self.form.prompt!r} cannot be filled: {error}") from error

    def _encoded(self, text: str) -> Rendered:
        """Return the tokens of a text; where no chat template wrote it, with what the tokenizer puts around it."""
        if self._prompt is None:
            (ids, offsets), *_ = self._plain.tokenize([text])
            return Rendered(text, ids, offsets, ())
        encoded = self.reader.tokenizer(text, return_offsets_mapping=True, verbose=False)
        found: list[Span] = []
        for start, end in encoded["offset_mapping"]:
            last = found[-1][1] if found else 0
            found.append((last, last) if start == end else (start, end))  # (0, 0) is said of those around it
        return Rendered(text, list(encoded["input_ids"]), found, ())

    def _read_at(self, rendered: Rendered, spans: Sequence[Span], first: int) -> Laid:
        """Return a reading at the last token of each span; raises RewardError where that token is not its end."""
        positions = [rendered.tokens(span)[-1] for span in spans]
        for position, (_, end) in zip(positions, spans, strict=True):
            if rendered.offsets[position][1] != end:
                raise RewardError(
                    f"the step token {self.form.step_token!r} melts with the text behind it in the tokens of "
                    f"{self.reader.config.model!r}: choose another step_token or joint"
                )
        return self._fitted(rendered, positions, rendered.token_at(first))

    def _fitted(self, rendered: Rendered, positions: Sequence[int], first: int) -> Laid:
        cut, keep, dropped = self.reader.fit(rendered, range(min(first, *positions), positions[-1] + 1))
        moved = positions[-1] + 1 - keep.stop
        return Laid((Reading(cut.ids, [position - moved for position in positions]),), dropped)

    def _answer(self, word: str) -> int:
        """Return the token of an answer: as it stands in a chat, or for plain text as it is by itself."""
        if self.form.layout == "turns":
            spoken = [Message(role="user", content="1"), Message(role="assistant", content=word)]
            rendered = self.reader.renderer.render(spoken)
            ids = [rendered.ids[i] for i in rendered.tokens(rendered.messages[1])]
        elif self.form.layout == "prefixes":
            asked = self._question([Message(role="user", content="1"), Message(role="assistant", content="1")])
            (longer, _), *_ = self._plain.tokenize([asked.text + word])
            ids = longer[len(asked.ids) :] if longer[: len(asked.ids)] == asked.ids else []
        else:
            (ids, _), *_ = self._plain.tokenize([word])
        if len(ids) != 1:
            raise ConfigError(
                f"{word!r} is {len(ids)} tokens of {self.reader.config.model!r}, where one is needed: set good and bad "
                "to words that are one token there"
            )
        return ids[0]


def _joined(found: Rendered, text: str, ids: Sequence[int], offsets: Sequence[Span]) -> Rendered:
    at = len(found.text)
    moved = [(a + at, b + at) for a, b in offsets]
    return Rendered(found.text + text, [*found.ids, *ids], [*found.offsets, *moved], ())


def _template(text: str) -> Any:
    try:
        return ImmutableSandboxedEnvironment(keep_trailing_newline=True).from_string(text)
    except jinja2.TemplateSyntaxError as error:
        raise ConfigError(f"process_reward: prompt {text!r} is no Jinja text: {error}") from error
