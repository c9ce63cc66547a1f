"""What a step of an environment costs over its task and its reward, and steps a second beside GEM and OpenEnv.

The peers need interpreters of their own, named by $GEM_PYTHON (with gem-llm) and $OPENENV_PYTHON (with openenv-core):
see `peer_environments`. Without them their rows are left out. All rows of a run are from one run.
"""

from __future__ import annotations

import functools
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium

import rewardkit_envs
from rewardkit.scorer import Scorer
from rewardkit.testing import EchoReward
from rewardkit.types import Message, Task
from rewardkit_envs.env import TextEnv, Turn
from rewardkit_envs.tasks import TaskList

STEPS = int(os.environ.get("BENCH_STEPS", "3000"))
OVERHEAD_US = 15.0
FACTORS = {"gem": 25.0, "openenv": 20.0}
gymnasium.register_envs(rewardkit_envs)


class Echo(TextEnv):
    """Says what the agent said, and pays by its length, as OpenEnv's example does."""

    def default_tasks(self) -> TaskList:
        """Return the one task."""
        return TaskList([Task(id="echo", prompt=(Message(role="user", content="Say something."),))])

    def act(self, action: str) -> Turn:
        """Say it again."""
        return Turn(observation=action, reward=0.1 * len(action))


def main() -> int:
    """Print the table; return 1 if a limit is missed."""
    failed = [overhead(), beside("gem", *math_steps()), beside("openenv", *echo_steps())]
    return int(any(failed))


def overhead() -> bool:
    """Print what a step costs over `act` and `Scorer.score`, in episodes of one turn and of 20."""
    gymnasium.register(id="bench/Echo-v0", entry_point=Echo)
    missed = False
    for turns in (1, 20):
        env = gymnasium.make("bench/Echo-v0", reward={"echo": EchoReward()}, max_turns=turns)
        inner: Any = env.unwrapped
        whole = per_step(env, lambda _: "hello, world")
        env.reset(seed=0)
        for _ in range(turns):
            env.step("hello, world")
        with Scorer({"echo": EchoReward()}) as scorer:
            reward = best(functools.partial(scorer.score, inner.trajectory)) / turns
        task = best(functools.partial(inner.act, "hello, world"))
        extra = (whole - reward - task) * 1e6
        missed |= extra >= OVERHEAD_US
        verdict = f"limit {OVERHEAD_US:.0f}  {'PASS' if extra < OVERHEAD_US else 'FAIL'}"
        print(f"env.step over task and reward, {turns:2} turns: {extra:5.1f} us (whole {whole * 1e6:.1f})  {verdict}")
    return missed


def math_steps() -> tuple[float, str]:
    """Return steps a second of Math-v0, and the rows that were played, for the peer."""
    rows = math_rows(STEPS)
    tasks = [{"id": str(n), "problem": row["problem"], "answer": row["answer"]} for n, row in enumerate(rows)]
    env = gymnasium.make("rewardkit/Math-v0", tasks=tasks)
    answers = {row["problem"]: row["response"] for row in rows}
    right: list[float] = []
    seconds = per_step(env, lambda shown: answers[shown], right)
    print(f"Math-v0: {1 / seconds:,.0f} steps a second, {statistics.mean(right):.0%} right")
    peer = rows[: max(2, STEPS // 5)]  # the slow one sees a sample
    return 1 / seconds, "\n".join(json.dumps(row) for row in peer)


def echo_steps() -> tuple[float, str]:
    """Return steps a second of the echo task."""
    env = gymnasium.make("bench/Echo-v0", reward=None, max_turns=20)
    seconds = per_step(env, lambda _: "hello, world")
    print(f"echo: {1 / seconds:,.0f} steps a second")
    return 1 / seconds, ""


def beside(peer: str, ours: float, text: str) -> bool:
    """Print the peer's steps a second and the factor; return whether it is too small."""
    python = os.environ.get(f"{peer.upper()}_PYTHON")
    if not python:
        print(f"{peer}: left out, ${peer.upper()}_PYTHON names no interpreter")
        return False
    script = Path(__file__).with_name("peer_environments.py")
    done = subprocess.run([python, str(script), peer], input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{peer}: left out, it failed: {done.stderr.strip().splitlines()[-1]}")
        return False
    theirs = json.loads(done.stdout.splitlines()[-1])["steps_per_second"]
    factor, limit = ours / theirs, FACTORS[peer]
    verdict = "PASS" if factor >= limit else "FAIL"
    print(f"{peer}: {theirs:,.0f} steps a second; factor {factor:.0f}, limit {limit:.0f}  {verdict}")
    return factor < limit


def math_rows(count: int) -> list[dict[str, str]]:
    """Return problems with answers, and responses of which three in four are right, some after long work."""
    dice = random.Random(0)
    rows = []
    for number in range(count):
        left, right = dice.randrange(10, 1000), dice.randrange(10, 1000)
        answer = left * right
        said = answer if dice.random() < 0.75 else answer + 10
        work = f"{left} times {right}: first {left * (right // 10)}, then the rest. " * dice.randrange(1, 20)
        problem = f"No. {number}: a box holds {left} pens. How many pens are in {right} boxes?"
        rows.append({"problem": problem, "answer": str(answer), "response": f"{work}So it is \\boxed{{{said}}}."})
    return rows


def per_step(env: Any, policy: Callable[[str], str], paid: list[float] | None = None) -> float:
    """Return the mean seconds of `env.step` over `STEPS` steps, the best of three rounds; resets are not counted."""
    rounds = []
    for _ in range(3):
        seconds, over, shown = 0.0, True, ""
        for seed in range(STEPS):
            if over:
                shown, _ = env.reset(seed=seed)
            action = policy(shown)
            start = time.perf_counter()
            shown, reward, terminated, truncated, _ = env.step(action)
            seconds += time.perf_counter() - start
            over = terminated or truncated
            if paid is not None:
                paid.append(reward)
        rounds.append(seconds / STEPS)
    return min(rounds)


def best(call: Callable[[], Any]) -> float:
    """Return the mean seconds of a call, the best of three rounds."""
    rounds = []
    for _ in range(3):
        start = time.perf_counter()
        for _ in range(STEPS):
            call()
        rounds.append((time.perf_counter() - start) / STEPS)
    return min(rounds)


if __name__ == "__main__":
    sys.exit(main())
