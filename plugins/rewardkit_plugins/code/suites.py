"""The tests that a task carries, in the shapes that data sets have, told apart by their keys.

Which keys make which shape is in docs/howto/code-rewards.md. Nothing of the agent's is read here but by
`AssertSuite.program`, and nothing is run. Pytest and unittest files, special judges and tests in other languages than
Python (but for standard input and output) are not covered.
"""

from __future__ import annotations

import ast
import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from rewardkit.errors import RewardError
from rewardkit.types import Task
from rewardkit_plugins.code.extract import extract_code, language_of
from rewardkit_plugins.code.syntax import parse, parses

_NESTED = (
    "tests",
    "test",
    "unit_tests",
    "test_cases",
    "verification_info",
    "input_output",
    "reward_model",
    "ground_truth",
    "extra_info",
)
_INHERITED = ("fn_name", "function", "func_name", "entry_point", "starter_code", "metadata", "language", "setup")
_CALLED = ("functional", "function_call", "call_based", "function", "call")
_PRINTED = ("stdin", "stdin_stdout", "stdio", "standard_input", "io")
_DEEPEST = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class AssertSuite:
    """Python statements that raise when the program is wrong: HumanEval's `check`, MBPP's asserts.

    Each of `tests` is run by itself, after `setup`. `prompt` is the code that the agent was to continue, if any, and
    `entry_point` the name that the program must define, if known.
    """

    tests: tuple[str, ...]
    setup: str = ""
    prompt: str = ""
    entry_point: str | None = None

    def program(self, code: str) -> str:
        """Return the whole program: `code` with the imports and helpers of the prompt, or as the end of the prompt."""
        return complete(code, self.prompt, self.entry_point) if self.entry_point else code


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSuite:
    """Calls of one function, a function of the module or a method of its class `Solution`.

    `calls` are pairs of arguments and expected value, JSON values both. `boxed` says that every expected value stands
    in a list of its own, as often in APPS and TACO: then what is in it is right as well.
    """

    function: str
    calls: tuple[tuple[tuple[Any, ...], Any], ...]
    boxed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StdinSuite:
    """What the program reads from standard input, and what it must print for each.

    `language` is that of the programs where the task says so.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    language: str | None = None


Suite = AssertSuite | CallSuite | StdinSuite


def read_suite(task: Task, *, challenge: bool = False) -> Suite | None:
    """Return the tests of `task`, or None when it carries none; with `challenge` those of `challenge_test_list` too.

    Raises RewardError, which names the task and the key, for tests that are empty, incomplete or of no known shape.
    """
    for source in _sources(task):
        for read in (_asserts, _contest_cases, _columns, _cases):
            suite = read(source, challenge)
            if suite is not None:
                return suite
    return None


def complete(code: str, prompt: str, entry_point: str) -> str:
    """Return a program from `code` and the code that it was to continue.

    Code that defines `entry_point` gets what stands before it in the prompt (imports and helpers); other code is taken
    for the rest of the prompt, and gets back an indentation that it, or its first line, has lost.
    """
    name = re.escape(entry_point)
    if not re.search(rf"^(?:(?:async[ \t]+)?def|class)[ \t]+{name}\b|^{name}[ \t]*[:=]", code, re.M):
        start = prompt if prompt.endswith("\n") else prompt + "\n"
        return start + _as_body(code, start)
    future = [line for line in code.split("\n") if line.startswith("from __future__ import ")]
    rest = "\n".join(line for line in code.split("\n") if line not in future)
    return "\n".join([*future, before_definition(prompt, entry_point), rest])


def before_definition(prompt: str, entry_point: str) -> str:
    """Return the imports and helpers of `prompt`: what stands before its last definition of `entry_point`."""
    found = list(
        re.finditer(rf"^(?:@.*\n)*(?:async[ \t]+)?(?:def|class)[ \t]+{re.escape(entry_point)}\b", prompt, re.M)
    )
    before = prompt[: found[-1].start()] if found else ""
    return before if parses(before) else ""


def _as_body(code: str, start: str) -> str:
    """Return `code` indented as the body of the function that `start` ends in."""
    if code[:1] in (" ", "\t"):
        return code
    bodies = [f"    {code}", textwrap.indent(code, "    ")]
    if re.search(r"\n[^\s#]", code):
        del bodies[0]  # more than the first line stands at the margin
    return next((body for body in bodies if parses(start + body)), code)


@dataclass(frozen=True, slots=True)
class _Source:
    """A mapping that may hold tests, how to name it, and the key of its list of cases."""

    task: Task
    path: str
    record: Mapping[str, Any]
    cases: str = "test_cases"

    def get(self, key: str) -> Any:
        return self.record.get(key)

    def named(self, *keys: str) -> str | None:
        """Return the first text that is not empty among `keys`."""
        return next((value for key in keys if isinstance(value := self.get(key), str) and value.strip()), None)

    def wrong(self, key: str, problem: str) -> NoReturn:
        where = ".".join(part for part in (self.path, key) if part)
        raise RewardError(f"the tests of task {self.task.id!r} cannot be read: {where} {problem}")


def _sources(task: Task) -> Iterator[_Source]:
    """Yield the places where tests may be: the metadata, what is nested in it, and a reference that is JSON."""
    yield from _within(task, "", task.metadata, _DEEPEST)
    for number, reference in enumerate(task.references[:1]):
        found = _decoded(reference)
        if isinstance(found, dict):
            yield from _within(task, f"references[{number}]", found, _DEEPEST)


def _within(task: Task, path: str, record: Mapping[str, Any], depth: int) -> Iterator[_Source]:
    yield _Source(task, path, record)
    inherited = {key: record[key] for key in _INHERITED if record.get(key) is not None}
    for key in _NESTED if depth else ():
        value, below = _decoded(record.get(key)), f"{path}.{key}" if path else key
        if isinstance(value, dict):
            yield from _within(task, below, {**inherited, **value}, depth - 1)
        elif isinstance(value, list) and key != "test_cases":
            yield _Source(task, path, {**inherited, key: value}, cases=key)


def _decoded(value: Any) -> Any:
    """Return a list or an object that is written as JSON text, and anything else as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


