"""Rollouts: what is played does not depend on who plays it when, and nothing is lost or played twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from click.testing import CliRunner

from rewardkit import Message, Score, Scorer, Task
from rewardkit.cli import cli
from rewardkit.errors import ConfigError, RewardError
from rewardkit.executors import open_executor
from rewardkit.offline import score_files
from rewardkit.serialize import read_results, read_trajectories
from rewardkit_envs.env import TextEnv, Turn
from rewardkit_envs.policies import PolicyError, open_policy
from rewardkit_envs.rollouts import Player, rollout
from rewardkit_envs.spaces import TextSpace
from rewardkit_envs.tasks import TaskList

SLOW = """
import time

import gymnasium

from rewardkit import Message, Task
from rewardkit_envs.env import TextEnv, Turn


class Slow(TextEnv):
    '''Two turns, a moment each.'''

    default_reward = "exact_match"

    def __init__(self, pause=0.01, **options):
        tasks = [{"id": str(n), "prompt": f"Say {n}.", "answer": str(n)} for n in range(50)]
        super().__init__(**{"tasks": tasks, "max_turns": 2, **options})
        self.pause = pause

    def act(self, action):
        time.sleep(self.pause)
        return Turn(observation="go on", terminated=len(self.episode.steps) == 1)

    def gold(self):
        return self.episode.task.references[0]


