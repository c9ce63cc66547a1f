"""The 13a tokenizer of WMT's mteval, as sacrebleu and HF evaluate apply it; no other tokenizer, no lower-casing.

The rules are those of mteval-v13a's regular expressions. Plain string replacement does what they do many times faster;
only marks in a row before a digit ("..5"), where mteval reads them in pairs, take the expressions as they are.
"""

from __future__ import annotations

import re

_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))
_MARKS = tuple((mark, f" {mark} ") for mark in '!"#$%&()*+/:;<=>?@[\\]^_`{|}~')
_STACKED = ("..", ",,", ".,", ",.")

# Looking behind from the mark, not before it, lets the search jump from mark to mark.
_FREE_POINT = re.compile(r"\.(?:(?![0-9])|(?<![0-9]\.))")
_FREE_COMMA = re.compile(r",(?:(?![0-9])|(?<![0-9],))")
_DASH_AFTER_DIGIT = re.compile(r"-(?<=[0-9]-)")
_MARK_AFTER_OTHER = re.compile(r"([^0-9])([.,])")
_MARK_BEFORE_OTHER = re.compile(r"([.,])(?![0-9])")


def tokenize_13a(text: str) -> list[str]:
    """Split `text` into tokens: punctuation stands alone, but for apostrophes, hyphens, and marks inside of numbers.

    "3.14" and "1,000" stay whole, "5." and ".5" do not; a hyphen stands alone after a digit. Text in scripts without
    spaces is one token for each run between spaces or ASCII punctuation.
    """
    text = text.replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    if "&" in text:
        for entity, character in _ENTITIES:
            text = text.replace(entity, character)
    for mark, alone in _MARKS:
        if mark in text:
            text = text.replace(mark, alone)
    if any(pair in text for pair in _STACKED):
        text = _MARK_BEFORE_OTHER.sub(r" \1 ", _MARK_AFTER_OTHER.sub(r"\1 \2 ", f" {text}"))
    else:
        text = _FREE_COMMA.sub(" , ", _FREE_POINT.sub(" . ", text))
    return _DASH_AFTER_DIGIT.sub(" - ", text).split()
