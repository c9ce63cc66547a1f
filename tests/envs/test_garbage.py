"""Noise in every environment: the short form of benchmarks/soak_envs.py."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from rewardkit.errors import SandboxUnavailableError
from rewardkit.plugins import Plugins

_spec = importlib.util.spec_from_file_location("soak_envs", Path(__file__).parents[2] / "benchmarks/soak_envs.py")
soak_envs = importlib.util.module_from_spec(_spec)


@pytest.fixture(scope="module", autouse=True)
def loaded():
    import sys

    sys.modules["soak_envs"] = soak_envs
    _spec.loader.exec_module(soak_envs)
    yield
    del sys.modules["soak_envs"]


@pytest.mark.parametrize(
    "kind", ["math", "math, tools", "code", "rag", "agent, shell", "agent, database", "agent, toy text"]
)
def test_noise_neither_raises_nor_leaks_nor_pays(kind):
    if kind not in ("math", "rag", "agent, toy text"):
        try:
            Plugins.load().sandboxes.get("auto").build().identity()
        except SandboxUnavailableError as error:
            pytest.skip(f"no sandbox: {error}")
    soaked = soak_envs.soak(kind, 20)
    assert soaked.sound, soaked
    assert soaked.episodes == 20
    assert soaked.actions >= 40
