"""Whether a passage entails a sentence: asked of an injected model, or of a lexical rule.

A judge takes pairs (premise, claim) and gives one truth value or probability for each; above 0.5 is entailed.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

from rewardkit.errors import ConfigError, RewardError
from rewardkit_plugins.rag.words import words_of

Pair = tuple[str, str]
Ask = Callable[[Sequence[Pair]], Sequence[Any]]
_AT_ONCE = 64  # sentences: their premises must not fill the memory

_STOPWORDS_TEXT = """
a about after all also an and any are as at be became because been before being both but by can could did do does
for from had has have he her hers him his how i if in into is it its itself may might more most my of on or other
our over she should since so some such than that the their them then there these they this those through to under
until up was we were what when where which while who whom whose why will with would you your
"""
STOPWORDS = frozenset(_STOPWORDS_TEXT.split())
_NEGATIONS = frozenset(("no", "not", "never", "none", "nobody", "nothing", "neither", "nor", "cannot", "without"))
_SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")


class Entailment:
    """Answers questions of entailment, each once in a call.

    `source` is "lexical", the address "package.module:name" of a judge, or the judge. A class is built by `setup`.
    """

    def __init__(self, source: Any) -> None:
        is_address = isinstance(source, str) and (source == "lexical" or ":" in source)
        if not is_address and (isinstance(source, str) or not callable(source)):
            raise ConfigError(f"entailment must be 'lexical', 'package.module:name' or a function, not {source!r}")
        self.name = source if isinstance(source, str) else getattr(source, "__qualname__", type(source).__qualname__)
        self._source = source
        self._ask: Ask | None = None

    def __reduce__(self) -> tuple[type[Entailment], tuple[Any]]:
        return Entailment, (self._source,)

    def setup(self) -> None:
        """Load the judge. Idempotent."""
        if self._ask is None:
            self._ask = lexical if self._source == "lexical" else load(self._source)

    def of(self, pairs: Sequence[Pair]) -> list[bool]:
        """Return for each pair whether the premise entails the claim."""
        self.setup()
        assert self._ask is not None
        distinct = list(dict.fromkeys(pairs))
        answers = list(self._ask(distinct)) if distinct else []
        if len(answers) != len(distinct):
            raise RewardError(f"entailment {self.name!r} gave {len(answers)} answers to {len(distinct)} pairs")
        known = dict(zip(distinct, (float(answer) > 0.5 for answer in answers), strict=True))
        return [known[pair] for pair in pairs]

    def of_each(self, groups: Iterable[Sequence[Pair]]) -> list[list[bool]]:
        """Return the same for groups of pairs, as many answers for each; asks for 64 groups at a time."""
        found: list[list[bool]] = []
        left = iter(groups)
        while some := list(islice(left, _AT_ONCE)):
            answers = iter(self.of([pair for group in some for pair in group]))
            found += [[next(answers) for _ in group] for group in some]
        return found

    def close(self) -> None:
        """Let go of the judge."""
        self._ask = None


def lexical(pairs: Sequence[Pair]) -> list[bool]:
    """Return for each pair whether the premise holds the words of the claim.

    All content words must be there (a plural counts as its singular), and the sentence of the premise that shares most
    of them must be negated if and only if the claim is. Who did what to whom, synonyms and inference are beyond it.
    """
    premises = {premise: _Premise(premise) for premise in dict.fromkeys(premise for premise, _ in pairs)}
    claims = {claim: (content_words(claim), _is_negated(claim)) for claim in dict.fromkeys(claim for _, claim in pairs)}
    return [premises[premise].covers(*claims[claim]) for premise, claim in pairs]


def load(source: Any) -> Any:
    """Return `source`, or what its address "package.module:name" stands for; of a class, an instance.

    Raises ConfigError.
    """
    if isinstance(source, str):
        module, _, name = source.partition(":")
        try:
            source = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"{source!r} cannot be loaded: {error}") from error
    return source() if inspect.isclass(source) else source


def content_words(text: str) -> frozenset[str]:
    """Return the words of `text` that mean something, without plural and possessive endings."""
    return frozenset(_stem(word) for word in words_of(text) if word not in STOPWORDS and not _negates(word))


class _Premise:
    """A text whose words were counted once."""

    def __init__(self, text: str) -> None:
        self.sentences = [(content_words(part), _is_negated(part)) for part in _SENTENCE.split(text)]
        self.words = frozenset().union(*(words for words, _ in self.sentences))

    def covers(self, wanted: frozenset[str], negated: bool) -> bool:
        if not wanted or not wanted <= self.words:
            return False
        return max(self.sentences, key=lambda sentence: len(wanted & sentence[0]))[1] == negated


def _is_negated(text: str) -> bool:
    return any(_negates(word) for word in words_of(text))


def _negates(word: str) -> bool:
    return word in _NEGATIONS or word.endswith(("n't", "n’t"))


def _stem(word: str) -> str:
    word = re.sub(r"['’]s?$", "", word)
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
