"""Sentences of an answer, and the citations `[1]`, `[1][2]`, `[1, 2]` in them; the rules are made for prose.

Not covered: ranges such as [1-3], and citations by name.
"""

from __future__ import annotations

import re

CITATION = re.compile(r"\[\s?(\d{1,9}(?:\s?,\s?\d{1,9})*)\s?\]", re.ASCII)
RELEASED_CITATION = re.compile(r"\[(\d{1,9})", re.ASCII)  # what ALCE's code takes for a citation
_SPACED_CITATION = re.compile(rf"\s{{0,9}}{CITATION.pattern}", re.ASCII)
# The end of a sentence: its mark, what closes after it, and the citations behind that.
_END = re.compile(r"(?:(?<![.!?])[.!?]++[\"'”’)]*+(?=\s|\[\s?\d|$)|[。！？]+[”’」』）]*)(?:\s?\[\s?\d[\d\s,]*\])*|\n+")
_ABBREVIATIONS_TEXT = """
mr mrs ms dr prof sr jr st mt vs etc al eg ie e.g i.e cf fig approx ca dept gen col lt sgt rev hon inc ltd co
corp jan feb mar apr jun jul aug sep sept oct nov dec u.s u.k p.m a.m
"""
_ABBREVIATIONS = frozenset(_ABBREVIATIONS_TEXT.split())
_SPACES = re.compile(r"[^\S\n]+")
_LONGEST_WORD = 40


def sentences_of(text: str) -> list[str]:
    """Return the sentences of `text` that hold a letter or a digit beside their citations, with single spaces.

    A citation behind the full stop belongs to the sentence before it. A new line ends a sentence.
    """
    text = _SPACES.sub(" ", text)
    found, start = [], 0
    for end in _END.finditer(text):
        at = end.end()
        if not _is_abbreviation(text[max(start, at - _LONGEST_WORD) : at], text[at : at + 2]):
            found.append(text[start:at].strip())
            start = at
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
    if not before.endswith(".") or not after.strip() or after[0] == "\n":
        return False
    word = before[:-1].rpartition(" ")[2].lstrip("(\"'").lower()
    return after.lstrip()[0].islower() or word in _ABBREVIATIONS or (len(word) == 1 and word.isalpha() and word != "i")
