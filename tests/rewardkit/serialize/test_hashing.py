"""Hashes: pinned values, since stored scores are found by them, and what does and does not change them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from rewardkit.errors import InvalidTrajectoryError
from rewardkit.serialize import task_hash, trajectory_from_json, trajectory_hash, trajectory_to_json
from rewardkit.types import Message, Step, Task, Tokens, ToolCall, Trajectory

FULL = Trajectory(
    id="t",
    task=Task(
        id="q",
        prompt=(Message(role="user", content="2+2? é"),),
        references=("4", "four"),
        metadata={"b": [1, 2.5, None], "a": {"y": True, "x": "z"}},
    ),
    steps=(
        Step(
            action=Message(role="assistant", tool_calls=(ToolCall(id="c", name="add", arguments='{"a":2}'),)),
            tokens=Tokens(ids=(1, 2), logprobs=(-0.5, -1.0)),
            reward=0.25,
        ),
        Step(
            observation=(Message(role="tool", content="4", tool_call_id="c", name="add"),),
            action=Message(role="assistant", content="It is 4."),
        ),
    ),
    metadata={"group": "g"},
)


def test_hashes_stay_what_they_were_in_earlier_versions():
    assert trajectory_hash(FULL) == "84e0ec17d51b822a253691da4810f6c1"
    assert task_hash(FULL.task.prompt, FULL.task.references) == "823c215f72f6416e7288f41e193eb88f"


def test_ids_and_the_order_of_metadata_do_not_count():
    shuffled = {"a": {"x": "z", "y": True}, "b": [1, 2.5, None]}
    other = replace(FULL, id="other", task=replace(FULL.task, id="other", metadata=shuffled))
    assert trajectory_hash(other) == trajectory_hash(FULL)


@pytest.mark.parametrize(
    "changed",
    [
        replace(FULL, terminated=False),
        replace(FULL, truncated=True),
        replace(FULL, metadata={}),
        replace(FULL, steps=FULL.steps[:1]),
        replace(FULL, steps=FULL.steps[::-1]),
        replace(FULL, task=replace(FULL.task, references=("4",))),
        replace(FULL, task=replace(FULL.task, metadata={})),
        replace(FULL, task=replace(FULL.task, prompt=())),
        replace(FULL, steps=(replace(FULL.steps[0], reward=None), FULL.steps[1])),
        replace(FULL, steps=(replace(FULL.steps[0], tokens=None), FULL.steps[1])),
    ],
)
def test_everything_else_counts(changed):
    assert trajectory_hash(changed) != trajectory_hash(FULL)


def test_the_same_content_has_the_same_hash_in_every_shape():
    ask, say = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
    shapes = [
        {"prompt": "q", "completion": "a", "answer": 4, "level": 1},
        {"prompt": [ask], "response": [say], "references": ["4"], "level": 1},
        {"messages": [ask, say], "reference": "4", "level": 1},
        {"task": {"prompt": "q", "references": "4", "level": 1}, "steps": [{"action": say}]},
    ]
    read = [trajectory_from_json(shape) for shape in shapes]
    assert read[0] == read[1] == read[2] == read[3]
    assert {trajectory_hash(t) for t in read} == {read[0].id}


def test_the_hash_survives_writing_and_reading():
    again = trajectory_from_json(json.loads(json.dumps(trajectory_to_json(FULL))))
    assert trajectory_hash(again) == trajectory_hash(FULL)


def test_an_integer_beyond_64_bits_has_a_hash():
    assert trajectory_hash(replace(FULL, metadata={"n": 2**70})) != trajectory_hash(replace(FULL, metadata={}))


@pytest.mark.parametrize("value", [object(), "\ud800"])
def test_what_json_does_not_have_is_refused(value):
    with pytest.raises(InvalidTrajectoryError, match="JSON values only"):
        trajectory_hash(replace(FULL, metadata={"x": value}))
