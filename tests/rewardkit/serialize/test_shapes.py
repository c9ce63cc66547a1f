"""The three shapes: what becomes the prompt, the steps, the references and the metadata, and how errors read."""

from __future__ import annotations

import copy
import json
import math
import pickle
import re
from pathlib import Path
from types import MappingProxyType

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardkit.errors import InvalidTrajectoryError
from rewardkit.serialize import trajectory_from_json, trajectory_to_json
from rewardkit.types import Message, Step, Task, Tokens, ToolCall, Trajectory

SYSTEM = {"role": "system", "content": "be brief"}
ASK = {"role": "user", "content": "2+2?"}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}],
}
TOOL = {"role": "tool", "tool_call_id": "c1", "content": "4"}
SAY = {"role": "assistant", "content": "It is 4."}

ask = Message(role="user", content="2+2?")
say = Message(role="assistant", content="It is 4.")


def test_native_shape_is_read_field_by_field():
    record = {
        "id": "t1",
        "task": {"id": "q1", "prompt": [SYSTEM, ASK], "references": ["4"], "metadata": {"level": 1}},
        "steps": [
            {"action": CALL, "reward": 0, "tokens": {"ids": [5, 6], "logprobs": [-0.5, -1]}},
            {"observation": [TOOL], "action": SAY, "metadata": {"valid": True}},
        ],
        "terminated": False,
        "truncated": True,
        "metadata": {"group": "g"},
    }
    assert trajectory_from_json(record) == Trajectory(
        id="t1",
        task=Task(
            id="q1",
            prompt=(Message(role="system", content="be brief"), ask),
            references=("4",),
            metadata={"level": 1},
        ),
        steps=(
            Step(
                action=Message(role="assistant", tool_calls=(ToolCall(id="c1", name="add", arguments='{"a": 2}'),)),
                reward=0.0,
                tokens=Tokens(ids=(5, 6), logprobs=(-0.5, -1.0)),
            ),
            Step(
                observation=(Message(role="tool", content="4", tool_call_id="c1"),),
                action=say,
                metadata={"valid": True},
            ),
        ),
        terminated=False,
        truncated=True,
        metadata={"group": "g"},
    )


def test_chat_shape_gives_the_turns_after_the_last_question_to_the_agent():
    t = trajectory_from_json({"id": "x", "messages": [SYSTEM, ASK, CALL, TOOL, SAY], "references": ["4"], "level": 3})
    assert [m.role for m in t.task.prompt] == ["system", "user"]
    assert [(len(s.observation), s.action.content) for s in t.steps] == [(0, ""), (1, "It is 4.")]
    assert t.steps[1].observation[0].tool_call_id == "c1"
    assert t.task.references == ("4",)
    assert t.task.metadata == {"level": 3}
    assert t.metadata == {}
    assert (t.terminated, t.truncated) == (True, False)


@pytest.mark.parametrize(
    ("messages", "in_prompt", "steps", "trailing"),
    [
        ([ASK, SAY, ASK, SAY], 3, 1, 0),  # the first answer is an example or history
        ([ASK, SAY, SAY], 1, 2, 0),
        ([SAY], 0, 1, 0),
        ([ASK], 1, 0, 0),  # the agent never acted
        ([], 0, 0, 0),
        ([ASK, SAY, ASK], 1, 1, 1),  # what follows the last action is kept in the metadata
        ([ASK, CALL, TOOL], 1, 1, 1),
        ([ASK, SYSTEM, SAY], 2, 1, 0),
        ([SYSTEM, SAY, ASK, CALL, TOOL, SAY, ASK], 3, 2, 1),
    ],
)
def test_chat_messages_split_into_prompt_steps_and_trailing_messages(messages, in_prompt, steps, trailing):
    t = trajectory_from_json({"messages": messages})
    assert len(t.task.prompt) == in_prompt
    assert len(t.steps) == steps
    assert len(t.metadata.get("trailing_messages", [])) == trailing
    assert len(t.messages) + trailing == len(messages)


def test_trailing_messages_are_kept_as_they_were():
    assert trajectory_from_json({"messages": [ASK, SAY, ASK]}).metadata == {"trailing_messages": [ASK]}


@pytest.mark.parametrize("prompt", ["2+2?", [ASK]])
@pytest.mark.parametrize("completion", ["It is 4.", [SAY]])
@pytest.mark.parametrize("key", ["completion", "response"])
def test_flat_shape_takes_text_or_messages(prompt, completion, key):
    t = trajectory_from_json({"prompt": prompt, key: completion})
    assert t.task.prompt == (ask,)
    assert t.steps == (Step(action=say),)


