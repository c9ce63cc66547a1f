"""The environment of mathematics: its contract, its tasks, its tools."""

from __future__ import annotations

from typing import ClassVar

import gymnasium
import numpy as np
import pytest

import rewardkit_envs  # noqa: F401  registers
from rewardkit.errors import ConfigError, SandboxError, SandboxUnavailableError
from rewardkit.plugins import Plugins
from rewardkit.programs import Execution
from rewardkit.scorer import Scorer
from rewardkit_envs.arithmetic import ArithmeticTasks
from rewardkit_envs.calculator import calculate
from rewardkit_envs.math import MathEnv, shown
from rewardkit_envs.testing import EnvContract

CALL = "Action: {}\nAction Input: {}"


class TestMathContract(EnvContract):
    env = "rewardkit/Math-v0"


class TestMathWithToolsContract(EnvContract):
    env = "rewardkit/Math-v0"
    options: ClassVar = {"tools": ("calculator", "python"), "max_turns": 4}


class Stub:
    """A sandbox that answers with what it was asked, or fails."""

    def __init__(self, fails=False):
        self.fails = fails
        self.programs = []

    def run(self, program):
        if self.fails:
            raise SandboxError("the daemon is gone")
        self.programs.append(program)
        return Execution(exit_code=0, stdout=b"ran " + program.code.encode())


def test_an_answer_ends_the_episode_and_is_paid():
    env = gymnasium.make("rewardkit/Math-v0")
    shown_first, _ = env.reset(options={"task_id": "17+25"})
    assert shown_first == "What is 17 + 25? Answer with a number."
    _, reward, terminated, truncated, told = env.step("It is 42.")
    assert (reward, terminated, truncated) == (1.0, True, False)
    assert told["reward_result"].total == 1.0
    env.reset(options={"task_id": "17+25"})
    assert env.step("It is 43.")[1] == 0.0


@pytest.mark.parametrize("answer", ["17 + 25", "What is 17 + 25?", "\\boxed{17+25}", "84/2", ""])
def test_an_echo_of_the_question_is_no_answer(answer):
    env = MathEnv()
    env.reset(options={"task_id": "17+25"})
    assert env.step(answer)[1] == 0.0


@pytest.mark.parametrize(("mode", "more"), [("sync", {}), ("async", {"shared_memory": False})])
def test_gymnasium_makes_vectors_of_it(mode, more):
    vector = gymnasium.make_vec("rewardkit/Math-v0", num_envs=3, vectorization_mode=mode, vector_kwargs=more)
    shown, _ = vector.reset(seed=[0, 1, 0])
    assert shown[0] == shown[2] != shown[1]
    _, rewards, terminated, truncated, _ = vector.step(("0.5", "1000", "x"))
    assert list(rewards) == [0.0] * 3
    assert terminated.all()
    assert not truncated.any()
    vector.close()


def test_tasks_come_from_rows_like_those_of_gsm8k(shared):
    env = MathEnv(tasks=shared("data/math/gsm8k_train.jsonl.gz"))
    for seed in range(20):
        env.reset(seed=seed)
        assert env.step(env.gold())[1] == 1.0


def test_a_tool_may_be_called_before_the_answer():
    sandbox = Stub()
    env = MathEnv(tools=("calculator", "python"), sandbox=sandbox)
    rules = env.reset(options={"task_id": "17+25"})[0]
    assert "Action Input: 2 * (3 + 4)" in rules
    assert "8 replies" in rules
    assert env.step(CALL.format("calculator", "17 + 25"))[0] == "42"
    assert env.step('{"name": "python", "arguments": {"code": "print(1)"}}')[0] == "ran print(1)"
    assert sandbox.programs[0].limits.wall_s == 5.0
    assert "no tool 'abacus'" in env.step(CALL.format("abacus", "1"))[0]
    assert "takes one argument" in env.step('{"name": "python", "arguments": {"text": "1"}}')[0]
    assert "Error: division by zero" in env.step(CALL.format("calculator", "1/0"))[0]
    _, reward, terminated, _, told = env.step("42")
    assert (reward, terminated) == (1.0, True)
    assert [message.role for message in told["messages"]] == ["user", "user", *["assistant", "user"] * 5, "assistant"]


def test_a_call_in_the_last_turn_cuts_the_episode_off():
    env = MathEnv(tools=("calculator",), max_turns=1)
    env.reset(options={"task_id": "17+25"})
    _, reward, terminated, truncated, _ = env.step(CALL.format("calculator", "17 + 25"))
    assert (reward, terminated, truncated) == (0.0, False, True)


