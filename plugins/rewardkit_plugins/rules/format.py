"""The `format` reward: 1.0 if think/answer tags stand exactly as asked, else 0.0; never whether the answer is right.

JSON is `json_format`. Tags are plain text here: no attributes, no nesting, case counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

from rewardkit.errors import ConfigError
from rewardkit.types import Score, Trajectory
from rewardkit_plugins.rules.rule import Rule, check_choice, check_flag, quoted

Mode = Literal["strict", "open-r1", "tag-count", "trl-think"]
_NAME = re.compile(r"[A-Za-z_][\w.-]*")


class Format(Rule):
    """Looks at the tags of the last action.

    `mode="strict"`: every tag of `tags` (default: think, answer) opens and closes once, in order, none of them is
    blank, and nothing but whitespace stands outside. With `text_after` text must follow the last tag instead:
    `tags=["think"]` and `text_after=true` is thinking followed by a free answer.

    Three rules as they were released, for comparison: "open-r1" and "trl-think" (1.0 or 0.0), and "tag-count" (one
    equal share for each tag string of `tags`, with its line breaks, that occurs exactly once). See the page of this
    reward for how they are gamed.

    `prefilled` says that the chat template has already written the first opening tag, so that the completion starts
    behind it. Raises ConfigError for an option that cannot be right.
    """

    def __init__(
        self,
        *,
        mode: Mode = "strict",
        tags: Sequence[str] | None = None,
        text_after: bool = False,
        prefilled: bool = False,
    ) -> None:
        check_choice("format: mode", mode, get_args(Mode))
        check_flag("format: text_after", text_after)
        check_flag("format: prefilled", prefilled)
        if tags is not None and mode in ("open-r1", "trl-think"):
            raise ConfigError(f"format: mode={mode} has its own tags: leave out tags={tags!r}")
        self._mode: Mode = mode
        self._tags = _checked(("think", "answer") if tags is None else tags)
        self._text_after = text_after
        self._prefix = f"<{self._tags[0]}>\n" if prefilled else ""

    def signature_fields(self) -> Mapping[str, Any]:
        """Return the options, with the names of the tags."""
        fields = {"mode": self._mode, "tags": ",".join(self._tags), "prefilled": bool(self._prefix)}
        return {**fields, "text_after": self._text_after} if self._mode == "strict" else fields

    def score(self, trajectory: Trajectory, /) -> Score:
        """Return a value in [0, 1]; the explanation names the first fault."""
        text = self._prefix + trajectory.completion
        if self._mode == "strict":
            fault = next(_faults(text, self._tags, text_after=self._text_after), "")
            return Score(value=0.0 if fault else 1.0, explanation=fault)
        if self._mode == "tag-count":
            strings = _tag_strings(self._tags)
            return Score(value=sum(text.count(string) == 1 for string in strings) / len(strings))
        return Score(value=float(_is_open_r1(text) if self._mode == "open-r1" else _is_trl_think(text)))


def _checked(tags: object) -> tuple[str, ...]:
    names = tuple(tags) if isinstance(tags, Sequence) and not isinstance(tags, str) else ()
    if not names or len(set(names)) < len(names) or not all(isinstance(n, str) and _NAME.fullmatch(n) for n in names):
        raise ConfigError(f'format: tags must be a list of different names such as ["think","answer"], not {tags!r}')
    return names


def _faults(text: str, tags: Sequence[str], *, text_after: bool) -> Iterator[str]:
    """Yield what is wrong with `text`, the first thing first. Linear in the text."""
    for string in (f"<{slash}{tag}>" for tag in tags for slash in ("", "/")):
        if (count := text.count(string)) != 1:
            yield f"{string} occurs {count} times, expected once"
    position = 0
    for tag in tags:
        start, end = text.find(f"<{tag}>", position), text.find(f"</{tag}>", position)
        if not 0 <= start < end:
            yield f"<{tag}> is out of order"
            return
        if outside := text[position:start].strip():
            yield f"{quoted(outside)} stands before <{tag}>"
        if not text[start + len(tag) + 2 : end].strip():
            yield f"<{tag}> is blank"
        position = end + len(tag) + 3
    after = text[position:].strip()
    if text_after and not after:
        yield f"no text follows </{tags[-1]}>"
    elif after and not text_after:
        yield f"{quoted(after)} stands after </{tags[-1]}>"


def _tag_strings(tags: Sequence[str]) -> list[str]:
    """Return open-r1's tag strings: each tag with a line break on its inner and on its outer side."""
    strings = [f"\n<{slash}{tag}>\n" for tag in tags for slash in ("", "/")]
    return [strings[0][1:], *strings[1:-1], strings[-1][:-1]]


_THINK_TO_ANSWER = "\n</think>\n<answer>\n"
_ANSWER_END = re.compile(r"\n</answer>$", re.MULTILINE)


def _is_open_r1(text: str) -> bool:
    """Tell what open-r1's pattern tells, in linear time: its `$` is the end of any line."""
    middle = text.find(_THINK_TO_ANSWER, len("<think>\n"))
    if middle < 0 or not text.startswith("<think>\n"):
        return False
    return _ANSWER_END.search(text, middle + len(_THINK_TO_ANSWER)) is not None


def _is_trl_think(text: str) -> bool:
    return text.startswith("<think>") and text.count("<think>") == 1 and "</think>" in text
