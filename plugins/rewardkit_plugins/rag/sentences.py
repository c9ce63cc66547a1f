"""Sentences of an answer, and the citations `[1]`, `[1][2]`, `[1, 2]` in them; the rules are made for prose.

Not covered: ranges such as [1-3], and citations by name.
"""

from __future__ import annotations

import re

CITATION = re.compile(r"\[\s*(\d{1,9}(?:\s*,\s*\d{1,9})*)\s*\]", re.ASCII)
RELEASED_CITATION = re.compile(r"\[(\d{1,9})", re.ASCII)  # what ALCE's code takes for a citation
_SPACED_CITATION = re.compile(rf"\s*{CITATION.pattern}", re.ASCII)
# The end of a sentence: its mark, what closes after it, and the citations behind that.
_END = re.compile(r"(?:[.!?]+[\"'”’)]*(?=\s|\[\s*\d|$)|[。！？]+[”’」』）]*)(?:\s*\[\s*\d[\d\s,]*\])*|\n+")
_ABBREVIATIONS_TEXT = """
mr mrs ms dr prof sr jr st mt no vs etc al eg ie e.g i.e cf fig approx ca dept gen col lt sgt rev hon inc ltd co
corp jan feb mar apr jun jul aug sep sept oct nov dec u.s u.k p.m a.m
"""
_ABBREVIATIONS = frozenset(_ABBREVIATIONS_TEXT.split())
_LAST_WORD = re.compile(r"(\S+)\.$")


def sentences_of(text: str) -> list[str]:
    """Return the sentences of `text` that hold a letter or a digit beside their citations, stripped.

    A citation behind the full stop belongs to the sentence before it. A new line ends a sentence.
    """
    found, start = [], 0
    for end in _END.finditer(text):
        before = text[start : end.end()]
        if not _is_abbreviation(before, text[end.end() : end.end() + 40]):
            found.append(before.strip())
            start = end.end()
    found.append(text[start:].strip())
    return [sentence for sentence in found if any(c.isalnum() for c in without_citations(sentence))]


def citations_of(sentence: str) -> list[int]:
    """Return the numbers that `sentence` cites, in order, each once."""
    groups = CITATION.findall(sentence)
    return list(dict.fromkeys(int(number) for group in groups for number in group.split(",")))


def without_citations(text: str) -> str:
    """Return `text` without its citations and the space before them."""
    return _SPACED_CITATION.sub("", text).strip()


def _is_abbreviation(before: str, after: str) -> bool:
    """Whether the full stop at the end of `before` ends no sentence."""
    following = after.lstrip()
    last = _LAST_WORD.search(before)
    if last is None or not following or after[0] == "\n":
        return False
    word = last[1].lstrip("(\"'").lower()
    return following[0].islower() or word in _ABBREVIATIONS or (len(word) == 1 and word.isalpha() and word != "i")
