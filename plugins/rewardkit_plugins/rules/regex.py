"""The `regex` reward: 1.0 if the completion matches a pattern, or if what a group captures is a reference.

Python's `re` backtracks and cannot be interrupted: a pattern such as `(a+)+$` takes exponential time on a text written
for it. Only the time limit of an executor with processes ends that; nothing here does.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Literal, get_args

from rewardkit.errors import ConfigError
from rewardkit.types import Score, Trajectory
from rewardkit_plugins.rules.rule import Rule, check_choice, quoted

Mode = Literal["search", "fullmatch"]
_FLAGS = {"a": re.ASCII, "i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL, "x": re.VERBOSE}


class Regex(Rule):
    r"""Matches the last action with `pattern`, in Python's syntax.

    `mode="search"` looks for it anywhere, "fullmatch" wants the whole completion (surrounding whitespace included).
    With `group` (a number or a name) the value is 1.0 if what that group captured, stripped, equals a reference; of
    several matches the last one counts, so that listing answers does not help. Without references it then abstains.
    `flags` are letters of "aimsx", as in `(?im)`. A blank completion scores 0.0, whatever the pattern says.

    A `$` also matches before a newline at the end, and with "m" at each line's end; `\Z` is the end of the text.
    Raises ConfigError for a pattern that does not compile, an unknown flag or a group that the pattern does not have.
    """

    def __init__(self, *, pattern: str, mode: Mode = "search", group: int | str | None = None, flags: str = "") -> None:
        check_choice("regex: mode", mode, get_args(Mode))
        self._mode: Mode = mode
        self._pattern = _compile(pattern, flags)
        if group is not None and group not in (*range(self._pattern.groups + 1), *self._pattern.groupindex):
            raise ConfigError(f"regex: the pattern {pattern!r} has no group {group!r}")
        self._group = group

    def score(self, trajectory: Trajectory, /) -> Score:
        """Return 1.0 or 0.0, or None if references are needed and there are none."""
        references = [reference.strip() for reference in trajectory.task.references if reference.strip()]
        if self._group is not None and not references:
            return Score(value=None, explanation="the task has no reference that is not empty")
        match = self._match(trajectory.completion)
        if match is None:
            return Score(value=0.0, explanation=f"no match of {quoted(self._pattern.pattern)}")
        if self._group is None:
            return Score(value=1.0, metadata={"match": match[0]})
        captured = (match[self._group] or "").strip()
        if captured in references:
            return Score(value=1.0, metadata={"match": captured})
        explanation = f"captured {quoted(captured)}, expected {quoted(references[0])}"
        return Score(value=0.0, explanation=explanation, metadata={"match": captured})

    def _match(self, text: str) -> re.Match[str] | None:
        if not text.strip():
            return None
        if self._mode == "fullmatch":
            return self._pattern.fullmatch(text)
        if self._group is None:
            return self._pattern.search(text)
        return next(iter(deque(self._pattern.finditer(text), maxlen=1)), None)


def _compile(pattern: object, flags: str) -> re.Pattern[str]:
    if not isinstance(pattern, str) or not isinstance(flags, str):
        raise ConfigError(f"regex: pattern and flags must be text, not {pattern!r} and {flags!r}")
    if unknown := set(flags) - set(_FLAGS):
        raise ConfigError(f"regex: flags may hold the letters {''.join(_FLAGS)}, not {min(unknown)!r}")
    try:
        return re.compile(pattern, sum(_FLAGS[letter] for letter in set(flags)))
    except re.error as error:
        where = f" at position {error.pos}" if error.pos is not None else ""
        raise ConfigError(f"regex: the pattern {pattern!r} is wrong{where}: {error.msg}") from error
    except (OverflowError, RecursionError) as error:
        raise ConfigError(f"regex: the pattern {quoted(pattern)} is too large: {error}") from error
