"""Gives syntax trees a value: exact fractions where arithmetic allows, otherwise complex numbers of many digits.

Symbols take their value from a fixed point; functions we do not know (`f(x)`, sums, integrals) act as if they were
random functions of their arguments, so that equal arguments give equal values. Every operation is bounded: numbers of
more than MAX_BITS, huge factorials and towers of powers raise UndecidedError. Regions (intervals, inequalities) are
`regions`.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import lru_cache
from typing import Any

from rewardkit_plugins.math.tree import Node

MAX_BITS = 20_000
MAX_OPERATIONS = 4_000
DIGITS = (30, 80)
Value = Any  # Fraction, or mpmath's mpf or mpc
Point = Callable[[str], Fraction]


class UndecidedError(ValueError):
    """The value does not exist (division by zero) or is beyond the limits."""


class Evaluator:
    """Evaluates trees at one point with one precision; gives up after MAX_OPERATIONS nodes.

    With `real` roots and logarithms of negative numbers are undefined.
    """

    def __init__(self, point: Point, *, digits: int = DIGITS[0], real: bool = False) -> None:
        self.point = point
        self.is_real = real
        self.ctx = context(digits)
        self.left = MAX_OPERATIONS

    def value(self, node: Node) -> Value:
        """Return the value of a scalar; raises UndecidedError."""
        self.left -= 1
        if self.left < 0:
            raise UndecidedError("too many operations")
        method = getattr(self, f"_{node.kind}", None)
        if method is None:
            raise UndecidedError(f"a {node.kind} is not a number")
        try:
            return self._bounded(method(*node.args))
        except (ZeroDivisionError, ValueError, OverflowError, TypeError, ArithmeticError) as error:
            raise UndecidedError(str(error) or "undefined") from error

    def real(self, number: Value) -> Value:
        """Return `number` as a real; raises UndecidedError if it has an imaginary part."""
        if isinstance(number, Fraction) or not hasattr(number, "imag") or number.imag == 0:
            return number if isinstance(number, Fraction) else number.real
        if abs(number.imag) < abs(number) * self.ctx.eps * 1024:
            return number.real
        raise UndecidedError("not a real number")

    def inexact(self, number: Value) -> Value:
        """Return `number` as a number of mpmath's."""
        return self.ctx.mpf(number.numerator) / number.denominator if isinstance(number, Fraction) else number

    def _bounded(self, number: Value) -> Value:
        if isinstance(number, Fraction):
            if max(number.numerator.bit_length(), number.denominator.bit_length()) > MAX_BITS:
                raise UndecidedError("a number of too many digits")
        elif not self.ctx.isfinite(number):
            raise UndecidedError("infinite")
        return number

    def _allowed(self, number: Value) -> Value:
        if self.is_real and not hasattr(number, "_mpc_") and number < 0:
            raise UndecidedError("a root or logarithm of a negative number")
        return number

    # ---- leaves

    def _num(self, number: Fraction, _decimal: bool) -> Value:
        return number

    def _sym(self, name: str) -> Value:
        return self.point(name)

    _text = _sym

    def _const(self, name: str) -> Value:
        if name == "inf":
            raise UndecidedError("infinite")
        return {"pi": +self.ctx.pi, "e": +self.ctx.e, "i": self.ctx.mpc(0, 1)}[name]

    # ---- arithmetic

    def _both(self, a: Node, b: Node) -> tuple[Value, Value]:
        left, right = self.value(a), self.value(b)
        if isinstance(left, Fraction) and isinstance(right, Fraction):
            return left, right
        return self.inexact(left), self.inexact(right)

    def _add(self, a: Node, b: Node) -> Value:
        left, right = self._both(a, b)
        if isinstance(left, Fraction) or left == 0 or right == 0:
            return left + right
        if abs(self.ctx.mag(left) - self.ctx.mag(right)) > 1.5 * self.ctx.prec:
            raise UndecidedError("a term too small to be seen")
        return left + right

    def _mul(self, a: Node, b: Node) -> Value:
        left, right = self._both(a, b)
        return left * right

    def _div(self, a: Node, b: Node) -> Value:
        left, right = self._both(a, b)
        return left / right

    def _ratio(self, a: Node, b: Node) -> Value:
        return self._div(a, b)

    def _neg(self, a: Node) -> Value:
        return -self.value(a)

    def _percent(self, a: Node) -> Value:
        return self.value(a) / 100

    def _deg(self, a: Node) -> Value:
        return self.inexact(self.value(a)) * self.ctx.pi / 180

    def _fact(self, a: Node) -> Value:
        n = self.value(a)
        if isinstance(n, Fraction) and n.denominator == 1:
            if not 0 <= n <= 2_500:
                raise UndecidedError("factorial beyond the limits")
            return Fraction(math.factorial(int(n)))
        number = self.inexact(n)
        if abs(number) > 1_000:
            raise UndecidedError("factorial beyond the limits")
        return self.ctx.gamma(number + 1)

    def _pow(self, a: Node, b: Node) -> Value:
        base, exponent = self.value(a), self.value(b)
        if isinstance(base, Fraction) and isinstance(exponent, Fraction):
            exact = _exact_power(base, exponent)
            if exact is not None:
                return exact
        left, right = self.inexact(base), self.inexact(exponent)
        if left == 0:
            raise UndecidedError("a power of zero")
        if not isinstance(exponent, Fraction) or exponent.denominator != 1:
            self._allowed(base)
        if abs(right) * max(1, abs(self.ctx.mag(left))) > 10**6:
            raise UndecidedError("a power beyond the limits")
        return left**right

    # ---- functions

    def _call(self, name: str, *arguments: Node) -> Value:
        if name in ("sqrt", "root"):
            return self._root(*(arguments if name == "root" else (Node("num", (Fraction(2), False)), *arguments)))
        if name == "binom":
            return self._binomial(*(self.value(a) for a in arguments))
        values = [self.value(a) for a in arguments]
        if name in ("abs", "floor", "ceil"):
            return self._rounded(name, values[0])
        if name in ("ln", "log", "lg"):
            return self._log(name, *values)
        if name in _ELEMENTARY and len(values) == 1:
            return self._elementary(name, self.inexact(values[0]))
        if name == "cis":
            return self.ctx.expj(self.inexact(values[0]))
        if name in ("min", "max"):
            return {"min": min, "max": max}[name](self.real(v) for v in values)
        if name in ("gcd", "lcm"):
            numbers = [_integer(v) for v in values]
            return Fraction(math.gcd(*numbers) if name == "gcd" else math.lcm(*numbers))
        return _random(name, *(self.ctx.nstr(self.inexact(v), 12) for v in values))

    def _root(self, index: Node, radicand: Node) -> Value:
        n, number = _integer(self.value(index)), self.value(radicand)
        if not 1 <= n <= 1_000:
            raise UndecidedError("a root beyond the limits")
        if isinstance(number, Fraction):
            exact = _exact_root(number, n)
            if exact is not None:
                return exact
        if n % 2 and not hasattr(number, "_mpc_") and number < 0:
            return -(self.inexact(-number) ** (self.ctx.one / n))
        inexact = self.inexact(self._allowed(number))
        return self.ctx.sqrt(inexact) if n == 2 else inexact ** (self.ctx.one / n)

    def _binomial(self, n: Value, k: Value) -> Value:
        if not (isinstance(n, Fraction) and isinstance(k, Fraction) and n.denominator == k.denominator == 1):
            over, under = self.inexact(n), self.inexact(k)
            if max(abs(over), abs(under)) > 1_000:
                raise UndecidedError("a binomial beyond the limits")
            gamma = self.ctx.gamma
            return gamma(over + 1) / (gamma(under + 1) * gamma(over - under + 1))
        top, bottom = int(n), int(k)
        if not 0 <= bottom <= top or top.bit_length() * min(bottom, top - bottom) > MAX_BITS:
            raise UndecidedError("a binomial beyond the limits")
        return Fraction(math.comb(top, bottom))

    def _rounded(self, name: str, number: Value) -> Value:
        if name == "abs":
            return abs(number)
        whole = self.real(number)
        if isinstance(whole, Fraction):
            return Fraction(math.floor(whole) if name == "floor" else math.ceil(whole))
        return self.ctx.floor(whole) if name == "floor" else self.ctx.ceil(whole)

    def _log(self, name: str, number: Value, base: Value | None = None) -> Value:
        """Return the logarithm; without a base, `log` is natural as `ln` is."""
        divisor = {"lg": Fraction(10)}.get(name) if base is None else base
        logarithm = self.ctx.ln(self.inexact(self._allowed(number)))
        return logarithm if divisor is None else logarithm / self.ctx.ln(self.inexact(divisor))

    def _elementary(self, name: str, number: Value) -> Value:
        if abs(number) > _FARTHEST.get(name, 10**6):
            raise UndecidedError(f"{name} of a number beyond the limits")
        value = getattr(self.ctx, _ELEMENTARY[name])(number)
        return 1 / value if name in ("cot", "sec", "csc") else value


