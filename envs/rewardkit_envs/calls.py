"""Reads the tool call in an agent's text: plain text (`Action:`, `Action Input:`) or OpenAI's JSON, and never guesses.

A text makes one call or none; what is almost a call is `Malformed`, with a reason that the agent can be shown. Whether
the arguments fit the tool is the tool's business.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LONGEST = 65_536
"""A text with a call may have so many characters."""
DEEPEST = 100
"""Objects and lists of a call may be so deep in each other: far from where copying them fails."""

_ACTION = re.compile(r"^[ \t]*Action[ \t]*:(.*)$", re.M)
_INPUT = re.compile(r"^[ \t]*Action Input[ \t]*:", re.M)
_GOES_ON = re.compile(r"^[ \t]*(Observation|Thought|Final Answer)[ \t]*:", re.M)
_FINAL = re.compile(r"^[ \t]*Final Answer[ \t]*:", re.M)
_OPENING, _CLOSING = "<tool_call>", "</tool_call>"
_NOTHING_BEHIND = "Write nothing behind a call: what it leads to comes next."


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a tool: its arguments by name, or, in plain text, what stands behind `Action Input:`."""

    name: str
    arguments: Mapping[str, Any] | str
    id: str = ""

    def text(self, parameter: str) -> str | Malformed:
        """Return the one argument of a tool that takes a text called `parameter`."""
        if isinstance(self.arguments, str):
            return self.arguments
        value = self.arguments.get(parameter)
        if len(self.arguments) != 1 or not isinstance(value, str):
            return Malformed(f'{self.name} takes one argument: {{"{parameter}": text}}')
        return value


@dataclass(frozen=True, slots=True)
class Malformed:
    """Why a text that tries to make a call makes none; one sentence for the agent."""

    reason: str


_TOO_DEEP = Malformed("This JSON is nested too deeply.")


def parse_call(text: str, names: Collection[str], *, final: str | None = None) -> Call | Malformed | None:
    r"""Return the call that `text` makes, why it makes none although it tries, or None where it does not try.

    `names` are the tools that there are. What stands before a `</think>` does not count. The forms are::

        Action: search                      {"name": "search", "arguments": {"query": "rain"}}
        Action Input: rain

    JSON stands alone, behind prose in a ```json fence, or in `<tool_call>` tags; it may be OpenAI's whole tool call
    (`{"type": "function", "function": {...}}`) or message (`{"tool_calls": [...]}`), with its arguments as an object or
    as JSON text. The input of the plain form goes to the end of the text; a JSON object there is the arguments by name,
    and what one fence holds is the input without the fence. Nothing may follow a call. With `final`, a line
    `Final Answer: ...` is a call of the tool of that name. Takes time linear in `text`.
    """
    thought, closed, spoken = text.partition("</think>")
    text = spoken if closed else "" if thought.lstrip().startswith("<think>") else text
    fences = _fences(text)
    call = _plain_call(text, fences) or _json_call(text, fences, names)
    if call is None and final is not None:
        call = _final_call(text, fences, final)
    if call is not None and len(text) > LONGEST:
        return Malformed(f"A text with a call may have {LONGEST} characters, not {len(text)}.")
    if isinstance(call, Call) and call.name not in names:
        listed = ", ".join(sorted(names)) or "none"
        return Malformed(f"There is no tool {_shown(call.name)}; there are: {listed}.")
    return call


# ---- plain text


@dataclass(frozen=True, slots=True)
class _Fence:
    """A block between fences of backticks: its label, what it holds, and where it begins and ends in the text."""

    label: str
    content: str
    start: int
    end: int


def _fences(text: str) -> list[_Fence]:
    """Return the blocks of `text`, in order; one that is never closed is none."""
    found: list[_Fence] = []
    opened: tuple[str, int, int] | None = None
    for line in re.finditer(r"^```(.*)$", text, re.M):
        if opened is None:
            opened = line[1].strip().lower(), line.start(), line.end() + 1
        elif not line[1].strip():
            label, start, inside = opened
            found.append(_Fence(label, text[inside : line.start()], start, line.end()))
            opened = None
    return found


def _without(fences: Sequence[_Fence], text: str) -> str:
    """Return `text` with blanks for what is in a fence, at equal length."""
    pieces, end = [], 0
    for fence in fences:
        pieces += [text[end : fence.start], " " * (fence.end - fence.start)]
        end = fence.end
    return "".join([*pieces, text[end:]])


