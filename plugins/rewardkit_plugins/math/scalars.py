"""Decides whether two expressions have the same value, or are multiples of each other; lists and regions are elsewhere.

Exact values are compared exactly. Other numbers are equal if their difference vanishes as the precision grows, and
expressions with symbols if that holds at fixed random points (Schwartz-Zippel). Nothing is simplified, so the cost is
bounded by the length of the expressions.
"""

from __future__ import annotations

from fractions import Fraction

from rewardkit_plugins.math.evaluation import (
    DIGITS,
    Evaluator,
    Point,
    UndecidedError,
    Value,
    far_points,
    mixed_point,
    positive_point,
)
from rewardkit_plugins.math.tree import Node, symbols, walk

ROUNDED_DIGITS = 6


def scalars_equal(a: Node, b: Node) -> bool:
    """Tell whether two expressions have the same value, wherever both are defined.

    A decimal of ROUNDED_DIGITS significant digits or more equals the exact number that it rounds; a shorter one must be
    exact. The degree sign is a unit: `90°` equals 90 as well as pi/2.
    """
    if "deg" in (a.kind, b.kind):
        return _degrees_equal(a, b)
    names = symbols(a) | symbols(b)
    if not names:
        return _equal_at(a, b, positive_point(0)) or _is_rounded(a, b) or _is_rounded(b, a)
    return _equal_everywhere(a, b)


def _degrees_equal(a: Node, b: Node) -> bool:
    bare_a = a.args[0] if a.kind == "deg" else a
    bare_b = b.args[0] if b.kind == "deg" else b
    return scalars_equal(bare_a, bare_b) or (a.kind != b.kind and _equal_at(a, b, positive_point(0)))


def multiple(a: Node, b: Node) -> Value | None:
    """Return the constant c of a = c·b (c not 0), or None if there is none."""
    ratios = []
    evaluator = Evaluator(positive_point(0))
    points = [(positive_point(seed), False) for seed in range(4)]
    if _is_piecewise(a) or _is_piecewise(b):
        points += [(point, True) for point in far_points()]
    for point, real in points:
        try:
            evaluator = Evaluator(point, digits=DIGITS[1], real=real)
            x, y = evaluator.value(a), evaluator.value(b)
            exact = isinstance(x, Fraction) and isinstance(y, Fraction)
            ratios.append(x / y if exact else evaluator.inexact(x) / evaluator.inexact(y))
        except (UndecidedError, ZeroDivisionError):
            continue
    if len(ratios) < 2 or ratios[0] == 0:
        return None
    limit = 0 if isinstance(ratios[0], Fraction) else abs(ratios[0]) * evaluator.ctx.mpf(10) ** (20 - DIGITS[1])
    differences = (evaluator.inexact(ratio) - evaluator.inexact(ratios[0]) for ratio in ratios[1:])
    return None if any(abs(difference) > limit for difference in differences) else evaluator.real(ratios[0])


def _equal_everywhere(a: Node, b: Node) -> bool:
    """Compare at points: all must agree where the coordinates are positive; elsewhere only where roots are real."""
    agreed = 0
    for seed in range(4):
        try:
            if not _equal_at(a, b, positive_point(seed)):
                return False
            agreed += 1
        except UndecidedError:
            continue
        if agreed == 2:
            break
    for point in (mixed_point(0), mixed_point(1), *(far_points() if _is_piecewise(a) or _is_piecewise(b) else ())):
        try:
            if not _equal_at(a, b, point, real=True):
                return False
            agreed += 1
        except UndecidedError:
            continue
    if agreed < 2:
        raise UndecidedError("undefined at most points")
    return True


_PIECEWISE = frozenset({"abs", "sqrt", "root", "floor", "ceil", "max", "min", "sgn", "arcsin", "arccos", "arctan"})


def _is_piecewise(node: Node) -> bool:
    """Tell whether agreement near one point says nothing about points far away."""
    return any(part.kind == "call" and part.args[0] in _PIECEWISE for part in walk(node)) or any(
        part.kind == "pow" and part.args[1].kind != "num" for part in walk(node)
    )


def _equal_at(a: Node, b: Node, point: Point, *, real: bool = False) -> bool:
    """Compare two values: exactly if they are fractions, else by whether the difference vanishes with the precision."""
    coarse, fine = (Evaluator(point, digits=digits, real=real) for digits in DIGITS)
    x, y = coarse.value(a), coarse.value(b)
    if isinstance(x, Fraction) and isinstance(y, Fraction):
        return x == y
    difference, size = _distance(coarse, x, y)
    if difference > size * 1e-10 and size > 1e-15:
        return False
    finer, size = _distance(fine, fine.value(a), fine.value(b))
    tiny = fine.ctx.mpf(10) ** -(DIGITS[1] - 10)
    return bool(finer <= size * tiny or finer <= difference * fine.ctx.mpf(10) ** (DIGITS[0] - DIGITS[1] + 20))


def _distance(evaluator: Evaluator, x: Value, y: Value) -> tuple[Value, Value]:
    left, right = evaluator.inexact(x), evaluator.inexact(y)
    return abs(left - right), max(abs(left), abs(right))


def _is_rounded(decimal: Node, exact: Node) -> bool:
    """Tell whether a literal decimal is `exact`, an expression, rounded or cut after enough digits."""
    sign = -1 if decimal.kind == "neg" else 1
    literal = decimal.args[0] if decimal.kind == "neg" else decimal
    inner = exact.args[0] if exact.kind == "neg" else exact
    if literal.kind != "num" or not literal.args[1] or (inner.kind == "num" and inner.args[1]):
        return False
    number = literal.args[0]
    places = len(str(number.denominator)) if number.denominator > 1 else 0
    while places and (number * 10 ** (places - 1)).denominator == 1:
        places -= 1
    if places == 0 or len(str(abs(number.numerator) * 10**places // number.denominator)) < ROUNDED_DIGITS:
        return False
    evaluator = Evaluator(positive_point(0))
    value = evaluator.inexact(evaluator.value(exact))
    excess = (evaluator.inexact(sign * number) - value) * sign * evaluator.ctx.mpf(10) ** places
    return bool(-1 < excess <= 0.5)
