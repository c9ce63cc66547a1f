import sys

import numpy as np
import pytest

from rewardkit import Message, Score, Step, Task, Trajectory
from rewardkit.judging import judge
from rewardkit.registry import RewardSpec

SPEC = RewardSpec(name="tested", factory="")
TRAJECTORIES = [
    Trajectory(id=str(i), task=Task(id="t"), steps=(Step(action=Message(role="assistant", content=str(i))),))
    for i in range(5)
]


class Scripted:
    """Return or raise what `answer` says of each trajectory."""

    def __init__(self, answer):
        self.answer = answer

    def score_batch(self, batch, /):
        return [self.answer(trajectory) for trajectory in batch]


def only_outcome(answer):
    (outcome,) = judge(SPEC, Scripted(answer), TRAJECTORIES[:1])
    return outcome


class OddError(BaseException):
    pass


class SpeechlessError(Exception):
    def __str__(self):
        raise RuntimeError("no words")


def raise_(error):
    raise error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (SystemExit(0), "SystemExit: 0"),
        (OddError("x"), "OddError: x"),
        (MemoryError(), "MemoryError"),
        (RecursionError("deep"), "RecursionError: deep"),
        (SpeechlessError(), "SpeechlessError: its text cannot be had (RuntimeError)"),
        (ValueError("\ud800"), "ValueError: ?"),
    ],
)
def test_whatever_a_reward_raises_is_a_failure_of_that_trajectory_alone(error, message):
    def answer(trajectory):
        return raise_(error) if trajectory.id == "3" else Score(value=1.0)

    outcomes = judge(SPEC, Scripted(answer), TRAJECTORIES)
    assert [getattr(outcome, "value", None) for outcome in outcomes] == [1, 1, 1, None, 1]
    assert (outcomes[3].kind, outcomes[3].message) == ("error", message)


def test_only_ctrl_c_passes_through():
    with pytest.raises(KeyboardInterrupt):
        only_outcome(lambda _: raise_(KeyboardInterrupt()))


def test_a_reward_that_calls_sys_exit_is_a_failure():
    assert "SystemExit" in only_outcome(lambda _: sys.exit(0)).message


def test_metadata_becomes_json_values():
    given = {1: {"a"}, "b": b"\x00", "n": np.float32(2.5), "l": np.arange(2), "d": {2: {}}, "o": Scripted, "big": 2**70}
    assert only_outcome(lambda _: Score(value=1.0, metadata=given)).metadata == {
        "1": ["a"], "b": "AA==", "n": 2.5, "l": [0, 1], "d": {"2": {}}, "o": str(Scripted), "big": 2**70,
    }  # fmt: skip


def test_metadata_that_contains_itself_is_a_failure():
    loop = {}
    loop["again"] = loop
    assert "metadata cannot become JSON" in only_outcome(lambda _: Score(value=1.0, metadata=loop)).message


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (Score(value=1.0, explanation=5), "explanation must be text, not int"),
        (Score(value=1.0, metadata=[1]), "metadata must be a mapping, not list"),
        (Score(value=1.0, steps=(1.0, 2.0)), "2 step scores for 1 steps"),
        (1.0, "expected a Score, got float"),
    ],
)
def test_a_score_of_the_wrong_shape_is_a_failure(score, message):
    assert message in only_outcome(lambda _: score).message