_FARTHEST = {"tanh": 50}  # beyond, it cannot be told from 1
_ELEMENTARY = {
    "sin": "sin", "cos": "cos", "tan": "tan", "cot": "tan", "sec": "cos", "csc": "sin", "sinh": "sinh", "cosh": "cosh",
    "tanh": "tanh", "exp": "exp", "arcsin": "asin", "arccos": "acos", "arctan": "atan",
    "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh", "Re": "re", "Im": "im",
}  # fmt: skip


@lru_cache(maxsize=4)
def context(digits: int) -> Any:
    """Return an mpmath context of that many decimal digits; nobody may change it, so that threads can share it."""
    from mpmath.ctx_mp import MPContext

    fresh = MPContext()
    fresh.dps = digits
    return fresh


def positive_point(seed: int) -> Point:
    """Return a fixed point whose coordinates are positive fractions below 2."""
    return lambda name: Fraction(zlib.crc32(f"{seed}|{name}".encode()) % 9973 + 1, 4987)


def mixed_point(seed: int) -> Point:
    """Return a fixed point whose coordinates are fractions of both signs."""
    return lambda name: Fraction(zlib.crc32(f"{seed}|{name}".encode()) % 9973 - 4986, 1499) or Fraction(1, 7)


def far_points() -> Iterator[Point]:
    """Yield points of whole coordinates, all of one sign, near and far from 0."""
    return (_far_point(nearest * sign) for nearest in (10, 1_000) for sign in (1, -1))


