"""The `code_format` reward: 1.0 if the answer holds code in a fence, as asked, that parses; nothing is run.

Whether the code does anything is not asked: `unit_tests` runs it. Only Python is parsed; in other languages the fence
and its label count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from rewardkit.errors import ConfigError
from rewardkit.types import Score, Trajectory
from rewardkit_plugins.code.extract import answer_of, code_blocks, language_of
from rewardkit_plugins.code.syntax import parse
from rewardkit_plugins.rules.rule import Rule, check_choice

Blocks = Literal["one", "some"]


class CodeFormat(Rule):
    """Looks for Markdown fences with the label of `language` in the last action, reasoning left out.

    `blocks` says how many there must be: exactly "one", or "some". Each must be closed, hold more than blank lines and
    comments, and, in Python, parse. Blocks with other labels, or without one, do not count. `parts` tell how many
    blocks of the language there are, and whether all parse.

    Raises ConfigError for an option that cannot be right.
    """

    def __init__(self, *, language: str = "python", blocks: Blocks = "one") -> None:
        check_choice("code_format: blocks", blocks, get_args(Blocks))
        if not isinstance(language, str) or not language.strip():
            raise ConfigError(f"code_format: language must be a name such as python, not {language!r}")
        self._language = language_of(language) or language.strip().lower()
        self._blocks: Blocks = blocks

    def signature_fields(self) -> Mapping[str, str]:
        """Return the language and how many blocks there must be."""
        return {"language": self._language, "blocks": self._blocks}

    def score(self, trajectory: Trajectory, /) -> Score:
        """Return 1.0 or 0.0; the explanation says what is wrong."""
        found = [
            block
            for block in code_blocks(answer_of(trajectory.completion))
            if (language_of(block.label) or block.label) == self._language
        ]
        fault = next((fault for block in found if (fault := self._fault(block.code, block.closed))), "")
        parts = {"blocks": float(len(found)), "parsed": float(bool(found) and not fault)}
        if not found:
            fault = f"no block of {self._language} found"
        elif len(found) > 1 and self._blocks == "one":
            fault = f"{len(found)} blocks of {self._language} instead of one"
        return Score(value=0.0 if fault else 1.0, parts=parts, explanation=fault)

    def _fault(self, code: str, closed: bool) -> str:
        if not closed:
            return "a block is not closed"
        if not code.strip():
            return "a block is empty"
        if self._language != "python":
            return ""
        try:
            return "" if parse(code).body else "a block holds comments only"
        except ValueError as error:
            return str(error)
