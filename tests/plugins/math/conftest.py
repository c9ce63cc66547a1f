"""What the tests of the math reward share: one-line judgements and the optional data."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from rewardkit.types import Message, Score, Step, Task, Trajectory
from rewardkit_plugins.math.reward import MathReward


@pytest.fixture(scope="session")
def score():
    """`score(response, *references, question="", **options)` is the Score."""

    def judge(response: str, *references: str, question: str = "", **options) -> Score:
        reward = MathReward(**options)
        reward.setup()
        prompt = (Message(role="user", content=question),) if question else ()
        attempt = Trajectory(
            task=Task(prompt=prompt, references=references),
            steps=(Step(action=Message(role="assistant", content=response)),),
        )
        return reward.score_batch([attempt])[0]

    return judge


@pytest.fixture(scope="session")
def rows():
    """`rows("math_test")` reads a file of the optional data, or skips the test."""

    def read(name: str) -> list[dict]:
        path = Path(__file__).resolve().parents[4] / "shared" / "data" / "math" / f"{name}.jsonl.gz"
        if not path.exists():
            pytest.skip(f"optional data is absent: ../shared/data/math/{name}.jsonl.gz")
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]

    return read
