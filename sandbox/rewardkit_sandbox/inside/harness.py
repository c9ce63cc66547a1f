"""Function calls across a stream between two processes: `serve` beside the candidate's code, `judge` beside the tests.

Inside a sandbox it is imported as `rewardkit_harness`. The process that serves belongs to the candidate and is trusted in
nothing: what counts is that the judge takes in plain built-in values only, built by itself, and never runs code that the
candidate wrote. Whatever is no plain value stays where it is, and the other side holds a `Handle`. What a test can do
with one is in docs/rewards/unit_tests.md. Not covered: which tests there are, and what a verdict is worth.

A message is its length in four bytes, then JSON. A request is `{"n": nonce, "op": name, "args": values, "kw": names of
the last values}`; its answer brings the nonce back, with `"v"` (a value) or `"e"` (an exception) and `"args"` where
arguments were changed in place. In between, the candidate may call functions that it was given: `{"n": nonce, "back":
number, "args": values, "kw": names}`.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib
import json
import operator
import os
import select
import signal
import socket
import struct
import sys
import time
import types
from typing import Any, Callable, Iterator

LARGEST = 8 << 20  # bytes of one message of the candidate
DEEPEST = 200  # levels of one value
LONGEST_INT = 1 << 18  # hexadecimal digits
LARGEST_VALUE = 1 << 19  # bytes of JSON that the judge reports for one call
LONGEST_NOTE = 300  # characters of one message in a report

_SCALARS = (type(None), bool, float)
_PLAIN = (int, float, str, bytes, list, tuple, dict, set, frozenset)
_NAMED = {kind.__name__: kind for kind in (*_PLAIN, bool, complex, bytearray, range, object, type, type(None))}
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


def serve(*, descriptor: int = 3, path: str = "candidate.py") -> None:
    """Answer requests on `descriptor` until its end; the first makes it run `path`, as a module called `candidate`."""
    Candidate(descriptor, path).converse()


def judge(*, descriptor: int = 3) -> None:
    """Run the tests in the orders on stdin against what `descriptor` serves; report on stdout, one line of JSON each.

    Orders: `prompt` and `entry_point` (or none), `setup`, `tests` (texts) or `calls` (lists of arguments of the function
    `entry_point`), `seconds` (for each test), `stop` (at the first that does not pass). The first line is `{"ready":
    true}` or says with a `status` why the candidate's module cannot be used, the last `{"done": number of requests}`;
    those between have `test` (a number), `status`, `seconds` and `note` or, for a call, `value`. A report without its
    last line is that of tests that did not come to their end.
    """
    orders = json.load(sys.stdin)
    report = os.fdopen(os.dup(1), "w")
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1):
        os.dup2(null, number)
    sys.setrecursionlimit(4000)
    for line in Judge(descriptor, orders["seconds"]).run(orders):
        report.write(json.dumps(line) + "\n")
        report.flush()


class Broken(BaseException):
    """The stream is of no use any more: `status` is timeout, crashed or forged. No test can catch it for good."""

    def __init__(self, status: str, note: str) -> None:
        super().__init__(status, note)
        self.status = status
        self.note = note


class CannotCrossError(TypeError):
    """A value that must stay on its side."""


class End:
    """One end of the stream: sends and receives messages, and turns values into JSON and back.

    The types are exact: a value of a subclass crosses as its base if it compares like that, and never as what it is.
    """

    largest = 1 << 30

    def __init__(self, descriptor: int) -> None:
        self.stream = socket.socket(fileno=descriptor)

    def send(self, message: dict[str, Any], largest: int = 1 << 30) -> None:
        """Send one message; raises CannotCrossError when it is too large."""
        body = json.dumps(message).encode()
        if len(body) > largest:
            raise CannotCrossError("the value is too large to cross")
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
        if kind is str:
            surrogates = not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value)
            return ["u", *map(ord, value)] if surrogates else value
        if depth > DEEPEST:
            raise CannotCrossError(f"a value of more than {DEEPEST} levels cannot cross")
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
            if not (kind is range and abs(value.stop - value.start) > 1 << 20) and getattr(value, "tzinfo", None) is None:
                return ["new", name, *[self.encode(arg, depth + 1) for arg in args]]
        for base in _PLAIN:
            if isinstance(value, base) and kind.__eq__ is base.__eq__:
                return self.encode(str.__str__(value) if base is str else base(value), depth)
        if kind is type and _NAMED.get(value.__name__) is value:
            return ["type", value.__name__]
        return self.export(value, depth)

    def decode(self, coded: Any) -> Any:
        """Return the value that `coded` stands for; whatever is malformed raises some Exception."""
        kind = type(coded)
        if kind in _SCALARS or kind is str or kind is int:
            return coded
        tag, *parts = coded
        if tag == "dict":
            items = [self.decode(part) for part in parts]
            return dict(zip(items[::2], items[1::2]))
        if tag in ("list", "tuple"):
            items = [self.decode(part) for part in parts]
            return items if tag == "list" else tuple(items)
        if tag in ("set", "frozenset"):
            unique = {self.decode(part) for part in parts}  # item by item, so that an alarm gets through
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
            return _rebuilt(parts[0], [self.decode(part) for part in parts[1:]])
        return self.take(tag, parts)

    def encode_error(self, error: BaseException) -> Any:
        """Return an exception as the names of its classes (with what `name_class` adds) and its arguments."""
        classes = [self.name_class(kind) for kind in type(error).__mro__ if issubclass(kind, BaseException)]
        try:
            args = [self.encode(arg) for arg in error.args]
            if len(json.dumps(args)) > LARGEST >> 4:
                raise CannotCrossError("the arguments are too large")
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
        return kind.__name__

    def class_named(self, name: Any) -> type[BaseException] | None:
        kind = getattr(builtins, name, None)
        safe = isinstance(kind, type) and issubclass(kind, (Exception, SystemExit))
        return kind if safe else None

    def export(self, value: Any, depth: int) -> Any:
        raise NotImplementedError

    def take(self, tag: str, parts: list[Any]) -> Any:
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
    return getattr(importlib.import_module(module), kind)(*args)


class Candidate(End):
    """The end beside the candidate's code."""

    def __init__(self, descriptor: int, path: str) -> None:
        super().__init__(descriptor)
        self.path = path
        self.module = types.ModuleType("candidate")
        self.kept: list[Any] = []  # what handles stand for, kept for ever so that no id is used twice
        self.numbers: dict[int, int] = {}
        self.nonce: Any = None
        self.solution: Any = None

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
        except BaseException as error:  # noqa: BLE001  it goes to the other side
            reply["e"] = self.encode_error(error)
        if message["op"] == "call":
            self._add_changes(reply, message["args"], args)
        nonce, self.nonce = self.nonce, before
        try:
            self.send({"n": nonce, **reply}, LARGEST)
        except CannotCrossError as error:
            self.send({"n": nonce, "e": self.encode_error(error)})

    def start(self) -> None:
        """Run the candidate's module; what it raises goes to the judge, and what cannot be compiled is SyntaxError."""
        with open(self.path, "rb") as file:
            source = file.read()
        sys.modules["candidate"] = self.module
        self.module.__file__ = self.path
        try:
            code = compile(source, self.path, "exec", dont_inherit=True)
        except (ValueError, OverflowError, MemoryError, RecursionError) as error:
            raise SyntaxError(str(error)) from None
        exec(code, vars(self.module))  # noqa: S102  that is what this process is for

    def find(self, name: str) -> Any:
        """Return what the candidate calls `name`, at the top or as a method of its class `Solution`."""
        if name in vars(self.module):
            return vars(self.module)[name]
        if self.solution is None and isinstance(getattr(self.module, "Solution", None), type):
            self.solution = self.module.Solution()
        if not name.startswith("_") and hasattr(self.solution, name):
            return getattr(self.solution, name)
        raise NameError(f"name {name!r} is not defined")

    def name_class(self, kind: type) -> Any:
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
        value = object.__new__(kind)
        for attribute, coded in self.decode(attributes).items():
            object.__setattr__(value, attribute, coded)
        return value


