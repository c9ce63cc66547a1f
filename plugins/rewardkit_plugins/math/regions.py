"""Compares parts of the real line: intervals, unions, finite sets and inequalities of one variable.

Two regions are equal if they hold the same of these points: every end that either names and its negative, points just
beside them, points between them, and points beyond. Regions of the plane are not covered.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator
from fractions import Fraction

from rewardkit_plugins.math.evaluation import Evaluator, UndecidedError, Value, positive_point
from rewardkit_plugins.math.tree import Node, substitute, symbols, walk

MAX_ENDS = 24
_NEAR = Fraction(1, 10**6)
_ANYWHERE = (
    Fraction(1, 97),
    Fraction(-355, 113),
    Fraction(1_000_003, 7),
    Fraction(-999_983, 7),
    *(Fraction(n, 13) for n in range(-40, 41, 8)),
)


def is_region(node: Node) -> bool:
    """Tell whether a tree can only mean a part of the line: `(1,2)` alone may also be a point of the plane."""
    if node.kind in ("union", "inter", "diff"):
        return True
    if node.kind == "seq":
        return len(node.args) == 4 and (node.args[:2] != ("(", ")") or any(_is_infinite(x) for x in node.args[2:]))
    return node.kind == "rel" and not {"<", ">", "<=", ">=", "!=", "in"}.isdisjoint(node.args[0])


def regions_equal(a: Node, b: Node) -> bool:
    """Tell whether both hold the same real numbers; raises UndecidedError where that cannot be told."""
    parameters = {name: Node("num", (positive_point(0)(name), False)) for name in _parameters(a) | _parameters(b)}
    a, b = substitute(a, parameters), substitute(b, parameters)
    variables = [symbols(node) - {"R"} for node in (a, b) if node.kind in ("rel", "list")]
    if any(len(names) > 1 for names in variables):
        raise UndecidedError("a region of several variables")
    return len(set(variables)) <= 1 and all(_contains(a, x) == _contains(b, x) for x in _probes(a, b))


def _parameters(node: Node) -> frozenset[str]:
    """Return the names in the ends of intervals and the elements of sets."""
    inner = [symbols(part) for part in walk(node) if part.kind in ("seq", "set")]
    return frozenset().union(*inner) - {"R"} if node.kind not in ("rel", "list") else frozenset()


def _probes(a: Node, b: Node) -> list[Value]:
    ends: list[Value] = []
    for end in (*_ends(a), *_ends(b)):
        for candidate in (end, -end):
            if not any(_same(candidate, known) for known in ends):
                ends.append(candidate)
        if len(ends) > MAX_ENDS:
            raise UndecidedError("too many ends")
    ends.sort()
    beside = [end + side for end in ends for side in (-_NEAR, _NEAR)]
    between = [x + (y - x) * Fraction(k, 8) for x, y in itertools.pairwise(ends) for k in range(1, 8)]
    outside = [ends[0] - Fraction(17, 7), ends[-1] + Fraction(17, 7)] if ends else []
    return [*ends, *beside, *between, *outside, *_ANYWHERE]


def _ends(node: Node) -> Iterator[Value]:
    """Yield the numbers that stand in a region: ends of intervals, elements, bounds."""
    evaluator = _evaluator(Fraction(0))
    for part in walk(node):
        children = part.args[2:] if part.kind == "seq" else part.args
        if part.kind == "rel":
            children = part.args[1]
        if part.kind in ("seq", "set", "rel", "list"):
            for child in children:
                if isinstance(child, Node) and not symbols(child) and not _is_infinite(child) and _is_scalar(child):
                    yield _plain(evaluator.real(evaluator.value(child)))


def _contains(node: Node, x: Value) -> bool:
    """Tell whether the region holds the number."""
    kind, args = node
    if kind == "union":
        return _contains(args[0], x) or _contains(args[1], x)
    if kind == "inter":
        return _contains(args[0], x) and _contains(args[1], x)
    if kind == "diff":
        return _contains(args[0], x) and not _contains(args[1], x)
    if kind == "set":
        return any(_same(_number(element, x), x) for element in args)
    if kind == "seq" and len(args) == 4:
        low, high = (_number(end, x) for end in args[2:])
        return bool((low < x or (args[0] == "[" and low == x)) and (x < high or (args[1] == "]" and x == high)))
    if kind == "rel":
        return _holds(node, x)
    if kind == "list":
        truths = [_contains(item, x) for item in args[1:]]
        return all(truths) if args[0] == "and" and any(item.kind == "rel" for item in args[1:]) else any(truths)
    if kind == "sym":
        return _is_member(args[0], x)
    return _same(_number(node, x), x)


def _is_member(name: str, x: Value) -> bool:
    """Tell whether a named set holds the number; one that we do not know holds half of all numbers."""
    if name in ("R", "emptyset"):
        return name == "R"
    if name in ("N", "Z", "Q"):
        raise UndecidedError(f"the numbers in {name}")
    return bool(zlib.crc32(f"{name}|{x}".encode()) & 1)


def _holds(node: Node, x: Value) -> bool:
    operators, operands = node.args
    for operator, left, right in zip(operators, operands, operands[1:], strict=False):
        if operator == "in":
            if not _contains(right, x):
                return False
            continue
        try:
            a, b = _number(left, x), _number(right, x)
        except UndecidedError:
            return False  # outside the domain
        same = _same(a, b)
        truth = {"=": same, "!=": not same, "<=": same or a < b, ">=": same or a > b}
        if not truth.get(operator, not same and (a < b if operator == "<" else a > b)):
            return False
    return True


def _number(node: Node, x: Value) -> Value:
    if _is_infinite(node):
        return float("-inf") if node.kind == "neg" else float("inf")
    evaluator = _evaluator(x)
    return _plain(evaluator.real(evaluator.value(node)))


def _plain(number: Value) -> Value:
    """Return a fraction near `number`, so that ends of all kinds compare."""
    if isinstance(number, Fraction):
        return number
    mantissa, exponent = number.man_exp
    if abs(exponent) > 10_000:
        raise UndecidedError("an end beyond the limits")
    return Fraction(int(mantissa)) * Fraction(2) ** int(exponent)


def _same(a: Value, b: Value) -> bool:
    if isinstance(a, float) or isinstance(b, float):
        return bool(a == b)
    return bool(a == b or abs(a - b) <= max(abs(a), abs(b)) * Fraction(1, 10**20))


def _evaluator(x: Value) -> Evaluator:
    return Evaluator(lambda _name: x)


def _is_infinite(node: Node) -> bool:
    inner = node.args[0] if node.kind == "neg" else node
    return inner == Node("const", ("inf",))


def _is_scalar(node: Node) -> bool:
    return node.kind not in ("seq", "set", "union", "inter", "diff", "list", "rel", "matrix", "text")
