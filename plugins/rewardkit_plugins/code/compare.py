"""Compares what a program printed or returned with what was expected; runs nothing and calls nothing of the program's.

Numbers may differ a little, as in the graders of APPS and verl: by `RTOL` of the expected number or by `ATOL`. A whole
number may not: 10000001 is not 10000000, however close they are. Special judges, for tasks with several right outputs,
are not here.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any

RTOL = 1e-5
ATOL = 1e-8
_LONGEST_NUMBER = 400  # characters
_EXACT = 2**53  # from here on floats leave out whole numbers
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_WHOLE = re.compile(r"[+-]?[0-9]+")
_SPACES = " \t\r\f\v"


def same_output(
    actual: bytes | str, expected: bytes | str, *, rtol: float = RTOL, atol: float = ATOL, spaces: bool = False
) -> bool:
    """Return whether two texts agree line by line and word by word.

    Whitespace at the end of a line and blank lines at the end of the text never count; with `spaces` other whitespace
    does. Two words agree when they are equal, or when both are numbers, not both of them whole, and close: 7.0 is 7 and
    1e3 is 1000, but 07 is not 7 and 8 is not 7. A missing or an extra line or word is a difference, and so is a byte
    that is not UTF-8.
    """
    ours, theirs = _lines(actual), _lines(expected)
    if len(ours) != len(theirs):
        return False
    return all(
        one == other or _same_line(one, other, rtol, atol, spaces) for one, other in zip(ours, theirs, strict=True)
    )


def same_value(actual: Any, expected: Any, *, rtol: float = RTOL, atol: float = ATOL) -> bool:
    """Return whether two JSON values agree; tuples count as lists, and anything else agrees with nothing.

    Numbers agree as in `same_output`: 2.0 is 2 and close floats agree, but two whole numbers must be equal. True is not
    1, "1" is not 1, and NaN is NaN. Nesting may be of any depth.
    """
    pairs = [(actual, expected)]
    while pairs:
        ours, theirs = pairs.pop()
        kind = _KINDS.get(type(ours))
        if kind is None or kind != _KINDS.get(type(theirs)):
            return False
        if kind == "number":
            if not _same_number(ours, theirs, rtol, atol):
                return False
        elif kind == "list":
            if len(ours) != len(theirs):
                return False
            pairs.extend(zip(ours, theirs, strict=True))
        elif kind == "object":
            if ours.keys() != theirs.keys():
                return False
            pairs.extend((ours[key], theirs[key]) for key in theirs)
        elif ours != theirs:
            return False
    return True


_KINDS = {
    type(None): "null",
    bool: "bool",
    str: "text",
    int: "number",
    float: "number",
    list: "list",
    tuple: "list",
    dict: "object",
}


def _lines(text: bytes | str) -> list[str]:
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")  # a wrong byte becomes what no right text holds
    lines = [line.rstrip(_SPACES) for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _same_line(ours: str, theirs: str, rtol: float, atol: float, spaces: bool) -> bool:
    if spaces:
        one, other = re.split(r"([ \t\r\f\v]+)", ours), re.split(r"([ \t\r\f\v]+)", theirs)
    else:
        one, other = ours.split(), theirs.split()
    return len(one) == len(other) and all(
        a == b or _same_word(a, b, rtol, atol) for a, b in zip(one, other, strict=True)
    )


def _same_word(ours: str, theirs: str, rtol: float, atol: float) -> bool:
    """Return whether two different words are numbers, not both whole, that are close."""
    if max(len(ours), len(theirs)) > _LONGEST_NUMBER or not (_NUMBER.fullmatch(ours) and _NUMBER.fullmatch(theirs)):
        return False
    whole = _WHOLE.fullmatch(ours), _WHOLE.fullmatch(theirs)
    if all(whole):
        return False
    if whole[1]:
        return abs(Decimal(ours) - Decimal(theirs)) <= Decimal(atol)
    return _close(float(ours), float(theirs), rtol, atol)


def _same_number(ours: float, theirs: float, rtol: float, atol: float) -> bool:
    if ours == theirs:
        return True
    if type(theirs) is int and (type(ours) is int or abs(theirs) >= _EXACT):
        return False
    try:
        return _close(float(ours), float(theirs), 0.0 if type(theirs) is int else rtol, atol)
    except OverflowError:  # an integer that no float can hold
        return False


def _close(ours: float, theirs: float, rtol: float, atol: float) -> bool:
    if math.isnan(ours) or math.isnan(theirs):
        return math.isnan(ours) and math.isnan(theirs)
    if math.isinf(ours) or math.isinf(theirs):
        return False  # equal ones were found before; two words too large for a float are not known to be equal
    return abs(ours - theirs) <= max(atol, rtol * abs(theirs))
