"""The candidate's end of the stream: runs its module and answers requests. It is trusted in nothing."""

from __future__ import annotations

import operator
import os
import sys
import types
from collections.abc import Callable
from typing import Any

from rewardkit_sandbox.inside.values import LARGEST, CannotCrossError, End, TooLargeError

_OPERATIONS: dict[str, Callable[..., Any]] = {
    "call": lambda function, *args, **kw: function(*args, **kw),
    "get": getattr,
    "set": setattr,
    "item": operator.getitem,
    "set_item": operator.setitem,
    "del_item": operator.delitem,
    "len": len,
    "iter": iter,
    "next": next,
    "bool": bool,
    "int": int,
    "float": float,
    "str": str,
    "repr": repr,
    "isinstance": isinstance,
}


class Candidate(End):
    """The end beside the candidate's code.

    A file `prelude.py` is run before it, in the same namespace: what programs may use without importing it.
    """

    def __init__(self, descriptor: int, path: str) -> None:
        super().__init__(descriptor)
        self.path = path
        self.module = types.ModuleType("candidate")
        self.kept: list[Any] = []  # what handles stand for, kept for ever so that no id is used twice
        self.numbers: dict[int, int] = {}
        self.nonce: Any = None
        self.solution: Any = None
        self.given: dict[str, Any] = {}

    def converse(self, *, inside: bool = False) -> Any:
        """Answer requests until the end of the stream or, `inside` a request, until something else arrives."""
        while True:
            try:
                message = self.receive()
            except (EOFError, OSError):
                os._exit(0)
            if inside and "op" not in message:
                return message
            self.answer(message)

    def answer(self, message: dict[str, Any]) -> None:
        """Do what is asked, and answer."""
        before, self.nonce = self.nonce, message["n"]
        reply: dict[str, Any] = {}
        args: list[Any] = []
        try:
            args = [self.decode(arg) for arg in message["args"]]
            plain = len(args) - len(message["kw"])
            operation = _OPERATIONS.get(message["op"]) or getattr(self, message["op"])
            value = operation(*args[:plain], **dict(zip(message["kw"], args[plain:])))
            reply["v"] = self.encode(value)
        except BaseException as error:
            reply["e"] = self.encode_error(error)
        if message["op"] == "call":
            self._add_changes(reply, message["args"], args)
        nonce, self.nonce = self.nonce, before
        try:
            self.send({"n": nonce, **reply}, LARGEST)
        except TooLargeError as error:
            self.send({"n": nonce, "e": self.encode_error(error)})

    def start(self) -> None:
        """Run the candidate's module; what it raises goes to the judge, and what cannot be compiled is SyntaxError."""
        sys.modules["candidate"] = self.module
        if os.path.exists("prelude.py"):
            with open("prelude.py", "rb") as file:
                exec(compile(file.read(), "prelude.py", "exec", dont_inherit=True), vars(self.module))
            self.given = dict(vars(self.module))
        with open(self.path, "rb") as file:
            source = file.read()
        self.module.__file__ = self.path
        try:
            code = compile(source, self.path, "exec", dont_inherit=True)
        except (ValueError, OverflowError, MemoryError, RecursionError) as error:
            raise SyntaxError(str(error)) from None
        exec(code, vars(self.module))

    def find(self, name: str) -> Any:
        """Return what the candidate calls `name`, at the top or as a method of its class `Solution`.

        What the prelude defines is not the candidate's.
        """
        own = vars(self.module)
        if name in own and (name not in self.given or own[name] is not self.given[name]):
            return own[name]
        if self.solution is None and isinstance(getattr(self.module, "Solution", None), type):
            self.solution = self.module.Solution()
        if not name.startswith("_") and hasattr(self.solution, name):
            return getattr(self.solution, name)
        raise NameError(f"name {name!r} is not defined")

    def name_class(self, kind: type) -> Any:
        """Return the name and the number of a class, so that tests can catch it."""
        return [kind.__name__, self._number(kind)]

    def _add_changes(self, reply: dict[str, Any], sent: list[Any], args: list[Any]) -> None:
        try:
            after = [self.encode(arg) for arg in args]
        except (TypeError, ValueError, RecursionError):
            return
        if after != sent:
            reply["args"] = after

    def _number(self, value: Any) -> int:
        if id(value) not in self.numbers:
            self.numbers[id(value)] = len(self.kept)
            self.kept.append(value)
        return self.numbers[id(value)]

    def export(self, value: Any, depth: int) -> Any:
        """Return the number of what stays here; numbers of numpy cross as numbers."""
        kind = type(value)
        if kind is Callback:
            return ["back", value.number]
        if kind.__module__ == "numpy" and getattr(value, "ndim", 1) == 0:
            return self.encode(value.item(), depth + 1)
        bases = []
        if isinstance(value, type) and issubclass(value, BaseException):
            bases = [base.__name__ for base in value.__mro__]
        return ["handle", self._number(value), getattr(value, "__name__", kind.__name__), *bases]

    def take(self, tag: str, parts: list[Any]) -> Any:
        """Return what is kept here under a number, or what stands for a value of the tests."""
        if tag == "handle":
            return self.kept[parts[0]]
        if tag == "iterator":
            return iter([self.decode(part) for part in parts])
        if tag == "back":
            return Callback(self, parts[0])
        if tag == "record":
            return self._record(*parts)
        raise CannotCrossError(f"there is nothing like {tag!r}")

    def _record(self, name: str, attributes: Any) -> Any:
        kind = vars(self.module).get(name)
        kind = kind if isinstance(kind, type) else type(name, (), {})
        value: Any = object.__new__(kind)
        for attribute, coded in self.decode(attributes).items():
            object.__setattr__(value, attribute, coded)
        return value


class Callback:
    """A function of the tests, in the candidate's process."""

    def __init__(self, end: Candidate, number: int) -> None:
        self.end = end
        self.number = number

    def __call__(self, *args: Any, **kw: Any) -> Any:  # noqa: D102
        coded = [self.end.encode(arg) for arg in (*args, *kw.values())]
        self.end.send({"n": self.end.nonce, "back": self.number, "args": coded, "kw": list(kw)}, LARGEST)
        reply = self.end.converse(inside=True)
        if "e" in reply:
            raise self.end.decode_error(reply["e"])
        return self.end.decode(reply["v"])