def _far_point(nearest: int) -> Point:
    return lambda name: Fraction(nearest * (1 + zlib.crc32(name.encode()) % 5_000) // 1_000)


def _exact_power(base: Fraction, exponent: Fraction) -> Fraction | None:
    if exponent.denominator != 1:
        if exponent.denominator > 1_000 or base < 0:
            return None
        root = _exact_root(base, exponent.denominator)
        return None if root is None else _exact_power(root, Fraction(exponent.numerator))
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if abs(base) == 1:
        return base if exponent.numerator % 2 else Fraction(1)
    if bits * abs(exponent) > MAX_BITS:
        return None
    return Fraction(base ** int(exponent))


def _exact_root(number: Fraction, n: int) -> Fraction | None:
    if number < 0:
        root = None if n % 2 == 0 else _exact_root(-number, n)
        return None if root is None else -root
    top, bottom = _integer_root(number.numerator, n), _integer_root(number.denominator, n)
    return Fraction(top, bottom) if top is not None and bottom is not None else None


def _integer_root(number: int, n: int) -> int | None:
    if n == 2:
        root = math.isqrt(number)
    elif number.bit_length() > 900:
        return None
    else:
        root = round(number ** (1 / n))
    return root if root**n == number else None


def _integer(number: Value) -> int:
    if isinstance(number, Fraction) and number.denominator == 1:
        return int(number)
    raise UndecidedError("not a whole number")


def _random(name: str, *arguments: str) -> Fraction:
    return Fraction(zlib.crc32("|".join((name, *arguments)).encode()) % 99991 + 1, 49999)
