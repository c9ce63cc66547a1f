"""The `unit_tests` reward: 1.0 if the program in the answer passes the tests of its task, or the share that it passes.

The program runs in a sandbox, in a process that holds no expected value. Which tests there are is read by `suites`, how
they are run is in `calls`. Style, speed beyond the limits, and what no test asks are not judged.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, get_args

from rewardkit.errors import RewardError, SandboxError
from rewardkit.protocols import Sandbox
from rewardkit.types import Score, Trajectory
from rewardkit_plugins.code.calls import LARGEST_OUTPUT_KB, Attempt, Rules, Verdict, attempt_at
from rewardkit_plugins.code.checks import single_checks
from rewardkit_plugins.code.compare import ATOL, RTOL
from rewardkit_plugins.code.extract import extract_code, language_of
from rewardkit_plugins.code.sandboxed import Sandboxed
from rewardkit_plugins.code.suites import AssertSuite, CallSuite, StdinSuite, Suite, read_suite
from rewardkit_plugins.rules.rule import check_choice, check_flag, check_number, check_whole

Value = Literal["all", "fraction"]


class UnitTests(Sandboxed):
    """Runs the code of the last action against the tests in the task.

    `value` "all" pays 1.0 when every test passes, else 0.0; "fraction" pays the share that passes, where
    each assert at the top of HumanEval's `check` is a test. With
    `stop_at_failure` (None: with "all") the first test that does not pass is the last that is run; then the counts in
    `parts` are of those that were run. `test_s` limits one test (seconds of CPU time; where the CPU was busy with
    something else, or the program sleeps, three times that of wall time) and `total_s` all tests of one program (the
    tests that are left count as not passed), `memory_mb` (MiB) a program. `max_tests` takes the first so many (0: all),
    `challenge_tests` those of MBPP's `challenge_test_list` too. Numbers in outputs and returned values agree within
    `rtol` or `atol`; asserts judge by themselves. `language` is that of programs that read and print.

    An answer without code scores 0.0. A task without tests, or with tests that cannot be run, raises RewardError, and a
    sandbox that fails SandboxError: neither is the program's fault. `metadata` holds how each test ended, for people:
    no expected value is in it, but what the program raised is.
    """

    def __init__(
        self,
        *,
        sandbox: str | Sandbox = "auto",
        value: Value = "all",
        stop_at_failure: bool | None = None,
        language: str = "python",
        test_s: float = 5.0,
        total_s: float = 30.0,
        memory_mb: int = 512,
        max_tests: int = 0,
        challenge_tests: bool = False,
        rtol: float = RTOL,
        atol: float = ATOL,
    ) -> None:
        check_choice("unit_tests: value", value, get_args(Value))
        check_whole("unit_tests: max_tests", max_tests)
        check_flag("unit_tests: challenge_tests", challenge_tests)
        check_number("unit_tests: test_s", test_s, low=0.01)
        check_number("unit_tests: total_s", total_s, low=test_s)
        for name, number in (("rtol", rtol), ("atol", atol)):
            check_number(f"unit_tests: {name}", number, low=0.0)
        super().__init__("unit_tests", sandbox=sandbox, wall_s=total_s, cpu_s=total_s, memory_mb=memory_mb)
        self.limits = replace(self.limits, output_kb=LARGEST_OUTPUT_KB)
        self._value: Value = value
        self._language = language_of(language) or language
        self._max_tests = max_tests
        self._challenge_tests = challenge_tests
        stop = stop_at_failure if stop_at_failure is not None else value == "all"
        self._rules = Rules(seconds=test_s, total_seconds=total_s, memory_mb=memory_mb, stop=stop, rtol=rtol, atol=atol)

    def signature_fields(self) -> Mapping[str, str]:
        """Return what decides the number; where testing stops does not, unless the share is paid."""
        rules = self._rules
        fields: dict[str, object] = {
            "value": self._value,
            "language": self._language,
            "tests": self._max_tests or "all",
        }
        fields |= {"challenge": self._challenge_tests, "test_s": rules.seconds, "total_s": rules.total_seconds}
        fields |= {"memory_mb": rules.memory_mb, "rtol": rules.rtol, "atol": rules.atol}
        if self._value == "fraction":
            fields["stop_at_failure"] = rules.stop
        return {name: str(field).lower() for name, field in fields.items()} | {
            "sandbox": super().signature_fields()["sandbox"]
        }

    def score_batch(self, batch: Sequence[Trajectory], /) -> list[Score]:
        """Return one Score for each trajectory, in order; equal programs with equal tests run once."""
        attempts: dict[tuple[str, str], Attempt] = {}
        keys = [self._prepare(trajectory, attempts) for trajectory in batch]
        self._run(list(attempts.values()))
        return [self._score(attempts[key]) if key else self._no_code() for key in keys]

    def _prepare(self, trajectory: Trajectory, attempts: dict[tuple[str, str], Attempt]) -> tuple[str, str] | None:
        """Add the attempt that `trajectory` is, unless it is there; return its key, or None when there is no code."""
        suite = self._suite(trajectory)
        name = suite.entry_point if isinstance(suite, AssertSuite) else getattr(suite, "function", None)
        language = (suite.language if isinstance(suite, StdinSuite) else None) or self._language
        code = extract_code(trajectory.completion, language=language, defining=name)
        if code is None:
            return None
        key = (code, repr(suite))
        if key not in attempts:
            attempts[key] = attempt_at(suite, code, language=language, rules=self._rules)
        return key

    def _suite(self, trajectory: Trajectory) -> Suite:
        suite = read_suite(trajectory.task, challenge=self._challenge_tests)
        if suite is None:
            there = (f"{key}={reprlib.repr(value)}" for key, value in sorted(trajectory.task.metadata.items()))
            raise RewardError(
                f"task {trajectory.task.id!r} has no tests of a known shape in its metadata (it has: "
                f"{', '.join(there) or 'nothing'}): see docs/howto/code-rewards.md"
            )
        most = self._max_tests or None
        if isinstance(suite, AssertSuite):
            tests = suite.tests if self._value == "all" else [t for test in suite.tests for t in single_checks(test)]
            return replace(suite, tests=tuple(tests[:most]))
        if isinstance(suite, CallSuite):
            return replace(suite, calls=suite.calls[:most])
        return replace(suite, inputs=suite.inputs[:most], outputs=suite.outputs[:most])

    def _run(self, attempts: list[Attempt]) -> None:
        """Run all attempts to their end: those that a test has broken off go on in a place of their own."""
        while left := [attempt for attempt in attempts if not attempt.done]:
            ended = self.sandbox.run_many([attempt.program() for attempt in left])
            for attempt, execution in zip(left, ended, strict=True):
                if isinstance(execution, SandboxError):
                    raise execution
                attempt.take(execution)

    def _score(self, attempt: Attempt) -> Score:
        passed = sum(verdict.passed for verdict in attempt.verdicts)
        share = passed / attempt.tests
        statuses = [verdict.status for verdict in attempt.verdicts]
        return Score(
            value=share if self._value == "fraction" else float(passed == attempt.tests),
            parts={
                "tests": attempt.tests,
                "passed": passed,
                "failed": len(attempt.verdicts) - passed,
                "fraction": share,
                **{status: statuses.count(status) for status in ("timeout", "crashed", "forged")},
                "compile_error": "compile_error" in statuses,
                "seconds": attempt.spent,
            },
            explanation=_explanation(attempt.verdicts, attempt.tests),
            metadata={
                "tests": [
                    {"status": verdict.status, "note": verdict.note, "seconds": verdict.seconds}
                    for verdict in attempt.verdicts
                ]
            },
        )

    def _no_code(self) -> Score:
        return Score(value=0.0, explanation=f"no {self._language} code found")


def _explanation(verdicts: Sequence[Verdict], tests: int) -> str:
    """Say how many tests passed, and how the first of the others ended."""
    passed = sum(verdict.passed for verdict in verdicts)
    fault = next(((n, v) for n, v in enumerate(verdicts, 1) if not v.passed), None)
    if fault is None:
        return ""
    number, verdict = fault
    note = f" ({verdict.note})" if verdict.note else ""
    return f"{passed} of {tests} tests passed; test {number}: {verdict.status}{note}"
