"""The sandbox of environments: opened once a process, closed by the last that uses it, never sent elsewhere."""

from __future__ import annotations

import copy
import os
import pickle
from types import SimpleNamespace

import pytest

from rewardkit.errors import ConfigError
from rewardkit.programs import Execution, Program
from rewardkit_envs import sandboxes
from rewardkit_envs.sandboxes import LazySandbox

PROGRAM = Program(code="")


class Fake:
    def __init__(self):
        self.closed = 0

    def run(self, program):
        assert not self.closed
        return Execution(exit_code=0)

    def close(self):
        self.closed += 1


@pytest.fixture
def made(monkeypatch):
    """The sandboxes that were built, in order."""
    built = []

    def build():
        built.append(Fake())
        return built[-1]

    registry = SimpleNamespace(get=lambda name: SimpleNamespace(build=build))
    monkeypatch.setattr(sandboxes, "Plugins", SimpleNamespace(load=lambda: SimpleNamespace(sandboxes=registry)))
    yield built
    assert not sandboxes._OPEN


def test_all_environments_of_a_process_share_one(made):
    one, other = LazySandbox("auto"), LazySandbox("auto")
    assert not made
    for user in (one, other, one):
        assert user.run(PROGRAM).ok
    assert len(made) == 1
    one.close()
    one.close()
    assert other.run(PROGRAM).ok
    other.close()
    assert made[0].closed == 1
    assert one.run(PROGRAM).ok
    assert len(made) == 2
    one.close()


def test_copies_open_their_own_use(made):
    one = LazySandbox("auto")
    one.run(PROGRAM)
    for twin in (pickle.loads(pickle.dumps(one)), copy.deepcopy(one)):
        twin.close()
        assert one.run(PROGRAM).ok
        twin.run(PROGRAM)
        twin.close()
    assert len(made) == 1
    one.close()


def test_a_forked_process_opens_its_own_and_leaves_the_parents_open(made, monkeypatch):
    one = LazySandbox("auto")
    one.run(PROGRAM)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    one.run(PROGRAM)
    assert len(made) == 2
    one.close()
    assert [fake.closed for fake in made] == [0, 1]
    monkeypatch.undo()
    sandboxes._OPEN.clear()


def test_one_that_is_given_is_the_callers_to_close():
    fake = Fake()
    one = LazySandbox(fake)
    assert one.run(PROGRAM).ok
    one.close()
    assert fake.closed == 0
    with pytest.raises(ConfigError, match="must be the name of a sandbox"):
        LazySandbox(3)
