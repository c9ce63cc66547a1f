"""Counts of matching n-grams between one text and prepared references; what is made of the counts is `bleu`'s matter.

Tokens become the digits 1, 2, .. of a number system, so that an n-gram is one integer, all orders share one sorted
array, and counting is sorting. Prepared this way, four references of 300 tokens take 0.1 MB and not the 1 MB of
dictionaries keyed by tuples, which cost more to build and make the garbage collector walk through them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, repeat
from typing import Any

import numpy as np

_INT64_END = 2**63


class ReferenceNgrams:
    """The n-grams of orders 1 to `max_order` of the references, each with its largest count in any one of them.

    `references` are lists of tokens, at least one of them not empty.
    """

    def __init__(self, references: Sequence[Sequence[str]], *, max_order: int) -> None:
        self.max_order = max_order
        self._digits = {token: digit for digit, token in enumerate(dict.fromkeys(chain(*references)), start=1)}
        self._base = len(self._digits) + 2  # without the digit 0, no order's numbers run into another's
        self._edges = [self._base**order for order in range(max_order + 1)]
        fits = self._edges[-1] * len(references) < _INT64_END
        self._dtype: type = np.int64 if fits else object  # Python's integers are slower, but never too small
        self._ngrams, self._counts = self._largest_counts(references)

    def matches(self, tokens: Sequence[str]) -> list[int]:
        """Return for each order how many n-grams of `tokens` occur in the references, clipped at the largest count."""
        ngrams, counts = np.unique(self._numbers(tokens), return_counts=True)
        places = np.searchsorted(self._ngrams, ngrams)
        clipped = np.minimum(counts, self._counts[places]) * (self._ngrams[places] == ngrams)
        running = np.concatenate(([0], np.cumsum(clipped)))
        matched: list[int] = np.diff(running[np.searchsorted(ngrams, self._edges)]).tolist()
        return matched

    def _largest_counts(self, references: Sequence[Sequence[str]]) -> tuple[Any, Any]:
        """Return the sorted n-grams and their counts, with a last one that is larger than any and counts nothing."""
        many = len(references)
        marked = np.concatenate([self._numbers(one) * many + place for place, one in enumerate(references)])
        marked, counts = np.unique(marked, return_counts=True)
        ngrams = marked // many
        starts = np.flatnonzero(np.append(True, ngrams[1:] != ngrams[:-1]))
        largest = np.maximum.reduceat(counts, starts)
        return np.append(ngrams[starts], self._edges[-1]), np.append(largest, 0)

    def _numbers(self, tokens: Sequence[str]) -> Any:
        """Return the n-grams of all orders as numbers; all tokens that no reference holds share the last digit."""
        digits = list(map(self._digits.get, tokens, repeat(self._base - 1)))
        orders: list[Any] = [np.array(digits, dtype=self._dtype)]
        for order in range(1, self.max_order):
            orders.append(orders[-1][:-1] * self._base + orders[0][order:])
        return np.concatenate(orders)
