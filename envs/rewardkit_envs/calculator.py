"""A calculator for agents: exact arithmetic on one expression, bounded in time and size; nothing is ever executed.

Variables, units and symbolic mathematics are not covered: those are what Python in a sandbox is for.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable
from fractions import Fraction

LONGEST = 500
"""Characters of an expression."""
_KNOWN = re.compile(r"(?:sqrt|abs|[\d.()+\-*/% ]|(?<=[\d.])[eE])*", re.ASCII)
_DIGITS = 1000
_TWO_SIDED: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction | int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def calculate(expression: str) -> str:
    """Return the value of `expression` as text: a whole number, or a decimal of 12 significant digits.

    It may hold numbers, parentheses, `+ - * / // % **`, `sqrt(x)` and `abs(x)`. Raises ValueError, with a sentence that
    the agent can be shown, for anything else, and for numbers of more than 1,000 digits.
    """
    if len(expression) > LONGEST:
        raise ValueError(f"an expression may have {LONGEST} characters, not {len(expression)}")
    if not _KNOWN.fullmatch(expression):
        raise ValueError(f"{expression[:80]!r} holds more than numbers, ( ) + - * / // % **, sqrt and abs")
    try:
        tree = ast.parse(expression.strip(), mode="eval")
        return _shown(_value(tree.body))
    except ZeroDivisionError:
        raise ValueError("division by zero") from None
    except OverflowError:
        raise ValueError("the number is too large") from None
    except (SyntaxError, MemoryError, RecursionError):
        raise ValueError(f"{expression[:80]!r} is no expression") from None


def _value(node: ast.expr) -> Fraction:
    match node:
        case ast.Constant(value=int() as number):
            value = Fraction(number)
        case ast.Constant(value=float() as number) if math.isfinite(number):
            value = Fraction(str(number))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            value = -_value(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            value = _value(operand)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            value = _power(_value(left), _value(right))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _TWO_SIDED:
            value = Fraction(_TWO_SIDED[type(op)](_value(left), _value(right)))
        case ast.Call(func=ast.Name(id="sqrt"), args=[one], keywords=[]):
            value = _power(_value(one), Fraction(1, 2))
        case ast.Call(func=ast.Name(id="abs"), args=[one], keywords=[]):
            value = abs(_value(one))
        case _:
            raise ValueError(f"{ast.unparse(node)[:80]!r} is nothing that a calculator knows")
    return _bounded(value)


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        return _root(base, exponent)
    if abs(exponent) * max(base.numerator.bit_length(), base.denominator.bit_length()) > 4 * _DIGITS:
        raise ValueError(f"the number has more than {_DIGITS} digits")
    return Fraction(base ** int(exponent))


def _root(base: Fraction, exponent: Fraction) -> Fraction:
    """Return a power with a broken exponent: exact for square roots of squares, else as floats have it."""
    if base < 0:
        raise ValueError(f"{_shown(base)} has no real root")
    if exponent == Fraction(1, 2):
        above, below = math.isqrt(base.numerator), math.isqrt(base.denominator)
        if above**2 == base.numerator and below**2 == base.denominator:
            return Fraction(above, below)
    return Fraction(float(base) ** float(exponent))


def _bounded(value: Fraction) -> Fraction:
    if max(abs(value.numerator), value.denominator) >= 10**_DIGITS:
        raise ValueError(f"the number has more than {_DIGITS} digits")
    return value


def _shown(value: Fraction) -> str:
    if value.denominator == 1:
        return str(value.numerator)
    return f"{float(value):.12g}"
