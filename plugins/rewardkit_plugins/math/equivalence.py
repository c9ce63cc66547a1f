"""Decides whether two syntax trees are the same answer; extraction and plain numbers are decided before this.

What an answer is (a list, an interval, an equation that names a value) decides how it is compared; numbers and
expressions are `scalars`' business. The order of the two does not matter.
"""

from __future__ import annotations

import itertools
import re
from fractions import Fraction

from rewardkit_plugins.math.evaluation import UndecidedError
from rewardkit_plugins.math.regions import is_region, regions_equal
from rewardkit_plugins.math.scalars import multiple, scalars_equal
from rewardkit_plugins.math.syntax import LETTERS_OF_FUNCTIONS
from rewardkit_plugins.math.tree import Node, substitute, symbols, walk

MAX_ITEMS = 40
_NUMBER_SETS = frozenset(Node("sym", (name,)) for name in "NZQRC")
_EMPTY = Node("sym", ("emptyset",))
_TRANSPOSED = Node("sym", ("T",))
_MIRRORED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="} | {
    "subset": "supset", "supset": "subset", "subseteq": "supseteq", "supseteq": "subseteq", "in": "", "notin": "",
}  # fmt: skip


def equal(a: Node, b: Node) -> bool:
    """Tell whether two answers are the same; raises UndecidedError where the limits forbid to tell."""
    if a == b:
        return True
    a, b = _unwrapped(a), _unwrapped(b)
    if a == b:
        return True
    if _names_several(a) and _names_several(b):
        a, b = _spread(a), _spread(b)
    several = [_alternatives(a), _alternatives(b)]
    a, b = (items[0] if len(items) == 1 else node for node, items in zip((a, b), several, strict=True))
    if {"and", "or"} == {node.args[0] for node in (a, b) if node.kind == "list"} and any(map(is_region, several[0])):
        return _regions(a, b)
    if any(len(items) > 1 for items in several) and not (is_region(a) or is_region(b)):
        return _lists_equal(a, b, *several)
    if "rel" in (a.kind, b.kind):
        return _relations_equal(a, b)
    if (is_region(a) or is_region(b)) and not (a.kind == b.kind == "seq" or "matrix" in (a.kind, b.kind)):
        return _regions(a, b)
    return _same_kind_equal(_folded(a), _folded(b))


def _names_several(node: Node) -> bool:
    """Tell whether an answer gives a value to each of several names: `x = 1, y = 2` or `(x, y) = (1, 2)`."""
    return _spread(node).kind == "list" and all(item.kind == "rel" for item in _spread(node).args[1:])


def _spread(node: Node) -> Node:
    """Return `(x, y) = (1, 2)` as `x = 1, y = 2`."""
    if node.kind != "rel" or node.args[0] != ("=",):
        return node
    names, values = node.args[1]
    if {names.kind, values.kind} != {"seq"} or len(names.args) != len(values.args):
        return node
    pairs = zip(names.args[2:], values.args[2:], strict=True)
    return Node("list", ("and", *(Node("rel", (("=",), pair)) for pair in pairs)))


def _same_kind_equal(a: Node, b: Node) -> bool:
    kinds = {a.kind, b.kind}
    if kinds <= {"seq", "matrix"}:
        return _rows_equal(a, b)
    if kinds == {"set"}:
        return _unordered_equal(a.args, b.args)
    if kinds == {"ratio"}:
        return _ratios_equal(a.args, b.args)
    if kinds & {"seq", "matrix", "set", "base"}:
        return False
    if kinds & {"text"} and kinds != {"text"}:
        return False
    return scalars_equal(a, b)


# ---- several answers


def _alternatives(node: Node) -> list[Node]:
    """Return the answers that a tree lists: items of a list, both signs of a ±, or the tree itself.

    `n = 2, 3, 4` lists three values of n.
    """
    if node.kind == "list":
        return [signed for item in node.args[1:] if not _is_range(item) for signed in _alternatives(item)]
    if any(part.kind == "pm" for part in walk(node)):
        return [_unwrapped(_signed(node, +1)), _unwrapped(_signed(node, -1))]
    return [node]


def _is_range(node: Node) -> bool:
    """Tell whether an item only says over which numbers a variable runs, as in "k in Z"."""
    return node.kind == "rel" and node.args[0] == ("in",) and node.args[1][1] in _NUMBER_SETS


def _signed(node: Node, sign: int) -> Node:
    """Return the tree with every ± read as `sign` and every ∓ as its opposite."""
    if node.kind == "pm":
        left, mark, right = node.args
        term = _signed(right, sign)
        term = term if (mark == "pm") == (sign > 0) else Node("neg", (term,))
        return term if left is None else Node("add", (_signed(left, sign), term))
    return Node(node.kind, tuple(_signed_argument(part, sign) for part in node.args))


