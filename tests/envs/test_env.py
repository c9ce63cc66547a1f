"""What all text environments share, on the smallest one: tasks, rewards, ends, copies. And the contract can fail."""

from __future__ import annotations

import copy
import functools
import pickle
import subprocess
import sys
from dataclasses import dataclass

import gymnasium
import pytest

from rewardkit.errors import ConfigError, RewardError, SandboxError
from rewardkit.scorer import Scorer
from rewardkit.testing import EchoReward, FailingReward
from rewardkit.types import Message, RewardResult, Task
from rewardkit_envs.env import TextEnv, Turn
from rewardkit_envs.testing import EnvContract


class Count(TextEnv):
    """Say "go" until three were said; each is paid 0.5 by the task itself."""

    def default_tasks(self):
        from rewardkit_envs.tasks import TaskList

        return TaskList(Task(id=str(n), prompt=(Message(role="user", content=f"Task {n}"),)) for n in range(10))

    def begin(self, task):
        self.episode.memory = {"said": 0}
        return "Say go."

    def act(self, action):
        if action == "break":
            raise SandboxError("it is broken")
        if action != "go":
            return Turn(observation="What?")
        self.episode.memory["said"] += 1
        said = self.episode.memory["said"]
        return Turn(observation=f"{said} said", terminated=said == 3, reward=0.5, metadata={"said": said})

    def gold(self):
        return "go"


count = functools.partial(Count, max_turns=5)


class TestCountContract(EnvContract):
    env = count
    gold_reward = 1.5


def test_each_step_pays_what_the_task_pays_where_there_is_no_other_reward():
    env = count()
    env.reset(seed=0)
    assert [env.step(action)[1:4] for action in ("go", "x", "go", "go")] == [
        (0.5, False, False),
        (0.0, False, False),
        (0.5, False, False),
        (0.5, True, False),
    ]
    assert env.trajectory.steps[0].reward == 0.5
    assert env.trajectory.steps[3].metadata == {"said": 3}


def test_a_reward_is_paid_at_the_end():
    env = count(reward={"echo": EchoReward(value=0.25)})
    env.reset(seed=0)
    assert [env.step("x")[1] for _ in range(5)] == [0, 0, 0, 0, 0.25]


def test_the_dialogue_is_told_whole():
    env = count()
    shown, told = env.reset(options={"task_id": "3"})
    assert shown == "Task 3\n\nSay go."
    told = env.step("go")[4]
    assert [(m.role, m.content) for m in told["messages"]] == [
        ("user", "Task 3"),
        ("user", "Say go."),
        ("assistant", "go"),
        ("user", "1 said"),
    ]
    assert env.trajectory.messages == told["messages"][:-1]


def test_a_reward_that_fails_is_missing_and_no_zero():
    env = count(reward={"bad": FailingReward()})
    env.reset(seed=0)
    for action in ("go", "go", "go"):
        *_, terminated, truncated, told = env.step(action)
    assert (terminated, truncated, told["reward_missing"]) == (False, True, True)


def test_what_is_not_the_agents_fault_ends_the_episode_without_a_reward():
    env = count(reward={"echo": EchoReward(value=1.0)})
    env.reset(seed=0)
    env.step("go")
    assert env.step("break")[1:4] == (0.0, False, True)
    assert env.episode.result.failures[0].kind == "sandbox"
    assert env.trajectory.steps[-1].action.content == "break"
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step("go")
    assert env.settle(RewardResult(total=1.0)) == 0.0
    env.reset(seed=0)
    assert [env.step("go")[1] for _ in range(3)][-1] == 1.0


def test_a_deferred_reward_is_settled_by_the_caller():
    env = count(reward="unknown", defer_reward=True)
    env.reset(seed=0)
    for _ in range(3):
        told = env.step("go")[4]
    assert "reward_result" not in told
    with Scorer({"echo": EchoReward(value=2.0)}) as scorer:
        assert env.settle(scorer.score(env.trajectory)) == 2.0
    assert env.episode.result.total == 2.0


