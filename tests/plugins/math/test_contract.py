"""The contract that every reward keeps, and the score in other processes."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from rewardkit.testing import RewardContract
from rewardkit.types import Message, Step, Task, Trajectory
from rewardkit_plugins.math.reward import MathReward

PAIRS = [
    ("42", r"\boxed{42}"),
    (r"2\sqrt{13}", r"\boxed{\sqrt{52}}"),
    ("5", "9^{9^{9^{9}}}"),
    (r"\sin 2x", r"$2\sin x\cos x$"),
]


def attempts() -> list[Trajectory]:
    return [
        Trajectory(
            task=Task(references=(reference,)), steps=(Step(action=Message(role="assistant", content=response)),)
        )
        for reference, response in PAIRS
    ]


def values() -> list[float | None]:
    reward = MathReward()
    reward.setup()
    return [score.value for score in reward.score_batch(attempts())]


class TestMath(RewardContract):
    reward = "math"

    def trajectories(self) -> list[Trajectory]:
        return [attempts()[0], attempts()[1]]


def test_the_verdict_is_the_same_in_another_process():
    assert values() == [1.0, 1.0, 0.0, 1.0]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(_in_a_process, [0])) == [values()]


def _in_a_process(_: int) -> list[float | None]:
    return values()