def _signed_argument(part: object, sign: int) -> object:
    if isinstance(part, Node):
        return _signed(part, sign)
    return tuple(_signed_argument(inner, sign) for inner in part) if isinstance(part, tuple) else part


def _lists_equal(a: Node, b: Node, items_a: list[Node], items_b: list[Node]) -> bool:
    """Compare lists: in order against a tuple, in any order against a list or a set; named values by their names."""
    for one, other, items in ((a, b, items_b), (b, a, items_a)):
        if one.kind == "set":
            return _unordered_equal(one.args, items)
        if one.kind == "seq" and len(items) > 1 and all(item.kind not in ("seq", "rel") for item in items):
            return other.kind == "list" and _ordered_equal(one.args[2:], items)
        if one.kind == "seq" and any(map(is_region, items)):
            return _regions(a, b)
        if one.kind == "seq" and len(items) > 1 and all(item.kind == "rel" for item in items):
            return _ordered_equal(one.args[2:], _by_name(items))
    return _unordered_equal(_valued(items_a), _valued(items_b))


def _by_name(items: list[Node]) -> list[Node]:
    """Return the values of `y = 2, x = 1` in the order of the names."""
    named = {_name(item.args[1][0]) or "": item.args[1][-1] for item in items}
    return [named[name] for name in sorted(named)]


def _valued(items: list[Node]) -> list[Node]:
    """Return the items with a name that only the first carries spread over those that follow it."""
    first = items[0]
    if first.kind != "rel" or _name(first.args[1][0]) is None or any(item.kind == "rel" for item in items[1:]):
        return items
    return [first.args[1][-1], *items[1:]]


def _unordered_equal(a: tuple[Node, ...] | list[Node], b: tuple[Node, ...] | list[Node]) -> bool:
    if max(len(a), len(b)) > MAX_ITEMS:
        raise UndecidedError(f"more than {MAX_ITEMS} items")
    return all(_is_among(x, b) for x in a) and all(_is_among(x, a) for x in b)


def _is_among(x: Node, items: tuple[Node, ...] | list[Node]) -> bool:
    return x in items or any(equal(x, y) for y in items)


def _ordered_equal(a: tuple[Node, ...] | list[Node], b: tuple[Node, ...] | list[Node]) -> bool:
    return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))


# ---- tuples, matrices, ratios


def _rows_equal(a: Node, b: Node) -> bool:
    """Compare tuples, vectors and matrices; brackets matter only where they may be an interval's."""
    if a.kind == b.kind == "matrix":
        return len(a.args) == len(b.args) and all(_ordered_equal(x, y) for x, y in zip(a.args, b.args, strict=True))
    if a.kind == b.kind == "seq" and len(a.args) == len(b.args) == 4 and a.args[:2] != b.args[:2]:
        return False
    return _ordered_equal(_vector(a, b), _vector(b, a))


def _vector(node: Node, other: Node) -> tuple[Node, ...]:
    if node.kind == "seq":
        return node.args[2:]
    if len(node.args) == len(other.args) - 2 and other.args[2].kind == "seq":  # [[1, 2], [3, 4]]
        return tuple(Node("seq", (*other.args[2].args[:2], *row)) for row in node.args)
    if len(node.args) == 1:
        return tuple(node.args[0])
    if len(node.args[0]) == 1:
        return tuple(row[0] for row in node.args)
    return tuple(Node("seq", ("(", ")", *row)) for row in node.args)


def _folded(node: Node) -> Node:
    """Return sums and multiples of matrices as one matrix."""
    if node.kind in ("add", "neg", "mul", "div"):
        parts = [_folded(part) for part in node.args]
        if any(part.kind == "matrix" for part in parts):
            return _folded_matrix(node.kind, parts)
    return node


def _folded_matrix(kind: str, parts: list[Node]) -> Node:
    matrices = [part for part in parts if part.kind == "matrix"]
    if len(matrices) == 2 and kind != "add":
        raise UndecidedError("a product of matrices")
    shape = matrices[0].args
    if kind == "add" and (
        len(matrices) != 2 or any(len(m.args) != len(shape) or len(m.args[0]) != len(shape[0]) for m in matrices)
    ):
        raise UndecidedError("a sum of different shapes")
    rows = range(len(shape))
    columns = range(len(shape[0]))

    def entry(row: int, column: int) -> Node:
        return Node(kind, tuple(p.args[row][column] if p.kind == "matrix" else p for p in parts))

    return Node("matrix", tuple(tuple(entry(r, c) for c in columns) for r in rows))


