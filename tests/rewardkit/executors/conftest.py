"""Fixtures for tests that start processes."""

from __future__ import annotations

import os
import sys
import time
import uuid
from pathlib import Path

import pytest

HERE = Path(__file__).parent
VARIABLE = "REWARDKIT_TEST_TOKEN"


@pytest.fixture
def family(monkeypatch):
    """Mark every process that the test starts; calling it gives their ids, and none may be left after the test."""
    token = uuid.uuid4().hex
    monkeypatch.setenv(VARIABLE, token)
    monkeypatch.syspath_prepend(str(HERE))
    marked = f"{VARIABLE}={token}".encode()

    def living():
        found = []
        for folder in Path("/proc").iterdir():
            try:
                if folder.name.isdigit() and marked in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
            except OSError:
                continue
        return [pid for pid in found if pid != os.getpid()]

    yield living
    wait_until(lambda: not living())
    assert not living()


@pytest.fixture
def run_script(family, tmp_path):
    """Return the arguments that run a Python script which can import what this process can."""

    def arguments(text):
        path = tmp_path / "script.py"
        path.write_text(f"import sys\nsys.path[:] = {sys.path!r}\n{text}")
        return [sys.executable, str(path)]

    return arguments


def wait_until(condition, *, seconds=10.0):
    """Wait until `condition()` holds, or the time is over."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
