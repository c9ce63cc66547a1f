"""The `bleu` reward: BLEU of the answer against the references, by BLEUBERI's rule or by sacrebleu's; 0 to 1.

It scores sentences, not corpora, and words, not meaning. Tokens and counts are `tokenizer`'s and `ngrams`' matter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, Literal, get_args

from rewardkit.errors import ConfigError, MissingExtraError
from rewardkit.types import Score, Trajectory
from rewardkit_plugins.text.ngrams import ReferenceNgrams
from rewardkit_plugins.text.tokenizer import tokenize_13a

Variant = Literal["bleuberi", "sacrebleu"]
_PREPARED_TASKS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class BleuStatistics:
    """BLEU in [0, 1] and what it is made of; lengths are in tokens, `reference_length` is what the penalty compares."""

    bleu: float
    precisions: tuple[float, ...]
    brevity_penalty: float
    hypothesis_length: int
    reference_length: int


def sentence_bleu(
    hypothesis: str, references: Sequence[str], *, max_order: int = 4, smooth: bool = True
) -> BleuStatistics:
    """Return the BLEU of one text as HF evaluate computes it; `smooth` adds one to both counts of every order.

    The brevity penalty compares with the shortest reference. References without a token are left out and an empty
    hypothesis is 0.0, where HF evaluate divides by zero. Raises ValueError when no reference has a token.
    Source: Papineni et al. 2002; smoothing of Lin and Och 2004, but on single words too; BLEUBERI (arXiv 2505.11080).
    """
    prepared = _prepare(tuple(references), _Rule("bleuberi", max_order, smooth, lowercase=False, min_tokens=1))
    if prepared is None:
        raise ValueError(f"none of the {len(references)} references has a token")
    return prepared.statistics(hypothesis)


class Bleu:
    """Scores the last action by its n-gram overlap with `task.references`, in [0, 1].

    An empty answer scores 0.0. References of fewer than `min_reference_tokens` tokens are left out: smoothing pays a
    wrong answer of one word 0.84 against a reference of one word, and 0.30 at four, the first length at which n-grams
    of every order exist. With none left the reward abstains. 0 leaves out empty references only.

    `variant` "bleuberi" is what BLEUBERI trains with (HF evaluate's BLEU; `smooth`: add-one), "sacrebleu" is
    sacrebleu's sentence BLEU (effective order; `smooth`: exponential; the closest reference sets the brevity penalty).
    Raises ConfigError for an option that cannot be right, MissingExtraError where sacrebleu is asked for and absent.
    """

    def __init__(
        self,
        *,
        variant: Variant = "bleuberi",
        max_order: int = 4,
        smooth: bool = True,
        lowercase: bool = False,
        min_reference_tokens: int = 4,
    ) -> None:
        if variant not in get_args(Variant):
            raise ConfigError(f"bleu: variant must be 'bleuberi' or 'sacrebleu', not {variant!r}")
        if max_order < 1:
            raise ConfigError(f"bleu: max_order must be at least 1, not {max_order!r}")
        if min_reference_tokens < 0:
            raise ConfigError(f"bleu: min_reference_tokens must not be negative, but is {min_reference_tokens!r}")
        if variant == "sacrebleu" and find_spec("sacrebleu") is None:
            raise MissingExtraError("bleu: variant 'sacrebleu' needs sacrebleu: pip install 'agentic-rewardkit[text]'")
        self._rule = _Rule(variant, max_order, smooth, lowercase=lowercase, min_tokens=max(1, min_reference_tokens))

    def signature_fields(self) -> dict[str, str]:
        """Return what decides the number, in sacrebleu's words."""
        rule, theirs = self._rule, self._rule.variant == "sacrebleu"
        smoothing = "exp" if theirs else "add-1"
        fields = {
            "order": str(rule.max_order),
            "smooth": smoothing if rule.smooth else "none",
            "tok": "13a",
            "case": "lc" if rule.lowercase else "mixed",
            "bp": "closest" if theirs else "shortest",
            "minref": str(rule.min_tokens),
        }
        return {**fields, "sacrebleu": version("sacrebleu")} if theirs else fields

    def setup(self) -> None:
        """Import sacrebleu where the variant needs it."""
        if self._rule.variant == "sacrebleu":
            import sacrebleu  # noqa: F401

    def score_batch(self, batch: Sequence[Trajectory], /) -> list[Score]:
        """Return one Score each; `parts` holds the precisions p1, p2, .., the brevity penalty and both lengths."""
        return [self._score(trajectory) for trajectory in batch]

    def close(self) -> None:
        """Do nothing: the references prepared are few, and all `bleu` rewards of the process share them."""

    def _score(self, trajectory: Trajectory) -> Score:
        prepared = _prepare(trajectory.task.references, self._rule)
        if prepared is None:
            return Score(value=None, explanation=f"the task has no reference of {self._rule.min_tokens} or more tokens")
        found = prepared.statistics(trajectory.completion)
        parts: dict[str, float] = {f"p{order}": p for order, p in enumerate(found.precisions, start=1)}
        parts["brevity_penalty"] = found.brevity_penalty
        parts["hypothesis_length"] = found.hypothesis_length
        parts["reference_length"] = found.reference_length
        return Score(value=found.bleu, parts=parts)


@dataclass(frozen=True, slots=True)
class _Rule:
    variant: Variant
    max_order: int
    smooth: bool
    lowercase: bool
    min_tokens: int

    def tokens(self, text: str) -> list[str]:
        return tokenize_13a(text.lower() if self.lowercase else text)


class _Prepared:
    """References ready for any number of hypotheses."""

    def __init__(self, references: Sequence[Sequence[str]], rule: _Rule) -> None:
        self._rule = rule
        self._ngrams = ReferenceNgrams(references, max_order=rule.max_order)
        self._shortest = min(map(len, references))

    def statistics(self, hypothesis: str) -> BleuStatistics:
        tokens = self._rule.tokens(hypothesis)
        length, added = len(tokens), int(self._rule.smooth)
        totals = (max(length - order, 0) for order in range(self._rule.max_order))
        matches = self._ngrams.matches(tokens)
        precisions = tuple(_ratio(m + added, t + added) for m, t in zip(matches, totals, strict=True))
        penalty = _brevity_penalty(length, self._shortest)
        return BleuStatistics(
            bleu=penalty * _geometric_mean(precisions),
            precisions=precisions,
            brevity_penalty=penalty,
            hypothesis_length=length,
            reference_length=self._shortest,
        )


class _PreparedSacrebleu:
    """References ready for any number of hypotheses, by sacrebleu."""

    def __init__(self, references: Sequence[str], rule: _Rule) -> None:
        from sacrebleu.metrics.bleu import BLEU

        self._metric = BLEU(
            lowercase=rule.lowercase,
            smooth_method="exp" if rule.smooth else "none",
            max_ngram_order=rule.max_order,
            effective_order=True,
            references=[[one] for one in references],
        )

    def statistics(self, hypothesis: str) -> BleuStatistics:
        found: Any = self._metric.corpus_score([hypothesis], None)
        return BleuStatistics(
            bleu=min(found.score / 100, 1.0),  # sacrebleu's best is 100.00000000000004
            precisions=tuple(p / 100 for p in found.precisions),
            brevity_penalty=found.bp,
            hypothesis_length=found.sys_len,
            reference_length=found.ref_len,
        )


@lru_cache(maxsize=_PREPARED_TASKS)
def _prepare(references: tuple[str, ...], rule: _Rule) -> _Prepared | _PreparedSacrebleu | None:
    """Return the references prepared, or None when none is long enough; attempts at one task share the work."""
    pairs = [(text, tokens) for text in references if len(tokens := rule.tokens(text)) >= rule.min_tokens]
    if not pairs:
        return None
    if rule.variant == "sacrebleu":
        return _PreparedSacrebleu([text for text, _ in pairs], rule)
    return _Prepared([tokens for _, tokens in pairs], rule)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _brevity_penalty(length: int, reference_length: int) -> float:
    if length == 0:
        return 0.0
    return 1.0 if length > reference_length else math.exp(1 - reference_length / length)


def _geometric_mean(precisions: Sequence[float]) -> float:
    if min(precisions) == 0:
        return 0.0
    return math.exp(sum(map(math.log, precisions)) / len(precisions))
