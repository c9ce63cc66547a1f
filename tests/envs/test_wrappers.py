"""Rewards and records around environments of text, ours and those of others."""

from __future__ import annotations

import json
import multiprocessing
import os

import gymnasium
import pytest

from rewardkit import Message, Score, Scorer, Task, Trajectory
from rewardkit.errors import ConfigError, InvalidTrajectoryError, RewardError
from rewardkit.offline import score_files
from rewardkit.serialize import read_results, read_trajectories
from rewardkit_envs.env import TextEnv, Turn
from rewardkit_envs.recording import TrajectoryFile
from rewardkit_envs.spaces import TextSpace
from rewardkit_envs.wrappers import RecordTrajectory, ScoreAtEnd, ScoreOnStep


class Foreign(gymnasium.Env):
    """Someone else's: three turns of text, pays 0.25 each, knows nothing of rewardkit."""

    observation_space = action_space = TextSpace()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 3
        return "Count to three.", {"task_id": "count", "gold": "3"}

    def step(self, action):
        self.left -= 1
        return f"You said {action}.", 0.25, self.left == 0, False, {}


class Ours(TextEnv):
    def default_tasks(self):
        prompt = (Message(role="user", content="Count to three."),)
        from rewardkit_envs.tasks import TaskList

        return TaskList([Task(id="count", prompt=prompt, references=("3",))])

    def act(self, action):
        if action == "break":
            raise RewardError("it broke")
        return Turn(observation=f"You said {action}.", terminated=len(self.episode.steps) == 2, reward=0.25)


class OneByOne:
    """Gives 1 to every step that says its number, nothing to empty ones; the value is their sum."""

    def setup(self):
        pass

    def score_batch(self, batch, /):
        return [self.score(t) for t in batch]

    def score(self, trajectory):
        said = [step.action.content for step in trajectory.steps]
        if "fail" in said:
            raise RewardError("no verdict")
        steps = [None if word == "" else float(word == str(n)) for n, word in enumerate(said, start=1)]
        return Score(value=sum(x or 0.0 for x in steps), steps=tuple(steps))

    def close(self):
        pass


class Whole(OneByOne):
    def score(self, trajectory):
        return Score(value=None if trajectory.completion == "?" else float(len(trajectory.steps)))


class Grouped(OneByOne):
    def score_group(self, group, /):
        return [Score(value=0.0) for _ in group]


def as_task(observation, about):
    return Task(id=about["task_id"], prompt=(Message(role="user", content=observation),), references=(about["gold"],))


ENVS = {"foreign": (Foreign, as_task), "ours": (lambda: Ours(max_turns=3, reward=None), None)}


def played(env, actions, **options):
    env.reset(**options)
    return [env.step(action) for action in actions]


@pytest.mark.parametrize("kind", ENVS)
def test_the_total_is_paid_at_the_end_and_what_the_environment_paid_is_in_info(kind):
    make, task = ENVS[kind]
    env = ScoreAtEnd(make(), "exact_match", task=task)
    turns = played(env, "123")
    assert [turn[1] for turn in turns] == [0.0, 0.0, 1.0]
    assert [turn[4]["env_reward"] for turn in turns] == [0.25] * 3
    assert turns[-1][4]["reward_result"].total == 1.0
    assert [m.content for m in turns[-1][4]["messages"]] == [
        "Count to three.", "1", "You said 1.", "2", "You said 2.", "3", "You said 3.",
    ]  # fmt: skip
    env.close()


@pytest.mark.parametrize("kind", ENVS)
def test_foreign_environments_and_ours_give_one_trajectory(kind):
    make, task = ENVS[kind]
    env = ScoreAtEnd(make(), "exact_match", task=task)
    played(env, "12")
    trajectory = env.trajectory
    assert (trajectory.task.references, trajectory.terminated, trajectory.truncated) == (("3",), False, False)
    assert [step.action.content for step in trajectory.steps] == ["1", "2"]
    assert [[m.content for m in step.observation] for step in trajectory.steps] == [[], ["You said 1."]]
    assert [step.reward for step in trajectory.steps] == [0.25, 0.25]