gymnasium.register("slow/Slow-v0", entry_point=Slow)
"""


class Adding(TextEnv):
    """Two turns; the answer counts."""

    default_reward = "exact_match"

    def __init__(self, **options):
        tasks = [
            Task(id=f"{a}+{b}", prompt=(Message(role="user", content=f"{a}+{b}?"),), references=(str(a + b),))
            for a in range(10)
            for b in range(10)
        ]
        super().__init__(**{"tasks": TaskList(tasks), "max_turns": 2, **options})

    def act(self, action):
        if action == "break":
            raise RewardError("the sandbox broke")
        return Turn(observation="Sure?", terminated=len(self.episode.steps) == 1)

    def gold(self):
        return self.episode.task.references[0]


class Failing:
    """Acts, but not always."""

    def __init__(self, *seeds, action=None):
        self.seeds, self.action, self.calls = seeds, action, 0

    def act(self, env, random, /):
        self.calls += 1
        if env.seed in self.seeds:
            if self.action is not None:
                return self.action
            raise PolicyError("the server is gone")
        return "5"


def play(path, policy="noisy:0.5", *, make=Adding, concurrency=4, player=None, metadata=None, **options):
    player = Player(make, open_policy(policy), concurrency=concurrency, metadata=metadata, **(player or {}))
    try:
        return rollout(player, path, **{"episodes": 40, **options})
    finally:
        player.close()


def lines(path):
    return [line.content for line in read_trajectories(path)]


def by_seed(path):
    return {json.loads(line)["metadata"]["seed"]: json.loads(line) for line in path.read_bytes().splitlines()}


def test_what_is_played_does_not_depend_on_how_many_play_at_once(tmp_path):
    one, many = tmp_path / "one.jsonl", tmp_path / "many.jsonl"
    play(one, concurrency=1)
    play(many, concurrency=7)
    assert sorted(by_seed(many)) == list(range(40))
    assert by_seed(one) == by_seed(many)
    assert 0.2 < np.mean([line.metadata["return"] for line in lines(one)]) < 0.8


def test_episode_i_has_the_seed_s_plus_i(tmp_path):
    play(tmp_path / "t.jsonl", episodes=5, seed=20)
    for seed, line in by_seed(tmp_path / "t.jsonl").items():
        env = Adding()
        env.reset(seed=seed)
        assert line["task"]["id"] == env.episode.task.id
    assert sorted(by_seed(tmp_path / "t.jsonl")) == [20, 21, 22, 23, 24]


def test_scoring_the_file_gives_what_was_paid(tmp_path):
    path, scores = tmp_path / "t.jsonl", tmp_path / "s.jsonl"
    summary = play(path)
    with Scorer(["exact_match"]) as scorer:
        score_files(scorer, [str(path)], output=scores)
        assert {line.metadata["signature"] for line in lines(path)} == {scorer.signature}
    totals = [scored.total for _, scored in read_results(scores)]
    assert totals == [line.metadata["reward"] for line in lines(path)]
    assert sorted(summary.returns) == sorted(totals)
    assert summary.steps == 80


def test_rewards_given_pay_instead_and_may_run_in_workers(tmp_path):
    given = {"rewards": ["2*exact_match"], "executor": open_executor("process", workers=1)}
    play(tmp_path / "t.jsonl", "gold", player=given, episodes=6)
    assert [line.metadata["return"] for line in lines(tmp_path / "t.jsonl")] == [2.0] * 6


def test_environments_of_others_are_played_too(tmp_path):
    import gymnasium

    class Foreign(gymnasium.Env):
        observation_space = action_space = TextSpace()

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.secret = str(self.np_random.integers(10))
            return f"Say {self.secret}.", {}

        def step(self, action):
            return "", float(action == self.secret), True, False, {}

    class Echo:
        def act(self, env, random, /):
            return env.messages[-1].content[4]

    play(tmp_path / "t.jsonl", Echo(), make=Foreign, episodes=10)
    assert [line.metadata["return"] for line in lines(tmp_path / "t.jsonl")] == [1.0] * 10
    play(tmp_path / "u.jsonl", "random", make=Foreign, episodes=3, player={"rewards": [Always(0.25)]})
    assert [line.metadata["return"] for line in lines(tmp_path / "u.jsonl")] == [0.25] * 3


def test_a_limit_of_gymnasium_holds(tmp_path):
    import gymnasium

    spec = gymnasium.envs.registration.EnvSpec("test/Adding-v0", entry_point=Adding, max_episode_steps=1)
    play(tmp_path / "t.jsonl", "gold", make=lambda: gymnasium.make(spec), episodes=6, concurrency=2)
    assert {(len(t.steps), t.truncated, t.metadata["reward"]) for t in lines(tmp_path / "t.jsonl")} == {(1, True, 1.0)}


class Always:
    def __init__(self, value):
        self.value = value

    def setup(self):
        pass

    def score_batch(self, batch, /):
        return [Score(value=self.value) for _ in batch]

    def close(self):
        pass


def test_resuming_plays_what_is_missing_and_nothing_twice(tmp_path):
    whole, path = tmp_path / "whole.jsonl", tmp_path / "t.jsonl"
    play(whole)
    play(path, episodes=15)
    with open(path, "ab") as file:
        file.write(b'{"id": "half a li')
    summary = play(path, resume=True)
    assert (summary.reused, summary.played) == (15, 25)
    assert by_seed(path) == by_seed(whole)
    assert len(lines(path)) == 40
    assert play(path, resume=True).played == 0


def test_a_file_of_another_rollout_is_not_gone_on_with(tmp_path):
    path = tmp_path / "t.jsonl"
    play(path, episodes=3, metadata={"env": "A"})
    with pytest.raises(ConfigError, match="is there already"):
        play(path)
    with pytest.raises(ConfigError, match="env='A', not 'B'"):
        play(path, metadata={"env": "B"}, resume=True)
    other = tmp_path / "other.jsonl"
    other.write_text('{"prompt": "p", "completion": "c"}\n')
    with pytest.raises(ConfigError, match="line 1 is of no rollout"):
        play(other, resume=True)
    other.write_text("nonsense\n")
    with pytest.raises(ConfigError, match="cannot resume"):
        play(other, resume=True)


def test_an_episode_that_fails_leaves_no_line_and_is_tried_again(tmp_path):
    path = tmp_path / "t.jsonl"
    summary = play(path, Failing(3, 4), episodes=8)
    assert (summary.played, summary.failed) == (6, 2)
    assert summary.first_failure in ("seed 3: the server is gone", "seed 4: the server is gone")
    assert sorted(by_seed(path)) == [0, 1, 2, 5, 6, 7]
    assert play(path, Failing(), episodes=8, resume=True).played == 2
    assert sorted(by_seed(path)) == list(range(8))


def test_an_episode_that_breaks_off_leaves_no_line(tmp_path):
    summary = play(tmp_path / "t.jsonl", Failing(1, action="break"), episodes=3)
    assert (summary.played, summary.failed, summary.missing) == (2, 1, 0)
    assert summary.first_failure == "seed 1: RewardError: the sandbox broke"


def test_an_episode_without_a_reward_is_kept_and_counts_as_missing(tmp_path):
    summary = play(tmp_path / "t.jsonl", Failing(), episodes=2, player={"rewards": [Always(None)]})
    assert (summary.played, summary.missing, summary.returns) == (2, 2, [])
    assert [(t.metadata["return"], t.metadata["reward"]) for t in lines(tmp_path / "t.jsonl")] == [(None, None)] * 2


def test_a_server_that_is_gone_ends_the_rollout(tmp_path):
    policy = Failing(*range(1000))
    with pytest.raises(PolicyError, match="8 episodes in a row failed; first seed"):
        play(tmp_path / "t.jsonl", policy, episodes=1000)
    assert policy.calls < 30


def test_an_environment_that_breaks_is_no_failed_episode(tmp_path):
    class Broken(Adding):
        def act(self, action):
            raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError):
        play(tmp_path / "t.jsonl", make=Broken)
    assert lines(tmp_path / "t.jsonl") == []


def test_two_cannot_write_one_file(tmp_path):
    waiting, go = threading.Event(), threading.Event()

    class Waits:
        def act(self, env, random, /):
            waiting.set()
            go.wait(20)
            return "5"

    thread = threading.Thread(target=play, args=(tmp_path / "t.jsonl", Waits()), kwargs={"episodes": 1})
    thread.start()
    waiting.wait(20)
    with pytest.raises(ConfigError, match="another process is writing"):
        play(tmp_path / "t.jsonl", resume=True)
    go.set()
    thread.join()


# ---- the command


def rewardkit(tmp_path, *arguments):
    return [sys.executable, "-m", "rewardkit", "rollout", *arguments, "-o", str(tmp_path / "t.jsonl")]


def test_killed_again_and_again_every_episode_is_played_once(tmp_path):
    (tmp_path / "slow_env.py").write_text(SLOW)
    path = tmp_path / "t.jsonl"
    call = rewardkit(tmp_path, "slow_env:slow/Slow-v0", "--policy", "noisy:0.5", "-n", "300", "--executor", "serial")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for kill in range(1, 4):
        run = subprocess.Popen([*call, "--resume"], env=environment, stderr=subprocess.PIPE, cwd=tmp_path)
        enough = 60 * kill
        deadline = time.monotonic() + 60
        while (path.read_bytes().count(b"\n") if path.exists() else 0) < enough and time.monotonic() < deadline:
            time.sleep(0.005)
        assert run.poll() is None, run.stderr.read()
        run.send_signal(signal.SIGKILL)
        run.wait()
        run.stderr.close()
    done = subprocess.run([*call, "--resume"], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "were there already" in done.stderr
    seeds = [json.loads(line)["metadata"]["seed"] for line in path.read_bytes().splitlines()]
    assert sorted(seeds) == list(range(300))
    again = tmp_path / "again.jsonl"
    whole = subprocess.run(
        [*call[:-1], str(again), "--env-option", "pause=0.0"], env=environment, capture_output=True, cwd=tmp_path
    )
    assert whole.returncode == 0
    strip = {"metadata": None}
    assert {s: {**t, **strip} for s, t in by_seed(again).items()} == {
        s: {**t, **strip} for s, t in by_seed(path).items()
    }
    scored = subprocess.run(
        [sys.executable, "-m", "rewardkit", "score", str(path), "-r", "exact_match", "--executor", "serial"],
        capture_output=True, text=True,
    )  # fmt: skip
    totals = [json.loads(line)["total"] for line in scored.stdout.splitlines()]
    assert totals == [json.loads(line)["metadata"]["reward"] for line in path.read_bytes().splitlines()]


def test_ctrl_c_stops_and_says_how_to_go_on(tmp_path):
    (tmp_path / "slow_env.py").write_text(SLOW)
    call = rewardkit(tmp_path, "slow_env:slow/Slow-v0", "--policy", "gold", "-n", "3000", "--executor", "serial")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    run = subprocess.Popen(call, env=environment, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    while not (path := tmp_path / "t.jsonl").exists() or not path.stat().st_size:
        time.sleep(0.01)
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=30)
    assert run.returncode == 130
    assert "--resume goes on" in said
    assert "Traceback" not in said


def test_the_command_plays_and_sums_up(tmp_path):
    path = str(tmp_path / "t.jsonl")
    call = ["rollout", "rewardkit/Math-v0", "--policy", "gold", "-n", "5", "-o", path, "--executor", "serial"]
    done = CliRunner().invoke(cli, call)
    assert done.exit_code == 0, done.output
    assert "5 episodes in" in done.output
    assert {t.metadata["env"] for t in lines(path)} == {"rewardkit/Math-v0"}
    assert [t.metadata["return"] for t in lines(path)] == [1.0] * 5
    quiet = CliRunner().invoke(cli, [*call, "--resume", "--quiet"])
    assert (quiet.exit_code, quiet.output) == (0, "")


def test_the_command_finds_an_environment_in_a_file_of_the_folder_where_it_is_called(tmp_path, monkeypatch):
    text = """