class Callback:
    """A function of the tests, in the candidate's process."""

    def __init__(self, end: Candidate, number: int) -> None:
        self.end = end
        self.number = number

    def __call__(self, *args: Any, **kw: Any) -> Any:
        coded = [self.end.encode(arg) for arg in (*args, *kw.values())]
        self.end.send({"n": self.end.nonce, "back": self.number, "args": coded, "kw": list(kw)}, LARGEST)
        reply = self.end.converse(inside=True)
        if "e" in reply:
            raise self.end.decode_error(reply["e"])
        return self.end.decode(reply["v"])


class Handle:
    """Something of the candidate's, held by the judge; it equals nothing but itself.

    What is done to it is done on the other side, and what comes of it is a plain value or another handle. Nothing that
    compares crosses (`==`, `<`, `in`), and neither does arithmetic.
    """

    __slots__ = ("_rewardkit",)

    def __init__(self, end: Judge, number: int, name: str) -> None:
        object.__setattr__(self, "_rewardkit", (end, number, name))

    def __call__(self, *args: Any, **kw: Any) -> Any:
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

    def _exact(self, operation: str, kind: type) -> Any:
        value = self._rewardkit[0].ask(operation, self)
        if type(value) is not kind:
            raise TypeError(f"{operation} of {self._rewardkit[2]!r} is no {kind.__name__}")
        return value


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
            trees = [ast.parse(test, f"test {number}") for number, test in enumerate(orders.get("tests", ()))]
            setup, prompt = ast.parse(orders.get("setup") or "", "setup"), _defined(orders.get("prompt") or "", orders)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            yield {"ready": False, "status": "broken", "note": f"the tests cannot be compiled: {error}"}
            return
        space: dict[str, Any] = {"__name__": "tests", "__builtins__": builtins}
        ready = self._timed(lambda: self._start(space, prompt, setup, trees, orders.get("entry_point")))
        yield {"ready": True} if ready["status"] == "passed" else {"ready": False, **ready}
        if ready["status"] != "passed":
            return
        entry = orders.get("entry_point")
        steps: list[Callable[[], Any]] = [lambda tree=tree: self._run_test(space, tree, entry) for tree in trees]
        steps += [lambda args=args: {"value": _json(space[entry](*args))} for args in orders.get("calls", ())]
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
            error = self.decode_error(answer["e"], stop=operation == "next")
        except Exception:
            raise self._fail("forged", "an answer is none") from None
        error.of_candidate = True  # type: ignore[attr-defined]
        raise error

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
        except Exception as error:  # noqa: BLE001  it goes to the other side
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
        if self.broken:
            line = {"status": self.broken.status, "note": self.broken.note}
        return {**line, "seconds": round(time.monotonic() - start, 4)}

    def _attempt(self, step: Callable[[], Any]) -> dict[str, Any]:
        try:
            signal.setitimer(signal.ITIMER_REAL, self.seconds, 0.1)
            line = {"status": "passed", **(step() or {})}
            if select.select([self.stream], [], [], 0)[0] and self.stream.recv(1, socket.MSG_PEEK):
                raise self._fail("forged", "an answer was not asked for")
        except BaseException as error:  # noqa: BLE001  whatever a test raises is its verdict
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
        for name in _free_names([setup, *trees], entry) - set(space) | ({entry} if entry else set()):
            self._bind(space, name, entry)
        _run(setup, space)

    def _bind(self, space: dict[str, Any], name: str, entry: str | None) -> None:
        """Let `name` be what the candidate calls so; a module of the standard library is that, whoever imported it."""
        try:
            space[name] = self.ask("find", name)
        except NameError:
            if name == entry:
                raise
            if name == "candidate" and entry:
                space[name] = self.ask("find", entry)
        else:
            self.requests += type(space[name]) is not Handle

    def _run_test(self, space: dict[str, Any], tree: ast.Module, entry: str | None) -> None:
        _run(tree, space)
        called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and _is_name(node.func)}
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name == "check" and entry and "check" not in called:
                space["check"](space[entry])
            elif isinstance(node, ast.FunctionDef) and node.name.startswith("test") and not node.args.args:
                if node.name not in called:
                    space[node.name]()
            elif isinstance(node, ast.ClassDef):
                _run_case(space[node.name])

    def class_named(self, name: Any) -> type[BaseException] | None:
        return self.errors.get(name[1]) or super().class_named(name[0])

    def export(self, value: Any, depth: int) -> Any:
        if type(value) is Handle:
            return ["handle", value._rewardkit[1]]
        if isinstance(value, type) and value in self.errors.values():
            return ["handle", next(number for number, kind in self.errors.items() if kind is value)]
        if callable(value):
            self.functions.append(value)
            return ["back", len(self.functions) - 1]
        if hasattr(value, "__next__") or isinstance(value, _VIEWS):
            return ["iterator", *[self.encode(item, depth + 1) for item in value]]
        if type(value).__module__ == "tests":
            return ["record", type(value).__name__, self.encode(vars(value), depth + 1)]
        raise CannotCrossError(f"a {type(value).__name__} of the tests cannot be passed to the candidate's code")

    def take(self, tag: str, parts: list[Any]) -> Any:
        if tag == "back":
            return self.functions[parts[0]]
        number, name, *bases = parts
        if tag != "handle" or type(number) is not int or type(name) is not str:
            raise ValueError(tag)
        if bases and number not in self.errors:
            base = next(filter(None, map(super().class_named, bases)), Exception)
            self.errors[number] = type(name, (base,), {})
        return self.errors.get(number) or self.handles.setdefault(number, Handle(self, number, name))