def test_without_a_task_the_first_observation_is_the_prompt():
    env = ScoreAtEnd(Foreign(), [Whole()])
    assert played(env, "123")[-1][1] == 3.0
    assert (env.trajectory.task.id, env.trajectory.task.question) == ("count", "Count to three.")


def test_a_reward_that_is_missing_is_no_zero():
    *_, (_, paid, terminated, truncated, about) = played(ScoreAtEnd(Foreign(), [Whole()]), ["1", "2", "?"])
    assert (paid, terminated, truncated, about["reward_missing"]) == (0.0, False, True, True)


def test_an_episode_that_breaks_off_is_not_scored():
    for wrapper in (ScoreAtEnd, ScoreOnStep):
        ((_, paid, terminated, truncated, about),) = played(
            wrapper(Ours(max_turns=3, reward=None), [Whole()]), ["break"]
        )
        assert (paid, terminated, truncated, about["reward_missing"]) == (0.0, False, True, True)
        assert about["reward_result"].failures[0].message == "RewardError: it broke"


def test_steps_are_paid_as_they_are_taken_and_sum_to_the_value():
    rewards = {"steps": {"reward": OneByOne(), "weight": 2.0}, "whole": {"reward": Whole(), "weight": 0.5}}
    turns = played(ScoreOnStep(Foreign(), rewards), ["1", "x", "3"])
    assert [turn[1] for turn in turns] == [2.0, 0.0, 2.0 + 0.5 * 3]
    at_end = played(ScoreAtEnd(Foreign(), rewards), ["1", "x", "3"])
    assert at_end[-1][1] == sum(turn[1] for turn in turns)
    assert at_end[-1][4]["reward_result"].scores["steps"].steps == (1.0, 0.0, 1.0)


def test_a_step_that_is_not_judged_pays_nothing_and_is_not_missing():
    turns = played(ScoreOnStep(Foreign(), [OneByOne()]), ["1", "", ""])
    assert [(turn[1], turn[4]["reward_missing"], turn[2]) for turn in turns] == [
        (1.0, False, False),
        (0.0, False, False),
        (0.0, False, True),
    ]


def test_a_step_that_cannot_be_judged_ends_the_episode_without_a_number():
    *_, (_, paid, terminated, truncated, about) = played(ScoreOnStep(Foreign(), [OneByOne()]), ["1", "fail"])
    assert (paid, terminated, truncated, about["reward_missing"]) == (0.0, False, True, True)


def test_what_cannot_be_paid_while_playing_is_refused():
    with pytest.raises(ConfigError, match="compares attempts"):
        ScoreAtEnd(Foreign(), [Grouped()])
    with pytest.raises(ConfigError, match="gate"):
        ScoreOnStep(Foreign(), {"math": {"gate": 0.0}})
    with pytest.raises(ConfigError, match="observation is int"):
        ScoreAtEnd(gymnasium.make("FrozenLake-v1"), "math").reset(seed=0)


@pytest.mark.parametrize("kind", ENVS)
def test_what_was_played_scores_the_same_from_the_file(kind, tmp_path):
    make, task = ENVS[kind]
    path = tmp_path / "played.jsonl"
    env = RecordTrajectory(ScoreAtEnd(make(), "exact_match", task=task), path, task=task, metadata={"by": "hand"})
    paid = [played(env, actions, seed=seed)[-1][1] for seed, actions in enumerate(["123", "124", "3 3"])]
    env.close()
    lines = [line.content for line in read_trajectories(path)]
    assert [line.metadata["reward"] for line in lines] == paid == [1.0, 0.0, 1.0]
    assert [line.metadata["return"] for line in lines] == paid
    assert [(line.metadata["seed"], line.metadata["by"]) for line in lines] == [(0, "hand"), (1, "hand"), (2, "hand")]
    with Scorer(["exact_match"]) as scorer:
        score_files(scorer, [str(path)], output=tmp_path / "scores.jsonl")
    assert [scored.total for _, scored in read_results(tmp_path / "scores.jsonl")] == paid


