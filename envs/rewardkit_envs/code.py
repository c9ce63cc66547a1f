"""Programming as an environment: send a program, see what the public tests say of it, try again; private tests pay.

How tests are run and code is found is the reward `unit_tests`; which keys hold tests is in docs/howto/code-rewards.md.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, cast

from rewardkit.errors import ConfigError
from rewardkit.plugins import Plugins
from rewardkit.programs import Limits, Program
from rewardkit.protocols import Reward, Sandbox
from rewardkit.types import Message, Score, Step, Task, Trajectory
from rewardkit_envs.calls import Call, Malformed, parse_call
from rewardkit_envs.env import TextEnv, Turn
from rewardkit_envs.math import shown
from rewardkit_envs.sandboxes import LazySandbox
from rewardkit_envs.tasks import TaskList, TaskSource, open_tasks

_SHARED_KEYS = (
    *("fn_name", "function", "func_name", "entry_point", "starter_code", "metadata", "language", "setup"),
    *("test_setup_code", "test_imports"),
)
_SOLUTIONS = ("solution", "canonical_solution", "code")
_MOST_BYTES = 1 << 20
_RULES = """\
Reply with a program in a ```python fence, and you see which public tests it passes. You have {turns} replies. The \
last one is handed in, whatever it is; to hand in before, reply with:

Action: submit
Action Input:
```python
your program
```

To try something, run a snippet, which may read and write files:

Action: run
Action Input: {{"code": "print(input())", "stdin": "hello"}}
{files}
The public tests:
{tests}"""


class CodeEnv(TextEnv):
    """Tasks of programming: each reply with a program is tried on the public tests; hidden ones judge the last.

    A task's tests are those that `unit_tests` reads, and nothing of them is ever shown. What is shown comes from the
    metadata `public_tests` (a list of tests, or an object with the keys of any shape), or from LiveCodeBench's
    `public_test_cases`. `files` in the metadata (path to text) are there when a snippet is run, and what snippets write
    stays for the next, up to 1 MiB.

    The episode ends with `Action: submit` and a program, with any program in the last turn, and, if `stop_on_public`,
    with one that passes all public tests. The reward judges the last action. `sandbox` (a name, or a sandbox) is where
    all of it runs, `run_s` limits a snippet (seconds).
    """

    default_reward = "unit_tests"

    def __init__(
        self,
        *,
        tasks: Any = None,
        reward: Any = "default",
        max_turns: int = 5,
        stop_on_public: bool = False,
        sandbox: str | Sandbox = "auto",
        run_s: float = 5.0,
        render_mode: str | None = None,
        defer_reward: bool = False,
    ) -> None:
        super().__init__(
            tasks=tasks, reward=reward, max_turns=max_turns, render_mode=render_mode, defer_reward=defer_reward
        )
        if self._rewards == "unit_tests" and sandbox != "auto":
            self._rewards = {"unit_tests": {"options": {"sandbox": sandbox}}}
        self.stop_on_public = stop_on_public
        self._sandbox = LazySandbox(sandbox)
        self._public: Reward | None = None
        self._limits = Limits(wall_s=run_s, cpu_s=run_s)

    def default_tasks(self) -> TaskSource:
        """Return a few small tasks, with asserts, with calls, and with inputs and outputs."""
        return open_tasks(_built_in())

    def begin(self, task: Task) -> str:
        """Return the rules, the files, and the public tests."""
        given = task.metadata.get("files") or {}
        if not isinstance(given, Mapping) or not all(isinstance(text, str) for text in given.values()):
            raise ConfigError(f"task {task.id!r}: files must map paths to texts, not be {given!r}")
        self.episode.memory = {path: text.encode() for path, text in given.items()}
        names = f"These files are there: {', '.join(sorted(given))}.\n" if given else ""
        cases = public_cases(task)
        tests = "\n".join(f"{number}. {case}" for number, case in enumerate(cases, 1)) or "there are none."
        return _RULES.format(turns=self.max_turns, files=names, tests=tests)

    def act(self, action: str) -> Turn:
        """Try a program, hand one in, or run a snippet."""
        call = parse_call(action, ("run", "submit"))
        if isinstance(call, Malformed):
            return Turn(observation=call.reason)
        if call is not None and call.name == "run":
            return Turn(observation=self._run(call))
        if call is not None and (not isinstance(call.arguments, str) or "```" not in action):
            return Turn(observation="Hand in a program behind 'Action Input:', in a ```python fence.")
        if call is not None or len(self.episode.steps) + 1 == self.max_turns:
            return Turn(observation="Handed in.", terminated=True)
        return self._try(action)

    def gold(self) -> str:
        """Hand in the solution that the task carries."""
        task = self.episode.task
        found = next((s for key in _SOLUTIONS if isinstance(s := task.metadata.get(key), str)), None)
        solution = found or next(iter(task.references), None)
        if solution is None:
            raise ConfigError(
                f"task {task.id!r} carries no solution (metadata {', '.join(_SOLUTIONS)}, or a reference)"
            )
        return f"Action: submit\nAction Input:\n```{task.metadata.get('language', 'python')}\n{solution}\n```"

    def close(self) -> None:
        """Close the rewards and the sandbox."""
        super().close()
        self._public = None
        self._sandbox.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_public": None}

    def _try(self, action: str) -> Turn:
        task = public_task(self.episode.task)
        if task is None:
            return Turn(observation="There are no public tests.")
        attempt = Trajectory(task=task, steps=(Step(action=Message(role="assistant", content=action)),))
        if self._public is None:
            spec = Plugins.load().rewards.get("unit_tests")
            self._public = cast("Reward", spec.build(sandbox=self._sandbox.opened(), value="fraction"))
        (score,) = self._public.score_batch([attempt])
        return Turn(
            observation=_report(score, public_cases(self.episode.task)),
            terminated=self.stop_on_public and score.value == 1.0,
            metadata={"public": score.value},
        )

    def _run(self, call: Call) -> str:
        given = {"code": call.arguments} if isinstance(call.arguments, str) else {"stdin": "", **call.arguments}
        code, stdin = given.pop("code", None), given.pop("stdin", "")
        if given or not isinstance(code, str) or not isinstance(stdin, str):
            return 'run takes {"code": text, "stdin": text}.'
        ended = self._sandbox.run(
            Program(
                code=code,
                stdin=stdin.encode(errors="replace"),
                files=self.episode.memory,
                fetch=("*",),
                limits=self._limits,
            )
        )
        if sum(map(len, ended.files.values())) > _MOST_BYTES:
            return f"{shown(ended)}\n(the files are more than 1 MiB, so they were not kept)"
        self.episode.memory = dict(ended.files)
        return shown(ended)


