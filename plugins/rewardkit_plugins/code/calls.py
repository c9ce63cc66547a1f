"""Turns tests into programs for a sandbox, and what became of those into one verdict for each test.

Asserts and calls run as two programs with a stream between them: the candidate's, which serves its functions, and the
judge's, which never sees its code. Expected values are in the judge's process (asserts) or nowhere in the sandbox.
Which tests there are is read by `suites`, and what verdicts are worth is decided in `unit_tests`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from rewardkit.errors import RewardError
from rewardkit.programs import Execution, Limits, Program
from rewardkit_plugins.code.compare import same_output, same_value
from rewardkit_plugins.code.suites import AssertSuite, CallSuite, StdinSuite, Suite

Status = Literal[
    "passed", "failed", "error", "timeout", "memory", "output", "limit", "crashed", "forged", "compile_error"
]
PATIENCE = 3
LARGEST_OUTPUT_KB = 8192
_SERVE = "import rewardkit_harness\nrewardkit_harness.serve()"
_JUDGE = "import rewardkit_harness\nrewardkit_harness.judge()"
# What graders of contests import for programs, so that `class Solution` may speak of List and Counter.
_PRELUDE = """
import bisect, collections, functools, heapq, itertools, math, operator, random, re, string, sys
from bisect import *
from collections import *
from functools import *
from heapq import *
from itertools import *
from math import *
from typing import *
"""
_LIMITS: dict[str, Status] = {"wall_s": "timeout", "cpu_s": "timeout", "memory_mb": "memory", "output_kb": "output"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How one test ended; `note` says what the program did, and never what was expected. `seconds` is wall time."""

    status: Status
    note: str = ""
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether the program passed this test."""
        return self.status == "passed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How tests are run: `seconds` for each, `total_seconds` for all of one program; numbers within `rtol` or `atol`.

    With `stop` the first test that is not passed is the last. A program that has not had the CPU for so long (another
    one had it, or it sleeps) gets `PATIENCE` times as much wall time.
    """

    seconds: float
    total_seconds: float
    memory_mb: int
    stop: bool
    rtol: float
    atol: float

    def limits(self, cpu_s: float, wall_s: float) -> Limits:
        """Return the limits of a program that may take so many seconds."""
        return Limits(wall_s=wall_s, cpu_s=cpu_s, memory_mb=self.memory_mb)


class Attempt:
    """One program and the tests that it has to pass, as programs to run until `done`; `verdicts` are in order."""

    def __init__(self, code: str, language: str, tests: int, rules: Rules) -> None:
        self.code = code.encode(errors="replace").decode()
        self.language = language
        self.tests = tests
        self.rules = rules
        self.verdicts: list[Verdict] = []
        self.spent = 0.0
        self.done = False

    def program(self) -> Program:
        """Return the program to run next."""
        raise NotImplementedError

    def take(self, execution: Execution) -> None:
        """Take in how it ended; raises RewardError for tests that cannot be run."""
        self.spent += sum(run.wall_s for run in execution.runs) or execution.wall_s
        self._take(execution)
        failed = any(not verdict.passed for verdict in self.verdicts)
        self.done = self.done or len(self.verdicts) >= self.tests or (failed and self.rules.stop)
        if not self.done and self.spent >= self.rules.total_seconds:
            self._rest("timeout", f"no end of all tests after {self.rules.total_seconds:g} s")

    def _take(self, execution: Execution) -> None:
        raise NotImplementedError

    def _rest(self, status: Status, note: str) -> None:
        """Give all tests that are left the same verdict."""
        self.verdicts += [Verdict(status=status, note=note)] * (self.tests - len(self.verdicts))
        self.done = True


