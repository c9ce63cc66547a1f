"""The end of the tests: runs them, and asks the other end for what the candidate's functions return.

It takes in plain values only, built by itself, and runs nothing that the candidate wrote. What a test can do with the
rest, of which it holds a `Handle`, is in docs/rewards/unit_tests.md.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import functools
import importlib
import itertools
import json
import os
import select
import signal
import socket
import time
import types
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from rewardkit_sandbox.inside.names import defined_by, free_names, known_names
from rewardkit_sandbox.inside.values import LARGEST, LONGEST_NOTE, CannotCrossError, End, TooLargeError

T = TypeVar("T")
LONGEST_ITERATOR = 100_000  # items
LARGEST_VALUE = 4 << 20  # bytes of JSON that is reported for one call


class Broken(BaseException):
    """The stream is of no use any more: `status` is timeout, crashed or forged. No test can catch it for good."""

    def __init__(self, status: str, note: str) -> None:
        super().__init__(status, note)
        self.status = status
        self.note = note


class Handle:
    """Something of the candidate's, held by the judge; it equals nothing but itself.

    What is done to it is done on the other side, and what comes of it is a plain value or another handle. Nothing that
    compares crosses (`==`, `<`, `in`), and neither does arithmetic.
    """

    __slots__ = ("_rewardkit",)

    def __init__(self, end: Judge, number: int, name: str) -> None:
        object.__setattr__(self, "_rewardkit", (end, number, name))

    def __call__(self, *args: Any, **kw: Any) -> Any:  # noqa: D102
        return self._rewardkit[0].ask("call", self, *args, **kw)

    def __getattr__(self, name: str) -> Any:
        if name == "__name__":
            return self._rewardkit[2]
        if name.startswith("__"):
            raise AttributeError(f"{self._rewardkit[2]!r} has no {name!r} that can be reached from a test")
        return self._rewardkit[0].ask("get", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._rewardkit[0].ask("set", self, name, value)

    def __getitem__(self, key: Any) -> Any:
        return self._rewardkit[0].ask("item", self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._rewardkit[0].ask("set_item", self, key, value)

    def __delitem__(self, key: Any) -> None:
        self._rewardkit[0].ask("del_item", self, key)

    def __len__(self) -> int:
        return self._exact("len", int)

    def __bool__(self) -> bool:
        return self._exact("bool", bool)

    def __int__(self) -> int:
        return self._exact("int", int)

    def __float__(self) -> float:
        return self._exact("float", float)

    def __str__(self) -> str:
        return self._exact("str", str)

    def __repr__(self) -> str:
        return self._exact("repr", str)

    def __iter__(self) -> Iterator[Any]:
        iterator = self._rewardkit[0].ask("iter", self)
        return iterator if type(iterator) is Handle else iter(iterator)

    def __next__(self) -> Any:
        return self._rewardkit[0].ask("next", self)

    def __instancecheck__(self, value: Any) -> bool:
        return type(value) is Handle and self._rewardkit[0].ask("isinstance", value, self) is True

    def __hash__(self) -> int:
        return hash(("handle", self._rewardkit[1]))

    def __eq__(self, other: object) -> bool:
        return self is other

    def _exact(self, operation: str, kind: type[T]) -> T:
        value = self._rewardkit[0].ask(operation, self)
        if type(value) is kind:
            return value
        raise TypeError(f"{operation} of {self._rewardkit[2]!r} is no {kind.__name__}")


class Judge(End):
    """The end beside the tests."""

    largest = LARGEST

    def __init__(self, descriptor: int, seconds: float) -> None:
        super().__init__(descriptor)
        self.seconds = seconds
        self.broken: Broken | None = None
        self.requests = 0
        self.handles: dict[int, Handle] = {}
        self.errors: dict[int, type[BaseException]] = {}  # exception classes of the candidate that tests can name
        self.functions: list[Callable[..., Any]] = []  # what was passed to the candidate
        signal.signal(signal.SIGALRM, self._ring)

    def run(self, orders: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the lines of the report."""
        try:
            trees = [ast.parse(test) for test in orders.get("tests", ())]
            setup = ast.parse(orders.get("setup") or "")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            yield {"ready": False, "status": "broken", "note": f"the tests cannot be compiled: {error}"}
            return
        space: dict[str, Any] = {"__name__": "tests", "__builtins__": builtins}
        entry = orders.get("entry_point")
        prompt = defined_by(orders.get("prompt") or "", entry)
        ready = self._timed(lambda: self._start(space, prompt, setup, trees, entry))
        yield {"ready": True} if ready["status"] == "passed" else {"ready": False, **ready}
        if ready["status"] != "passed":
            return
        steps: list[Callable[[], Any]] = [functools.partial(_run, tree, space) for tree in trees]
        steps += [functools.partial(_value, space[entry or ""], args) for args in orders.get("calls", ())]
        for number, step in enumerate(steps):
            line = {"test": number, **self._timed(step)}
            if line["status"] == "passed" and not self.requests:
                line.update(status="vacuous", note="the test never called the candidate's code")
            yield line
            if self.broken or (orders.get("stop") and line["status"] != "passed"):
                return
        yield {"done": self.requests}

    def ask(self, operation: str, *args: Any, **kw: Any) -> Any:
        """Return what the other side makes of a request; raise what it raises, or Broken."""
        if self.broken:
            raise self.broken
        self.requests += operation not in ("start", "find")
        nonce = os.urandom(8).hex()
        values = (*args, *kw.values())
        coded = [self.encode(value) for value in values]
        try:
            self.send({"n": nonce, "op": operation, "args": coded, "kw": list(kw)})
            answer = self._answer(nonce)
        except (EOFError, OSError):
            raise self._fail("crashed", "the program ended before it had answered") from None
        try:
            if "args" in answer:
                for value, after in zip(values, answer["args"]):
                    _update(value, self.decode(after))
            if "e" not in answer:
                return self.decode(answer["v"])
            raised = self.decode_error(answer["e"], stop=operation == "next")
        except Exception as error:
            raise self._fail("forged", f"an answer is none: {type(error).__name__}") from None
        raised.of_candidate = True  # type: ignore[attr-defined]
        raise raised

    def _answer(self, nonce: str) -> dict[str, Any]:
        """Return the answer to the request with `nonce`; until then, make the calls that the other side asks for."""
        while True:
            try:
                answer = self.receive()
            except (ValueError, RecursionError, MemoryError) as error:
                raise self._fail("forged", f"an answer cannot be read: {error}") from None
            if type(answer) is not dict or answer.get("n") != nonce:
                raise self._fail("forged", "an answer was not asked for")
            if "back" not in answer:
                return answer
            self._call_back(answer)

    def _call_back(self, request: dict[str, Any]) -> None:
        try:
            function = self.functions[request["back"]]
            names = request["kw"]
            args = [self.decode(arg) for arg in request["args"]]
            plain = len(args) - len(names)
            kw = dict(zip(names, args[plain:]))
        except Exception:
            raise self._fail("forged", "a call of a function is none") from None
        try:
            reply = {"v": self.encode(function(*args[:plain], **kw))}
        except Exception as error:
            reply = {"e": self.encode_error(error)}
        self.send(reply)

    def _fail(self, status: str, note: str) -> Broken:
        self.broken = self.broken or Broken(status, note)
        return self.broken

    def _ring(self, *_: Any) -> None:
        raise self._fail("timeout", f"no end after {self.seconds:g} s")

    def _timed(self, step: Callable[[], Any]) -> dict[str, Any]:
        """Return how `step` ended, as a line of the report; never raises."""
        start = time.monotonic()
        try:
            line = self._attempt(step)
        except Broken:  # rung for once more
            signal.setitimer(signal.ITIMER_REAL, 0)
            line = {}
        if self.broken:
            line = {"status": self.broken.status, "note": self.broken.note}
        return {**line, "seconds": round(time.monotonic() - start, 4)}

    def _attempt(self, step: Callable[[], Any]) -> dict[str, Any]:
        try:
            signal.setitimer(signal.ITIMER_REAL, self.seconds, 0.1)
            line = {"status": "passed", **(step() or {})}
            if select.select([self.stream], [], [], 0)[0] and self.stream.recv(1, socket.MSG_PEEK):
                raise self._fail("forged", "an answer was not asked for")
        except BaseException as error:
            line = _verdict(error)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        return line

    def _start(self, space: dict[str, Any], prompt: ast.Module, setup: ast.Module, trees: Any, entry: Any) -> None:
        """Let the candidate's module run, then fill `space`: what the prompt defines, names of the candidate, setup."""
        self.ask("start")
        for node in prompt.body:
            with contextlib.suppress(NameError):  # it rests on what is not there yet
                _run(ast.Module(body=[node], type_ignores=[]), space)
        for name in free_names([setup, *trees], entry) - set(space) | ({entry} if entry else set()):
            self._bind(space, name, entry)
        for name, (module, attribute) in known_names([setup, *trees]).items():
            if name not in space:
                found = importlib.import_module(module)
                space[name] = getattr(found, attribute) if attribute else found
        _run(setup, space)

    def _bind(self, space: dict[str, Any], name: str, entry: str | None) -> None:
        """Let `name` be what the candidate calls so."""
        try:
            space[name] = self.ask("find", name)
        except NameError:
            if name == entry:
                raise
            if name == "candidate" and entry:
                space[name] = self.ask("find", entry)
        else:
            self.requests += type(space[name]) is not Handle

    def class_named(self, name: Any) -> type[BaseException] | None:
        """Return the class that tests know under that number, or the builtin of that name."""
        return self.errors.get(name[1]) or super().class_named(name[0])

    def export(self, value: Any, depth: int) -> Any:
        """Return what stands for a handle, a function, an iterator (its items) or an object of the tests (a record)."""
        if type(value) is Handle:
            return ["handle", value._rewardkit[1]]
        if isinstance(value, type) and value in self.errors.values():
            return ["handle", next(number for number, kind in self.errors.items() if kind is value)]
        if callable(value):
            self.functions.append(value)
            return ["back", len(self.functions) - 1]
        if hasattr(value, "__next__") or isinstance(value, _VIEWS):
            items = list(itertools.islice(value, LONGEST_ITERATOR + 1))
            if len(items) > LONGEST_ITERATOR:
                raise CannotCrossError(f"an iterator of more than {LONGEST_ITERATOR} items cannot cross")
            return ["iterator", *[self.encode(item, depth + 1) for item in items]]
        if type(value).__module__ == "tests":
            return ["record", type(value).__name__, self.encode(vars(value), depth + 1)]
        raise CannotCrossError(f"a {type(value).__name__} of the tests cannot be passed to the candidate's code")

    def take(self, tag: str, parts: list[Any]) -> Any:
        """Return the handle of what stayed there, or the function that had been passed."""
        if tag == "back":
            return self.functions[parts[0]]
        number, name, *bases = parts
        if tag != "handle" or type(number) is not int or type(name) is not str:
            raise ValueError(tag)
        if bases and number not in self.errors:
            base = next(filter(None, map(super().class_named, bases)), Exception)
            self.errors[number] = types.new_class(name, (base,))
        return self.errors.get(number) or self.handles.setdefault(number, Handle(self, number, name))


_VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))


def _run(tree: ast.Module, space: dict[str, Any]) -> None:
    exec(compile(tree, "tests", "exec", dont_inherit=True), space)


def _verdict(error: BaseException) -> dict[str, Any]:
    """Return the status that an exception stands for, and a note that gives away no expected value."""
    if getattr(error, "of_candidate", False):
        status = "compile_error" if isinstance(error, SyntaxError) else "error"
        try:
            return {"status": status, "note": f"{type(error).__name__}: {error}"[:LONGEST_NOTE]}
        except Exception:
            return {"status": status, "note": type(error).__name__}
    if isinstance(error, AssertionError):
        return {"status": "failed", "note": "AssertionError"}
    if isinstance(error, (ImportError, CannotCrossError)) and not isinstance(error, TooLargeError):
        return {"status": "broken", "note": f"{type(error).__name__}: {error}"[:LONGEST_NOTE]}
    return {"status": "failed", "note": f"the test raised {type(error).__name__}"}


def _value(function: Callable[..., Any], args: list[Any]) -> dict[str, Any]:
    """Return what a function returned, if it is a JSON value of bearable size."""
    value = function(*args)
    try:
        size = len(json.dumps(value))
    except (TypeError, ValueError, RecursionError, OverflowError):
        return {"status": "failed", "note": f"it returned a {type(value).__name__}, which is no JSON value"}
    if size > LARGEST_VALUE:
        return {"status": "failed", "note": "it returned too large a value"}
    return {"value": value}


def _update(old: Any, new: Any) -> None:
    """Change `old` in place to what `new` says; what is inside keeps its identity as far as it has a counterpart."""
    if type(old) is not type(new) and not (isinstance(old, dict) and isinstance(new, dict)):
        return
    if type(old) is list:
        old[:] = [_merged(*pair) for pair in zip(old, new)] + new[len(old) :]
    elif isinstance(old, dict):
        merged = {key: _merged(old[key], item) if key in old else item for key, item in new.items()}
        old.clear()
        old.update(merged)
    elif isinstance(old, set):
        old.clear()
        old.update(new)
    elif type(old) is tuple:
        for pair in zip(old, new):
            _update(*pair)
    elif type(old).__name__ in ("bytearray", "deque"):
        old.clear()
        old.extend(new)


def _merged(old: Any, new: Any) -> Any:
    """Return `old`, updated, where it stands for the same thing as `new`."""
    if type(new) is Handle:
        return old
    if type(old) is not type(new) or type(old) not in (list, dict, set, tuple):
        return new
    _update(old, new)
    return new if type(old) is tuple and old != new else old
