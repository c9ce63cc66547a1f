"""The demo is true: good attempts win, what must fail fails, and nothing else does."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from rewardkit import Scorer
from rewardkit.serialize import read_trajectories
from rewardkit.types import Trajectory

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "examples" / "demo"
NAMES = ("math", "open", "tags", "json")


def attempts(name):
    lines = read_trajectories(str(DEMO / f"{name}.jsonl"))
    return [line.content for line in lines if isinstance(line.content, Trajectory)]


@pytest.mark.parametrize("name", NAMES)
def test_a_good_attempt_beats_every_other_one_at_its_task(name):
    batch = attempts(name)
    with Scorer.from_toml(DEMO / f"{name}.toml") as scorer:
        totals = [scored.total for scored in scorer.score_batch(batch)]
    tasks = defaultdict(lambda: defaultdict(list))
    for attempt, total in zip(batch, totals, strict=True):
        if total is None:
            assert attempt.id == "broken-schema/fails"
        else:
            tasks[attempt.group][attempt.metadata["attempt"]].append(total)
    for task, kinds in tasks.items():
        others = [*kinds["bad"], *kinds["adversarial"]]
        assert min(kinds["good"]) > 0.5, task
        assert max(others) < min(kinds["good"]) - 0.25, task


def test_every_attempt_has_its_own_readable_id():
    ids = [attempt.id for name in NAMES for attempt in attempts(name)]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z-]+/[a-z-]+", one) for one in ids)


def test_the_demo_prints_what_its_readme_shows(tmp_path):
    shown = re.search(r"```text\n(.*?)```", (DEMO / "README.md").read_text(encoding="utf-8"), re.S)[1]
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    command = [sys.executable, "examples/demo/run.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == shown
    assert len(list(tmp_path.glob("demo-scores-*.jsonl"))) == len(NAMES)