class StdinAttempt(Attempt):
    """A program that reads its input and prints its output; both are compared here, outside the sandbox."""

    def __init__(self, code: str, suite: StdinSuite, language: str, rules: Rules) -> None:
        super().__init__(code, language, len(suite.inputs), rules)
        self._suite = suite

    def program(self) -> Program:
        """Return the program with the inputs that are left."""
        limits = self.rules.limits(self.rules.seconds, self.rules.seconds * PATIENCE)
        longest = max(map(len, self._suite.outputs))  # half of what it may print, if that is much
        spent = [self.spent]
        left = iter(self._suite.outputs[len(self.verdicts) :])

        def stop(run: Execution) -> bool:  # too early does no harm: what is left is run the next time
            spent.append(run.wall_s)
            passed = not self.rules.stop or self._verdict(run, next(left, "")).passed
            return not passed or sum(spent) >= self.rules.total_seconds

        return Program(
            code=self.code,
            language=self.language,
            inputs=tuple(text.encode(errors="replace") for text in self._suite.inputs[len(self.verdicts) :]),
            stop=stop,
            limits=replace(limits, output_kb=min(max(limits.output_kb, longest >> 9), LARGEST_OUTPUT_KB)),
        )

    def _take(self, execution: Execution) -> None:
        if execution.phase == "compile" or not execution.runs:
            self._rest("compile_error", _last_line(execution.stderr) or "it does not compile")
            return
        left = self._suite.outputs[len(self.verdicts) :]
        self.verdicts += [self._verdict(*pair) for pair in zip(execution.runs, left, strict=False)]

    def _verdict(self, run: Execution, expected: str) -> Verdict:
        if run.limit is not None:
            return Verdict(status=_LIMITS.get(run.limit, "limit"), note=f"limit {run.limit}", seconds=run.wall_s)
        if run.exit_code != 0:
            note = _last_line(run.stderr) or f"exit status {run.exit_code}"
            return Verdict(status="error", note=note, seconds=run.wall_s)
        same = same_output(run.stdout, expected, rtol=self.rules.rtol, atol=self.rules.atol)
        note = "" if same else "another output"
        return Verdict(status="passed" if same else "failed", note=note, seconds=run.wall_s)


