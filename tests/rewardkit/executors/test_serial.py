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