def test_flat_completion_of_many_turns_keeps_user_feedback_as_observations():
    feedback = {"role": "user", "content": "You see a fridge."}
    t = trajectory_from_json({"prompt": "go", "completion": [SAY, feedback, SAY, feedback]})
    assert [len(s.observation) for s in t.steps] == [0, 1]
    assert t.metadata == {"trailing_messages": [feedback]}


def test_an_empty_completion_is_an_action_and_is_not_missing():
    assert trajectory_from_json({"prompt": "a", "completion": ""}).steps == (Step(action=Message(role="assistant")),)


def test_messages_are_the_prompt_of_a_completion_unless_they_hold_it():
    assert trajectory_from_json({"messages": [ASK], "completion": "It is 4."}).steps == (Step(action=say),)
    assert trajectory_from_json({"messages": [ASK, SAY], "completion": None}).steps == (Step(action=say),)
    with pytest.raises(InvalidTrajectoryError, match="call the messages before it `prompt`"):
        trajectory_from_json({"messages": [ASK, SAY], "completion": "It is 5."})


@pytest.mark.parametrize(
    ("fields", "references"),
    [
        ({}, ()),
        ({"references": ["a", "b"]}, ("a", "b")),
        ({"reference": "a"}, ("a",)),
        ({"answer": 4}, ("4",)),
        ({"answer": 0.5}, ("0.5",)),
        ({"answer": True}, ("true",)),
        ({"ground_truth": [1, "2"]}, ("1", "2")),
        ({"ground_truth": {"target": ["no", "nope"]}}, ("no", "nope")),
        ({"solution": {"x": [1]}}, ('{"x":[1]}',)),
        ({"references": [], "answer": "4"}, ()),
        ({"references": None, "answer": "4"}, ("4",)),
        ({"reward_model": {"style": "rule", "ground_truth": "4"}}, ("4",)),
    ],
)
def test_references_come_under_many_names(fields, references):
    assert trajectory_from_json({"prompt": "a", "completion": "b", **fields}).task.references == references


def test_only_the_first_kind_of_reference_counts_and_the_others_stay_with_the_task():
    t = trajectory_from_json({"prompt": "a", "completion": "b", "answer": "4", "solution": "2+2=4", "tests": ["x"]})
    assert t.task.references == ("4",)
    assert t.task.metadata == {"solution": "2+2=4", "tests": ["x"]}


def test_fields_of_the_attempt_go_to_the_trajectory_and_all_others_to_the_task():
    t = trajectory_from_json(
        {
            "id": 7,
            "task_id": 351,
            "prompt": "a",
            "completion": "b",
            "group": "g",
            "attempt": 2,
            "policy": "p",
            "stop_reason": "length",
            "truncated": True,
            "metadata": {"seed": 1},
            "data_source": "gsm8k",
            "extra_info": {"index": 3},
        }
    )
    assert (t.id, t.task.id, t.group) == ("7", "351", "g")
    assert (t.terminated, t.truncated) == (False, True)
    assert t.metadata == {"group": "g", "attempt": 2, "policy": "p", "stop_reason": "length", "seed": 1}
    assert t.task.metadata == {"data_source": "gsm8k", "extra_info": {"index": 3}}


def test_null_fields_of_the_attempt_count_as_missing():
    fields = dict.fromkeys(["id", "group", "policy", "terminated", "truncated", "metadata"])
    assert trajectory_from_json({"prompt": "a", "completion": "b", **fields}) == trajectory_from_json(
        {"prompt": "a", "completion": "b"}
    )


def test_missing_ids_are_content_hashes_and_equal_prompts_form_a_group():
    a, b = (trajectory_from_json({"prompt": "q", "completion": c, "answer": "4"}) for c in ("4", "5"))
    assert a.group == b.group == a.task.id
    assert a.id != b.id
    assert trajectory_from_json({"prompt": "q", "completion": "4", "answer": "5"}).group != a.group


