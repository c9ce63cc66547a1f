import copy
import math
import pickle

import pytest

from rewardkit import Failure, Message, RewardResult, Score, Step, Task, Tokens, ToolCall, Trajectory
from rewardkit.errors import InvalidScoreError

CALL = ToolCall(id="c1", name="search", arguments='{"q": "x"}')
TRAJECTORY = Trajectory(
    id="t1",
    task=Task(id="q1", prompt=(Message(role="user", content="hi"),), references=("a", "b"), metadata={"k": [1]}),
    steps=(
        Step(action=Message(role="assistant", tool_calls=(CALL,)), tokens=Tokens(ids=(1, 2), logprobs=(-0.5, 0.0))),
        Step(
            observation=(Message(role="tool", content="42", tool_call_id="c1"),),
            action=Message(role="assistant", content="it is 42"),
            reward=1.0,
        ),
    ),
)
VALUES = [
    TRAJECTORY,
    Score(value=None, steps=(1.0, None), tokens=(0.5,), parts={"p": 1}, uncertainty=0.1, metadata={"m": [1]}),
    Failure(reward="r", kind="timeout", message="m", retryable=True),
    RewardResult(total=1.0, scores={"r": Score(value=1.0)}, failures=(), signature="r|v:1"),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_every_type_pickles_and_copies_equal(value):
    assert pickle.loads(pickle.dumps(value)) == value
    assert copy.deepcopy(value) == value


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_every_type_is_frozen(value):
    first = next(iter(type(value).__dataclass_fields__))
    with pytest.raises(AttributeError):
        setattr(value, first, "other")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 10**400, "1", b"1", [1], object()])
@pytest.mark.parametrize("field", ["value", "uncertainty"])
def test_a_score_refuses_what_is_no_finite_number(field, bad):
    with pytest.raises(InvalidScoreError, match=f"Score.{field}"):
        Score(**{"value": 0.0, field: bad})


def test_a_score_refuses_bad_numbers_in_steps_tokens_and_parts():
    for arguments in ({"steps": (1.0, math.nan)}, {"tokens": (math.inf,)}, {"parts": {"a": math.nan}}):
        with pytest.raises(InvalidScoreError):
            Score(value=0.0, **arguments)


def test_numbers_become_floats():
    score = Score(value=True, steps=[1, None], tokens=[2], parts={"a": 3})
    assert (score.value, score.steps, score.tokens, score.parts) == (1.0, (1.0, None), (2.0,), {"a": 3.0})
    assert type(score.value) is float


def test_a_trajectory_reads_as_one_dialogue():
    assert [m.role for m in TRAJECTORY.messages] == ["user", "assistant", "tool", "assistant"]
    assert TRAJECTORY.completion == "it is 42"
    assert TRAJECTORY.task.question == "hi"


def test_an_agent_that_never_acted_has_an_empty_completion():
    assert Trajectory(task=Task()).completion == ""


def test_the_group_is_the_task_unless_metadata_names_one():
    assert TRAJECTORY.group == "q1"
    assert Trajectory(task=Task(id="q1"), metadata={"group": 7}).group == "7"