def _ratios_equal(a: tuple[Node, ...], b: tuple[Node, ...]) -> bool:
    """Compare `1:2` with `2:4`; a ratio with a zero in it is a time of day or a score and must be the same."""
    if len(a) != len(b):
        return False
    if all(equal(x, y) for x, y in zip(a, b, strict=True)):
        return True
    zero = Node("num", (Fraction(0), False))
    if any(equal(x, zero) for x in (*a, *b)):
        return False
    return all(equal(Node("mul", (a[0], y)), Node("mul", (x, b[0]))) for x, y in zip(a, b, strict=True))


# ---- relations


def _relations_equal(a: Node, b: Node) -> bool:
    """Compare equations and inequalities with each other, with the region or with the value they describe."""
    if a.kind == b.kind == "rel":
        name_a, name_b = _name(a.args[1][0]), _name(b.args[1][0])
        if is_region(a) or is_region(b):
            return _chains_equal(a, b) or _regions(a, b)
        if name_a is not None and name_b is not None:
            same = set(a.args[0]) == set(b.args[0]) and _same_name(a, b)
            return (same and equal(*_definitions(a, b))) or _equations_equal(a, b)
        return _equations_equal(a, b)
    relation, other = (a, b) if a.kind == "rel" else (b, a)
    if is_region(relation) or is_region(other):
        return _regions(relation, other)
    value = _value_of(relation)
    return value is not None and equal(value, other)


def _value_of(relation: Node) -> Node | None:
    """Return what an equation says the value of something is, or None if it is no such equation.

    `x = 5`, `f(x) = 2x` and `AB : CD = 3` name a value, `5 = x` too, and a chain ends in one; `7 = 11a + c` does not.
    """
    if not {"=", "equiv"}.issuperset(relation.args[0]):
        return None
    operands: tuple[Node, ...] = relation.args[1]
    first, last = operands[0], operands[-1]
    name = _name(first)
    if name is not None and name in symbols(last):
        return None  # a tautology says nothing
    if name is not None or len(operands) > 2:
        return last
    if _name(last) is not None and not symbols(first):
        return first
    if not symbols(first) and not symbols(last):
        return last
    return None


def _same_name(a: Node, b: Node) -> bool:
    """Tell whether two equations name the same thing; y is whatever function the other defines."""
    left_a, left_b = a.args[1][0], b.args[1][0]
    y = Node("sym", ("y",))
    called = any(left.kind == "call" and left.args[0][0] in LETTERS_OF_FUNCTIONS for left in (left_a, left_b))
    return _name(left_a) == _name(left_b) or (called and y in (left_a, left_b))


def _name(node: Node) -> str | None:
    """Return the name that the left side of `name = value` stands for, or None; of `f(x)` it is f."""
    if node.kind in ("sym", "text"):
        return str(node.args[0])
    if node.kind == "call":
        function, inner = str(node.args[0]), _name(node.args[1]) if len(node.args) == 2 else None
        return inner and (function if function[0] in LETTERS_OF_FUNCTIONS else f"{function} {inner}")
    if node.kind == "mul" and node.args[0].kind == node.args[1].kind == "sym":
        return str(node.args[0].args[0])
    if node.kind in ("mul", "div", "ratio", "seq"):
        parts = [_name(part) for part in node.args if isinstance(part, Node)]
        return None if None in parts else f"{node.kind} {parts}"
    return None


def _definitions(a: Node, b: Node) -> list[Node]:
    """Return the values of two named equations; `f(x) = 2x` and `f(t) = 2t` define the same function."""
    lefts = (a.args[1][0], b.args[1][0])
    if any(left.kind != "call" or len(left.args) != 2 or left.args[1].kind != "sym" for left in lefts):
        return [a.args[1][-1], b.args[1][-1]]
    return [substitute(node.args[1][-1], {node.args[1][0].args[1].args[0]: _ARGUMENT}) for node in (a, b)]


_ARGUMENT = Node("sym", ("the argument",))


def _equations_equal(a: Node, b: Node) -> bool:
    return _proportional(a, b) or _chains_equal(a, b) or _solves(a, b) or _solves(b, a)


def _solves(explicit: Node, equation: Node) -> bool:
    """Tell whether `y = ...` is all that an equation says, one in which y is linear: `y = 1/x` and `xy = 1`."""
    if explicit.args[0] != ("=",) or equation.args[0] != ("=",) or symbols(explicit) != symbols(equation):
        return False
    y, value = explicit.args[1]
    if y.kind != "sym" or y.args[0] in symbols(value):
        return False

    def difference_at(step: Fraction) -> Node:
        shifted = Node("add", (value, Node("num", (step, False))))
        return substitute(_difference(equation), {y.args[0]: shifted})

    zero, three = (Node("num", (Fraction(n), False)) for n in (0, 3))
    third, one = difference_at(Fraction(1, 3)), difference_at(Fraction(1))
    return (
        scalars_equal(difference_at(Fraction(0)), zero)
        and not scalars_equal(one, zero)
        and scalars_equal(Node("mul", (three, third)), one)
    )


