"""Other packages' environments: toy_text, ScienceWorld and TextArena where they are installed, and a stub."""

from __future__ import annotations

import gzip
import json
import pickle
import shutil
import subprocess
import tempfile
import warnings
from types import SimpleNamespace
from typing import ClassVar

import pytest

from rewardkit.errors import ConfigError, MissingExtraError, SandboxError
from rewardkit.scorer import Scorer
from rewardkit.types import Message, Task
from rewardkit_envs.agent import AgentEnv
from rewardkit_envs.tasks import TaskList
from rewardkit_envs.testing import EnvContract
from rewardkit_envs.worlds.outside import OutsideWorld, Played
from rewardkit_envs.worlds.scienceworld import ScienceWorld
from rewardkit_envs.worlds.textarena import _hanoi


def act(action):
    return json.dumps({"name": "act", "arguments": {"action": action}})


def play_gold(env):
    """Return what each step paid, and how the episode ended."""
    paid, over = [], False
    while not over:
        _, reward, terminated, truncated, _ = env.step(env.gold())
        paid.append(reward)
        over = terminated or truncated
    return paid, terminated


class Counter:
    """A game that pays for counting to four; it tells how often it was started."""

    how = "Say the next number."

    def __init__(self):
        self.starts = 0

    def tasks(self):
        return TaskList([Task(id="count", prompt=(Message(role="user", content="Count to four."),))])

    def start(self, task):
        self.starts += 1
        self.at = 0
        return "zero"

    def play(self, action):
        if not action.isdigit():
            return Played(text="That is no number.", valid=False)
        right = int(action) == self.at + 1
        self.at += right
        return Played(
            text="yes" if right else "no", value=self.at / 4 if right else 0.0, over=self.at == 4 or not right
        )

    def gold(self, task, actions):
        return str(self.at + 1)

    def close(self):
        self.at = None


@pytest.mark.parametrize("name", ["FrozenLake-v1", "FrozenLake8x8-v1", "CliffWalking-v1", "Taxi-v4"])
def test_value_iteration_wins_toy_text(name):
    env = AgentEnv(world=f"outside:toy_text/{name}", max_turns=60)
    for seed in range(3):
        env.reset(seed=seed)
        paid, terminated = play_gold(env)
        assert terminated
        assert [reward for reward in paid if reward] == [1.0]
    env.close()


class TestTaxiContract(EnvContract):
    env = "rewardkit/Agent-v0"
    options: ClassVar = {"world": "outside:toy_text/Taxi-v4"}


def test_toy_text_is_shown_in_words():
    env = AgentEnv(world="outside:toy_text/FrozenLake-v1", instructions=False)
    shown, _ = env.reset(seed=0)
    assert shown.endswith("[S]FFF\nFHFH\nFFFH\nHFFG")
    assert env.step(act("Down"))[0] == "(Down)\nSFFF\n[F]HFH\nFFFH\nHFFG"
    shown, reward, terminated, *_ = env.step(act("right"))
    assert (reward, terminated) == (0.0, True)
    blackjack = AgentEnv(world="outside:toy_text/Blackjack-v1")
    assert "the dealer shows" in blackjack.reset(seed=0)[0]
    with pytest.raises(ConfigError, match="has no model"):
        blackjack.gold()


def test_actions_that_there_are_not_change_nothing():
    env = AgentEnv(world="outside:toy_text/FrozenLake-v1")
    env.reset(seed=0)
    for action in ("fly", "", "x" * 9999, "0"):
        assert env.step(act(action))[1] == 0.0
    assert env.episode.memory.memory.actions == ()


def test_coming_back_plays_again_and_going_on_does_not():
    game = Counter()
    env = AgentEnv(world=OutsideWorld(game), max_turns=9)
    env.reset(seed=1)
    for action in ("1", "2"):
        assert env.step(act(action))[1] == 0.25
    assert game.starts == 1
    here = env.state()
    assert env.step(act("7"))[1] == -0.5
    env.restore(here)
    assert env.step(act("3"))[:2] == ("yes", 0.25)
    assert game.starts == 2
    assert env.step(act("4"))[1:3] == (0.25, True)


