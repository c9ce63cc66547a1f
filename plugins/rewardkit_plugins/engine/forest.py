"""How sequences of tokens are laid out in forward passes: sorted by length, to a token budget, common beginnings once.

Pure arithmetic on token ids; what a pass computes is `packing`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

Ids = list[int]

_SHORTEST_TRUNK = 32  # tokens: below that, sharing costs more than it saves
_LEAST_SAVING = 1 / 8  # of the tokens of a tree
_TRUNKS = 3  # branches of at least so many trunks go into one pass, or the trunk is computed too often


@dataclass(frozen=True, slots=True)
class Tree:
    """Sequences (`members`, indices) whose first `trunk` tokens are equal and computed once; 0 for a lone sequence."""

    trunk: int
    members: tuple[int, ...]
    tokens: int


def plan(sequences: Sequence[Ids], budget: int, *, share: bool, padded: bool = False) -> list[list[Tree]]:
    """Return passes of at most `budget` tokens, longest first; one tree that is longer has a pass of its own.

    `share` finds common beginnings. With `padded` a pass costs its longest sequence times their number.
    """
    trees = _trees(sequences, budget) if share else [_lone(sequences, i) for i in range(len(sequences))]
    trees.sort(key=lambda tree: (-tree.tokens, tree.members))
    passes: list[list[Tree]] = []
    used = 0
    for tree in trees:
        used = passes[-1][0].tokens * (len(passes[-1]) + 1) if padded and passes else used + tree.tokens
        if not passes or used > budget:
            passes.append([])
            used = tree.tokens
        passes[-1].append(tree)
    return passes


def common_prefix(one: Ids, other: Ids) -> int:
    """Return how many tokens two sequences have in common at their beginning."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[low:middle] == other[low:middle] else (low, middle - 1)
    return low


def _trees(sequences: Sequence[Ids], budget: int) -> list[Tree]:
    order = sorted(range(len(sequences)), key=lambda i: sequences[i])
    shared = [
        # Every branch keeps a token of its own.
        min(common_prefix(sequences[i], sequences[j]), len(sequences[i]) - 1, len(sequences[j]) - 1)
        for i, j in pairwise(order)
    ]
    found: list[Tree] = []
    for trunk, first, end in _families(shared) if order else ():
        members = order[first:end]
        branches = sum(len(sequences[i]) - trunk for i in members)
        saved = trunk * (len(members) - 1)
        if saved < _LEAST_SAVING * (saved + trunk + branches):
            found += [_lone(sequences, i) for i in members]
        else:
            found += _cut(sequences, trunk, members, max(budget, (_TRUNKS + 1) * trunk))
    return found


def _families(shared: Sequence[int]) -> list[tuple[int, int, int]]:
    """Return the families that save most tokens among sorted sequences, as (trunk, first, end).

    `shared` says what neighbours have in common. Either all within a range share the least of it, or they are parted
    there. Ranges that are not yet at their end wait in `opened` as [least, first, saved, families], ever deeper; there
    is no recursion, since conversations may be cut at a thousand steps.
    """
    opened: list[tuple[int, int, int, list[tuple[int, int, int]]]] = []
    saved, some = 0, list[tuple[int, int, int]]()
    for i, least in enumerate([*shared, -1]):
        first, saved, some = i, 0, [(0, i, i + 1)]
        while opened and opened[-1][0] >= least:
            trunk, first, before, earlier = opened.pop()
            saved, some = before + saved, earlier + some
            together = trunk * (i - first) if trunk >= _SHORTEST_TRUNK else 0
            if trunk > least and together > saved:
                saved, some = together, [(trunk, first, i + 1)]
        opened.append((least, first, saved, some))
    return some


def _cut(sequences: Sequence[Ids], trunk: int, members: Iterable[int], capacity: int) -> Iterator[Tree]:
    """Yield trees of one trunk, none of more than `capacity` tokens unless a single branch is."""
    some: list[int] = []
    tokens = trunk
    for i in members:
        branch = len(sequences[i]) - trunk
        if some and tokens + branch > capacity:
            yield Tree(trunk, tuple(some), tokens)
            some, tokens = [], trunk
        some.append(i)
        tokens += branch
    yield Tree(trunk, tuple(some), tokens)


def _lone(sequences: Sequence[Ids], index: int) -> Tree:
    return Tree(0, (index,), len(sequences[index]))
