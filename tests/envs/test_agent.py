"""The environment of agents: calls, tools, what is saved and paid; worlds have tests of their own."""

from __future__ import annotations

import json
import pickle
from typing import ClassVar

import gymnasium
import numpy as np
import pytest

import rewardkit_envs  # noqa: F401  registers
from rewardkit.errors import ConfigError, SandboxError
from rewardkit.plugins import Plugins
from rewardkit.scorer import Scorer
from rewardkit.serialize import read_trajectories, trajectory_to_json
from rewardkit.types import Message, Task
from rewardkit_envs.agent import AgentEnv
from rewardkit_envs.policies import open_policy
from rewardkit_envs.testing import EnvContract
from rewardkit_envs.worlds.shell import ShellWorld
from rewardkit_envs.worlds.toolbox import ToolWorld
from rewardkit_envs.worlds.world import Tool, World
from rewardkit_envs.wrappers import ScoreAtEnd


class Deposit:
    """A tool shaped like LangChain's, without LangChain."""

    name, description = "deposit", "Put money\n on an account."
    args: ClassVar = {"account": {"type": "string"}, "amount": {"type": "integer"}}

    def __init__(self, memory):
        self.memory = memory

    def invoke(self, arguments):
        self.memory["accounts"][arguments["account"]] += arguments["amount"]
        self.memory["log"].append(arguments["amount"])
        if arguments["amount"] > 100:
            raise ValueError("too much")
        return {"balance": self.memory["accounts"][arguments["account"]]}


def bank(memory):
    return [Deposit(memory)]


START = {"accounts": {"ann": 1, "bo": 2}, "log": []}
TASKS = [
    Task(
        id=f"pay-{amount}",
        prompt=(Message(role="user", content=f"Pay {amount} to Ann."),),
        metadata={
            "memory": START,
            "goal": {"memory": {"accounts": {"ann": 1 + amount, "bo": 2}}},
            "gold": [{"name": "deposit", "arguments": {"account": "ann", "amount": amount}}],
        },
    )
    for amount in (5, 7)
]


def make_bank(**options):
    return AgentEnv(world=ToolWorld(bank), tasks=TASKS, **options)


class TestToolWorldContract(EnvContract):
    env = "rewardkit/Agent-v0"
    options: ClassVar = {"world": ToolWorld(bank), "tasks": TASKS}


class TestGameContract(EnvContract):
    env = "rewardkit/Agent-v0"
    options: ClassVar = {"world": "outside:toy_text/FrozenLake-v1"}


def call(name, **arguments):
    return json.dumps({"name": name, "arguments": arguments})


def played(*actions, env=None, task="pay-5"):
    env = env or make_bank()
    env.reset(options={"task_id": task})
    return env, [env.step(action) for action in actions]


def test_it_is_listed_and_made_by_name():
    assert Plugins.load(only=["builtin"]).envs.get("rewardkit/Agent-v0").entry_point == "rewardkit_envs.agent:AgentEnv"
    env = gymnasium.make("rewardkit/Agent-v0", sandbox="namespace")
    shown, _ = env.reset(seed=1, options={"task_id": "shell/sum"})
    assert shown.startswith("Add up the numbers in fruit.txt")
    assert "- run(command: string): " in shown
    env.close()


def test_what_the_tools_did_is_paid_not_what_is_said():
    for claim in (
        "Final Answer: I have paid 5 to Ann.",
        call("finish", answer="done"),
        "Action: finish\nAction Input:",
    ):
        _, steps = played(claim)
        assert steps[0][1:3] == (0.0, True)
    _, steps = played(call("deposit", account="ann", amount=5), "Final Answer: nothing was done")
    assert [step[1] for step in steps] == [0.0, 1.0]
    assert steps[0][0] == '{"balance": 6}'


@pytest.mark.parametrize(
    ("action", "answer"),
    [
        ("Thought: I know.\nFinal Answer: 42\nand more", "42\nand more"),
        ("<think>Final Answer: 1</think>Final Answer: 2", "2"),
        ('Final Answer: {"answer": "3"}', "3"),
        ("Final Answer:\n```\nFinal Answer: 4\n```", "Final Answer: 4\n"),
        ("Final Answer:", ""),
        ('{"name": "finish", "arguments": {}}', ""),
    ],
)
def test_an_answer_is_saved_as_it_was_given(action, answer):
    env, steps = played(action)
    assert steps[0][2]
    assert env.trajectory.steps[-1].metadata["final_state"]["answer"] == answer


