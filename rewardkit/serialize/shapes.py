"""JSON objects into trajectories: the native, the chat and the flat shape, told apart by their keys.

Lines, files and compression are `reading`. See docs/formats.md for the shapes and docs/design/formats.md for why.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from rewardkit.errors import InvalidTrajectoryError
from rewardkit.serialize.building import new_task, new_trajectory
from rewardkit.serialize.fields import (
    DEEPEST,
    Record,
    WrongFieldError,
    as_record,
    as_text,
    check_depth,
    read_all,
    take_flag,
    take_id,
    take_list,
    take_metadata,
    wrong,
)
from rewardkit.serialize.hashing import task_hash, trajectory_hash
from rewardkit.serialize.messages import read_dialogue, read_message, read_step, split_steps
from rewardkit.serialize.writing import message_to_json
from rewardkit.types import Message, Step, Task, Trajectory

_REFERENCE_KEYS = ("references", "reference", "answer", "ground_truth", "solution")
_PROMPT_KEYS = ("prompt", "question", "problem")
_COMPLETION_KEYS = ("completion", "response")
_OWN_KEYS = frozenset({"id", "terminated", "truncated", "metadata", "group", "attempt", "policy", "stop_reason"})
_decode = msgspec.json.Decoder().decode


def trajectory_from_json(record: Mapping[str, Any]) -> Trajectory:
    """Read a trajectory from a JSON object in any of the three shapes; `record` is left as it was.

    Raises InvalidTrajectoryError, which names the wrong field, for what is no trajectory, for NaN and infinity, and
    for values that JSON does not have.
    """
    try:
        text = json.dumps(dict(record), allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidTrajectoryError(f"not a JSON object: {error}") from error
    return parse_trajectory(text)


def task_from_json(record: Mapping[str, Any]) -> Task:
    """Read a task from a JSON object: that of a trajectory in any shape, or such a record without a completion.

    The prompt may be called `question` or `problem`, too, and `id` is the task's if there is no `task_id`. Raises
    InvalidTrajectoryError.
    """
    if "task" in record and "steps" not in record:
        return trajectory_from_json({"task": record["task"], "steps": []}).task
    if "task" in record or "messages" in record:
        return trajectory_from_json(record).task
    prompt = next((key for key in _PROMPT_KEYS if record.get(key) is not None), None)
    if prompt is None:
        raise InvalidTrajectoryError(
            f"a task needs `prompt`, `question` or `problem`; found {reprlib.repr(list(record))}"
        )
    rest = {key: value for key, value in record.items() if key not in (prompt, *_COMPLETION_KEYS)}
    if "task_id" not in rest and "id" in rest:
        rest["task_id"] = rest.pop("id")
    return trajectory_from_json({**rest, "prompt": record[prompt], "completion": "-"}).task


def parse_trajectory(text: bytes) -> Trajectory:
    """Read a trajectory from one JSON object as UTF-8 text; raises InvalidTrajectoryError."""
    try:
        record = _decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidTrajectoryError(_explain(text, error)) from error
    if type(record) is not dict:
        raise InvalidTrajectoryError(f"expected a JSON object, not {_kind(record)}: write one object a line")
    return _trajectory(record)


def _trajectory(record: Record) -> Trajectory:
    if "task" in record and "steps" in record and "messages" not in record:
        return _native(record)
    completion = next((key for key in _COMPLETION_KEYS if record.get(key) is not None), None)
    if completion and ("prompt" in record or "messages" in record):
        return _flat(record, completion)
    if "messages" in record:
        return _chat(record)
    if "prompt" in record and (empty := next((key for key in _COMPLETION_KEYS if key in record), None)):
        raise InvalidTrajectoryError(f'{empty} is null: write "" for an attempt that says nothing')
    raise InvalidTrajectoryError(
        "expected the keys `task` and `steps`, or `messages`, or `prompt` and `completion`; "
        f"found {reprlib.repr(list(record))}"
    )


def _native(record: Record) -> Trajectory:
    try:
        task = _native_task(as_record(record.pop("task")))
    except WrongFieldError as error:
        raise error.inside("task") from None
    return _build(record, task, tuple(read_all(read_step, take_list(record, "steps"), "steps")))


def _native_task(record: Record) -> Task:
    prompt = read_dialogue(record.pop("prompt", []), "prompt", "user")
    references = _references(record.pop("references", None), "references")
    return _task(take_id(record, "id"), prompt, references, take_metadata(record))


def _chat(record: Record) -> Trajectory:
    messages = read_all(read_message, take_list(record, "messages"), "messages")
    start = _agent_start(messages)
    return _foreign(record, messages[:start], messages[start:])


def _flat(record: Record, completion: str) -> Trajectory:
    source = "prompt" if "prompt" in record else "messages"
    prompt = read_dialogue(record.pop(source), source, "user")
    if source == "messages" and prompt and prompt[-1].role == "assistant":
        raise InvalidTrajectoryError(
            f"`messages` end with the assistant, yet there is `{completion}`: call the messages before it `prompt`"
        )
    answer = read_dialogue(record.pop(completion), completion, "assistant")
    if all(message.role != "assistant" for message in answer):
        raise InvalidTrajectoryError(f"{completion} holds no assistant message: expected what the agent said")
    return _foreign(record, prompt, answer)


def _foreign(record: Record, prompt: list[Message], dialogue: list[Message]) -> Trajectory:
    """Build a trajectory of the chat or flat shape: fields that nobody takes describe the task."""
    steps, trailing = split_steps(dialogue)
    taken = [(key, record.pop(key)) for key in list(record) if key in _OWN_KEYS]
    own: Record = {key: value for key, value in taken if value is not None}
    if trailing:
        own["trailing_messages"] = [message_to_json(message) for message in trailing]
    references, task_id = _take_references(record), take_id(record, "task_id")
    check_depth(record.values())
    return _build(own, _task(task_id, prompt, references, record), steps)


def _build(record: Record, task: Task, steps: tuple[Step, ...]) -> Trajectory:
    """Build a trajectory; what is left in `record` becomes its metadata."""
    trajectory_id = take_id(record, "id")
    truncated = take_flag(record, "truncated", False)
    terminated = take_flag(record, "terminated", not truncated)
    trajectory = new_trajectory(trajectory_id or "", task, steps, terminated, truncated, take_metadata(record))
    return trajectory if trajectory_id is not None else replace(trajectory, id=trajectory_hash(trajectory))


def _task(task_id: str | None, prompt: list[Message], references: tuple[str, ...], metadata: Record) -> Task:
    messages = tuple(prompt)
    if task_id is None:
        task_id = task_hash(messages, references)
    return new_task(task_id, messages, references, metadata)


def _agent_start(messages: list[Message]) -> int:
    """Return where the agent's part begins: the first assistant message after the last user message that has one.

    Earlier assistant messages are examples or history, and belong to the prompt; without any assistant message all
    is prompt.
    """
    start = len(messages)
    for i in range(len(messages) - 1, -1, -1):
        if messages[i].role == "assistant":
            start = i
        elif messages[i].role == "user" and start < len(messages):
            break
    return start


def _take_references(record: Record) -> tuple[str, ...]:
    """Take the first kind of reference that is there; the others stay with the task's metadata."""
    for key in _REFERENCE_KEYS:
        if record.get(key) is not None:
            return _references(record.pop(key), key)
    model = record.get("reward_model")
    return _references(model.get("ground_truth"), "reward_model.ground_truth") if type(model) is dict else ()


