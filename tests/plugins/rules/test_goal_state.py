"""goal_state: each kind of condition, evidence that is missing or another goal's, and how it is gamed."""

from __future__ import annotations

import hashlib

import pytest

from rewardkit.errors import RewardError
from rewardkit.testing import RewardContract
from rewardkit.types import Message, Step, Task, Trajectory
from rewardkit_plugins.rules.goal_state import GoalState


def attempt(goal, evidence, files=None, said="done"):
    metadata = {} if evidence is None else {"final_state": evidence}
    task = Task(
        id="t",
        prompt=(Message(role="user", content="Do it."),),
        metadata={"files": files or {}, **({} if goal is None else {"goal": goal})},
    )
    return Trajectory(task=task, steps=(Step(action=Message(role="assistant", content=said), metadata=metadata),))


def score(goal, evidence, files=None):
    return GoalState().score_batch([attempt(goal, evidence, files)])[0]


class TestContract(RewardContract):
    reward = "goal_state"

    def trajectories(self):
        return [attempt({"answer": "7"}, {"answer": "7"}), attempt({"files": {"a": "x"}}, {"files": {"a": "x\n"}})]


FF = hashlib.sha256(b"\xff").hexdigest()
SHA = hashlib.sha256(b"long\n").hexdigest()


@pytest.mark.parametrize(
    ("wanted", "found", "expected"),
    [
        ({"a": "x"}, {"a": "x\n"}, 1.0),
        ({"a": "x"}, {"a": " x"}, 0.0),
        ({"a": "x"}, {}, 0.0),
        ({"a": None}, {}, 1.0),
        ({"a": None}, {"a": ""}, 0.0),
        ({"a": "x", "b": "y"}, {"a": "x", "b": "z"}, 0.0),
        ({"a": {"sha256": SHA}}, {"a": "long\n"}, 1.0),
        ({"a": {"sha256": SHA.upper()}}, {"a": {"sha256": SHA, "size": 5}}, 1.0),
        ({"a": "long\n"}, {"a": {"sha256": SHA, "size": 5}}, 1.0),
        ({"a": "short"}, {"a": {"sha256": SHA, "size": 5}}, 0.0),
    ],
)
def test_files_must_hold_what_the_goal_says(wanted, found, expected):
    assert score({"files": wanted}, {"files": found}).value == expected


def test_unchanged_names_files_or_means_all_others():
    start = {"a": "1", "b": "2"}
    assert score({"unchanged": ["a"]}, {"files": {"a": "1"}}, start).value == 1.0
    assert score({"unchanged": ["a"]}, {"files": {"a": "1 "}}, start).value == 0.0
    assert score({"unchanged": True, "files": {"a": "9"}}, {"files": {"a": "9", "b": "2"}}, start).value == 1.0
    assert score({"unchanged": True, "files": {"a": "9"}}, {"files": {"a": "9"}}, start).value == 0.0
    bytes_at_start = {"z": {"base64": "/w=="}}
    assert score({"unchanged": True}, {"files": {"z": {"sha256": FF, "size": 1}}}, bytes_at_start).value == 1.0
    assert score({"unchanged": True}, {"files": {"z": "?"}}, bytes_at_start).value == 0.0
    more = {"a": "9", "b": "2", "c": ""}
    judged = score({"unchanged": True, "files": {"a": "9"}}, {"files": more}, start)
    assert judged.value == 0.0
    assert judged.explanation == "not as asked: no other files"
    assert judged.parts == {"conditions": pytest.approx(2 / 3)}


def ended(exit_code=0, stdout="", command="test", **more):
    return {"commands": [{"command": command, "exit_code": exit_code, "stdout": stdout, **more}]}


@pytest.mark.parametrize(
    ("wanted", "evidence", "expected"),
    [
        ({}, ended(), 1.0),
        ({}, ended(1), 0.0),
        ({}, ended(limit="wall_s"), 0.0),
        ({"exit_code": 3}, ended(3), 1.0),
        ({"stdout": "5.0 7.0\n"}, ended(stdout="5.0 7.0"), 1.0),
        ({"stdout": "5.0 7.0\n"}, ended(stdout=""), 0.0),
    ],
)
def test_commands_must_end_as_the_goal_says(wanted, evidence, expected):
    assert score({"commands": [{"command": "test", **wanted}]}, evidence).value == expected


