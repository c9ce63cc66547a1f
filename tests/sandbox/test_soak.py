"""A short soak of each sandbox: see benchmarks/soak_sandbox.py, which this runs with few programs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rewardkit.errors import RewardkitError
from rewardkit.plugins import Plugins

SOAK = Path(__file__).resolve().parents[2] / "benchmarks" / "soak_sandbox.py"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["namespace", pytest.param("docker", marks=pytest.mark.docker)])
def test_a_soak_gives_right_answers_and_leaves_nothing_behind(name):
    sandbox = Plugins.load().sandboxes.get(name).build()
    try:
        sandbox.identity()
    except RewardkitError as reason:
        pytest.skip(f"no soak of {name!r}: {reason}")
    finally:
        sandbox.close()
    soak = subprocess.run([sys.executable, SOAK, "400", name], capture_output=True, text=True, timeout=280, check=False)
    assert soak.returncode == 0, soak.stdout + soak.stderr