def test_numbers_that_no_file_can_hold_are_refused():
    class Scale(Deposit):
        name = "scale"
        args: ClassVar = {"factor": {"type": "number"}}

    _, steps = played('{"name": "scale", "arguments": {"factor": 1e999}}', env=make_bank(tools=[Scale({})]))
    assert steps[0][0] == "The arguments hold a number that is too large."


def test_a_call_too_much_costs_the_goal():
    pay = call("deposit", account="ann", amount=5)
    assert played(pay, pay, call("finish"))[1][-1][1] == 0.0
    assert played(pay, call("deposit", account="bo", amount=1), call("finish"))[1][-1][1] == 0.0


@pytest.mark.parametrize(
    ("action", "told"),
    [
        ("I shall think about it.", "There is no call in this text. Make one call at a time"),
        ("", "There is no call in this text."),
        (call("withdraw", account="ann"), "There is no tool 'withdraw'"),
        (call("deposit", account="ann"), "deposit lacks the argument 'amount'. It takes account, amount."),
        (call("deposit", account="ann", amount=1, note="x"), "deposit has no argument 'note'."),
        (call("deposit", account="ann", amount="5"), "The argument 'amount' of deposit must be of type integer."),
        (call("deposit", account="ann", amount=True), "The argument 'amount' of deposit must be of type integer."),
        ("Action: deposit\nAction Input: ann, 5", "The arguments of deposit must be a JSON object."),
        ('{"name": "deposit", "arguments": {"account": "\\ud800", "amount": 1}}', "half of a surrogate pair"),
        (call("deposit", account="zoe", amount=1), "The tool deposit failed: KeyError: 'zoe'"),
        ("Final Answer: a\nFinal Answer: b", "Give one final answer."),
        ('{"name": "deposit", "arguments": {"account": "ann", "amount": 1, "note": 1e999}}', "deposit has no argument"),
        ('{"name": "finish", "arguments": {"answer": 7}}', "The argument 'answer' of finish must be of type string."),
    ],
)
def test_what_is_no_call_is_answered_and_changes_nothing(action, told):
    env, steps = played(action)
    shown, reward, terminated, truncated, _ = steps[0]
    assert told in shown
    assert (reward, terminated, truncated) == (0.0, False, False)
    assert env.episode.memory.memory == START


def test_a_tool_that_raises_has_changed_nothing():
    env, steps = played(call("deposit", account="ann", amount=101))
    assert steps[0][0] == "The tool deposit failed: ValueError: too much"
    assert env.episode.memory.memory == START


def test_the_task_is_never_changed():
    played(call("deposit", account="ann", amount=5))
    assert START == {"accounts": {"ann": 1, "bo": 2}, "log": []}


def test_the_goal_counts_where_turns_run_out_too():
    env = make_bank(max_turns=1)
    _, steps = played(call("deposit", account="ann", amount=7), env=env, task="pay-7")
    assert steps[0][1:4] == (1.0, False, True)


def test_the_goal_counts_where_the_caller_ends_the_episode():
    for action, paid in ((call("deposit", account="ann", amount=7), 1.0), ("I have paid.", 0.0)):
        env, _ = played(action, env=make_bank(defer_reward=True), task="pay-7")
        env.truncate()
        assert env.settle(Scorer(["goal_state"]).score(env.trajectory)) == paid
        bounded = gymnasium.make("rewardkit/Agent-v0", world=ToolWorld(bank), tasks=TASKS, reward=None)
        scored = ScoreAtEnd(gymnasium.wrappers.TimeLimit(bounded, 1), "goal_state")
        scored.reset(options={"task_id": "pay-7"})
        assert scored.step(action)[1:4] == (paid, False, True)


def test_a_sandbox_that_fails_at_the_end_is_not_the_agents_fault():
    class Broken(ToolWorld):
        def evidence(self, task, memory):
            raise SandboxError("the daemon is gone")

    for end in (lambda env: env.truncate(), lambda env: env.step(call("finish"))):
        env, _ = played("Hm.", env=AgentEnv(world=Broken(bank), tasks=TASKS))
        end(env)
        assert env.episode.truncated
        assert env.episode.result.failures[0].kind == "sandbox"


def test_neither_goal_nor_plan_is_shown():
    env = make_bank()
    shown, told = env.reset(seed=0, options={"task_id": "pay-7"})
    assert '"ann": 8' not in shown + repr(told["messages"])
    assert "gold" not in shown + repr(told["messages"])
    assert set(told) == {"task_id", "messages"}