class CallAttempt(Attempt):
    """A program whose functions are called: by asserts, which judge by themselves, or to compare what they return."""

    def __init__(self, code: str, suite: AssertSuite | CallSuite, rules: Rules) -> None:
        super().__init__(code, "python", len(suite.tests if isinstance(suite, AssertSuite) else suite.calls), rules)
        self._suite = suite
        self._patience = 1
        named = suite.function if isinstance(suite, CallSuite) else suite.entry_point
        self._entry_point = named if named and named.isidentifier() else None  # not so "Solution().f", which tests call

    def program(self) -> Program:
        """Return the candidate's program, with the judge of the tests that are left as its peer."""
        left = max(self.rules.total_seconds - self.spent, 0.1)
        limits = self.rules.limits(left, left)
        # What the judge lacks is not the candidate's fault; it reports what functions return.
        judging = replace(limits, memory_mb=max(limits.memory_mb, Limits().memory_mb), output_kb=LARGEST_OUTPUT_KB)
        files = {"candidate.py": self.code.encode()}
        if isinstance(self._suite, CallSuite) or self._suite.entry_point != self._entry_point:
            files["prelude.py"] = _PRELUDE.encode()
        orders = json.dumps({**self._orders(len(self.verdicts)), "seconds": self.rules.seconds * self._patience})
        return Program(
            code=_SERVE,
            files=files,
            limits=limits,
            peer=Program(code=_JUDGE, stdin=orders.encode(), limits=judging),
        )

    def _orders(self, first: int) -> dict[str, Any]:
        if isinstance(self._suite, CallSuite):
            return {"entry_point": self._entry_point, "calls": [args for args, _ in self._suite.calls[first:]]}
        return {
            "prompt": self._suite.prompt,
            "entry_point": self._entry_point,
            "setup": self._suite.setup,
            "tests": self._suite.tests[first:],
            "stop": self.rules.stop,
        }

    def _take(self, execution: Execution) -> None:
        assert execution.peer is not None
        report = list(_lines(execution.peer.stdout)) or [{}]
        if starved := self._patience == 1 and self._is_starved(execution, report[-1]):
            report.pop()
        elif not report[0].get("ready"):
            self._rest(*_ending(execution, report[0]))
            return
        self._patience = PATIENCE if starved else 1
        lines = [line for line in report if "test" in line]
        self.verdicts += [self._verdict(execution, line, n) for n, line in enumerate(lines, len(self.verdicts))]
        last = lines[-1]["status"] if lines else ""
        if last == "forged":
            self._rest("forged", "after a forged answer no other counts")
        elif len(self.verdicts) < self.tests and not starved and last not in self._ends(execution):
            status, note = _ending(execution, {})
            self.verdicts.append(Verdict(status=status, note=note))

    def _is_starved(self, execution: Execution, last: dict[str, Any]) -> bool:
        """Return whether time was up for a program that had not had half as much of the CPU."""
        return last.get("status") == "timeout" and execution.cpu_s < self.rules.seconds / 2

    def _ends(self, execution: Execution) -> tuple[str, ...]:
        """Return the statuses that a report may end with; after any other, the judge did not survive the next test."""
        assert execution.peer is not None
        ends = ("done", "timeout", "crashed")
        if execution.peer.truncated:
            return (*ends, "passed", "failed", "error")
        return (*ends, "failed", "error") if self.rules.stop and isinstance(self._suite, AssertSuite) else ends

    def _verdict(self, execution: Execution, line: dict[str, Any], number: int) -> Verdict:
        status, note = line["status"], line.get("note", "")
        if status in ("broken", "vacuous"):
            raise RewardError(f"test {number + 1} cannot be run: {note}: look at the task's tests")
        if status == "passed" and isinstance(self._suite, CallSuite):
            same = self._same(line.get("value"), self._suite.calls[number][1])
            status, note = ("passed", "") if same else ("failed", "another value")
        elif status == "crashed":
            status, note = _ending(execution, line)
        return Verdict(status=status, note=note.encode(errors="replace").decode(), seconds=line["seconds"])

    def _same(self, value: Any, expected: Any) -> bool:
        assert isinstance(self._suite, CallSuite)
        rights = [expected, expected[0]] if self._suite.boxed else [expected]
        return any(same_value(value, right, rtol=self.rules.rtol, atol=self.rules.atol) for right in rights)


def attempt_at(suite: Suite, code: str, *, language: str, rules: Rules) -> Attempt:
    """Return the attempt of the program `code` at `suite`; raises RewardError for calls in another language."""
    if isinstance(suite, StdinSuite):
        return StdinAttempt(code, suite, suite.language or language, rules)
    if language != "python":
        raise RewardError(f"tests that call functions are run in Python only, not in {language!r}")
    return CallAttempt(suite.program(code) if isinstance(suite, AssertSuite) else code, suite, rules)


def _lines(report: bytes) -> Iterator[dict[str, Any]]:
    """Yield the whole lines of a judge's report."""
    for line in report.split(b"\n")[:-1]:
        yield json.loads(line)


def _ending(execution: Execution, line: dict[str, Any]) -> tuple[Status, str]:
    """Return what became of a program whose judge has no verdict, or says that it is gone."""
    status, note = line.get("status"), line.get("note", "")
    if status == "broken":
        raise RewardError(f"the tests cannot be run: {note}: look at the task's tests")
    if status not in (None, "crashed"):
        return status, note.encode(errors="replace").decode()
    for ended in (execution, execution.peer):
        if ended is not None and ended.limit is not None:
            return _LIMITS.get(ended.limit, "limit"), f"limit {ended.limit}"
    return "crashed", note or "the program ended before it had answered"


def _last_line(text: bytes) -> str:
    """Return the last line that is not blank of what a program said at its end, cut."""
    lines = text.decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else ""