def _proportional(a: Node, b: Node) -> bool:
    """Tell whether two equations have the same solutions because one is a multiple of the other."""
    if any(operators != ("=",) for operators in (a.args[0], b.args[0])) or symbols(a) != symbols(b):
        return False
    return multiple(_difference(a), _difference(b)) is not None


def _chains_equal(a: Node, b: Node) -> bool:
    """Compare chains of relations link by link, also read from right to left."""
    mirrored = Node("rel", (tuple(_MIRRORED.get(op, op) for op in reversed(b.args[0])), tuple(reversed(b.args[1]))))
    return any(len(a.args[0]) == len(c.args[0]) and all(map(_links_equal, _links(a), _links(c))) for c in (b, mirrored))


def _links(relation: Node) -> list[Node]:
    pairs = itertools.pairwise(relation.args[1])
    return [Node("rel", ((op,), pair)) for op, pair in zip(relation.args[0], pairs, strict=True)]


def _links_equal(a: Node, b: Node) -> bool:
    if a.args[0] == b.args[0] and _ordered_equal(a.args[1], b.args[1]):
        return True
    if "in" in (a.args[0][0], b.args[0][0]) or symbols(a) != symbols(b) or not symbols(a):
        return False
    ratio = multiple(_difference(a), _difference(b))
    if ratio is None:
        return False
    operator = a.args[0][0]
    return bool(b.args[0][0] == (operator if ratio > 0 else _MIRRORED.get(operator, operator)))


def _difference(relation: Node) -> Node:
    left, right = relation.args[1]
    return Node("add", (left, Node("neg", (right,))))


def _regions(a: Node, b: Node) -> bool:
    if "rel" in (a.kind, b.kind) and {a.kind, b.kind} & {"matrix", "text", "ratio", "base"}:
        return False
    if any(len(node.args) > MAX_ITEMS for node in (a, b)):
        raise UndecidedError(f"more than {MAX_ITEMS} items")
    a, b = _of_symbol(_both_signs(a)), _of_symbol(_both_signs(b))
    return regions_equal(a, b) or ("," in (a.args[0], b.args[0]) and regions_equal(_conjunction(a), _conjunction(b)))


def _both_signs(node: Node) -> Node:
    """Return `x != ±3` as two conditions."""
    if node.kind != "rel" or len(_alternatives(node)) == 1:
        return node
    return Node("list", ("and" if "!=" in node.args[0] else "or", *_alternatives(node)))


def _conjunction(node: Node) -> Node:
    """Return a list of conditions as one that asks for all of them: `x > 1, x < 3`."""
    return Node("list", ("and", *node.args[1:])) if node.kind == "list" else node


def _of_symbol(node: Node) -> Node:
    """Return an inequality of `f(x)` as one of f, since it is the values of f that it bounds."""
    if node.kind != "rel":
        return node
    operands: tuple[Node, ...] = node.args[1]
    return Node("rel", (node.args[0], tuple(_symbol_of(x) for x in operands)))


def _symbol_of(node: Node) -> Node:
    return Node("sym", (node.args[0],)) if node.kind == "call" and node.args[0][0] in LETTERS_OF_FUNCTIONS else node


# ---- wrappers


def _unwrapped(node: Node) -> Node:
    """Return the region that "x in region" names, the one element of a set, and a bare point or vector."""
    while True:
        if node.kind == "rel" and node.args[0] == ("in",) and _name(node.args[1][0]) is not None:
            node = node.args[1][1]
        elif node.kind == "mul" and node.args[0].kind == "sym" and node.args[1].kind == "seq":
            node = node.args[1]  # the point P(1, 2)
        elif (node.kind == "set" and len(node.args) == 1 and node.args[0] != _EMPTY) or (
            node.kind == "pow" and node.args[0].kind == "seq" and node.args[1:] == (_TRANSPOSED,)
        ):
            node = node.args[0]
        else:
            return node


def words(text: str) -> str:
    """Return the words of an answer for comparison as text: lower case, without styles, articles and punctuation."""
    bare = re.sub(r"\\(?:text\w*|mbox|math[a-z]+|quad|left|right)(?![a-z])|[\\{}$]", " ", text).lower()
    return " ".join(word for word in re.findall(r"[^\W_]+|[-+*/^=<>|!%]", bare) if word not in ("a", "an", "the"))
