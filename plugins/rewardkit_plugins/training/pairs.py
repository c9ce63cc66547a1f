"""Preference pairs and rated answers out of files: the shapes that public data sets have, told apart by their keys.

A line that is neither is kept as a `LeftOut` with its number and reason. Rendering and truncation are `encoding`; what
is trained on and what is held out is `held_out`.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from rewardkit.errors import ConfigError, InvalidTrajectoryError
from rewardkit.serialize.fields import as_number, as_record, wrong
from rewardkit.serialize.messages import read_dialogue
from rewardkit.serialize.sources import LONGEST_LINE, BrokenSourceError, check_source, json_lines
from rewardkit.types import Message, Role
from rewardkit_plugins.training.attributes import ATTRIBUTES

Objective = Literal["pairs", "attributes"]
Messages = tuple[Message, ...]

_TURN = re.compile(r"(?:\A|\n\n)(Human|Assistant):")
_ROLES: dict[str, Role] = {"Human": "user", "Assistant": "assistant"}
_STRONGEST = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """What one line holds: a prompt, and one answer or two; an answer ends with the assistant.

    `where` is "file:number", counted from 1.
    """

    where: str
    prompt: Messages
    answers: tuple[Messages, ...]

    @property
    def topic(self) -> str:
        """The text of the first user message: examples that share it are trained on together, or held out together."""
        return next((message.content for message in self.prompt if message.role == "user"), repr(self.prompt))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair(Example):
    """Two answers, the better one first.

    `label` is the probability that it is better, 0.5 to 1; `strength` how much annotators preferred it, 0 to 3 (0 is a
    tie); `margin` what its reward should be higher by.
    """

    margin: float = 0.0
    strength: float | None = None
    label: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating(Example):
    """One answer and how it was rated; attributes without a label are absent."""

    attributes: dict[str, float]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A line that is not used, and why."""

    where: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


@dataclass(slots=True)
class Examples:
    """A file that was read: its examples in order, the lines left out, and the SHA-256 of its uncompressed lines."""

    name: str
    kept: list[Example] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    sha256: str = ""


def read_examples(path: str | os.PathLike[str], objective: Objective = "pairs") -> Examples:
    """Read a file of JSON lines, plain or compressed; "-" is standard input. Raises ConfigError if it is not there."""
    check_source(path)
    found, digest, number = Examples(name="stdin" if str(path) == "-" else os.path.basename(path)), hashlib.sha256(), 0
    try:
        for number, text in enumerate(json_lines(path), start=1):
            digest.update((text or b"") + b"\n")
            if text is None or (text and not text.isspace()):
                _read_line(found, number, text, objective)
    except BrokenSourceError as error:
        found.left_out.append(LeftOut(f"{found.name}:{number + 1}", str(error)))
    found.sha256 = digest.hexdigest()
    return found


def parse_example(record: Any, objective: Objective = "pairs", *, where: str = "") -> Example:
    """Read one JSON object as a pair, or as a rated answer; raises InvalidTrajectoryError, which names the field."""
    given = as_record(record)
    return _pair(given, where) if objective == "pairs" else _rating(given, where)


