r"""Finds the final answer in a response or in a reference; whether it is right is `answers`' business.

What counts, in this order: what stands in the last `<answer>` (and behind the last `</think>`), the last `\boxed` or
`\fbox` (a later "final answer is" overrules it), the line behind the last `####`, what follows "answer is" or
"Answer:", the last output block of a program, and the last formula or number. Several boxes or formulas joined by
"and", "or" or commas are one answer of several items. Only the last TAIL characters are searched for what is not boxed,
so the time is linear in the response, whatever it holds.
"""

from __future__ import annotations

import re

TAIL = 4_000
LONGEST_BOX = 2_001
LONGEST_GAP = 60


def extract(response: str, *, require_boxed: bool = False) -> str | None:
    """Return the text of the answer that `response` ends with, or None if it gives none.

    With `require_boxed` only boxes count.
    """
    text = _after_tags(response)
    boxed = _last_boxes(text, trusted=False)
    if boxed is not None:
        answer, end = boxed
        overruling = None if require_boxed else _overruling(text, end)
        if overruling or answer:
            return overruling or answer
        text = _EMPTY_BOX.sub("", text)
        if _last_box(text, 0, len(text)) >= 0:
            return None
    if require_boxed:
        return None
    return _hashed(text) or _unmarked(text[-TAIL:].strip())


def extract_reference(reference: str) -> str | None:
    """Return the answer of a reference: bare, boxed, behind `####`, or at the end of a solution; None if blank."""
    boxed = _last_boxes(reference, trusted=True)
    if boxed is not None:
        return boxed[0] or None
    answer = _hashed(reference)
    if answer is None and (len(reference) > 300 or "\n" in reference.strip() or _last_marker(reference) is not None):
        answer = _unmarked(reference[-TAIL:].strip())
    if answer is None and (formulas := _formulas(reference)) and _is_all_formula(reference, formulas):
        answer = _joined(reference, formulas, trusted=True)
    return answer or reference.strip() or None


# ---- boxes

_BOX = re.compile(r"\\[bf](?:ox|oxed)(?![A-Za-z])\s*")


def _last_boxes(text: str, *, trusted: bool) -> tuple[str, int] | None:
    """Return the content of the last box, with those it is joined to, and where it ends."""
    start = _last_box(text, 0, len(text))
    if start < 0:
        return None
    content, end = _box(text, start)
    contents = [content]
    while len(contents) < 10 and "}" in text[max(0, start - LONGEST_GAP) : start]:
        before = _last_box(text, max(0, start - LONGEST_BOX - LONGEST_GAP), start)
        if before < 0:
            break
        content, stop = _box(text, before)
        if stop > start or not _is_conjunction(text[stop:start], trusted=trusted):
            break
        contents.append(content)
        start = before
    return ", ".join(c for c in reversed(contents) if c), end


def _last_box(text: str, low: int, high: int) -> int:
    boxed = text.rfind("\\boxed", low, high)
    return max(boxed, text.rfind("\\fbox", max(boxed, low), high))


def _box(text: str, start: int) -> tuple[str, int]:
    """Return what the box at `start` holds and where it ends; a box that is never closed holds the rest of its line."""
    if (simple := _SIMPLE_BOX.match(text, start)) is not None:
        return simple[1].strip(), simple.end()
    match = _BOX.match(text, start)
    begin = match.end() if match else start + 6
    if begin >= len(text) or text[begin] != "{":
        word = _WORD.match(text, begin)
        return (word[0], word.end()) if word else ("", begin)
    depth, limit = 0, min(len(text), begin + LONGEST_BOX)
    for brace in _BRACE.finditer(text, begin, limit):
        depth += (brace[0] == "{") - (brace[0] == "}")
        if depth == 0:
            return text[begin + 1 : brace.start()].strip(), brace.end()
    line = text[begin + 1 : limit].split("\n", 1)[0]
    return line.strip().rstrip("$.").strip(), begin + 1 + len(line)


_EMPTY_BOX = re.compile(r"\\(?:boxed|fbox)\s{0,3}\{\s{0,9}\}")
_SIMPLE_BOX = re.compile(r"\\boxed\{([^{}\\]{0,200})\}")
_WORD = re.compile(r"[^\s$\\{}]{1,40}")
_BRACE = re.compile(r"(?<!\\)[{}]")
_SEPARATOR = re.compile(r"\\(?:quad|qquad|text|mbox|textbf|[(),;! \[\]$])|[${}~\s]")
_BREAKING = frozenset(
    {"so", "then", "thus", "hence", "therefore", "get", "gets", "is", "are", "but", "not", "wait", "actually", "no"}
    | {"gives", "now", "instead", "rather", "simplify", "check"}
)


