"""Values as JSON, by their exact types, and the messages that carry them between `serving` and `judging`.

What is no plain value is left to the two ends (`export` and `take`). Nothing here decides who may be believed.
"""

from __future__ import annotations

import builtins
import importlib
import json
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any

LARGEST = 8 << 20  # bytes of one message of the candidate
MOST_ITEMS = 4 << 20  # of one value; characters of one text
DEEPEST = 200  # levels of one value
LONGEST_INT = 1 << 18  # hexadecimal digits
LONGEST_NOTE = 300  # characters of one message in a report

_SCALARS = (type(None), bool, float)
_PLAIN: tuple[type, ...] = (int, float, str, bytes, list, tuple, dict, set, frozenset)
_SIZED = (str, bytes, list, tuple, dict, set, frozenset)
_OTHERS: tuple[type, ...] = (bool, complex, bytearray, range, object, type, type(None))
_NAMED = {kind.__name__: kind for kind in (*_PLAIN, *_OTHERS)}
# Values that are named and rebuilt from arguments of these types.
_REBUILT: dict[str, tuple[tuple[type, ...], Callable[[Any], list[Any]]]] = {
    "builtins.bytearray": ((bytes,), lambda x: [bytes(x)]),
    "builtins.complex": ((float, float), lambda x: [x.real, x.imag]),
    "builtins.range": ((int, int, int), lambda x: [x.start, x.stop, x.step]),
    "collections.Counter": ((dict,), lambda x: [dict(x)]),
    "collections.OrderedDict": ((list,), lambda x: [list(x.items())]),
    "collections.deque": ((list,), lambda x: [list(x)]),
    "datetime.date": ((int,) * 3, lambda x: [x.year, x.month, x.day]),
    "datetime.timedelta": ((int,) * 3, lambda x: [x.days, x.seconds, x.microseconds]),
    "datetime.datetime": (
        (int,) * 7,
        lambda x: [x.year, x.month, x.day, x.hour, x.minute, x.second, x.microsecond],
    ),
    "decimal.Decimal": ((str,), lambda x: [str(x)]),
    "fractions.Fraction": ((int, int), lambda x: [x.numerator, x.denominator]),
}


class CannotCrossError(TypeError):
    """A value that must stay on its side."""


class TooLargeError(CannotCrossError):
    """A value with too many parts, levels or bytes."""