def test_dialects_of_messages_lose_nothing():
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "u"}}, "b"]
    t = trajectory_from_json(
        {
            "messages": [
                {"role": "developer", "content": "be brief", "name": "d"},
                {"role": "user", "content": parts},
                {
                    "role": "assistant",
                    "reasoning_content": "hm",
                    "tool_calls": [{"name": "f", "arguments": {"a": [1]}}, {"index": 1, "function": {"name": "g"}}],
                },
            ]
        }
    )
    first, second = t.task.prompt
    assert first == Message(role="system", content="be brief", name="d", metadata={"role": "developer"})
    assert second == Message(role="user", content="ab", metadata={"parts": parts})
    action = t.steps[0].action
    assert action.tool_calls == (ToolCall(name="f", arguments='{"a":[1]}'), ToolCall(name="g"))
    assert action.metadata["reasoning_content"] == "hm"
    assert action.metadata["tool_calls"][1]["index"] == 1


def test_unknown_fields_of_the_native_shape_become_metadata_where_they_stand():
    t = trajectory_from_json(
        {
            "task": {"prompt": "q", "level": 1, "metadata": {"a": 2}},
            "steps": [{"action": {**SAY, "logit": 3}, "seconds": 4}],
            "seed": 5,
        }
    )
    assert t.task.metadata == {"level": 1, "a": 2}
    assert t.steps[0].action.metadata == {"logit": 3}
    assert t.steps[0].metadata == {"seconds": 4}
    assert t.metadata == {"seed": 5}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"x": 1}, r"expected the keys .* found \['x'\]"),
        ({}, r"found \[\]"),
        ({"messages": 3}, "messages is 3: expected a list"),
        ({"messages": [3]}, r"messages\[0\] is 3: expected an object"),
        ({"messages": [ASK, {"role": "bot"}]}, r"messages\[1\].role is 'bot': expected 'system'"),
        ({"messages": [{"role": ["user"]}]}, r"messages\[0\].role is \['user'\]"),
        ({"messages": [{"content": "a"}]}, r"messages\[0\].role is missing"),
        ({"messages": [{"role": "user", "content": 1}]}, r"messages\[0\].content is 1"),
        ({"messages": [{"role": "user", "content": [{"text": 1}]}]}, r"messages\[0\].content\[0\].text is 1"),
        ({"messages": [{"role": "tool", "tool_call_id": 1}]}, r"messages\[0\].tool_call_id is 1: expected text"),
        ({"messages": [{"role": "user", "name": []}]}, r"messages\[0\].name is \[\]"),
        ({"messages": [{"role": "assistant", "tool_calls": 1}]}, r"messages\[0\].tool_calls is 1: expected a list"),
        ({"messages": [{"role": "assistant", "tool_calls": [1]}]}, r"messages\[0\].tool_calls\[0\] is 1"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, r"tool_calls\[0\].function.name is missing"),
        ({"messages": [], "metadata": "m"}, "metadata is 'm': expected an object"),
        ({"messages": [], "id": 1.5}, "id is 1.5: expected text or an integer"),
        ({"messages": [], "truncated": "no"}, "truncated is 'no': expected true or false"),
        ({"messages": [], "answer": [None]}, r"answer\[0\] is missing"),
        ({"prompt": 1, "completion": "b"}, "prompt is 1: expected text or a list of messages"),
        ({"prompt": "a", "completion": None}, 'completion is null: write ""'),
        ({"prompt": "a", "completion": ["b"]}, r"completion\[0\] is 'b': expected an object"),
        ({"prompt": "a", "completion": [ASK]}, "completion holds no assistant message"),
        ({"task": "boil", "steps": []}, "task is 'boil': expected an object"),
        ({"task": {"prompt": [1]}, "steps": []}, r"task.prompt\[0\] is 1"),
        ({"task": {}, "steps": {}}, "steps is {}: expected a list"),
        ({"task": {}, "steps": [{}]}, r"steps\[0\].action is missing"),
        ({"task": {}, "steps": [{"action": SAY}, {"action": ASK}]}, r"steps\[1\].action.role is 'user'"),
        ({"task": {}, "steps": [{"action": SAY, "reward": "1"}]}, r"steps\[0\].reward is '1': expected a finite"),
        ({"task": {}, "steps": [{"action": SAY, "reward": True}]}, r"steps\[0\].reward is True"),
        ({"task": {}, "steps": [{"action": SAY, "reward": 10**400}]}, r"steps\[0\].reward is .*: expected a finite"),
        ({"task": {}, "steps": [{"action": SAY, "tokens": []}]}, r"steps\[0\].tokens is \[\]: expected an object"),
        ({"task": {}, "steps": [{"action": SAY, "tokens": {"ids": ["a"]}}]}, r"steps\[0\].tokens.ids is \['a'\]"),
        (
            {"task": {}, "steps": [{"action": SAY, "tokens": {"ids": [1], "logprobs": []}}]},
            r"steps\[0\].tokens.logprobs is \[\]: expected a list of 1 numbers",
        ),
        ({"task": {}, "steps": [{"action": SAY, "observation": [4]}]}, r"steps\[0\].observation\[0\] is 4"),
        ({"messages": [], "a": math.nan}, "not a JSON object"),
        ({"messages": [], "a": {1, 2}}, "not a JSON object"),
        ({"messages": [], "a": "\ud800"}, "not a JSON object"),
    ],
)
def test_errors_say_what_is_wrong_where_and_what_was_expected(record, message):
    with pytest.raises(InvalidTrajectoryError, match=message) as caught:
        trajectory_from_json(record)
    assert "\n" not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize("where", ["level", "metadata", "answer", "messages"])
