"""Models in workers: one worker loads them all, and the others stay free for everything else."""

from __future__ import annotations

import sys

import pytest

from rewardkit import Message, RewardSpec, Step, Task, Trajectory
from rewardkit.executors.child import memory_share
from rewardkit.executors.process import ProcessExecutor

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
GPU = frozenset({"gpu"})
MODEL = RewardSpec(name="model", factory="rewards_for_workers:Batched", needs=GPU, batch_size=4)
OTHER = RewardSpec(name="other", factory="rewards_for_workers:Batched", needs=GPU, batch_size=4)
SLEEPY = RewardSpec(name="sleepy", factory="rewards_for_workers:Slow", needs=GPU)
SLOW = RewardSpec(name="slow", factory="rewards_for_workers:Slow")
COUNT = RewardSpec(name="count", factory="rewards_for_workers:count")


def say(text):
    return Trajectory(task=Task(), steps=(Step(action=Message(role="assistant", content=text)),))


def pids(log):
    return {line.split()[-1] for line in log.read_text().splitlines()}


def test_all_models_are_loaded_by_one_worker(family, tmp_path):
    logs = tmp_path / "one", tmp_path / "two"
    with ProcessExecutor(3) as executor:
        calls = [
            executor.submit(spec, {"log": str(log)}, [say("a b")] * 40, timeout=20.0)
            for spec, log in ((MODEL, logs[0]), (OTHER, logs[1]), (MODEL, logs[0]))
        ]
        assert [[o.value for o in call.result(60)] for call in calls] == [[2.0] * 40] * 3
    assert len(pids(logs[0]) | pids(logs[1])) == 1
    assert logs[0].read_text().count("setup") == 1


def test_other_rewards_do_not_wait_for_a_model(family):
    with ProcessExecutor(2) as executor:
        slow = executor.submit(SLEEPY, {}, [say("3")], timeout=20.0)
        assert [o.value for o in executor.submit(COUNT, {}, [say("a b c")] * 50, timeout=20.0).result(20)] == [3.0] * 50
        assert not slow.done()
        slow.result(60)


def test_a_model_that_hangs_is_replaced_with_its_worker(family):
    with ProcessExecutor(2) as executor:
        batch = [say("0"), say("60"), *[say("0")] * 5]
        outcomes = executor.submit(SLEEPY, {}, batch, timeout=1.0).result(60)
        assert [getattr(o, "kind", "scored") for o in outcomes] == ["scored", "timeout", *["scored"] * 5]


def test_one_worker_does_it_all(family):
    with ProcessExecutor(1) as executor:
        model = executor.submit(MODEL, {}, [say("a")] * 9, timeout=20.0)
        count = executor.submit(COUNT, {}, [say("a")] * 9, timeout=20.0)
        assert [o.value for call in (model, count) for o in call.result(60)] == [1.0] * 18


def test_the_worker_with_the_models_may_hold_all_the_memory_there_is(family):
    with ProcessExecutor(4) as executor:
        executor.submit(COUNT, {}, [say("a")] * 100, timeout=20.0).result(60)
        executor.submit(MODEL, {}, [say("a")], timeout=20.0).result(60)
        limits = sorted(hand.child.memory_limit for hand in executor._crew._hands)
        assert limits[-1] == memory_share(1)
        assert limits[:-1] == [memory_share(4)] * (len(limits) - 1)
    with ProcessExecutor(2, memory_limit=200 << 20) as executor:
        executor.submit(MODEL, {}, [say("a")], timeout=20.0).result(60)
        assert {hand.child.memory_limit for hand in executor._crew._hands} == {200 << 20}