def test_a_step_needs_a_reset_and_text():
    env = count()
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step("go")
    env.reset(seed=0)
    with pytest.raises(TypeError, match="not int"):
        env.step(3)


def test_a_copy_goes_its_own_way():
    env = count(reward={"echo": {"reward": "length:max=10"}})
    env.reset(seed=0)
    env.step("go")
    twin = pickle.loads(pickle.dumps(env))
    saved = env.state()
    env.step("go")
    assert twin.episode.memory == {"said": 1}
    env.restore(saved)
    assert env.episode == twin.episode
    assert copy.deepcopy(saved) == saved


@pytest.mark.parametrize(
    "wrong",
    [{"seed": 1}, {"task_id": "11"}, {"task": {"prompt": "x"}}, {"task_ids": ["1"]}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_reset_says_what_an_option_lacks(wrong):
    with pytest.raises(ConfigError):
        count().reset(options=wrong)


def test_a_task_may_be_given():
    task = Task(id="mine", prompt=(Message(role="user", content="Mine"),))
    assert count().reset(options={"task": task})[0] == "Mine\n\nSay go."


def test_finding_plugins_imports_no_gymnasium():
    code = (
        "import sys; from rewardkit.plugins import Plugins; print(len(Plugins.load().envs), 'gymnasium' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count_of_envs, imported = done.stdout.split()
    assert int(count_of_envs) >= 2
    assert imported == "False"


# ---- what the contract is for


class Forgetful(Count):
    """Keeps on the environment what belongs to the episode."""

    def begin(self, task):
        self.said = 0
        return "Say go."

    def act(self, action):
        self.said += action == "go"
        return Turn(observation=f"{self.said} said", terminated=self.said >= 3, reward=0.5)


class Restless(Count):
    """Draws from random numbers that no seed reaches."""

    def begin(self, task):
        import random

        return super().begin(task) + str(random.random())


class Touchy(Count):
    def act(self, action):
        if action.startswith("Task"):
            raise ValueError("no echoes")
        return super().act(action)


class Gullible(Count):
    def act(self, action):
        return Turn(terminated=len(action) > 20, reward=1.5 * (len(action) > 20))

    def gold(self):
        return "a very long word indeed"


class Endless(Count):
    def step(self, action):
        *rest, _, told = super().step(action)
        self.episode.truncated = False
        return (*rest, False, told)


class Stingy(Count):
    def gold(self):
        return "stop"


class Unpicklable(Count):
    def begin(self, task):
        super().begin(task)
        self.episode.memory["lock"] = lambda: 0
        return "Say go."


class Nameless(Count):
    def _choose(self, options):
        return self.tasks.draw(self.np_random)


@dataclass
class _Case:
    env: type
    check: str
    error: type[Exception] = AssertionError


CASES = [
    _Case(Forgetful, "a_restored_state_plays_on_equally"),
    _Case(Restless, "the_same_seed_gives_the_same_episode"),
    _Case(Restless, "gymnasium_finds_no_fault"),
    _Case(Nameless, "a_task_is_found_by_its_id"),
    _Case(Touchy, "garbage_neither_raises_nor_pays_more_than_silence", ValueError),
    _Case(Gullible, "garbage_neither_raises_nor_pays_more_than_silence"),
    _Case(Endless, "an_episode_ends_at_max_turns"),
    _Case(Stingy, "gold_earns_the_reward"),
    _Case(Unpicklable, "a_pickled_environment_plays_on_equally", Exception),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.env.__name__}-{case.check}")
def test_the_contract_catches(case):
    class Contract(EnvContract):
        env = functools.partial(case.env, max_turns=5)
        gold_reward = 1.5

    with pytest.raises(case.error):
        getattr(Contract(), f"test_{case.check}")()


def test_what_no_environment_is_asked_for_is_an_error_of_the_caller():
    with pytest.raises(ConfigError, match="max_turns"):
        Count(max_turns=True)
    with pytest.raises(ConfigError, match="render_mode"):
        Count(render_mode="human")
    with pytest.raises(ConfigError, match="render needs"):
        count().render()
    assert issubclass(SandboxError, RewardError)