def test_nesting_is_limited_everywhere(where):
    def nested(depth):
        value = 1
        for _ in range(depth):
            value = {"a": [value]}
        return value

    def record(depth):
        if where == "messages":
            calls = [{"name": "f", "arguments": nested(depth)}]
            return {"messages": [{"role": "assistant", "tool_calls": calls}]}
        return {"messages": [], where: nested(depth)}

    copy.deepcopy(trajectory_from_json(record(48)))
    for depth in (51, 200, 100_000):
        with pytest.raises(InvalidTrajectoryError, match=r"nested deeper|not a JSON object"):
            trajectory_from_json(record(depth))


def test_the_given_record_is_not_changed():
    record = {"messages": [ASK, CALL, TOOL, SAY], "answer": "4", "metadata": {"a": 1}}
    before = copy.deepcopy(record)
    trajectory_from_json(MappingProxyType(record))
    assert record == before


text = st.text(st.characters(codec="utf-8"), max_size=12)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
metadata = st.dictionaries(text, values, max_size=3)
calls = st.lists(st.builds(ToolCall, id=text, name=text, arguments=text), max_size=2).map(tuple)


def message_of(role):
    return st.builds(
        Message, role=role, content=text, tool_calls=calls, tool_call_id=st.none() | text, name=st.none() | text,
        metadata=metadata,
    )  # fmt: skip


dialogue = st.lists(message_of(st.sampled_from(["system", "user", "assistant", "tool"])), max_size=3).map(tuple)
finite = st.floats(allow_nan=False, allow_infinity=False)
pairs = st.lists(st.tuples(st.integers(), finite), max_size=3)
tokens = pairs.map(lambda p: Tokens(ids=tuple(i for i, _ in p), logprobs=tuple(x for _, x in p))) | pairs.map(
    lambda p: Tokens(ids=tuple(i for i, _ in p))
)
steps = st.builds(
    Step, observation=dialogue, action=message_of(st.just("assistant")), tokens=st.none() | tokens,
    reward=st.none() | finite, metadata=metadata,
)  # fmt: skip
tasks = st.builds(Task, id=text, prompt=dialogue, references=st.lists(text, max_size=2).map(tuple), metadata=metadata)
trajectories = st.builds(
    Trajectory, id=text, task=tasks, steps=st.lists(steps, max_size=3).map(tuple), terminated=st.booleans(),
    truncated=st.booleans(), metadata=metadata,
)  # fmt: skip


@given(trajectories)
@settings(max_examples=150, deadline=None)
def test_the_native_shape_reads_back_equal(trajectory):
    assert trajectory_from_json(trajectory_to_json(trajectory)) == trajectory


DOCUMENT = Path(__file__).parents[3] / "docs" / "formats.md"


@pytest.mark.parametrize(("index", "steps"), [(0, 1), (1, 2), (2, 1)], ids=["flat", "chat", "native"])
def test_the_documented_examples_are_read(index, steps):
    blocks = re.findall(r"```json\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert len(trajectory_from_json(json.loads(blocks[index])).steps) == steps


def test_trajectories_survive_messagepack_pickle_and_deepcopy():
    t = trajectory_from_json({"messages": [SYSTEM, ASK, CALL, TOOL, SAY], "level": {"a": [1, None]}})
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(t), type=Trajectory) == t
    assert pickle.loads(pickle.dumps(t)) == t == copy.deepcopy(t)