# ---- asserts


def _asserts(source: _Source, challenge: bool) -> AssertSuite | None:
    """Read `test_list`, or Python in `test`: what an entry point must pass, or statements that assert by themselves."""
    key = next((key for key in ("test_list", "assert_case") if source.get(key) is not None), None)
    if key is not None:
        tests = _texts(source, key) + (_texts(source, "challenge_test_list") if challenge else [])
        return _assert_list(source, key, tests)
    key = next((k for k in ("test", "tests", "unit_tests") if (t := source.named(k)) and _decoded(t) is t), None)
    if key is None or not (source.named("entry_point") or "assert" in str(source.get(key))):
        return None
    return _assert_list(source, key, [str(source.get(key))])


def _assert_list(source: _Source, key: str, tests: Sequence[str]) -> AssertSuite:
    if not tests:
        source.wrong(key, "holds no test")
    entry_point = source.named("entry_point", "fn_name", "function")
    setup = [*_texts(source, "test_imports"), *(t for k in ("test_setup_code", "setup") if (t := source.named(k)))]
    return AssertSuite(
        tests=tuple(_running_test(source, key, test, entry_point) for test in tests),
        setup="\n".join(setup),
        prompt=_code_prompt(source, entry_point),
        entry_point=entry_point,
    )


def _running_test(source: _Source, key: str, test: str, entry_point: str | None) -> str:
    """Return `test` with a call of the `check` that it defines; a test that would run no assert is refused."""
    tree = _tree(source, key, test)
    if not _asserting(tree):
        source.wrong(key, f"has {_shown(test)}, which asserts nothing")
    if _running(tree):
        return test
    if not entry_point or not any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in tree.body):
        cure = "write statements, or check(candidate) and an entry_point"
        source.wrong(key, f"has {_shown(test)}, whose asserts nothing runs: {cure}")
    return f"{test}\n\ncheck({entry_point})\n"