def test_what_was_played_is_scored_again_from_its_file(tmp_path):
    env, steps = played(call("deposit", account="ann", amount=5), call("finish"))
    path = tmp_path / "played.jsonl"
    path.write_text(json.dumps(trajectory_to_json(env.trajectory)) + "\n")
    (line,) = read_trajectories(path)
    again = line.content
    assert again.steps[-1].metadata["final_state"]["memory"]["accounts"] == {"ann": 6, "bo": 2}
    assert Scorer(["goal_state"]).score(again).total == steps[-1][1] == 1.0


def test_an_agent_cannot_write_the_evidence():
    forged = json.dumps({"final_state": {"memory": {"accounts": {"ann": 6, "bo": 2}}, "value": 1.0}})
    for action in (forged, f"Final Answer: {forged}", call("finish", answer=forged)):
        env, steps = played(action, env=make_bank(max_turns=1))
        assert env.trajectory.steps[-1].metadata["final_state"]["memory"]["accounts"] == {"ann": 1, "bo": 2}
        assert steps[0][1] == 0.0


def test_a_check_of_the_callers_own_is_the_reward_where_the_task_has_no_goal():
    def share(task, memory):
        return memory["accounts"]["ann"] / 10

    task = Task(id="own", prompt=TASKS[0].prompt, metadata={"memory": START})
    env = AgentEnv(world=ToolWorld(bank, check=share), tasks=[task])
    _, steps = played(call("deposit", account="ann", amount=5), call("finish"), env=env, task="own")
    assert steps[-1][1] == pytest.approx(0.6)


def test_langchain_tools_are_told_of_and_called():
    tools = pytest.importorskip("langchain_core.tools")

    @tools.tool
    def shout(text: str, times: int = 1) -> str:
        """Say it louder."""
        return text.upper() * times

    env = make_bank(tools=[shout])
    schema = next(schema for schema in env.tool_schemas if schema["function"]["name"] == "shout")
    assert schema["function"]["parameters"]["required"] == ["text"]
    _, steps = played(
        call("shout", text="hey", times=2), "Action: shout\nAction Input: hey", call("shout", text=["hey"]), env=env
    )
    assert [step[0] for step in steps[:2]] == ["HEYHEY", "HEY"]
    assert "must be of type string" in steps[2][0]


def test_two_tools_of_one_name_are_refused():
    with pytest.raises(ConfigError, match="two tools are called 'deposit'"):
        make_bank(tools=[Deposit({})])
    with pytest.raises(ConfigError, match="is no LangChain tool"):
        make_bank(tools=[print])


def test_a_sandbox_that_fails_is_not_the_agents_fault():
    class Broken:
        def run(self, program):
            raise SandboxError("the daemon is gone")

    env = AgentEnv(world=ShellWorld(sandbox=Broken()))
    env.reset(options={"task_id": "shell/sum"})
    _, reward, terminated, truncated, told = env.step(call("run", command="ls"))
    assert (reward, terminated, truncated, told["reward_missing"]) == (0.0, False, True, True)


@pytest.mark.parametrize("options", [{"world": "shel"}, {"world": "outside:chess"}, {"world_options": {"size": 3}}])
def test_a_world_that_there_is_not_is_refused(options):
    with pytest.raises(ConfigError):
        AgentEnv(**options)


def test_instructions_can_be_left_to_a_chat_template():
    env = make_bank(instructions=False)
    assert env.reset(options={"task_id": "pay-5"})[0] == "Pay 5 to Ann."
    names = [schema["function"]["name"] for schema in env.tool_schemas]
    assert names == ["deposit", "finish"]


def test_worlds_keep_the_protocol():
    assert isinstance(ToolWorld(bank), World)
    assert isinstance(ShellWorld(), World)
    assert Tool(name="x", description="y").line == "- x(): y"


def test_a_careless_agent_makes_calls_and_sometimes_fails():
    env, policy, random = make_bank(), open_policy("noisy:0.6"), np.random.default_rng(3)
    totals = []
    for seed in range(60):
        env.reset(seed=seed)
        over = False
        while not over:
            shown, reward, terminated, truncated, _ = env.step(policy.act(env, random))
            over = terminated or truncated
            assert "no call" not in shown
        totals.append(reward)
    assert {0.0, 1.0} == set(totals)
    assert 10 < sum(totals) < 50


def test_gold_goes_on_after_noise():
    env, _ = played("noise")
    assert json.loads(env.gold())["name"] == "deposit"
    env.step(env.gold())
    assert json.loads(env.gold()) == {"name": "finish", "arguments": {}}
    env.restore(pickle.loads(pickle.dumps(env.state())))
    assert env.step(env.gold())[1] == 1.0
