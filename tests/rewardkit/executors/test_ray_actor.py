"""Workers inside a Ray actor: the script runs in a process of its own, which starts Ray and stops it."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).parents[1] / "rewards_for_tests.py"
SCRIPT = """
import json, sys
import ray

ray.init(num_cpus=1, include_dashboard=False, configure_logging=False)


@ray.remote
class Actor:
    def score(self, spec, timeout):
        from rewardkit import Message, Scorer, Step, Task, Trajectory
        from rewardkit.executors import open_executor

        texts = ["", "one", "two words"]
        actions = [Message(role="assistant", content=text) for text in texts]
        batch = [Trajectory(id=str(i), task=Task(id="q"), steps=(Step(action=a),)) for i, a in enumerate(actions)]
        with Scorer([spec], executor=open_executor("process", workers=1), timeout=timeout) as scorer:
            results = scorer.score_batch(batch)
        return [result.total if not result.failures else result.failures[0].kind for result in results]


actor = Actor.remote()
file = sys.argv[1]
words = ray.get(actor.score.remote(f"{file}:words", 10.0))
hanging = ray.get(actor.score.remote(f"{file}:slow_words:seconds=60", 0.3))
print(json.dumps([words, hanging]))
ray.shutdown()
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
def test_workers_score_and_are_killed_in_time_inside_a_ray_actor(tmp_path):
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "RAY_AUTH_MODE": "disabled"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(FILE)],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [[0.0, 1.0, 2.0], ["timeout"] * 3]