def public_task(task: Task) -> Task | None:
    """Return a task that has only what of `task` its public tests need, or None when it has no public tests."""
    tests = task.metadata.get("public_tests") or task.metadata.get("public_test_cases")
    if not tests:
        return None
    shared = {key: task.metadata[key] for key in _SHARED_KEYS if key in task.metadata}
    own = dict(tests) if isinstance(tests, Mapping) else {"test_cases": tests}
    return Task(id=task.id, prompt=task.prompt, metadata={**shared, **own})


def public_cases(task: Task) -> list[str]:
    """Return each public test of `task` as text, in the order in which they are run."""
    tests = task.metadata.get("public_tests") or task.metadata.get("public_test_cases") or ()
    if isinstance(tests, str):
        try:
            tests = json.loads(tests)
        except ValueError:
            return [tests]
    if isinstance(tests, Mapping):
        if "inputs" in tests:
            pairs = zip(tests["inputs"], tests.get("outputs", ()), strict=False)
            return [_case({"input": given, "output": wanted}) for given, wanted in pairs]
        tests = next((tests[key] for key in ("test_list", "tests", "test_cases", "test") if key in tests), ())
    return [tests] if isinstance(tests, str) else [_case(test) for test in tests]


def _case(test: Any) -> str:
    if isinstance(test, str):
        return test
    given = next((test[key] for key in ("args", "input", "inputs") if key in test), None)
    wanted = next((test[key] for key in ("returns", "output", "outputs", "expected_output") if key in test), None)
    return f"input {json.dumps(given)}, expected {json.dumps(wanted)}"


def _report(score: Score, cases: list[str]) -> str:
    """Return how the public tests ended; those that did not pass with what they are."""
    ended = score.metadata.get("tests")
    if not ended:
        return score.explanation
    lines = [f"{int(score.parts['passed'])} of {int(score.parts['tests'])} public tests passed."]
    for number, (test, case) in enumerate(zip(ended, cases, strict=False), 1):
        if test["status"] != "passed":
            note = f" ({test['note']})" if test["note"] else ""
            lines.append(f"{number}. {test['status']}{note}: {case}")
    return "\n".join(lines)


@functools.cache
def _built_in() -> TaskList:
    text = (files("rewardkit_envs") / "data" / "code_tasks.jsonl").read_text(encoding="utf-8")
    source = open_tasks([json.loads(line) for line in text.splitlines()])
    assert isinstance(source, TaskList)
    return source
