"""Many episodes at once give what gymnasium gives one by one, in fewer calls of the reward."""

from __future__ import annotations

import threading
import time

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from rewardkit import Message, Score, Task
from rewardkit.errors import ConfigError, RewardError
from rewardkit.executors import open_executor
from rewardkit_envs.env import TextEnv, Turn
from rewardkit_envs.tasks import TaskList
from rewardkit_envs.vector import TextVectorEnv

TASKS = TaskList(
    Task(id=f"t{n}", prompt=(Message(role="user", content=f"Say {n} things."),), references=(str(n),))
    for n in (1, 2, 3, 5)
)


class Saying(TextEnv):
    """Ends after as many actions as the task asks for."""

    def __init__(self, **options):
        super().__init__(**{"tasks": TASKS, "max_turns": 4, **options})

    def act(self, action):
        if action == "break":
            raise RewardError("it broke")
        said = len(self.episode.steps) + 1
        return Turn(observation=f"{said} said", terminated=said == int(self.episode.task.references[0]), reward=0.125)


class Counted:
    """Pays what the last action says, and keeps the sizes of its batches."""

    def __init__(self, seconds=0.0):
        self.batches, self.threads, self.seconds = [], set(), seconds

    def setup(self):
        pass

    def score_batch(self, batch, /):
        time.sleep(self.seconds)
        self.batches.append(len(batch))
        self.threads.add(threading.get_ident())
        return [Score(value=None if t.completion == "none" else float(len(t.completion))) for t in batch]

    def close(self):
        pass


class Pairs(Counted):
    def score_group(self, group, /):
        return [Score(value=1.0) for _ in group]


def make(n, **options):
    return TextVectorEnv(Saying, n, **{"reward": [Counted()], **options})


def words(random, n):
    return ["x" * int(random.integers(6)) if random.random() < 0.8 else "none" for _ in range(n)]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_steps_give_what_gymnasiums_own_vector_environment_gives(mode, threads):
    ours = make(6, autoreset_mode=mode, threads=threads)
    theirs = SyncVectorEnv([lambda: Saying(reward=[Counted()])] * 6, autoreset_mode=mode)
    assert_equal(ours.reset(seed=3), theirs.reset(seed=3))
    random = np.random.default_rng(0)
    for _ in range(40):
        actions = words(random, 6)
        mine = ours.step(actions)
        assert_equal(mine, theirs.step(actions))
        over = mine[2] | mine[3]
        chosen = over if mode is AutoresetMode.DISABLED else random.random(6) < 0.3
        if chosen.any():
            mine, other = (e.reset(options={"reset_mask": chosen.copy()}) for e in (ours, theirs))
            assert_equal(mine, other)
    ours.close()
    theirs.close()


