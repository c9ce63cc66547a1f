"""Counts of matching n-grams between one text and prepared references; what is made of the counts is `bleu`'s matter.

Tokens become the digits 1, 2, .. of a number system, so that an n-gram is one integer, all orders share one sorted
array, and looking up is a binary search. Prepared this way, four references of 300 tokens take 0.1 MB and not the 1 MB
of dictionaries keyed by tuples, which cost more to build and make the garbage collector walk through them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, count, repeat
from typing import Any

import numpy as np

_INT64_END = 2**63


class ReferenceNgrams:
    """The n-grams of orders 1 to `max_order` of the references, each with its largest count in any one of them.

    `references` are lists of tokens, at least one of them not empty.
    """

    def __init__(self, references: Sequence[Sequence[str]], *, max_order: int) -> None:
        self._max_order = max_order
        self._digits = dict(zip(dict.fromkeys(chain(*references)), count(1), strict=False))
        self._base = len(self._digits) + 2  # without the digit 0, no order's numbers run into another's
        end = self._base**max_order
        self._dtype: type = np.int64 if end < _INT64_END else object  # Python's integers: slower, never too small
        numbers = [self._numbers(one) for one in references]
        # Of equal n-grams the first one counts; the last of all is a sentinel that nothing reaches.
        self._ngrams = np.sort(np.concatenate([*numbers, np.array([end], dtype=self._dtype)]))
        self._largest = np.max([self._occurrences(one) for one in numbers], axis=0)
        self._starts = np.searchsorted(self._ngrams, [self._base**order for order in range(max_order)])

    def matches(self, tokens: Sequence[str]) -> list[int]:
        """Return for each order how many n-grams of `tokens` occur in the references, clipped at the largest count."""
        clipped = np.minimum(self._occurrences(self._numbers(tokens)), self._largest)
        matched: list[int] = np.add.reduceat(clipped, self._starts).tolist()
        return matched

    def _occurrences(self, numbers: Any) -> Any:
        """Return how often each n-gram of the references is among `numbers`, which this sorts."""
        numbers.sort()  # a search for sorted values is the faster
        places = np.searchsorted(self._ngrams, numbers)
        return np.bincount(places[self._ngrams[places] == numbers], minlength=len(self._ngrams))

    def _numbers(self, tokens: Sequence[str]) -> Any:
        """Return the n-grams of all orders as numbers; all tokens that no reference holds share the last digit."""
        digits = list(map(self._digits.get, tokens, repeat(self._base - 1)))
        orders: list[Any] = [np.array(digits, dtype=self._dtype)]
        for order in range(1, self._max_order):
            orders.append(orders[-1][:-1] * self._base + orders[0][order:])
        return np.concatenate(orders)