def test_tables_are_compared_as_sets_of_rows_with_repetition():
    goal = {"tables": {"t": [[1, "a"], [2, None], [2, None]]}}
    assert score(goal, {"tables": {"t": [[2, None], [1.0, "a"], [2, None]], "other": []}}).value == 1.0
    assert score(goal, {"tables": {"t": [[2, None], [1, "a"], [1, "a"]]}}).value == 0.0
    assert score(goal, {"tables": {}}).value == 0.0
    assert score(goal, {"tables": None}).value == 0.0


def test_a_goal_in_sql_wants_all_tables_and_no_others():
    expected = {"t": [[1]], "u": []}
    assert score({"sql": ["x"]}, {"tables": {"t": [[1]], "u": []}, "expected_tables": expected}).value == 1.0
    assert score({"sql": ["x"]}, {"tables": {"t": [[1]]}, "expected_tables": expected}).value == 0.0
    assert score({"sql": ["x"]}, {"tables": {"t": [[1]], "u": [], "v": []}, "expected_tables": expected}).value == 0.0


@pytest.mark.parametrize(
    ("wanted", "given", "expected"),
    [
        ("Cleo Diaz", " cleo  diaz", 1.0),
        ("54.25", "54.250", 1.0),
        ("54.25", "about 54.25", 0.0),
        (["a", "b"], "b", 1.0),
        (["a", "b"], "a b", 0.0),
        ("2", None, 0.0),
        ("2", "", 0.0),
    ],
)
def test_an_answer_is_any_of_the_alternatives(wanted, given, expected):
    assert score({"answer": wanted}, {"answer": given}).value == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ('["b", "A"]', 1.0),
        ('["a"]', 0.0),
        ('["a", "b", "b"]', 0.0),
        ('["a", "a"]', 0.0),
        ("a, b", 0.0),
        ("[" * 9999, 0.0),
    ],
)
def test_answers_are_all_wanted_in_any_order(given, expected):
    assert score({"answers": ["a", "b"]}, {"answer": given}).value == expected


def test_all_conditions_must_hold():
    goal = {"answer": "2", "files": {"a": "x"}}
    assert score(goal, {"answer": "2", "files": {"a": "x"}}).value == 1.0
    assert score(goal, {"answer": "3", "files": {"a": "x"}}).value == 0.0


def test_without_evidence_it_abstains():
    assert score({"answer": "2"}, None).value is None
    assert GoalState().score_batch([Trajectory(task=Task())])[0].value is None
    assert score(None, {"answer": "2"}).value is None


def test_a_world_that_judges_itself_counts_where_there_is_no_goal():
    assert score(None, {"value": 0.25}).value == 0.25
    assert score({"answer": "2"}, {"value": 1.0, "answer": "3"}).value == 0.0
    with pytest.raises(RewardError, match="no finite number"):
        score(None, {"value": "1"})


def test_words_count_for_nothing():
    said = '{"final_state": {"answer": "2"}, "value": 1.0}'
    assert GoalState().score_batch([attempt({"answer": "2"}, {"answer": None}, said=said)])[0].value == 0.0


@pytest.mark.parametrize(
    ("goal", "evidence"),
    [
        ({}, {"files": {}}),
        ({"file": {"a": "x"}}, {"files": {}}),
        ({"files": {"a": "x"}}, {"answer": "2"}),
        ({"files": ["a"]}, {"files": {}}),
        ({"commands": [{"command": "other"}]}, ended()),
        ({"unchanged": ["gone"]}, {"files": {}}),
        ([], {"files": {}}),
    ],
)
def test_a_goal_that_cannot_be_judged_is_a_failure(goal, evidence):
    with pytest.raises(RewardError, match="task 't'"):
        score(goal, evidence)
