r"""Finds the code in a completion: the last Markdown fence of the language, or the text itself where nothing is fenced.

Whether it is valid is not asked (`code_format` does), and prose is not told from code: a text without any fence is the
code as a whole. Reasoning (`<think>...</think>`) is left out, and an `<answer>` with a fence in it is where to look. It
takes time linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

ALIASES: dict[str, tuple[str, ...]] = {
    "python": ("python", "py", "python3", "py3", "python2", "ipython", "ipython3", "python-exec", "tool_code"),
    "bash": ("bash", "sh", "shell", "zsh", "ksh"),
    "c": ("c", "h"),
    "cpp": ("cpp", "c++", "cc", "cxx", "hpp", "g++"),
    "csharp": ("csharp", "c#", "cs"),
    "go": ("go", "golang"),
    "java": ("java",),
    "javascript": ("javascript", "js", "node", "nodejs", "mjs", "jsx"),
    "julia": ("julia", "jl"),
    "kotlin": ("kotlin", "kt"),
    "lua": ("lua",),
    "perl": ("perl", "pl"),
    "php": ("php",),
    "r": ("r", "rscript"),
    "ruby": ("ruby", "rb"),
    "rust": ("rust", "rs"),
    "scala": ("scala",),
    "sql": ("sql", "sqlite", "sqlite3", "mysql", "postgres", "postgresql", "psql"),
    "swift": ("swift",),
    "typescript": ("typescript", "ts", "tsx"),
}
"""The labels of each language, all in lower case."""

_MARKDOWN = frozenset({"markdown", "md"})
_OTHER_LABELS = (
    "text txt plaintext plain output out stdout stdin input console terminal log json jsonl yaml yml toml xml html css "
    "csv diff patch latex tex math mermaid ini pycon pytb traceback"
)
_NO_CODE = frozenset(_OTHER_LABELS.split())
_CANONICAL = {label: language for language, labels in ALIASES.items() for label in labels}
_TAG = "(?<![\"'])(?<!(?<!`)`){}(?![\"']|`(?!``))"  # what is quoted belongs to a program or to talk about tags
_REASONING = re.compile(rf"{_TAG.format('<think(?:ing)?>')}.*?(?:{_TAG.format('</think(?:ing)?>')}|\Z)", re.S)
_REASONED = re.compile(_TAG.format("</think(?:ing)?>"))
_ANSWER = re.compile(_TAG.format("<answer>"))
_ANSWERED = re.compile(_TAG.format("</answer>"))
_OPENING = re.compile(r"([ \t]*(?:(?:>|[-*+]|\d+[.)])[ \t]+)*)(?:(`{3,})([^`\n]*)|(~{3,})(.*))")
_GLUED = re.compile(r"[^`]*[^`\s][ \t]*(`{3,})([^`\s]+)[ \t]*")
_CODE_START = re.compile(r"(?:  |\t)\s*\S|(?:async )?def \w+|class \w+|import \w+|from [\w.]+ import |@\w|#!")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """What one fence holds, without its indentation; `label` is in lower case, "" when there is none.

    `start` is the offset of the fence in the text. A fence that is never closed goes to the end of the text.
    """

    label: str
    code: str
    start: int = 0
    closed: bool = True


def extract_code(text: str, *, language: str = "python", defining: str | None = None) -> str | None:
    """Return the code of `language` that `text` ends with, or None where there is none.

    That is the last block with a label of the language, else the last without a label, else the last with a label that
    names no other language; blank ones do not count. With `defining`, a function or class, the last of them that
    defines it goes before the others: an example of its use may follow it. Without any fence it is the text, whose
    indentation is kept; so it is where the only fence closes what the prompt has opened.
    """
    text = answer_of(text)
    blocks = list(code_blocks(text))
    if not blocks:
        return _trimmed(text)
    if (before := _before_stray_fence(text, blocks)) is not None:
        return before
    mine = _mine([block for block in blocks if block.code.strip()], language_of(language) or language.lower())
    if defining:
        definition = re.compile(rf"^[ \t]*(?:async[ \t]+def|def|class)[ \t]+{re.escape(defining)}\b", re.M)
        mine = [block for block in mine if definition.search(block.code)] or mine
    return _trimmed(mine[-1].code) if mine else None


def language_of(label: str) -> str | None:
    """Return the language that a label such as "Python3" or "c++" names, or None."""
    return _CANONICAL.get(label.strip().lower())


def answer_of(text: str) -> str:
    """Return `text` without reasoning, with plain line ends; of an `<answer>` with a fence in it only what it holds."""
    text = _REASONING.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    *_, reasoned = [0, *(tag.end() for tag in _REASONED.finditer(text))]
    text = text[reasoned:]
    *_, start = [-1, *(tag.end() for tag in _ANSWER.finditer(text))]
    if start < 0:
        return text
    end = _ANSWERED.search(text, start)
    inside = text[start : end.start() if end else len(text)]
    return inside if any(True for _ in code_blocks(inside)) or not any(True for _ in code_blocks(text)) else text


def code_blocks(text: str, *, depth: int = 2) -> Iterator[Block]:
    """Yield the fenced blocks of Markdown, in order; in place of a block that is Markdown itself those inside it.

    Fences of backticks and tildes of any length may be indented, quoted or in lists. One closes with a line of the same
    character, at least as long, indented by at most three more spaces (a fence in a docstring closes nothing). Blocks
    of Markdown are looked into `depth` times.
    """
    lines, offset, number = text.split("\n"), 0, 0
    while number < len(lines):
        start = offset
        opened = _opening(lines[number])
        offset += len(lines[number]) + 1
        number += 1
        if opened is None:
            continue
        indent, fence, label = opened
        closing = re.compile(rf"[ \t>]{{0,{len(indent.expandtabs(4)) + 3}}}{fence[0]}{{{len(fence)},}}[ \t]*")
        content: list[str] = []
        while number < len(lines) and not closing.fullmatch(lines[number]):
            content.append(_unindented(lines[number], indent))
            offset += len(lines[number]) + 1
            number += 1
        closed = number < len(lines)
        if closed:
            offset += len(lines[number]) + 1
            number += 1
        code = "\n".join(content)
        if label in _MARKDOWN and depth:
            yield from (replace(block, start=start) for block in code_blocks(code, depth=depth - 1))
            continue
        if not closed:  # "return x```"
            code = re.split(rf"(?<=[^\s`]){fence}[ \t]*$", code, maxsplit=1, flags=re.M)[0]
        yield Block(label=label, code=code, start=start, closed=closed)


def _opening(line: str) -> tuple[str, str, str] | None:
    """Return the indentation, the fence and the label of a line that opens a block."""
    if match := _OPENING.fullmatch(line):
        return match[1], match[2] or match[4], _label(match[3] or match[5] or "")
    if (match := _GLUED.fullmatch(line)) and language_of(label := _label(match[2])):
        return "", match[1], label  # "Here it is: ```python"
    return None


def _label(info: str) -> str:
    """Return the label of an info string: `python title="x.py"`, `{.python .numberLines}`, `python:x.py`."""
    return re.split(r"[\s,:;{}(=]+", info.strip().lstrip("{.").lower(), maxsplit=1)[0]


def _unindented(line: str, indent: str) -> str:
    """Return `line` without what the line of the fence begins with; of a list marker, the spaces in its place."""
    if line.startswith(indent):
        return line[len(indent) :]
    width = min(len(indent), len(line) - len(line.lstrip(" \t>")))
    return line[width:]


def _mine(blocks: list[Block], language: str) -> list[Block]:
    """Return the blocks of the best kind there is."""
    labelled = [block for block in blocks if _CANONICAL.get(block.label, block.label) == language]
    plain = [block for block in blocks if not block.label]
    unknown = [block for block in blocks if block.label not in _CANONICAL and block.label not in _NO_CODE]
    return labelled or plain or unknown


def _before_stray_fence(text: str, blocks: list[Block]) -> str | None:
    """Return the code before the only fence where that has no label, opens nothing, and code stands before it."""
    first = blocks[0]
    if len(blocks) > 1 or first.closed or first.label:
        return None
    before = _trimmed(text[: first.start])
    return before if before and (not first.code.strip() or _CODE_START.match(before)) else None


def _trimmed(text: str) -> str | None:
    """Return `text` without blank lines at its ends, its indentation kept; None if nothing is left."""
    return re.sub(r"\A(?:[ \t\f\v]*\n)+", "", text).rstrip() or None