def _read_line(found: Examples, number: int, text: bytes | None, objective: Objective) -> None:
    where = f"{found.name}:{number}"
    try:
        if text is None:
            raise InvalidTrajectoryError(f"longer than {LONGEST_LINE} bytes")
        record = msgspec.json.decode(text.removeprefix(b"\xef\xbb\xbf"))
        found.kept.append(parse_example(record, objective, where=where))
    except (InvalidTrajectoryError, ConfigError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        found.left_out.append(LeftOut(where, " ".join(str(error).split())))


def _pair(record: dict[str, Any], where: str) -> Pair:
    names, strength = ("chosen", "rejected"), record.get("strength")
    if "response_1" in record and "response_2" in record:  # HelpSteer2-Preference, which is negative for the first
        names, strength = ("response_1", "response_2"), record.get("preference_strength", strength)
        strength = -_number(strength, "preference_strength", -_STRONGEST, _STRONGEST)
    missing = [name for name in names if record.get(name) is None]
    if missing:
        rated = "; a line of attributes needs the objective 'attributes'" if "attributes" in record else ""
        raise InvalidTrajectoryError(f"{missing[0]} is missing: a pair has `chosen` and `rejected`{rated}")
    prompt, answers = _sides(record, names)
    label = 1.0 if record.get("label") is None else _number(record["label"], "label", 0, 1)
    if strength is not None:
        strength = _number(strength, "strength", -_STRONGEST, _STRONGEST)
        if strength < 0 and record.get("label") is not None:
            raise InvalidTrajectoryError("strength is negative and there is a label: say only once which is better")
    if label < 0.5 or (strength or 0) < 0:
        answers, label = (answers[1], answers[0]), max(label, 1 - label)
    return Pair(
        where=where,
        prompt=prompt,
        answers=answers,
        margin=0.0 if record.get("margin") is None else as_number(record["margin"], "margin"),
        strength=None if strength is None else abs(strength),
        label=label,
    )


def _rating(record: dict[str, Any], where: str) -> Rating:
    named = record.get("attributes", {name: record[name] for name in ATTRIBUTES if name in record})
    attributes = {name: as_number(n, f"attributes.{name}") for name, n in as_record(named).items() if n is not None}
    if not attributes:
        raise InvalidTrajectoryError("no attribute has a number: write {'attributes': {'helpfulness': 3}}")
    key = "completion" if record.get("completion") is not None else "response"
    if record.get(key) is None or record.get("prompt") is None:
        raise InvalidTrajectoryError("a rated answer has `prompt`, `completion` and `attributes`")
    prompt = _prompt(record["prompt"])
    answer = _answer(prompt, read_dialogue(record[key], key, "assistant"), key)
    return Rating(where=where, prompt=prompt, answers=(answer,), attributes=attributes)


def _sides(record: dict[str, Any], names: tuple[str, str]) -> tuple[Messages, tuple[Messages, Messages]]:
    """Return the prompt and both answers; without a prompt it is the beginning that two whole dialogues share."""
    given = next((record[key] for key in ("prompt", "question") if record.get(key) is not None), None)
    if given is not None:
        prompt = _prompt(given)
        first, second = (_answer(prompt, read_dialogue(record[n], n, "assistant"), n) for n in names)
        return prompt, (first, second)
    one, other = (_dialogue(record[name], name) for name in names)
    shared = 0
    while shared < min(len(one), len(other)) - 1 and one[shared] == other[shared]:
        shared += 1
    if not shared:
        raise InvalidTrajectoryError(f"there is no prompt: {names[0]} and {names[1]} do not begin alike")
    prompt = tuple(one[:shared])
    return prompt, (_answer((), one[shared:], names[0]), _answer((), other[shared:], names[1]))


def _prompt(value: Any) -> Messages:
    if isinstance(value, str) and _TURN.match(value):
        turns = _turns(value)
        return tuple(turns[:-1] if turns[-1] == Message(role="assistant") else turns)
    prompt = read_dialogue(value, "prompt", "user")
    if not prompt:
        raise wrong("prompt", value, "text or messages")
    return tuple(prompt)


def _dialogue(value: Any, name: str) -> list[Message]:
    if not isinstance(value, str):
        return read_dialogue(value, name, "assistant")
    if not _TURN.match(value):
        raise InvalidTrajectoryError(
            f"{name} is text without a prompt: give `prompt`, or a dialogue of '\\n\\nHuman:' and '\\n\\nAssistant:'"
        )
    return _turns(value)


def _turns(text: str) -> list[Message]:
    """Return the messages of a dialogue of HH-RLHF."""
    _, *parts = _TURN.split(text)
    return [Message(role=_ROLES[who], content=said.strip()) for who, said in zip(parts[::2], parts[1::2], strict=True)]


def _answer(prompt: Sequence[Message], messages: list[Message], name: str) -> Messages:
    """Return what comes after the prompt, which some data sets repeat; it must end with words of the assistant."""
    if len(messages) > len(prompt) and messages[: len(prompt)] == list(prompt):
        messages = messages[len(prompt) :]
    if not messages or messages[-1].role != "assistant":
        raise InvalidTrajectoryError(f"{name} does not end with the assistant")
    if not messages[-1].content.strip() and not messages[-1].tool_calls:
        raise InvalidTrajectoryError(f"{name} is empty: a model cannot judge silence")
    return tuple(messages)


def _number(value: Any, name: str, low: float, high: float) -> float:
    number = as_number(float(value) if isinstance(value, bool) else value, name)
    if not low <= number <= high:
        raise wrong(name, value, f"a number from {low:g} to {high:g}")
    return number