def _plain_call(text: str, fences: Sequence[_Fence]) -> Call | Malformed | None:
    prose = _without(fences, text)
    actions, inputs = list(_ACTION.finditer(prose)), list(_INPUT.finditer(prose))
    if not actions and not inputs:
        return None
    if len(actions) != 1 or len(inputs) != 1 or text[actions[0].end() : inputs[0].start()].strip():
        return Malformed("Make one call: a line 'Action: NAME', and 'Action Input: ...' on the line below it.")
    if _GOES_ON.search(prose, inputs[0].end()):
        return Malformed(_NOTHING_BEHIND)
    arguments = _plain_input(text[inputs[0].end() :].strip())
    if isinstance(arguments, Malformed):
        return arguments
    return Call(name=actions[0][1].strip(), arguments=arguments)


def _final_call(text: str, fences: Sequence[_Fence], name: str) -> Call | Malformed | None:
    """Return the call that `Final Answer: ...` makes; the answer goes to the end of the text."""
    answers = list(_FINAL.finditer(_without(fences, text)))
    if not answers:
        return None
    if len(answers) != 1:
        return Malformed("Give one final answer.")
    arguments = _plain_input(text[answers[0].end() :].strip())
    return arguments if isinstance(arguments, Malformed) else Call(name=name, arguments=arguments)


def _plain_input(text: str) -> Mapping[str, Any] | str | Malformed:
    """Return the arguments by name where `text` is a JSON object, else the text, without the fence around it."""
    if text.startswith("```"):
        fences = _fences(text)
        if not fences:
            return Malformed("The fence behind 'Action Input:' is never closed.")
        if text[fences[0].end :].strip():
            return Malformed(_NOTHING_BEHIND)
        if fences[0].label != "json":
            return fences[0].content
        text = fences[0].content.strip()
    return _arguments(text) if re.match(r'\{\s*["}]', text) else text


# ---- JSON


def _json_call(text: str, fences: Sequence[_Fence], names: Collection[str]) -> Call | Malformed | None:
    written = _written_json(text, fences)
    if written is None or isinstance(written, Malformed):
        return written
    value = _decoded(written)
    if isinstance(value, Malformed):
        return value if re.search(r'"(?:tool_calls|function|arguments)"', written) else None
    calls = value.get("tool_calls") if isinstance(value, dict) else value
    if isinstance(calls, list) and any(_is_call(call, names) for call in calls):
        if len(calls) != 1:
            return Malformed(f"Make one call at a time, not {len(calls)}.")
        value = calls[0]
    return _one_call(value) if _is_call(value, names) else None


def _written_json(text: str, fences: Sequence[_Fence]) -> str | Malformed | None:
    """Return the JSON that may be a call: in the tags, the whole text, or the last json fence."""
    if _OPENING in text or _CLOSING in text:
        _, _, inside = text.partition(_OPENING)
        inside, closed, behind = inside.partition(_CLOSING)
        if _OPENING in inside + behind or not closed:
            return Malformed(f"Make one call, between {_OPENING} and {_CLOSING}.")
        return Malformed(_NOTHING_BEHIND) if behind.strip() else inside
    if text.lstrip()[:1] in ("{", "["):
        return text.strip()
    if fences and fences[-1].label == "json":
        return fences[-1].content + text[fences[-1].end :]
    return None


def _is_call(value: Any, names: Collection[str]) -> bool:
    if not isinstance(value, dict):
        return False
    name = value.get("name")
    return isinstance(value.get("function"), dict) or "arguments" in value or (isinstance(name, str) and name in names)


def _one_call(value: Mapping[str, Any]) -> Call | Malformed:
    inner = value.get("function")
    function = inner if isinstance(inner, dict) else value
    identity = value.get("id", "")
    name, arguments = function.get("name"), function.get("arguments")
    if not isinstance(name, str) or not isinstance(identity, str):
        return Malformed('A call is {"name": "...", "arguments": {...}}: its name and id are text.')
    if isinstance(arguments, str):
        arguments = _arguments(arguments)
    if isinstance(arguments, Malformed):
        return arguments
    if not isinstance(arguments, dict):
        return Malformed(f"The arguments of {_shown(name)} must be a JSON object.")
    return Call(name=name, arguments=arguments, id=identity)


def _arguments(text: str) -> Mapping[str, Any] | Malformed:
    value = _decoded(text)
    if not isinstance(value, dict | Malformed):
        return Malformed("The arguments must be a JSON object.")
    return value


def _decoded(text: str) -> Any:
    """Return the JSON value that `text` is, or Malformed."""
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return Malformed(_NOTHING_BEHIND)
        return Malformed(f"This is no JSON: {error.msg} at line {error.lineno}, column {error.colno}.")
    except ValueError as error:
        return Malformed(f"This is no JSON: {error}.")
    except RecursionError:
        return _TOO_DEEP
    return _TOO_DEEP if _deeper(value, DEEPEST) else value


def _deeper(value: Any, most: int) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return inside is not None and (most == 0 or any(_deeper(item, most - 1) for item in inside))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number")


def _shown(name: str) -> str:
    return repr(name if len(name) <= 60 else f"{name[:60]}...")