def test_only_what_ended_is_recorded(tmp_path):
    path = tmp_path / "played.jsonl"
    env = RecordTrajectory(Foreign(), path)
    played(env, "12")
    played(env, "123")
    played(env, "1")
    env.close()
    (line,) = read_trajectories(path)
    assert line.content.completion == "3"
    assert line.content.metadata == {"seed": None, "return": 0.75}


def attempt(text="a", **metadata):
    action = Message(role="assistant", content=text)
    from rewardkit import Step

    return Trajectory(task=Task(id="t"), steps=(Step(action=action),), metadata=metadata)


@pytest.mark.parametrize("left", ["", '{"task": {"id": "t"}, "ste', "{" + "x" * 200_000])
def test_half_a_line_that_a_kill_left_is_cut_off(tmp_path, left):
    path = tmp_path / "t.jsonl"
    with TrajectoryFile(path) as file:
        file.append(attempt("one"))
        with open(path, "a") as torn:
            torn.write(left)
        file.append(attempt("two"))
    assert [line.content.completion for line in read_trajectories(path)] == ["one", "two"]


def test_a_whole_last_line_without_an_end_is_kept(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"prompt": "p", "completion": "mine"}')
    with TrajectoryFile(path) as file:
        file.append(attempt("two"))
    assert [line.content.completion for line in read_trajectories(path)] == ["mine", "two"]


def write_many(path, name):
    with TrajectoryFile(path) as file:
        for n in range(50):
            file.append(attempt(f"{name} {n} " + "x" * 20_000))


def test_several_processes_write_whole_lines(tmp_path):
    path = tmp_path / "t.jsonl"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=write_many, args=(path, name)) for name in "abc"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    lines = [json.loads(line)["steps"][0]["action"]["content"].split()[:2] for line in path.read_bytes().splitlines()]
    assert sorted(map(tuple, lines)) == sorted((name, str(n)) for name in "abc" for n in range(50))


def test_one_who_writes_alone_keeps_others_out(tmp_path):
    path = tmp_path / "t.jsonl"
    with TrajectoryFile(path, alone=True) as file:
        file.append(attempt())
        with pytest.raises(ConfigError, match="another process is writing"):
            TrajectoryFile(path, alone=True)
    TrajectoryFile(path, alone=True).close()


def test_a_full_disk_leaves_no_half_line(tmp_path, monkeypatch):
    path = tmp_path / "t.jsonl"
    file = TrajectoryFile(path)
    file.append(attempt("one"))
    write = os.write

    def fails(descriptor, text):
        if len(text) < 100:
            raise OSError(28, "No space left on device")
        return write(descriptor, text[:80])

    monkeypatch.setattr(os, "write", fails)
    with pytest.raises(OSError, match="No space"):
        file.append(attempt("two"))
    monkeypatch.undo()
    file.append(attempt("three"))
    assert [line.content.completion for line in read_trajectories(path)] == ["one", "three"]


def test_text_that_no_file_can_hold_is_replaced_and_what_is_no_json_is_refused(tmp_path):
    path = tmp_path / "t.jsonl"
    with TrajectoryFile(path) as file:
        file.append(attempt("half \ud800 a pair\n\u2028"))
        with pytest.raises(InvalidTrajectoryError, match="JSON"):
            file.append(attempt(thing={1, 2}))
        with pytest.raises(InvalidTrajectoryError, match="JSON"):
            file.append(attempt(number=float("nan")))
    assert [line.content.completion for line in read_trajectories(path)] == ["half ? a pair\n\u2028"]
    with pytest.raises(ConfigError, match="jsonl"):
        TrajectoryFile(tmp_path / "t.json")
    with pytest.raises(ConfigError, match="No such file"):
        TrajectoryFile(tmp_path / "none" / "t.jsonl")
