"""Words of answers: SQuAD's normalisation, token F1, and whether a text says a phrase; nothing about meaning."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_WORD = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]|\d+(?:[.,:/]\d+)*|[^\W_]+(?:['’][^\W_]+)*")


def squad_normalised(text: str) -> str:
    """Return `text` as SQuAD's evaluation script compares it: no case, ASCII punctuation, articles or runs of space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def squad_tokens(text: str) -> list[str]:
    """Return the words that are left of `text`, or if none are, those that it had with its articles."""
    return squad_normalised(text).split() or text.lower().translate(_PUNCTUATION).split()


def token_f1(reference: str, answer: str) -> tuple[float, float, float]:
    """Return F1, precision and recall of the words of `answer`; two texts without words are equal."""
    wanted, given = squad_tokens(reference), squad_tokens(answer)
    if not wanted or not given:
        same = float(wanted == given)
        return same, same, same
    common = (Counter(wanted) & Counter(given)).total()
    precision, recall = common / len(given), common / len(wanted)
    return 2 * common / (len(given) + len(wanted)), precision, recall


def words_of(text: str) -> list[str]:
    """Return the words of `text`, case-folded (NFKC): numbers whole, each CJK character for itself."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def places_of(phrase: list[str], words: list[str]) -> list[int]:
    """Return where `phrase` begins in `words`, word by word; nowhere for an empty phrase."""
    if not phrase:
        return []
    return [i for i, word in enumerate(words) if word == phrase[0] and words[i : i + len(phrase)] == phrase]


def says(text: str, phrase: str) -> bool:
    """Return whether `text` holds `phrase` as whole words: "particle" does not say "art"."""
    return bool(places_of(words_of(phrase), words_of(text)))
