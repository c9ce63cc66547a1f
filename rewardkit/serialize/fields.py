"""Taking fields out of JSON objects: each is checked, removed, and blamed by its path when it is wrong.

Readers take what they know out of an object; what is left over is its metadata. Objects come fresh from the JSON
parser, so nobody else sees them change. Paths grow from the inside out, so that good input pays nothing for them.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable
from operator import length_hint
from typing import Any, TypeVar

import msgspec

from rewardkit.errors import InvalidTrajectoryError

Record = dict[str, Any]
DEEPEST = 100
_T = TypeVar("_T")


class WrongFieldError(InvalidTrajectoryError):
    """One field is wrong: its path, and what is wrong with it."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return f"{self.path} {self.problem}"

    def inside(self, parent: str) -> WrongFieldError:
        """Return this error as seen from outside of `parent`."""
        return WrongFieldError(f"{parent}.{self.path}" if self.path else parent, self.problem)


def wrong(path: str, value: Any, expected: str) -> WrongFieldError:
    """Return the error that says what is wrong, where, and what was expected."""
    shown = "missing" if value is None else reprlib.repr(value)
    return WrongFieldError(path, f"is {shown}: expected {expected}")


def read_all(read: Callable[[Any], _T], items: list[Any], path: str) -> list[_T]:
    """Read every item of the list at `path`."""
    left = iter(items)
    try:
        return list(map(read, left))
    except WrongFieldError as error:
        raise error.inside(f"{path}[{len(items) - 1 - length_hint(left)}]") from None


def take_id(record: Record, key: str) -> str | None:
    """Take an id: text, or an integer that is turned into text."""
    value = record.pop(key, None)
    if type(value) is int:
        return str(value)
    if value is None or type(value) is str:
        return value
    raise wrong(key, value, "text or an integer")


def take_flag(record: Record, key: str, default: bool) -> bool:
    """Take true or false."""
    value = record.pop(key, None)
    if value is None:
        return default
    if type(value) is bool:
        return value
    raise wrong(key, value, "true or false")


def take_list(record: Record, key: str) -> list[Any]:
    """Take a list; empty when it is absent or null."""
    value = record.pop(key, None)
    if value is None:
        return []
    if type(value) is list:
        return value
    raise wrong(key, value, "a list")


def take_metadata(record: Record) -> Record:
    """Take all that is left: the object under `metadata`, and every field that nobody took."""
    if not record:
        return record
    given = record.pop("metadata", None)
    if given is not None:
        if type(given) is not dict:
            raise wrong("metadata", given, "an object")
        record = {**record, **given}
    check_depth(record.values())
    return record


def as_record(value: Any) -> Record:
    """Return `value` if it is an object."""
    if type(value) is dict:
        return value
    raise wrong("", value, "an object")


def as_number(value: Any, path: str = "") -> float:
    """Return `value` as a float if it is a finite number that is no bool."""
    if type(value) is float:
        return value
    if type(value) is int:
        try:
            return float(value)
        except OverflowError:
            pass
    raise wrong(path, value, "a finite number")


def as_text(value: Any) -> str:
    """Return a text as it is, and anything else as JSON."""
    if type(value) is str:
        return value
    check_depth((value,))
    return msgspec.json.encode(value).decode()


def check_depth(values: Iterable[Any]) -> None:
    """Refuse what is nested so deeply that copying, pickling or writing it would exhaust the stack."""
    for _ in range(DEEPEST):
        boxes = [value for value in values if type(value) is dict or type(value) is list]
        if not boxes:
            return
        values = [item for box in boxes for item in (box.values() if type(box) is dict else box)]
    raise InvalidTrajectoryError(f"nested deeper than {DEEPEST} levels")