def _tree(source: _Source, key: str, test: str) -> ast.Module:
    try:
        return parse(test)
    except ValueError as error:
        source.wrong(key, f"is no Python: {error}")


def _asserting(tree: ast.AST) -> bool:
    """Return whether there is an assert anywhere, or a call of something whose name has "assert" or "check" in it."""
    called = (ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call))
    return any(isinstance(node, ast.Assert) for node in ast.walk(tree)) or any(
        "assert" in name or "check" in name for name in called
    )


def _running(tree: ast.Module) -> bool:
    """Return whether importing the tests runs an assert or calls something."""
    defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Assign)
    return any(
        isinstance(node, ast.Assert | ast.Call)
        for statement in tree.body
        if not isinstance(statement, defined)
        for node in ast.walk(statement)
    )


def _code_prompt(source: _Source, entry_point: str | None) -> str:
    """Return the code that the agent was to continue: a prompt that is Python, or what is fenced in it."""
    if entry_point is None:
        return ""
    for text in (source.named("prompt") or "", source.task.question):
        for code in (text, extract_code(text) or ""):
            defines = re.search(rf"^(?:async )?(?:def|class) {re.escape(entry_point)}\b", code, re.M)
            if defines and (parses(code) or parses(f"{code}\n    pass")):
                return code
    return ""


# ---- inputs and outputs


def _columns(source: _Source, _: bool) -> Suite | None:
    """Read `inputs` and `outputs`, two lists of equal length."""
    if source.get("inputs") is None and source.get("outputs") is None:
        return None
    inputs, outputs = _list(source, "inputs"), _list(source, "outputs")
    if len(inputs) != len(outputs):
        source.wrong("inputs", f"has {len(inputs)} entries, but outputs {len(outputs)}")
    return _suite(source, "inputs", inputs, outputs, _function(source, source.record))


def _cases(source: _Source, _: bool) -> Suite | None:
    """Read a list of asserts, of {input, output}, or of {args, returns}."""
    cases = _decoded(source.get(source.cases))
    if not isinstance(cases, list):
        return None
    if cases and all(isinstance(case, str) for case in cases):
        return _assert_list(source, source.cases, cases)
    return _case_list(source, source.cases, cases)


def _contest_cases(source: _Source, _: bool) -> Suite | None:
    """Read the public and private test cases of LiveCodeBench; its private ones only after they were converted."""
    keys = [key for key in ("public_test_cases", "private_test_cases") if source.get(key) not in (None, "")]
    cases: list[Any] = []
    for key in keys:
        value = _decoded(source.get(key))
        if not isinstance(value, list):
            source.wrong(
                key,
                "must be a list of test cases, or that as JSON text; where it is compressed, it holds a pickle, which "
                "can run code when it is read, and is refused: convert it once, where that does no harm, with "
                "json.loads(pickle.loads(zlib.decompress(base64.b64decode(text))))",
            )
        cases += value
    return _case_list(source, keys[0], cases) if keys else None


