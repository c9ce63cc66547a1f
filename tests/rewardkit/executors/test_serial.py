import pytest

from rewardkit import Message, RewardSpec, Score, Step, Task, Trajectory
from rewardkit.executors.serial import SerialExecutor

ATTEMPT = Trajectory(task=Task(), steps=(Step(action=Message(role="assistant", content="x")),))


class Exits:
    """End the process in setup."""

    def setup(self):
        raise SystemExit(3)

    def score_batch(self, batch, /):
        return [Score(value=1.0)] * len(batch)

    def close(self):
        pass


class FailsToClose(Exits):
    """Raise when it is closed."""

    def setup(self):
        pass

    def close(self):
        raise OSError("the disk is gone")


def test_a_setup_that_exits_fails_the_trajectories():
    spec = RewardSpec(name="exits", factory=f"{__file__}:Exits")
    (outcome,) = SerialExecutor().submit(spec, {}, [ATTEMPT], timeout=None).result()
    assert (outcome.kind, outcome.message) == ("error", "SystemExit: 3")


def test_a_close_that_raises_is_a_warning_and_the_others_are_closed():
    executor = SerialExecutor()
    spec = RewardSpec(name="fails", factory=f"{__file__}:FailsToClose")
    assert executor.submit(spec, {}, [ATTEMPT], timeout=None).result() == [Score(value=1.0)]
    with pytest.warns(RuntimeWarning, match="FailsToClose.close failed: OSError: the disk is gone"):
        executor.close()
    executor.close()


class FailsToLoad(Exits):
    """Count the attempts to set it up, and fail each."""

    tries = 0

    def setup(self):
        type(self).tries += 1
        raise OSError("the model is gone")


def test_a_setup_that_fails_is_not_tried_again_for_every_batch(monkeypatch):
    from rewardkit.executors import serial

    executor, spec = SerialExecutor(), RewardSpec(name="fails", factory=f"{__file__}:FailsToLoad")
    outcomes = [executor.submit(spec, {}, [ATTEMPT], timeout=None).result()[0].message for _ in range(3)]
    assert outcomes == ["OSError: the model is gone"] * 3
    loaded = type(spec.build())
    assert loaded.tries == 1
    monkeypatch.setattr(serial.time, "monotonic", lambda real=serial.time.monotonic: real() + 61)
    executor.submit(spec, {}, [ATTEMPT], timeout=None)
    assert loaded.tries == 2
