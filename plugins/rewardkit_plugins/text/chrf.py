"""The `chrf` reward: chrF or chrF++ of the answer against the references, as sacrebleu computes it, 0 to 1.

It is for sentences, not corpora. The numbers are sacrebleu's; this module prepares references and adds no rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from sacrebleu.metrics.chrf import CHRF

from rewardkit.errors import ConfigError
from rewardkit.types import Score, Trajectory

_PREPARED_TASKS = 64  # n-grams of characters in dictionaries: about 1 MB for 1,000 words of references


class Chrf:
    """Scores the last action by the character n-grams it shares with the nearest of `task.references`.

    `word_order` 0 is chrF, 2 is chrF++; `beta` is how many times recall weighs more than precision. Empty references
    are left out; with none left the reward abstains. An empty answer scores 0.0. Spaces do not count.
    Raises ConfigError for an option that cannot be right. Source: Popović 2015 (chrF), 2017 (chrF++).
    """

    def __init__(self, *, char_order: int = 6, word_order: int = 0, beta: int = 2, lowercase: bool = False) -> None:
        if char_order < 1 or word_order < 0 or beta < 1:
            given = f"{char_order!r}, {word_order!r} and {beta!r}"
            raise ConfigError(f"chrf: char_order >= 1, word_order >= 0 and beta >= 1 are needed, not {given}")
        self._options = (char_order, word_order, beta, lowercase)

    def signature_fields(self) -> dict[str, str]:
        """Return what decides the number, under the abbreviations that sacrebleu prints."""
        char_order, word_order, beta, lowercase = self._options
        return {
            "case": "lc" if lowercase else "mixed",
            "eff": "yes",
            "nc": str(char_order),
            "nw": str(word_order),
            "space": "no",
            "beta": str(beta),
            "sacrebleu": version("sacrebleu"),
        }

    def setup(self) -> None:
        """Do nothing: there is nothing to load."""

    def score_batch(self, batch: Sequence[Trajectory], /) -> list[Score]:
        """Return one Score each."""
        return [self._score(trajectory) for trajectory in batch]

    def close(self) -> None:
        """Do nothing: the references prepared are few, and all `chrf` rewards of the process share them."""

    def _score(self, trajectory: Trajectory) -> Score:
        metric = _prepare(trajectory.task.references, *self._options)
        if metric is None:
            return Score(value=None, explanation="the task has no reference that is not empty")
        return Score(value=metric.corpus_score([trajectory.completion], None).score / 100)


@lru_cache(maxsize=_PREPARED_TASKS)
def _prepare(references: tuple[str, ...], char_order: int, word_order: int, beta: int, lowercase: bool) -> Any:
    """Return sacrebleu's metric with the references prepared, or None; attempts at one task share the work."""
    streams = [[one] for one in references if one.strip()]
    if not streams:
        return None
    return CHRF(char_order=char_order, word_order=word_order, beta=beta, lowercase=lowercase, references=streams)
