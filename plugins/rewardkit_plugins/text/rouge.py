"""The `rouge` reward: ROUGE-1, ROUGE-2 or ROUGE-L F1 of the answer against the references, 0 to 1.

It has no stemmer and no union over sentences (rougeLsum). Words are runs of a-z and 0-9 after lower-casing, so text in
other scripts has none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import repeat
from typing import Literal, NamedTuple, get_args

from rapidfuzz.distance import LCSseq

from rewardkit.errors import ConfigError
from rewardkit.types import Score, Trajectory

Variant = Literal["rouge1", "rouge2", "rougeL"]
_PREPARED_TASKS = 256
_WORD = re.compile("[a-z0-9]+")
_UNKNOWN = "\0"


class RougeStatistics(NamedTuple):
    """Precision, recall and their harmonic mean, each in [0, 1]."""

    precision: float
    recall: float
    f1: float


def rouge(hypothesis: str, references: Sequence[str], *, variant: Variant = "rougeL") -> RougeStatistics:
    """Return the ROUGE with the reference of the highest F1 (the first of equals), as rouge-score does unstemmed.

    All three are 0.0 when the hypothesis has no n-gram of the order. References without a word are left out; raises
    ValueError when none is left. Source: Lin 2004, sections 2 and 3.1.
    """
    prepared = _prepare(tuple(references), variant)
    if not prepared:
        raise ValueError(f"none of the {len(references)} references has a word of a-z or 0-9")
    words = _words(hypothesis)
    return max((one.compare(words) for one in prepared), key=lambda found: found.f1)


class Rouge:
    """Scores the last action by its overlap with `task.references`: the F1 with the reference it comes closest to.

    "rouge1" and "rouge2" count words and pairs of words, "rougeL" the longest common subsequence of words. References
    without a word are left out; with none left the reward abstains. An answer without words scores 0.0.
    Raises ConfigError for an unknown variant.
    """

    def __init__(self, *, variant: Variant = "rougeL") -> None:
        if variant not in get_args(Variant):
            raise ConfigError(f"rouge: variant must be one of {', '.join(get_args(Variant))}, not {variant!r}")
        self.variant: Variant = variant

    def setup(self) -> None:
        """Do nothing: there is nothing to load."""

    def score_batch(self, batch: Sequence[Trajectory], /) -> list[Score]:
        """Return one Score each; `parts` holds precision and recall."""
        return [self._score(trajectory) for trajectory in batch]

    def close(self) -> None:
        """Do nothing: the references prepared are few, and all `rouge` rewards of the process share them."""

    def _score(self, trajectory: Trajectory) -> Score:
        references = trajectory.task.references
        if not _prepare(references, self.variant):
            return Score(value=None, explanation="the task has no reference with a word of a-z or 0-9")
        found = rouge(trajectory.completion, references, variant=self.variant)
        return Score(value=found.f1, parts={"precision": found.precision, "recall": found.recall})


class _Ngrams:
    """A reference as counted n-grams."""

    def __init__(self, words: Sequence[str], order: int) -> None:
        self._order = order
        self._counts = self._count(words)

    def compare(self, words: Sequence[str]) -> RougeStatistics:
        counts = self._count(words)
        return _statistics((counts & self._counts).total(), counts.total(), self._counts.total())

    def _count(self, words: Sequence[str]) -> Counter[tuple[str, ...]]:
        return Counter(zip(*(words[start:] for start in range(self._order)), strict=False))


class _Sequence:
    """A reference as a string of one character a word, the form in which common subsequences are found fastest."""

    def __init__(self, words: Sequence[str]) -> None:
        self._letters = {word: chr(place) for place, word in enumerate(dict.fromkeys(words), start=1)}
        self._text = self._spell(words)

    def compare(self, words: Sequence[str]) -> RougeStatistics:
        common = LCSseq.similarity(self._spell(words), self._text)
        return _statistics(common, len(words), len(self._text))

    def _spell(self, words: Sequence[str]) -> str:
        return "".join(map(self._letters.get, words, repeat(_UNKNOWN)))


@lru_cache(maxsize=_PREPARED_TASKS)
def _prepare(references: tuple[str, ...], variant: Variant) -> list[_Ngrams] | list[_Sequence]:
    """Return the references that have words, prepared; attempts at one task share the work."""
    texts = [words for one in references if (words := _words(one))]
    if variant == "rougeL":
        return [_Sequence(words) for words in texts]
    return [_Ngrams(words, int(variant[-1])) for words in texts]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _statistics(common: int, in_hypothesis: int, in_reference: int) -> RougeStatistics:
    if common == 0:
        return RougeStatistics(0.0, 0.0, 0.0)
    precision, recall = common / in_hypothesis, common / in_reference
    return RougeStatistics(precision, recall, 2 * precision * recall / (precision + recall))