def test_the_value_of_the_world_is_what_was_paid_and_is_scored_again():
    env = AgentEnv(world=OutsideWorld(Counter()), max_turns=3)
    env.reset(seed=1)
    paid = [env.step(act(action))[1] for action in ("1", "two", "2")]
    assert paid == [0.25, 0.0, 0.25]
    final = env.trajectory.steps[-1].metadata["final_state"]
    assert (final["value"], final["actions"]) == (0.5, ["1", "2"])
    assert Scorer(["goal_state"]).score(env.trajectory).total == sum(paid)


def test_two_episodes_of_one_world_do_not_disturb_each_other():
    world = OutsideWorld(Counter())
    one, other = AgentEnv(world=world), AgentEnv(world=world)
    for env in (one, other):
        env.reset(seed=1)
    for action in "1234":
        assert one.step(act(action))[1] == other.step(act(action))[1] == 0.25


def test_twins_have_games_of_their_own():
    env = AgentEnv(world=OutsideWorld(Counter()))
    twin = env.twin()
    for each in (env, twin):
        each.reset(seed=1)
    for action in "1234":
        assert env.step(act(action))[1] == twin.step(act(action))[1] == 0.25
    assert [each.world.game.starts for each in (env, twin)] == [1, 1]


def test_a_live_game_is_no_part_of_a_copy():
    env = AgentEnv(world="outside:toy_text/Taxi-v4")
    env.reset(seed=3)
    env.step(env.gold())
    copy = pickle.loads(pickle.dumps(env))
    assert play_gold(copy) == play_gold(env)


def test_what_is_missing_is_said(monkeypatch):
    with pytest.raises(ConfigError, match="there is no toy_text game 'Chess-v1'"):
        AgentEnv(world="outside:toy_text/Chess-v1")
    with pytest.raises(ConfigError, match="takes no name"):
        AgentEnv(world="outside:scienceworld/boil")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(MissingExtraError, match="scienceworld needs"):
        AgentEnv(world="outside:scienceworld").reset(seed=0)


@pytest.mark.parametrize("disks", [1, 3, 5])
def test_hanoi_is_solved_in_the_fewest_moves(disks):
    towers = {"A": list(range(disks, 0, -1)), "B": [], "C": []}
    moves = 0
    while len(towers["C"]) < disks:
        source, target = _hanoi(towers)
        assert not towers[target] or towers[target][-1] > towers[source][-1]
        towers[target].append(towers[source].pop())
        moves += 1
    assert moves == 2**disks - 1


def test_textarena_is_played_to_the_end():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("textarena")
    env = AgentEnv(world="outside:textarena/TowerOfHanoi-v0")
    assert "Tower of Hanoi with 3 disks" in env.reset(seed=0)[0]
    here = env.state()
    assert play_gold(env) == ([0.0] * 6 + [1.0], True)
    env.restore(here)
    assert env.step(act("nonsense"))[1] == 0.0


class FakeServer:
    """The calls of ScienceWorld's simulator, with the scores of a recorded episode."""

    scores: ClassVar = {"look around": 0.0, "focus on water": 0.25, "boil water": 1.0, "focus on cat": -1.0}

    def reset(self):
        self.score = 0.0

    def step(self, action):
        self.score = self.scores.get(action, self.score)
        return f"You {action}."

    def getScore(self):
        return self.score

    def getCompleted(self):
        return self.score == 1.0

    def getTaskDescription(self):
        return "Your task is to boil water."

    def getGoldActionSequence(self):
        return ["focus on water", "boil water"]