def _is_conjunction(gap: str, *, trusted: bool) -> bool:
    """Tell whether what stands between two boxes or formulas joins them to one answer."""
    if len(gap) > LONGEST_GAP:
        return False
    spelled = _SEPARATOR.sub(" ", gap).lower()
    words = [word for word in re.findall(r"[a-z]+", spelled) if len(word) > 1]
    others = [word for word in words if word not in ("and", "or")]
    if len(others) > 1 or not _BREAKING.isdisjoint(others) or re.search(r"[.!?:](?:\s|$)", spelled):
        return False
    return trusted or len(others) < len(words) or "," in spelled


# ---- tags, hashes, markers

_NUMBER_TEXT = (
    r"(?:[$€£]|\\\$)?\s?(?:\d{1,4}(?::\d{1,4}){1,3}(?:\s?[ap]\.?m\b\.?)?"
    r"|(?:[1-9]\d{0,2}(?:(?:,|\{,\}|,\\!)\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:[eE][+-]?\d{1,3}\b)?|\.\d+)"
    r"(?:\s?[/⁄]\s?\d+|\s\d+/\d+|\s?(?:x|\*|×|\\times|\\cdot)\s?10\s?\^\s?\{?-?\d{1,4}\}?)?"
    r"(?:\s?\\?%|\s(?:per\s?cent|pct)\b)?(?!\.?\d|_|[b-fi-kn-rt-z](?![a-z]))"
)
_NUMBER = re.compile(
    rf"(?<![\w.\\^_)])(?:[-−](?=[\d.$\\]))?{_NUMBER_TEXT}"
    rf"(?:(?:,\s?-?{_NUMBER_TEXT}){{0,8}},?\s(?:or|and)\s-?{_NUMBER_TEXT})?"
)
_ANSWER_IS = re.compile(
    r"(?:answer|option|choice)(?:\s{1,3}(?:is|should\sbe|must\sbe|=)(?![a-z])\s?:?|\s{0,3}[*_]{0,3}\s{0,3}[:=])[*_\s]{0,9}",
    re.IGNORECASE,
)
_FINAL = re.compile(r"final\s+answer\s*(?:is|:)[\s:*]{0,9}", re.IGNORECASE)
_SECOND_THOUGHT = re.compile(r"\b(?:wait|actually|correction|sorry|mistake)\b", re.IGNORECASE)
_CHOICE = re.compile(r"(?:option\s+|choice\s+)?\(?([A-J])(?:\)|[.:](?=\s|$)|\s*$)", re.IGNORECASE)
_OUTPUT = re.compile(r"```output\s*\n([^`]{0,400})\n?```")


def _after_tags(text: str) -> str:
    """Return the part of a response that holds its answer; unclosed thoughts hold none, so they are kept whole."""
    if "</" not in text:
        return text
    if (end := text.rfind("</think>")) >= 0 and (tail := text[end + 8 :]).strip():
        text = tail
    if (end := text.rfind("</answer>")) >= 0 and (start := text.rfind("<answer>", 0, end)) >= 0:
        text = text[start + 8 : end]
    return text


def _hashed(text: str) -> str | None:
    """Return the rest of the line behind the last `####`, unless it is a heading."""
    start = text.rfind("####")
    if start < 0:
        return None
    line = text[start + 4 : start + 400].split("\n", 1)[0].strip().lstrip("#").strip(" *")
    return line if line and (_NUMBER.match(line) or line[0] in "\\$(-." or len(line) == 1) else None


def _overruling(text: str, end: int) -> str | None:
    """Return what a "final answer is" behind the last box says."""
    if len(text) - end < 12:
        return None
    tail = text[max(end, len(text) - TAIL) :]
    if "nswer" not in tail:
        return None
    found = [match.end() for match in _FINAL.finditer(tail)]
    return _clause(tail[found[-1] :]) if found else None


def _unmarked(text: str) -> str | None:
    """Return the answer of a text without boxes."""
    if not text:
        return None
    marker = _last_marker(text)
    if marker is not None and not _SECOND_THOUGHT.search(text, marker):
        answer = _clause(text[marker:])
        if answer:
            return answer
    if (choice := _CHOICE.fullmatch(text)) is not None and not choice[1].islower():
        return choice[1]
    bold = _BOLD.findall(text.rpartition("\n")[2])
    if len(bold) == 1 and _NUMBER.fullmatch(bold[0]):
        return str(bold[0])
    outputs = _OUTPUT.findall(text)
    if outputs and _NUMBER.fullmatch(outputs[-1].strip()):
        return str(outputs[-1].strip())
    return _ending(text, whole=True)


def _last_marker(text: str) -> int | None:
    """Return where the last "answer is", "Answer:" or, at the start of a line, "A:" ends."""
    ends = []
    lower = text.lower()
    for word in ("answer", "option", "choice"):
        position = len(text)
        while (position := lower.rfind(word, 0, position)) >= 0:
            if (match := _ANSWER_IS.match(text, position)) is not None:
                ends.append(match.end())
                break
    position = text.rfind("A:")
    if position >= 0 and not text[:position].rpartition("\n")[2].strip():
        ends.append(position + 2)
    return max(ends, default=None)


