"""Fifty attempts, two environments, and what `rewardkit score` says of the attempts."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest

from rewardkit.types import Task
from rewardkit_envs.env import TextEnv, Turn
from rewardkit_envs.spaces import TextSpace

FILE = Path(__file__).resolve().parents[1] / "rewards_for_tests.py"
REWARDS = ["math", "0.25*length:maximum=20", f"0.5*{FILE}:reads_number"]
SUMS = [
    Task(id=f"{a}+{a}", prompt=(), references=(str(2 * a),), metadata={"a": a})  #
    for a in range(6)
]


class SumEnv(TextEnv):
    """Answer a sum, at once."""

    default_reward = "math"

    def default_tasks(self):
        from rewardkit_envs.tasks import open_tasks

        return open_tasks([{"id": task.id, "prompt": f"{task.id}=?", "answer": task.references[0]} for task in SUMS])

    def act(self, action):
        return Turn(terminated=True)


class CounterEnv(SumEnv):
    """Count with a tool, then say how far it got; the last word is the answer."""

    tool_schemas = (
        {
            "type": "function",
            "function": {
                "name": "count",
                "description": "Count on.",
                "parameters": {
                    "type": "object",
                    "properties": {
                        "by": {"type": "integer", "description": "How far."},
                        "why": {"type": "string"},
                    },
                    "required": ["by"],
                },
            },
        },
    )

    def begin(self, task):
        self.episode.memory = 0
        return "Count."

    def act(self, action):
        if not action.endswith("}"):
            return Turn(terminated=True)
        self.episode.memory += json.loads(action)["arguments"]["by"]
        return Turn(observation=f"at {self.episode.memory}")


class PatientEnv(SumEnv):
    """It never ends by itself."""

    def act(self, action):
        return Turn(observation="go on")


class BrokenEnv(SumEnv):
    """Its sandbox fails."""

    def act(self, action):
        from rewardkit.errors import SandboxError

        raise SandboxError("the sandbox is gone")


class ForeignEnv(gymnasium.Env):
    """An environment of others: it pays 1, then 2, and ends."""

    observation_space = action_space = TextSpace()

    def reset(self, *, seed=None, options=None):
        self.turn = 0
        return "go", {}

    def step(self, action):
        self.turn += 1
        return "on", float(self.turn), self.turn == 2, False, {}


ENVS = {"Sum": SumEnv, "Counter": CounterEnv, "Broken": BrokenEnv, "Patient": PatientEnv, "Foreign": ForeignEnv}
for name, env in ENVS.items():
    gymnasium.register(f"trainers_test/{name}-v0", entry_point=env)


@pytest.fixture(scope="session")
def samples():
    """Fifty attempts: right, wrong, no number (which makes a reward fail), and silent."""
    answers = ["{right}", "-1", "it is {right}, I think", "", "\\boxed{{{right}}} 7"]
    return [
        {
            "prompt": f"What is {i} * 7?",
            "completion": answers[i % 5].format(right=i * 7) + " " * (i % 3),
            "answer": str(i * 7),
        }
        for i in range(50)
    ]


@pytest.fixture(scope="session")
def totals(samples, tmp_path_factory):
    """What the command `rewardkit score` says of the samples."""
    path = tmp_path_factory.mktemp("scores")
    (path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in samples), encoding="utf-8")
    rewards = [word for spec in REWARDS for word in ("--reward", spec)]
    command = [sys.executable, "-m", "rewardkit", "score", "in.jsonl", *rewards, "-o", "out.jsonl", "-q"]
    done = subprocess.run(command, cwd=path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stderr  # some rewards fail, as they should
    found = [json.loads(line)["total"] for line in (path / "out.jsonl").read_text().splitlines()]
    assert found.count(None) == 26  # twenty that are no number, and six of blanks
    assert found[:2] == [1.25, -0.25]  # 1 + 0.25 + 0 and 0 + 0.25 - 0.5
    return found


@pytest.fixture
def same():
    """Whether two lists of numbers are equal, None and NaN being one."""

    def compare(found, expected):
        def unified(numbers):
            return [None if n is None or math.isnan(n) else pytest.approx(float(n), abs=1e-6) for n in numbers]

        assert unified(found) == [None if n is None else n for n in expected]

    return compare
