"""Where the steps of a response begin and end, as spans of characters; sentences are not told apart.

A span `(start, end)` is `text[start:end]`, without space at its ends and never empty. Spans are in order and do not
overlap, and what is not in one is space or a separator. A text of nothing but these has no steps.

Code fences, display math and LaTeX's display environments stay whole (`keep_blocks`), since half a program is nothing
that a model can judge. Models trained on plain splits, as PURE's, are read as trained with `keep_blocks=False`. A block
that is never closed is cut like prose, or else opening one would hide all later steps in it.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from rewardkit.errors import ConfigError
from rewardkit_plugins.rules.rule import check_choice

Span = tuple[int, int]
Splitter = Callable[[str], list[Span]]

_BLANK_LINE = re.compile(r"\n[^\S\n]*+\n")
_NEWLINE = re.compile(r"\n")
_STEP_HEADER = re.compile(
    r"^(?=[^\S\n]*+(?:[#*]{1,6}+[^\S\n]*+)?step[^\S\n]++\d++\**+[^\S\n]*+(?:[:.)–—-]|$))", re.MULTILINE | re.IGNORECASE
)
_BLOCK = re.compile(
    r"^[^\S\n]*+(?P<fence>`{3,}+(?=[^`\n]*+$)|~{3,}+)|(?P<dollars>\$\$)|(?<!\\)\\(?P<bracket>\[)"
    r"|\\begin\{(?P<name>(?:equation|align|alignat|gather|multline|flalign|eqnarray|displaymath)\*?)\}",
    re.MULTILINE,
)


def whole(text: str) -> list[Span]:
    """Return all of `text` as one step: for agents whose turns are the steps."""
    return _trimmed(text, [(0, len(text))])


def by_blank_line(text: str, *, keep_blocks: bool = True) -> list[Span]:
    """Split where at least one line is empty or space only (PURE, Qwen2.5-Math-PRM)."""
    return by_pattern(text, pattern=_BLANK_LINE, keep_blocks=keep_blocks)


def by_newline(text: str, *, keep_blocks: bool = True) -> list[Span]:
    """Split into the lines that hold more than space."""
    return by_pattern(text, pattern=_NEWLINE, keep_blocks=keep_blocks)


def by_step_header(text: str, *, keep_blocks: bool = True) -> list[Span]:
    """Split before every line that begins with "Step 3:", also "**Step 3.**" or "### Step 3" (Math-Shepherd).

    What stands before the first header is a step of its own, so that nothing goes unjudged. The header belongs to its
    step. Numbers are not looked at.
    """
    return by_pattern(text, pattern=_STEP_HEADER, keep_blocks=keep_blocks)


def by_delimiter(text: str, *, delimiter: str, keep_blocks: bool = True) -> list[Span]:
    """Split at every occurrence of `delimiter`, which is part of no step: "<extra_0>", "ки"."""
    return by_pattern(text, pattern=re.escape(delimiter), keep_blocks=keep_blocks)


def by_pattern(text: str, *, pattern: str | re.Pattern[str], keep_blocks: bool = True) -> list[Span]:
    r"""Split at every match of a regular expression, which may be empty: `^(?=\d+\.)` cuts before "2. Then".

    A pattern given as text is compiled with MULTILINE.
    """
    separators = [match.span() for match in re.finditer(_compiled(pattern), text)]
    blocks = _blocks(text) if keep_blocks and separators else []
    cuts = [cut for cut in separators if not _is_inside(cut[0], blocks)]
    starts = [0, *(end for _, end in cuts)]
    ends = [*(start for start, _ in cuts), len(text)]
    return _trimmed(text, zip(starts, ends, strict=True))


SPLITTERS: Mapping[str, Callable[..., list[Span]]] = {
    "whole": whole,
    "blank_line": by_blank_line,
    "newline": by_newline,
    "step_header": by_step_header,
    "delimiter": by_delimiter,
    "pattern": by_pattern,
}


def splitter(
    name: str, *, delimiter: str | None = None, pattern: str | None = None, keep_blocks: bool = True
) -> Splitter:
    """Return the function of SPLITTERS with its options bound; raises ConfigError for options that cannot be right.

    `delimiter` and `pattern` must be given for the splitter of that name, and for no other.
    """
    check_choice("splitter", name, list(SPLITTERS))
    for option, value in (("delimiter", delimiter), ("pattern", pattern)):
        if option == name and not value:
            raise ConfigError(f"splitter {name!r} needs {option}=..., which must not be empty")
        if option != name and value is not None:
            raise ConfigError(f"splitter {name!r} takes no {option}, but got {value!r}: leave it out")
    if name == "delimiter":
        return partial(by_delimiter, delimiter=delimiter or "", keep_blocks=keep_blocks)
    if name == "pattern":
        return partial(by_pattern, pattern=_compiled(pattern or ""), keep_blocks=keep_blocks)
    return whole if name == "whole" else partial(SPLITTERS[name], keep_blocks=keep_blocks)


def _compiled(pattern: str | re.Pattern[str]) -> re.Pattern[str]:
    try:
        return re.compile(pattern, re.MULTILINE if isinstance(pattern, str) else 0)
    except re.error as error:
        raise ConfigError(f"pattern {pattern!r} is no regular expression: {error}") from error


def _blocks(text: str) -> list[Span]:
    """Return the closed blocks of `text`, outermost only, in order; linear however many are open."""
    found: list[Span] = []
    unclosed: set[str] = set()  # a closer that is not in the rest of the text once is not there later either
    at = 0
    while opener := _BLOCK.search(text, at):
        closer, at = _closer(opener), opener.end()
        close = None if closer in unclosed else re.compile(closer, re.MULTILINE).search(text, at)
        if close is None:
            unclosed.add(closer)
        else:
            at = close.end()
            found.append((opener.start(), at))
    return found


def _closer(opener: re.Match[str]) -> str:
    """Return the pattern of what closes the block that `opener` opens."""
    if fence := opener["fence"]:
        return rf"^[^\S\n]*+{fence[0]}{{{len(fence)},}}+[^\S\n]*+$"
    if name := opener["name"]:
        return rf"\\end\{{{re.escape(name)}\}}"
    return r"\$\$" if opener["dollars"] else r"\\\]"


def _is_inside(place: int, blocks: list[Span]) -> bool:
    """Whether `place` lies behind the first and before the last character of a block."""
    before = bisect_left(blocks, (place, 0)) - 1
    return before >= 0 and place < blocks[before][1]


def _trimmed(text: str, spans: Iterable[Span]) -> list[Span]:
    """Return `spans` without space at their ends, and without the empty ones."""
    pieces = ((start, text[start:end]) for start, end in spans)
    starts = ((start + len(piece) - len(piece.lstrip()), piece.strip()) for start, piece in pieces)
    return [(start, start + len(piece)) for start, piece in starts if piece]
