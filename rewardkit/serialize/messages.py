"""Chat messages and steps out of JSON objects, in OpenAI's shape and its dialects.

Which messages are the prompt and which the agent's is `shapes`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rewardkit.serialize.building import new_call, new_message, new_step
from rewardkit.serialize.fields import (
    Record,
    WrongFieldError,
    as_number,
    as_record,
    as_text,
    read_all,
    take_list,
    take_metadata,
    wrong,
)
from rewardkit.types import Message, Role, Step, Tokens, ToolCall

_ROLES = frozenset({"system", "user", "assistant", "tool"})
_OTHER_ROLES = {"developer": "system", "function": "tool"}
_CALL_KEYS = frozenset({"id", "type", "name", "arguments", "function"})


def read_dialogue(value: Any, path: str, role: Role) -> list[Message]:
    """Read messages; a text alone is one message of `role`."""
    if type(value) is str:
        return [read_message({"role": role, "content": value})]
    if type(value) is list:
        return read_all(read_message, value, path)
    raise wrong(path, value, "text or a list of messages")


def read_message(value: Any) -> Message:
    """Read one message; fields we do not know become its metadata."""
    record = as_record(value)
    role, content = record.pop("role", None), record.pop("content", "")
    if type(role) is not str or role not in _ROLES:
        record["role"], role = role, _other_role(role)
    if type(content) is not str:
        content = _odd_content(content, record)
    if not record:
        return new_message(role, content, (), None, None, record)
    calls = _take_calls(record) if "tool_calls" in record else ()
    call_id, name = record.pop("tool_call_id", None), record.pop("name", None)
    if call_id is not None and type(call_id) is not str:
        raise wrong("tool_call_id", call_id, "text")
    if name is not None and type(name) is not str:
        raise wrong("name", name, "text")
    return new_message(role, content, calls, call_id, name, take_metadata(record))


def read_step(value: Any) -> Step:
    """Read one step of the native shape."""
    record = as_record(value)
    observation = take_list(record, "observation")
    try:
        action = read_message(record.pop("action", None))
    except WrongFieldError as error:
        raise error.inside("action") from None
    if action.role != "assistant":
        raise wrong("action.role", action.role, "'assistant'")
    tokens, reward = record.pop("tokens", None), record.pop("reward", None)
    return new_step(
        tuple(read_all(read_message, observation, "observation")) if observation else (),
        action,
        None if tokens is None else _read_tokens(tokens),
        None if reward is None else as_number(reward, "reward"),
        take_metadata(record),
    )


def split_steps(messages: Iterable[Message]) -> tuple[tuple[Step, ...], list[Message]]:
    """Cut a dialogue after each assistant message into steps; the second list is what follows the last of them."""
    steps: list[Step] = []
    observation: list[Message] = []
    for message in messages:
        if message.role == "assistant":
            steps.append(new_step(tuple(observation), message, None, None, {}))
            observation = []
        else:
            observation.append(message)
    return tuple(steps), observation


def _other_role(role: Any) -> str:
    known = _OTHER_ROLES.get(role) if type(role) is str else None
    if known is None:
        raise wrong("role", role, "'system', 'user', 'assistant' or 'tool'")
    return known


def _odd_content(content: Any, record: Record) -> str:
    """Return the text of null content or of content parts; the parts stay in the record."""
    if content is None:
        return ""
    if type(content) is not list:
        raise wrong("content", content, "text, null or a list of parts")
    record["parts"] = content
    return "".join(read_all(_part_text, content, "content"))


def _part_text(part: Any) -> str:
    if type(part) is str:
        return part
    text = as_record(part).get("text", "")
    if type(text) is not str:
        raise wrong("text", text, "text")
    return text


def _take_calls(record: Record) -> tuple[ToolCall, ...]:
    """Take the tool calls; where they hold fields that ToolCall has not, the list stays in the record, too."""
    given = take_list(record, "tool_calls")
    calls = tuple(read_all(_read_call, given, "tool_calls"))
    if not all(map(_CALL_KEYS.issuperset, given)):
        record["tool_calls"] = given
    return calls


def _read_call(value: Any) -> ToolCall:
    record = as_record(value)
    function = record.get("function", record)
    if type(function) is not dict:
        raise wrong("function", function, "an object")
    name, call_id = function.get("name"), record.get("id")
    if type(name) is not str:
        raise wrong("function.name", name, "text")
    if call_id is not None and type(call_id) is not str:
        raise wrong("id", call_id, "text")
    return new_call(call_id or "", name, as_text(function.get("arguments", "{}")))


def _read_tokens(value: Any) -> Tokens:
    try:
        record = as_record(value)
        ids = take_list(record, "ids")
        if not all(type(token) is int for token in ids):
            raise wrong("ids", ids, "a list of integers")
        given = record.pop("logprobs", None)
        if given is None:
            return Tokens(ids=tuple(ids))
        if type(given) is not list or len(given) != len(ids):
            raise wrong("logprobs", given, f"a list of {len(ids)} numbers, one per token id")
        return Tokens(ids=tuple(ids), logprobs=tuple(read_all(as_number, given, "logprobs")))
    except WrongFieldError as error:
        raise error.inside("tokens") from None