def assert_equal(one, other):
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        assert str(one.tolist()) == str(other.tolist())  # signatures of results differ for no two runs
    elif isinstance(one, tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_equal(a, b)
    else:
        assert one == other


def test_all_that_end_in_a_step_are_scored_in_one_call():
    reward = Counted()
    envs = make(5, reward=[reward])
    envs.reset(options={"task_id": "t2"})
    envs.step(["a"] * 5)
    assert reward.batches == []
    _, rewards, terminated, truncated, infos = envs.step(["a", "bb", "none", "", "ccc"])
    assert reward.batches == [5]
    assert rewards.tolist() == [1.0, 2.0, 0.0, 0.0, 3.0]
    assert terminated.tolist() == [True, True, False, True, True]
    assert truncated.tolist() == [False, False, True, False, False]
    assert infos["reward_missing"].tolist() == [False, False, True, False, False]
    assert [scored.total for scored in infos["reward_result"]] == [1.0, 2.0, None, 0.0, 3.0]


def test_seeds_count_up_or_are_given_and_the_same_seeds_give_the_same_episodes():
    envs = make(8)
    first, _ = envs.reset(seed=10)
    again, _ = make(8).reset(seed=list(range(10, 18)))
    alone = tuple(Saying(reward=None).reset(seed=10 + i)[0] for i in range(8))
    assert first == again == alone
    assert len(set(first)) > 1
    with pytest.raises(ConfigError, match="7 seeds for 8"):
        envs.reset(seed=[1] * 7)


def test_twins_share_tasks_and_rewards_and_nothing_of_an_episode():
    reward = Counted()
    envs = make(3, reward=[reward])
    scorers = {id(env.open_rewards()) for env in envs.envs}
    assert len(scorers) == 1
    assert {id(env.tasks) for env in envs.envs} == {id(TASKS)}
    envs.reset(seed=0, options={"task_id": "t3"})
    envs.envs[0].step("only me")
    assert [len(env.episode.steps) for env in envs.envs] == [1, 0, 0]


def test_without_a_reward_the_steps_pay():
    envs = make(2, reward=None)
    envs.reset(options={"task_id": "t1"})
    _, rewards, terminated, _, infos = envs.step(["a", "b"])
    assert rewards.tolist() == [0.125, 0.125]
    assert terminated.all()
    assert "reward_result" not in infos


def test_an_episode_that_breaks_off_is_not_scored():
    reward = Counted()
    envs = make(2, reward=[reward])
    envs.reset(options={"task_id": "t1"})
    _, rewards, terminated, truncated, infos = envs.step(["break", "ok"])
    assert reward.batches == [1]
    assert rewards.tolist() == [0.0, 2.0]
    assert (terminated.tolist(), truncated.tolist()) == ([False, True], [True, False])
    assert infos["reward_missing"].tolist() == [True, False]


def test_what_is_sent_comes_back_and_pays_what_steps_pay():
    sync, played = make(6), make(6)
    random = np.random.default_rng(1)
    actions = [words(random, 6) for _ in range(12)]
    first, _ = sync.reset(seed=5)
    paid = [[obs] for obs in first]
    for row in actions:
        observations, rewards, terminated, truncated, _ = sync.step(row)
        for i in range(6):
            paid[i].append((observations[i], rewards[i], terminated[i], truncated[i]))
    played.async_reset(seed=5)
    got = [[] for _ in range(6)]
    while any(len(turns) <= len(actions) for turns in got):
        observations, rewards, terminated, truncated, infos = played.recv()
        going = []
        for at, i in enumerate(infos["env_id"]):
            turn = (observations[at], rewards[at], terminated[at], truncated[at])
            got[i].append(turn if got[i] else observations[at])
            assert infos["task_id"][at] == played.envs[i].episode.task.id
            if len(got[i]) <= len(actions):
                going.append(int(i))
        if going:
            played.send([actions[len(got[i]) - 1][i] for i in going], going)
    assert got == paid
    played.close()


def test_others_go_on_while_some_are_scored():
    reward = Counted(seconds=0.5)
    envs = make(3, reward=[reward])
    envs.reset(options={"task_id": "t3"})
    envs.async_reset(options={"task_id": "t3"})
    envs.recv(3)
    envs.envs[0].reset(options={"task_id": "t1"})
    started = time.monotonic()
    envs.send(["a", "b", "c"], [0, 1, 2])
    assert sorted(envs.recv()[4]["env_id"]) == [1, 2]
    assert time.monotonic() - started < 0.4
    _, rewards, terminated, _, infos = envs.recv()
    assert time.monotonic() - started >= 0.5
    assert (infos["env_id"].tolist(), rewards.tolist(), terminated.tolist()) == ([0], [1.0], [True])
    assert threading.get_ident() not in reward.threads
    envs.close()


def test_what_ends_while_others_are_scored_is_one_batch():
    reward = Counted(seconds=0.3)
    envs = make(5, reward=[reward])
    envs.async_reset(options={"task_id": "t1"})
    envs.recv(5)
    envs.send(["a"], [0])
    time.sleep(0.1)
    for i in range(1, 5):
        envs.send(["a"], [i])
    done = {int(i) for i in envs.recv(5)[4]["env_id"]}
    assert done == {0, 1, 2, 3, 4}
    assert reward.batches == [1, 4]
    envs.close()


def test_scores_of_an_episode_that_was_given_up_do_not_reach_the_next_one():
    envs = make(1, reward=[Counted(seconds=0.2)])
    envs.async_reset(options={"task_id": "t1"})
    envs.recv()
    envs.send(["long answer"], [0])
    envs.async_reset(options={"task_id": "t2"})
    time.sleep(0.5)  # by now the scores are there
    observations, rewards, _, _, infos = envs.recv()
    assert (observations, rewards.tolist()) == (("Say 2 things.",), [0.0])
    assert "reward_result" not in infos
    envs.close()


def test_misuse_says_what_to_call():
    envs = make(2)
    envs.reset(seed=0)
    with pytest.raises(gymnasium.error.NoAsyncCallError, match="async_reset or send"):
        envs.recv()
    envs.send(["a"], [1])
    with pytest.raises(gymnasium.error.AlreadyPendingCallError, match="environment 1 is out"):
        envs.send(["a"], [1])
    with pytest.raises(gymnasium.error.AlreadyPendingCallError, match="recv"):
        envs.step(["a", "b"])
    with pytest.raises(ConfigError, match="one action at a time"):
        envs.send(["a", "b"], [0, 0])
    with pytest.raises(ConfigError, match="compares attempts"):
        make(2, reward=[Pairs()])
    with pytest.raises(ConfigError, match="num_envs=0"):
        make(0)
    with pytest.raises(ConfigError, match="threads=0"):
        make(2, threads=0)
    with pytest.raises(ConfigError, match="1 actions for 2"):
        make(2).step(["a"])
    with pytest.raises(ConfigError, match="SyncVectorEnv"):
        TextVectorEnv("FrozenLake-v1", 2)
    envs.close()


def test_rewards_run_in_workers_when_an_executor_is_given():
    executor = open_executor("process", workers=1)
    envs = make(2, reward="exact_match", executor=executor)
    envs.async_reset(options={"task_id": "t1"})
    envs.recv(2)
    envs.send(["1", "7"], [0, 1])
    _, rewards, _, _, infos = envs.recv(2)
    assert dict(zip(infos["env_id"].tolist(), rewards.tolist(), strict=True)) == {0: 1.0, 1: 0.0}
    envs.close()


def test_gymnasiums_vector_wrappers_fit_around_it():
    envs = gymnasium.wrappers.vector.RecordEpisodeStatistics(make(3))
    envs.reset(options={"task_id": "t1"})
    *_, infos = envs.step(["a", "bb", "ccc"])
    assert infos["episode"]["r"].tolist() == [1.0, 2.0, 3.0]
    assert envs.unwrapped.call("max_turns") == (4, 4, 4)
    envs.close()


@pytest.fixture
def registered():
    gymnasium.register(
        "test/Saying-v0",
        entry_point=lambda **options: Saying(**options),
        vector_entry_point=lambda **options: TextVectorEnv("test/Saying-v0", **options),
    )
    yield "test/Saying-v0"
    del gymnasium.registry["test/Saying-v0"]


def test_make_vec_makes_it_and_max_episode_steps_is_refused(registered):
    envs = gymnasium.make_vec(registered, num_envs=4, max_turns=2, reward=None)
    assert isinstance(envs, TextVectorEnv)
    assert envs.call("max_turns") == (2,) * 4
    with pytest.raises(ConfigError, match="max_turns"):
        gymnasium.make_vec(registered, num_envs=4, max_episode_steps=3)


def test_threads_let_environments_wait_together():
    class Waiting(Saying):
        def act(self, action):
            time.sleep(0.1)
            return super().act(action)

    envs = TextVectorEnv(Waiting, 8, reward=None, threads=8)
    envs.reset(seed=0)
    started = time.monotonic()
    envs.step(["a"] * 8)
    assert time.monotonic() - started < 0.6
    envs.close()


@pytest.mark.parametrize("name", ["Math", "Code", "RAG", "Agent"])
def test_make_vec_makes_ours_for_our_ids(name):
    import rewardkit_envs  # noqa: F401

    envs = gymnasium.make_vec(f"rewardkit/{name}-v0", num_envs=3, reward=None)
    assert isinstance(envs, TextVectorEnv)
    observations, infos = envs.reset(seed=0)
    alone = gymnasium.make(f"rewardkit/{name}-v0", reward=None)
    assert [alone.reset(seed=seed)[0] for seed in range(3)] == list(observations)
    assert infos["task_id"].tolist() == [env.episode.task.id for env in envs.envs]
    envs.close()
    alone.close()


def test_twins_of_an_agent_do_not_share_a_live_game():
    envs = gymnasium.make_vec("rewardkit/Agent-v0", num_envs=3, world="outside:toy_text/FrozenLake-v1")
    assert len({id(env.world) for env in envs.envs}) == 3
    envs.close()