_VIEWS = (type({}.keys()), type({}.values()), type({}.items()))


def _run(tree: ast.Module, space: dict[str, Any]) -> None:
    exec(compile(tree, "tests", "exec", dont_inherit=True), space)  # noqa: S102  the author's


def _is_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Name)


def _verdict(error: BaseException) -> dict[str, Any]:
    """Return the status that an exception stands for, and a note that gives away no expected value."""
    if getattr(error, "of_candidate", False):
        status = "compile_error" if isinstance(error, SyntaxError) else "error"
        try:
            return {"status": status, "note": f"{type(error).__name__}: {error}"[:LONGEST_NOTE]}
        except Exception:  # noqa: BLE001  its arguments come from the candidate
            return {"status": status, "note": type(error).__name__}
    if isinstance(error, AssertionError):
        return {"status": "failed", "note": "AssertionError"}
    if isinstance(error, (ImportError, SyntaxError, CannotCrossError)):
        return {"status": "broken", "note": f"{type(error).__name__}: {error}"[:LONGEST_NOTE]}
    return {"status": "failed", "note": f"the test raised {type(error).__name__}"}


def _json(value: Any) -> Any:
    """Return what a function returned, if it is a JSON value of bearable size."""
    try:
        text = json.dumps(value)
    except (TypeError, ValueError, RecursionError, OverflowError):
        raise AssertionError from None
    if len(text) > LARGEST_VALUE:
        raise AssertionError
    return json.loads(text)


