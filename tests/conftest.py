"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small models are slower with more, and far slower on a busy machine

settings.register_profile("rewardkit", deadline=None)  # a busy machine is no failure
settings.load_profile("rewardkit")

SHARED = Path(__file__).resolve().parents[2] / "shared"


def shared_path(relative: str) -> Path:
    """Return a file of the optional shared data, or skip the test that asks for it."""
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"optional data is absent: ../shared/{relative}")
    return path


@pytest.fixture
def shared():
    """`shared("data/math/x.jsonl.gz")` is a path, or skips the test."""
    return shared_path