def _references(value: Any, path: str) -> tuple[str, ...]:
    if type(value) is dict and value.keys() == {"target"}:
        value = value["target"]
    if value is None:
        return ()
    return tuple(read_all(_reference, value, path)) if type(value) is list else (as_text(value),)


def _reference(value: Any) -> str:
    if value is None:
        raise wrong("", value, "text or a number")
    return as_text(value)


def _explain(text: bytes, error: Exception) -> str:
    """Say why a line is no JSON, and what to do about the usual causes."""
    if (bad := _not_utf8(text)) is not None:
        return f"not UTF-8 text (byte {bad}): convert the file with iconv -t UTF-8"
    if isinstance(error, RecursionError):
        return f"nested deeper than {DEEPEST} levels"
    if text.strip() in (b"[", b"{"):
        return "not JSON lines but one value over many lines: write one object a line (jq -c does)"
    if b"\x00" in text:
        return "not UTF-8 text (it looks like UTF-16 or binary): convert the file with iconv -t UTF-8"
    if re.search(rb"[:,\[]\s*-?(NaN|Infinity)", text):
        return f"not JSON ({error}): NaN and Infinity are no JSON numbers, write null"
    if re.search(rb"\\u[dD][89a-fA-F]", text):
        return f"not JSON ({error}): a lone surrogate such as \\ud800 is no character"
    return f"not JSON: {error}"


def _not_utf8(text: bytes) -> int | None:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return error.start
    return None


def _kind(value: Any) -> str:
    return {list: "a list", str: "text", type(None): "null", bool: "true or false"}.get(type(value), "a number")