def _run_case(case: Any) -> None:
    """Run the methods of a `unittest.TestCase`; raise its first failure."""
    unittest = sys.modules.get("unittest")
    if unittest is None or not (isinstance(case, type) and issubclass(case, unittest.TestCase)):
        return
    failures: list[BaseException] = []

    class Findings(unittest.TestResult):  # type: ignore[misc, name-defined]
        def addError(self, test: Any, err: Any) -> None:  # noqa: N802
            failures.append(err[1])

        addFailure = addError  # noqa: N815

        def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:  # noqa: N802
            failures.extend([err[1]] if err else [])

    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(Findings())
    if failures:
        raise failures[0]


def _update(old: Any, new: Any) -> None:
    """Change `old` in place to what `new` says; what is inside keeps its identity as far as it has a counterpart."""
    if type(old) is list and type(new) is list:
        old[:] = [_merged(*pair) for pair in zip(old, new)] + new[len(old) :]
    elif isinstance(old, dict) and isinstance(new, dict):
        merged = {key: _merged(old[key], item) if key in old else item for key, item in new.items()}
        old.clear()
        old.update(merged)
    elif isinstance(old, set) and isinstance(new, set):
        old.clear()
        old.update(new)
    elif type(old) is tuple and type(new) is tuple:
        for pair in zip(old, new):
            _update(*pair)
    elif type(old) is type(new) and type(old).__name__ in ("bytearray", "deque"):
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


def _defined(prompt: str, orders: dict[str, Any]) -> ast.Module:
    """Return what a prompt defines completely, but the function that is asked for: imports, helpers, constants.

    A helper that a test uses must be the author's, or else a candidate redefines it. A prompt that is no code has none.
    """
    for text in (prompt, prompt + "\n    pass\n"):
        try:
            tree = ast.parse(text, "prompt")
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        tree.body = [node for node in tree.body if _is_complete(node, orders.get("entry_point"))]
        return tree
    return ast.Module(body=[], type_ignores=[])


def _is_complete(node: ast.stmt, entry: str | None) -> bool:
    if isinstance(node, (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)):
        return True
    if not isinstance(node, (ast.FunctionDef, ast.ClassDef)) or node.name == entry:
        return False
    functions = [part for part in ast.walk(node) if isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef))]
    return not any(all(_says_nothing(line) for line in function.body) for function in functions)


def _says_nothing(line: ast.stmt) -> bool:
    docstring_or_dots = isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)
    return docstring_or_dots or isinstance(line, (ast.Pass, ast.Raise))


def _free_names(trees: list[ast.Module], entry: str | None) -> set[str]:
    """Return the names that tests use and nobody defines: those of the candidate.

    A builtin is never the candidate's, who could replace `set` or `abs`; only where tests call nothing else is the
    first one called what is tested.
    """
    nodes = [node for tree in trees for node in ast.walk(tree)]
    used = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    free = used - set(dir(builtins)) - _bound_names(trees) - _modules(nodes)
    return free if free or entry else _first_call(nodes)


def _first_call(nodes: list[ast.AST]) -> set[str]:
    """Return the name of the first call that has no other inside."""
    for call in nodes:
        inside = [node for node in ast.walk(call) if isinstance(node, ast.Call)]
        if inside == [call] and isinstance(call.func, ast.Name):
            return {call.func.id}
    return set()


def _bound_names(trees: list[ast.Module]) -> set[str]:
    """Return the names that the top level of tests binds (all levels of what is no function)."""
    bound: set[str] = set()
    for tree in trees:
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                bound.add(node.name)
                continue
            for part in ast.walk(node):
                if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                    bound.add(part.id)
                elif isinstance(part, ast.alias):
                    bound.add((part.asname or part.name).partition(".")[0])
    return bound