class End:
    """One end of the stream: sends and receives messages, and turns values into JSON and back.

    The types are exact: a value of a subclass crosses as its base if it compares like that, and never as what it is.
    """

    largest = 1 << 30

    def __init__(self, descriptor: int) -> None:
        self.stream = socket.socket(fileno=descriptor)

    def send(self, message: dict[str, Any], largest: int = 1 << 30) -> None:
        """Send one message; raises TooLargeError when it is longer than `largest` bytes."""
        body = json.dumps(message).encode()
        if len(body) > largest:
            raise TooLargeError("a value is too large to cross")
        self.stream.sendall(struct.pack(">I", len(body)) + body)

    def receive(self) -> Any:
        """Return the next message, or raise EOFError, or ValueError for what is none."""
        size = struct.unpack(">I", self._exactly(4))[0]
        if size > self.largest:
            raise ValueError("a message is too large")
        return json.loads(self._exactly(size))

    def _exactly(self, size: int) -> bytes:
        read = bytearray()
        while len(read) < size:
            piece = self.stream.recv(min(size - len(read), 1 << 20))
            if not piece:
                raise EOFError
            read += piece
        return bytes(read)

    def encode(self, value: Any, depth: int = 0) -> Any:
        """Return `value` as JSON: scalars as they are, all else as a list that begins with a tag."""
        kind = type(value)
        if kind in _SCALARS:
            return value
        if kind is int:
            return value if -(1 << 63) < value < 1 << 63 else ["i", hex(value)]
        if kind in _SIZED and len(value) > MOST_ITEMS:
            raise TooLargeError("a value is too large to cross")
        if kind is str:
            surrogates = not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value)
            return ["u", *map(ord, value)] if surrogates else value
        if depth > DEEPEST:
            raise TooLargeError(f"a value of more than {DEEPEST} levels cannot cross")
        if kind in (list, tuple, set, frozenset):
            return [kind.__name__, *[self.encode(item, depth + 1) for item in value]]
        if kind is dict:
            return ["dict", *[self.encode(part, depth + 1) for pair in value.items() for part in pair]]
        if kind is bytes:
            return ["bytes", value.decode("latin-1")]
        return self._encode_other(value, kind, depth)

    def _encode_other(self, value: Any, kind: type, depth: int) -> Any:
        name = f"{kind.__module__}.{kind.__qualname__}"
        if name in _REBUILT and getattr(sys.modules.get(kind.__module__), kind.__name__, None) is kind:
            args = _REBUILT[name][1](value)
            if not (kind is range and _is_long(value)) and getattr(value, "tzinfo", None) is None:
                return ["new", name, *[self.encode(arg, depth + 1) for arg in args]]
        for base in _PLAIN:
            equals: Any = base.__eq__
            if issubclass(kind, base) and kind.__eq__ is equals:
                return self.encode(str.__str__(value) if base is str else base(value), depth)
        if kind is type and value in _NAMED.values():
            return ["type", value.__name__]
        return self.export(value, depth)

    def decode(self, coded: Any, depth: int = 0) -> Any:
        """Return the value that `coded` stands for; whatever is malformed raises some Exception."""
        kind = type(coded)
        if kind in _SCALARS or kind is str or kind is int:
            return coded
        if depth > DEEPEST:
            raise TooLargeError(f"a value of more than {DEEPEST} levels cannot cross")
        tag, *parts = coded
        if tag == "dict":
            items = [self.decode(part, depth + 1) for part in parts]
            return dict(zip(items[::2], items[1::2]))
        if tag in ("list", "tuple"):
            items = [self.decode(part, depth + 1) for part in parts]
            return items if tag == "list" else tuple(items)
        if tag in ("set", "frozenset"):
            unique = {self.decode(part, depth + 1) for part in parts}  # item by item, so that an alarm gets through
            return unique if tag == "set" else frozenset(unique)
        if tag == "i":
            return _integer(*parts)
        if tag == "u":
            return "".join(map(chr, parts))
        if tag == "bytes":
            return parts[0].encode("latin-1")
        if tag == "type":
            return _NAMED[parts[0]]
        if tag == "new":
            return _rebuilt(parts[0], [self.decode(part, depth + 1) for part in parts[1:]])
        return self.take(tag, parts)

    def encode_error(self, error: BaseException) -> Any:
        """Return an exception as the names of its classes (with what `name_class` adds) and its arguments."""
        classes = [self.name_class(kind) for kind in type(error).__mro__ if issubclass(kind, BaseException)]
        try:
            args = [self.encode(arg) for arg in error.args]
            if len(json.dumps(args)) > LARGEST >> 4:
                raise TooLargeError("the arguments are too large")
        except (TypeError, ValueError, RecursionError):
            args = [str(error)[:LONGEST_NOTE]]
        return [classes, args]

    def decode_error(self, coded: Any, *, stop: bool = False) -> BaseException:
        """Return the exception that `coded` stands for, of the first class that is known here.

        An iteration ends by StopIteration only where `stop` says so: raised by a function, it would end a loop of the
        caller in silence.
        """
        classes, args = coded
        kind = next(filter(None, map(self.class_named, classes)), RuntimeError)
        if issubclass(kind, (StopIteration, StopAsyncIteration)) and not stop:
            kind = RuntimeError
        values = [self.decode(arg) for arg in args]
        try:
            error = kind(*values)
        except TypeError:
            error = RuntimeError(*values)
        return error

    def name_class(self, kind: type) -> Any:
        """Return what names an exception class on the other end."""
        return kind.__name__

    def class_named(self, name: Any) -> type[BaseException] | None:
        """Return the exception class of that name, if it is known here and may be raised."""
        kind = getattr(builtins, name, None)
        safe = isinstance(kind, type) and issubclass(kind, (Exception, SystemExit))
        return kind if safe else None

    def export(self, value: Any, depth: int) -> Any:
        """Return JSON for what is no plain value, or raise CannotCrossError."""
        raise NotImplementedError

    def take(self, tag: str, parts: list[Any]) -> Any:
        """Return what the other end's `export` stands for."""
        raise NotImplementedError


def _integer(text: str) -> int:
    if len(text) > LONGEST_INT:
        raise ValueError("an integer is too long")
    return int(text, 16)


def _rebuilt(name: str, args: list[Any]) -> Any:
    wanted = _REBUILT[name][0]
    if tuple(map(type, args)) != wanted:
        raise TypeError(f"{name} is not made of {args!r:.80}")
    module, _, kind = name.rpartition(".")
    value = getattr(importlib.import_module(module), kind)(*args)
    if type(value) is range and _is_long(value):
        raise TooLargeError("a range is too long")  # it could not cross back
    return value


def _is_long(numbers: range) -> bool:
    return abs(numbers.stop - numbers.start) > 1 << 20