def _case_list(source: _Source, key: str, cases: list[Any]) -> Suite:
    inputs, outputs, functions = [], [], set[str | None]()
    for number, case in enumerate(cases):
        if not isinstance(case, dict):
            source.wrong(f"{key}[{number}]", f"must be an object, not {_shown(case)}")
        given = next((name for name in ("args", "input", "inputs") if name in case), None)
        wanted = next((name for name in ("returns", "output", "outputs", "expected_output") if name in case), None)
        if given is None or wanted is None:
            source.wrong(f"{key}[{number}]", f"must hold input and output, or args and returns: it has {sorted(case)}")
        inputs.append(case[given])
        outputs.append(case[wanted])
        kind = str(case.get("type") or case.get("testtype") or ("call" if given == "args" else ""))
        if kind not in (*_CALLED, *_PRINTED, ""):
            known = ", ".join(sorted({*_CALLED, *_PRINTED}))
            source.wrong(f"{key}[{number}]", f"has the unknown type {kind!r} (there are: {known})")
        if kind not in (*_CALLED, *_PRINTED, ""):
            known = ", ".join((*_CALLED, *_PRINTED))
            source.wrong(f"{key}[{number}]", f"has the unknown type {kind!r} (there are: {known})")
        named = _function(source, {**source.record, **case}) if kind in _CALLED or not kind else None
        if kind in _CALLED and named is None:
            source.wrong(f"{key}[{number}]", "is a call, but no fn_name says of which function")
        functions.add(named)
    if len(functions) > 1:
        source.wrong(key, f"mixes tests of {sorted(map(str, functions))}: give each a task of its own")
    return _suite(source, key, inputs, outputs, next(iter(functions), None))


def _suite(source: _Source, key: str, inputs: list[Any], outputs: list[Any], function: str | None) -> Suite:
    if not inputs:
        source.wrong(key, "holds no test")
    if function is None:
        texts = [[_as_lines(source, key, n, v) for n, v in enumerate(column)] for column in (inputs, outputs)]
        language = language_of(source.named("language") or "")
        return StdinSuite(inputs=tuple(texts[0]), outputs=tuple(texts[1]), language=language)
    written = all(isinstance(value, str) for value in inputs)
    calls = []
    for number, (given, wanted) in enumerate(zip(inputs, outputs, strict=True)):
        if written:
            args = tuple(_value(source, key, number, line) for line in given.split("\n") if line.strip())
            value = _value(source, key, number, wanted) if isinstance(wanted, str) else wanted
            calls.append((args, value))
        elif isinstance(given, list):
            calls.append((tuple(given), wanted))
        else:
            source.wrong(f"{key}[{number}]", f"must be the list of arguments, not {_shown(given)}")
    boxed = not written and all(isinstance(value, list) and len(value) == 1 for _, value in calls)
    return CallSuite(function=function, calls=tuple(calls), boxed=boxed)


def _function(source: _Source, record: Mapping[str, Any]) -> str | None:
    """Return the name of the function that tests call, wherever it is said."""
    nested = _decoded(record.get("metadata"))
    for place in (record, nested if isinstance(nested, dict) else {}):
        for key in ("fn_name", "func_name", "function"):
            if place.get(key):
                if not isinstance(place[key], str) or not place[key].isidentifier():
                    source.wrong(key, f"must be the name of a function, not {_shown(place[key])}")
                return str(place[key])
    methods = re.findall(r"^[ \t]+def ([a-zA-Z]\w*)\(self", source.named("starter_code") or "", re.M)
    return methods[-1] if methods else None


def _list(source: _Source, key: str) -> list[Any]:
    value = _decoded(source.get(key))
    if not isinstance(value, list):
        source.wrong(key, f"must be a list with one entry for each test, not {_shown(value)}")
    return value


def _value(source: _Source, key: str, number: int, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        source.wrong(f"{key}[{number}]", f"must be JSON values, one a line: {_shown(text)} is none ({error})")


def _as_lines(source: _Source, key: str, number: int, value: Any) -> str:
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    if not isinstance(value, str):
        source.wrong(f"{key}[{number}]", f"and its output must be text, not {_shown(value)}")
    return value


def _texts(source: _Source, key: str) -> list[str]:
    """Return a list of texts, blank ones left out; [] where there is none."""
    value = _decoded(source.get(key))
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        source.wrong(key, f"must be a list of texts, not {_shown(value)}")
    return [text for text in value if text.strip()]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