import gymnasium
from rewardkit_envs.math import MathEnv


class Mine(MathEnv):
    pass


gymnasium.register("Mine/Math-v0", entry_point=Mine)
"""
    (tmp_path / "mine_of_a_user.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    call = ["rollout", "mine_of_a_user:Mine/Math-v0", "--policy", "gold", "-n", "2", "-o", "t.jsonl"]
    done = CliRunner().invoke(cli, [*call, "--executor", "serial"])
    assert done.exit_code == 0, done.output
    assert [t.metadata["return"] for t in lines("t.jsonl")] == [1.0] * 2


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["rewardkit/Maths-v0", "--policy", "gold"], "cannot make 'rewardkit/Maths-v0'"),
        (["no_such_module:a/B-v0", "--policy", "gold"], "no_such_module"),
        (["rewardkit/Math-v0", "--policy", "gilt"], "no policy"),
        (["rewardkit/Math-v0", "--policy", "gold", "--env-option", "tolls=1"], "unexpected keyword argument 'tolls'"),
        (["FrozenLake-v1", "--policy", "random"], "the observation is int"),
        (["rewardkit/Math-v0", "--policy", "gold", "--env-option", "max_turns"], "KEY=VALUE"),
        (["rewardkit/Math-v0", "--policy", "gold", "--reward", "maths"], "maths"),
    ],
)
def test_a_call_that_cannot_be_right_says_why(tmp_path, arguments, what):
    done = CliRunner().invoke(cli, ["rollout", *arguments, "-n", "1", "-o", str(tmp_path / "t.jsonl")])
    assert done.exit_code != 0
    assert isinstance(done.exception, (ConfigError, KeyError))
    assert what in str(done.exception)


def test_a_model_behind_http_plays_and_its_key_is_written_nowhere(tmp_path, server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "very-secret")
    server.answers = [503, {"content": "I say 7."}, 429, {"content": "I say 7."}]
    path = str(tmp_path / "t.jsonl")
    call = ["rollout", "rewardkit/Math-v0", "--policy", f"openai:{server.url}", "-n", "12", "-o", path]
    options = ["--executor", "serial", "--policy-option", "wait=0.01", "--policy-option", "temperature=0.5"]
    done = CliRunner().invoke(cli, [*call, *options])
    assert done.exit_code == 0, done.output
    assert "very-secret" not in (tmp_path / "t.jsonl").read_text()
    assert "very-secret" in server.requests[0][1]["Authorization"]
    played = lines(path)
    assert {t.completion for t in played} == {"I say 7."}
    assert {t.metadata["policy"] for t in played} == {"openai"}
    assert len({body["seed"] for _, _, body in server.requests}) == 12
    assert {body["temperature"] for _, _, body in server.requests} == {0.5}


def test_a_server_that_refuses_leaves_what_was_played_and_an_error(tmp_path, server):
    server.answers = [{"content": "7"}] * 5 + [401]
    path = tmp_path / "t.jsonl"
    call = ["rollout", "rewardkit/Math-v0", "--policy", f"openai:{server.url}", "-n", "100", "-o", str(path)]
    done = CliRunner().invoke(cli, [*call, "--executor", "serial", "--concurrency", "2"])
    assert isinstance(done.exception, PolicyError)
    assert "8 episodes in a row failed" in str(done.exception)
    assert "--resume goes on" in str(done.exception)
    assert len(lines(path)) == 5
    server.answers = [{"content": "8"}]
    again = CliRunner().invoke(cli, [*call, "--executor", "serial", "--resume"])
    assert again.exit_code == 0, again.output
    assert sorted(by_seed(path)) == list(range(100))