class FakeSimulator:
    def __init__(self):
        self.server = FakeServer()
        self.loaded = []
        self._gateway = SimpleNamespace(java_process=subprocess.Popen(["true"], stdin=subprocess.PIPE))
        self._obj_tree_tempdir = tempfile.TemporaryDirectory()

    def load(self, name, variation, simplifications, generateGoldPath):
        if name != "boil":
            raise ValueError(f"Unknown taskName: {name!r}")
        self.loaded.append((name, variation, simplifications, generateGoldPath))

    def close(self):
        self.closed = True


@pytest.fixture
def science(monkeypatch):
    pytest.importorskip("py4j")
    game = ScienceWorld()
    game._simulator = FakeSimulator()
    world = OutsideWorld(game)
    yield AgentEnv(world=world)
    world.close()


def test_scienceworlds_score_is_paid_as_it_rises(science):
    science.reset(options={"task_id": "scienceworld/boil/0"})
    assert play_gold(science) == ([0.25, 0.75], True)


def test_scienceworlds_minus_100_is_worth_nothing_and_ends_the_episode(science):
    science.reset(options={"task_id": "scienceworld/boil/0"})
    paid = [science.step(act(action)) for action in ("focus on water", "focus on cat")]
    assert [step[1] for step in paid] == [0.25, -0.25]
    assert paid[-1][2]
    assert science.trajectory.steps[-1].metadata["final_state"]["value"] == 0.0


def test_a_plan_is_made_once_and_leaves_the_episode_where_it_was(science):
    science.reset(options={"task_id": "scienceworld/boil/0"})
    science.step(act("focus on water"))
    assert json.loads(science.gold())["arguments"] == {"action": "boil water"}
    assert json.loads(science.gold())["arguments"] == {"action": "boil water"}
    assert [load[3] for load in science.world.game._simulator.loaded] == [False, True]
    assert science.step(act("inventory"))[1] == 0.0


def test_java_that_is_gone_is_not_the_agents_fault(science, monkeypatch):
    from py4j.protocol import Py4JNetworkError

    def gone(self, action):
        raise Py4JNetworkError("connection closed")

    science.reset(options={"task_id": "scienceworld/boil/0"})
    monkeypatch.setattr(FakeServer, "step", gone)
    _, reward, terminated, truncated, told = science.step(act("wait"))
    assert (reward, terminated, truncated, told["reward_missing"]) == (0.0, False, True, True)
    science.world.game._simulator = FakeSimulator()
    with pytest.raises(SandboxError):
        science.reset(options={"task_id": "scienceworld/boil/0"})


def test_a_task_that_is_none_for_scienceworld_is_refused(science):
    for metadata in ({}, {"scienceworld": {"task": "fly"}}):
        with pytest.raises(ConfigError, match="task 'own'"):
            science.reset(options={"task": Task(id="own", metadata=metadata)})


@pytest.mark.slow
def test_the_real_scienceworld_gives_the_scores_of_recorded_episodes(shared):
    pytest.importorskip("scienceworld")
    if shutil.which("java") is None:
        pytest.skip("no Java")
    with gzip.open(shared("data/agents/scienceworld_trajectories.jsonl.gz"), "rt", encoding="utf-8") as lines:
        episodes = [episode for episode in map(json.loads, lines) if len(episode["steps"]) <= 40]
    chosen = [episodes[0], *[e for e in episodes if e["steps"][-1]["score"] < 0][:1], episodes[-1]]
    env = AgentEnv(world="outside:scienceworld", max_turns=100)
    for episode in chosen:
        played = {
            "task": episode["task"],
            "variation": episode["variation"],
            "simplifications": episode["simplification"],
        }
        env.reset(options={"task": Task(id=episode["id"], metadata={"scienceworld": played})})
        total = 0.0
        for step in episode["steps"]:
            _, reward, terminated, *_ = env.step(act(step["action"]))
            total += reward
            assert total == pytest.approx(max(step["score"], 0) / 100)
        if step["score"] < 0:
            assert terminated
    env.reset(options={"task_id": "scienceworld/melt/0"})
    paid, terminated = play_gold(env)
    assert (terminated, sum(paid)) == (True, pytest.approx(1.0))
    env.close()