def test_what_was_played_scores_the_same_again():
    env = MathEnv(tools=("calculator",))
    env.reset(seed=1)
    env.step(CALL.format("calculator", "1 + 1"))
    reward = env.step(env.gold())[1]
    assert Scorer(["math:require_number=true"]).score(env.trajectory).total == reward == 1.0


def test_python_runs_in_the_sandbox():
    try:
        Plugins.load().sandboxes.get("auto").build().identity()
    except SandboxUnavailableError as error:
        pytest.skip(f"no sandbox: {error}")
    env = MathEnv(tools=("python",))
    env.reset(seed=0)
    assert env.step(CALL.format("python", "```python\nprint(2**70)\n```"))[0] == "1180591620717411303424"
    assert env.step(CALL.format("python", "1/0"))[0].endswith(
        "ZeroDivisionError: division by zero\n(the program ended with status 1)"
    )
    env.close()


def test_a_sandbox_that_fails_ends_the_episode_without_a_reward():
    env = MathEnv(tools=("python",), sandbox=Stub(fails=True))
    env.reset(seed=0)
    _, reward, terminated, truncated, told = env.step(CALL.format("python", "print(1)"))
    assert (reward, terminated, truncated, told["reward_missing"]) == (0.0, False, True, True)
    (failure,) = told["reward_result"].failures
    assert (failure.reward, failure.kind, failure.retryable) == ("MathEnv", "sandbox", True)
    assert "the daemon is gone" in failure.message


def test_a_failure_stays_when_the_reward_is_settled_later():
    env = MathEnv(tools=("python",), sandbox=Stub(fails=True), defer_reward=True)
    env.reset(seed=0)
    assert env.step(CALL.format("python", "print(1)"))[4]["reward_missing"] is True
    assert env.settle(Scorer(["math"]).score(env.trajectory)) == 0.0
    assert env.episode.truncated
    assert env.episode.result.total is None


def test_output_is_cut_in_the_middle():
    text = shown(Execution(exit_code=0, stdout=b"a" * 30 + b"b" * 30), longest=20)
    assert text == "aaaaaaaaaa\n... 40 characters ...\nbbbbbbbbbb"
    assert shown(Execution(exit_code=0)) == "(the program printed nothing)"
    assert shown(Execution(exit_code=-9, limit="wall_s")) == "(the program ran into its limit wall_s)"


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2*(3+4)", "14"),
        ("1/3", "0.333333333333"),
        ("0.1 + 0.2", "0.3"),
        ("7 // 2 - 7 % 3", "2"),
        ("-2 ** 2", "-4"),
        ("2**-2", "0.25"),
        ("sqrt(2.25) + abs(-3)", "4.5"),
        ("sqrt(2)", "1.41421356237"),
        ("10**40", "1" + "0" * 40),
        ("1e3", "1000"),
    ],
)
def test_the_calculator_is_exact(expression, value):
    assert calculate(expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        *("", "1/0", "9**9**9", "2**0.5**-9999", "(-8)**0.5", "1e999", "x", "2^3", "__import__('os')", "True", "1,000"),
        *("(" * 200, "1" * 501, "10**999*10", "10**999/3", "5 5", "2(3)", "sqrt", "sqrt()", "0**-0.5", "1if 1else 2"),
    ],
)
def test_the_calculator_refuses_the_rest_with_a_reason(expression):
    with pytest.raises(ValueError, match=r"."):
        calculate(expression)


def test_arithmetic_is_drawn_from_the_whole_range_and_found_by_id():
    tasks = ArithmeticTasks(-2, 2, "+-*")
    random = np.random.default_rng(0)
    drawn = {task.id: task for task in (tasks.draw(random) for _ in range(2000))}
    assert len(drawn) == 5 * 5 * 3
    for name, task in drawn.items():
        assert tasks.find(name) == task
        left, operator, right = task.prompt[0].content.removeprefix("What is ").partition("?")[0].split(" ")
        assert task.references == (str(eval(f"{left} {operator} {right}")),)  # the text, by Python itself
    for name in ("3+1", "1+-3", "1/1", "1 + 1", "", "1+1; import os"):
        with pytest.raises(KeyError):
            tasks.find(name)


@pytest.mark.parametrize(
    "wrong", [{"tools": "python"}, {"tools": ("abacus",)}, {"sandbox": 3}, {"max_turns": 0}, {"tasks": []}]
)
def test_options_that_cannot_be_right_are_refused(wrong):
    with pytest.raises(ConfigError):
        MathEnv(**wrong)


@pytest.mark.parametrize("wrong", [{"low": 5, "high": 1}, {"operators": ""}, {"operators": "+/"}])
def test_ranges_that_cannot_be_right_are_refused(wrong):
    with pytest.raises(ConfigError):
        ArithmeticTasks(**wrong)
