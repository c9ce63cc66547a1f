"""The demo is true: good attempts win, what must fail fails, and nothing else does."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from rewardkit import Scorer
from rewardkit.errors import SandboxUnavailableError
from rewardkit.serialize import read_trajectories
from rewardkit.types import Trajectory

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "examples" / "demo"
NAMES = ("math", "open", "tags", "json", "code")
NOT_SCORED = ("broken-schema/fails", "no-tests/fails")


def attempts(name):
    lines = read_trajectories(str(DEMO / f"{name}.jsonl"))
    return [line.content for line in lines if isinstance(line.content, Trajectory)]


def scorer_of(name):
    try:
        return Scorer.from_toml(DEMO / f"{name}.toml")
    except SandboxUnavailableError as error:
        pytest.skip(f"no sandbox: {error}")


@pytest.mark.parametrize("name", NAMES)
def test_a_good_attempt_beats_every_other_one_at_its_task(name):
    batch = attempts(name)
    with scorer_of(name) as scorer:
        totals = [scored.total for scored in scorer.score_batch(batch)]
    tasks = defaultdict(lambda: defaultdict(list))
    for attempt, total in zip(batch, totals, strict=True):
        if total is None:
            assert attempt.id in NOT_SCORED
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
    scorer_of("code").close()
    shown = re.search(r"```text\n(.*?)```", (DEMO / "README.md").read_text(encoding="utf-8"), re.S)[1]
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    command = [sys.executable, "examples/demo/run.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == shown
    assert len(list(tmp_path.glob("demo-scores-*.jsonl"))) == len(NAMES)


def test_without_a_sandbox_the_demo_says_so_and_scores_the_rest(tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "no_sandbox.py").write_text(
        "import runpy\n"
        "from rewardkit.errors import SandboxUnavailableError\n"
        "import rewardkit_sandbox.auto as auto\n"
        "def refuse(**options):\n"
        "    raise SandboxUnavailableError('no kernel, no Docker: install one')\n"
        "auto.open_sandbox = refuse\n"
        "demo = runpy.run_path('examples/demo/run.py', run_name='__main__')\n"
    )
    command = [sys.executable, "no_sandbox.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0
    assert "code.jsonl       -  not scored, for there is no sandbox: no kernel, no Docker: install one\n" in done.stdout
    assert "json.jsonl      22" in done.stdout
    assert not (tmp_path / "demo-scores-code.jsonl").exists()
