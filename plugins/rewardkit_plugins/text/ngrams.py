"""Counts of matching n-grams between one text and prepared references; what is made of the counts is `bleu`'s matter.

Tokens become the digits 1, 2, .. of a number system, so that an n-gram is one integer, all orders share one sorted
array, and looking up is a binary search. Prepared this way, four references of 300 tokens take 0.1 MB and not the 1 MB
of dictionaries keyed by tuples, which cost more to build and make the garbage collector walk through them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count, repeat
from typing import Any

import numpy as np

_INT64_END = 2**63


class ReferenceNgrams:
    """The n-grams of orders 1 to `max_order` of the references, each with its largest count in any one of them.

    `references` are lists of tokens, at least one of them not empty.
    """

    def __init__(self, references: Sequence[Sequence[str]], *, max_order: int) -> None:
        joined = [token for one in references for token in (*one, None)]  # no n-gram over an end is one of a hypothesis
        many = len(references)
        self._max_order = max_order
        self._digits = dict(zip(dict.fromkeys(joined), count(1), strict=False))
        self._base = len(self._digits) + 2  # without the digit 0, no order's numbers run into another's
        end = self._base**max_order
        fits = end * many < _INT64_END
        self._dtype: type = np.int64 if fits else object  # Python's integers are slower, but never too small
        places = np.repeat(np.arange(many), [len(one) + 1 for one in references])
        marked = np.concatenate([numbers * many + places[: len(numbers)] for numbers in self._orders(joined)])
        marked, counts = np.unique(marked, return_counts=True)
        ngrams = marked // many
        firsts = np.flatnonzero(np.append(True, ngrams[1:] != ngrams[:-1]))
        self._ngrams = np.append(ngrams[firsts], end)  # the last is a sentinel that nothing reaches
        self._largest = np.append(np.maximum.reduceat(counts, firsts), 0)
        self._starts = np.searchsorted(self._ngrams, [self._base**order for order in range(max_order)])

    def matches(self, tokens: Sequence[str]) -> list[int]:
        """Return for each order how many n-grams of `tokens` occur in the references, clipped at the largest count."""
        numbers = np.sort(np.concatenate(self._orders(tokens)))  # a search for sorted values is the faster
        places = np.searchsorted(self._ngrams, numbers)
        occurrences = np.bincount(places[self._ngrams[places] == numbers], minlength=len(self._ngrams))
        matched: list[int] = np.add.reduceat(np.minimum(occurrences, self._largest), self._starts).tolist()
        return matched

    def _orders(self, tokens: Sequence[str | None]) -> list[Any]:
        """Return the n-grams of each order as numbers; all tokens that no reference holds share the last digit."""
        digits = list(map(self._digits.get, tokens, repeat(self._base - 1)))
        orders: list[Any] = [np.array(digits, dtype=self._dtype)]
        for order in range(1, self._max_order):
            orders.append(orders[-1][:-1] * self._base + orders[0][order:])
        return orders
