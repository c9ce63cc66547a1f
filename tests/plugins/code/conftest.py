"""What the tests of code rewards share: a real sandbox where there is one, and one that answers what it is told."""

from __future__ import annotations

import pytest

from rewardkit.errors import SandboxUnavailableError
from rewardkit.plugins import Plugins


@pytest.fixture(scope="session")
def sandbox():
    """A sandbox of this machine, or a skip that says why there is none."""
    try:
        opened = Plugins.load().sandboxes.get("namespace").build()
        opened.identity()
    except SandboxUnavailableError as error:
        pytest.skip(f"no sandbox: {error}")
    yield opened
    opened.close()


class ToldSandbox:
    """Answers every program with what a function says; runs nothing."""

    def __init__(self, answer):
        self.answer = answer
        self.programs = []
        self.closed = 0

    def identity(self):
        return "told:1"

    def run_many(self, programs):
        self.programs += programs
        return [self.answer(program) for program in programs]

    def close(self):
        self.closed += 1


@pytest.fixture
def told():
    """`told(function)` is a sandbox whose executions are what the function says of each program."""
    return ToldSandbox