def _clause(text: str) -> str | None:
    """Return the answer in the sentence at the start of `text`."""
    text = _BOLD.sub(r"\1", text.lstrip(" \n\t*:_"))
    if not text.startswith(("\\[", "$$", "\\begin")):
        text = _SENTENCE_END.split(text, 1)[0]
    text = _REASON.split(text[:TAIL], maxsplit=1)[0].strip(" *_\"'`")
    if _NUMBER.fullmatch(text):
        return text
    start = _NUMBER.match(_HEDGE.sub("", text))
    if start is not None and _prose(text) and not _formulas(text):
        return start[0].strip()
    if (choice := _CHOICE.match(text)) is not None and not choice[1].islower():
        return choice[1]
    return _ending(text, whole=True)


_REASON = re.compile(r",?\s(?:because|since|and\snot|not)\s", re.IGNORECASE)
_HEDGE = re.compile(r"^(?:approximately|about|exactly|simply)\s")
_SENTENCE_END = re.compile(r"\n|(?<![ap])\.(?=\s|$)|(?<=\s[ap]\.m)\.(?=\s+[A-Z])")


# ---- what a text ends with


def _ending(text: str, *, whole: bool) -> str | None:
    """Return a text that is all answer, else the last formula or number in it, else a few words."""
    text = _BOLD.sub(r"\1", text)
    bare = text.strip().rstrip(".")
    formulas = _formulas(text)
    prose = _prose(bare)
    if whole and not formulas and not prose:
        return bare or None
    numbers = list(_NUMBER.finditer(text))
    if formulas and (not numbers or formulas[-1][1] >= numbers[-1].start()):
        return _joined(text, formulas, trusted=False)
    if numbers:
        return numbers[-1][0].strip()
    return bare if whole and len(prose) <= 5 and len(bare) <= 80 else None


_PROSE = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2,}")
_MACRO = re.compile(
    r"\\(?:(?:begin|end)\{\w{1,20}\*?\}(?:\{[lcr|]{1,20}\})?|(?:text|mbox|mathrm)\s?\{[^{}]{0,40}\}|[A-Za-z]+)"
)
_MATHEMATICAL = frozenset(
    {"and", "or", "pct", "percent", "percentage", "sin", "cos", "tan", "cot", "sec", "csc", "ln", "log", "exp", "sqrt"}
    | {"pi", "infinity", "inf", "am", "pm", "arcsin", "arccos", "arctan", "degrees", "degree", "rad", "radians", "mod"}
    | {"xy", "yz", "xz", "ab", "bc", "ac", "ax", "bx", "cx", "abc", "xyz"}
)
_DISPLAY = re.compile(
    r"\$\$(?P<a>[^$]{1,600})\$\$|\\\[(?P<b>.{1,600}?)\\\]|\\\((?P<c>.{1,400}?)\\\)"
    r"|(?<!\\)\$(?P<d>(?:\\.|[^$\\]){1,400})\$(?!\d)",
    re.DOTALL,
)

_PERCENT = re.compile(r"\s?\\?%")
_BOLD = re.compile(r"(?<![\w)}*])\*\*(?=[^\s*])([^*\n]{1,200})(?<=\S)\*\*(?![\w(*])")


def _prose(text: str) -> list[str]:
    """Return the words of a text that are not part of mathematical notation."""
    return [word for word in _PROSE.findall(_MACRO.sub(" ", text)) if word.lower() not in _MATHEMATICAL]


def _formulas(text: str) -> list[tuple[int, int, str]]:
    """Return start, end and content of the formulas of a text; a pair of currency signs encloses none."""
    found: list[tuple[int, int, str]] = []
    position = 0
    while (match := _DISPLAY.search(text, position)) is not None:
        content = match[match.lastgroup or 0]
        if match.lastgroup == "d" and content[-1] in " +-=*/" and content[0] != " ":
            position = match.start() + 1
            continue
        percent = _PERCENT.match(text, match.end())
        position = percent.end() if percent else match.end()
        found.append((match.start(), position, content.strip() + (r"\%" if percent else "")))
    return found


def _joined(text: str, formulas: list[tuple[int, int, str]], *, trusted: bool) -> str:
    """Return the last formula, with those that it is joined to."""
    start, _, content = formulas[-1]
    contents = [content]
    for earlier_start, earlier_end, earlier in reversed(formulas[:-1]):
        if not _is_conjunction(text[earlier_end:start], trusted=trusted):
            break
        contents.append(earlier)
        start = earlier_start
    return ", ".join(reversed(contents)).strip().rstrip(".")


def _is_all_formula(text: str, formulas: list[tuple[int, int, str]]) -> bool:
    return formulas[0][0] < 3 and len(text.strip()) - formulas[-1][1] < 3
