"""Rewards and records around any gymnasium environment whose observations and actions are text.

Not covered: vector environments (`vector`), and the paying of a TextEnv, which takes a reward by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium

from rewardkit.errors import ConfigError
from rewardkit.types import Message, Outcome, RewardResult, Score, Step, Task, Trajectory
from rewardkit_envs.env import TextEnv, open_scorer
from rewardkit_envs.recording import TrajectoryFile

Stepped = tuple[str, float, bool, bool, dict[str, Any]]
TaskOf = Callable[[str, dict[str, Any]], Task]


class Transcript(gymnasium.Wrapper[str, str, str, str]):
    """Keeps the dialogue with an environment of text: `trajectory`, `messages`.

    `task` makes the task from the first observation and `info`: references and metadata for the rewards. Without it the
    observation is the prompt and `info["task_id"]` the id. A TextEnv keeps its own dialogue and task, which are used.
    """

    def __init__(self, env: gymnasium.Env[str, str], *, task: TaskOf | None = None) -> None:
        super().__init__(env)
        inner = env.unwrapped
        self._inner = inner if isinstance(inner, TextEnv) else None
        self._task_of = task or _task_of
        self._task = Task()
        self._steps: list[Step] = []
        self._seen: tuple[Message, ...] = ()
        self._over = (False, False)
        self.seed: int | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Begin an episode."""
        observation, about = self.env.reset(seed=seed, options=options)
        _require_text("observation", observation)
        self.seed, self._over = seed, (False, False)
        self._steps, self._seen = [], ()
        if self._inner is None:
            self._task = self._task_of(observation, about)
        return observation, {**about, "messages": self.messages}

    def step(self, action: str) -> Stepped:
        """Take one action."""
        _require_text("action", action)
        observation, paid, terminated, truncated, about = self.env.step(action)
        _require_text("observation", observation)
        reward = float(paid)
        if self._inner is None:
            message = Message(role="assistant", content=action)
            self._steps.append(Step(observation=self._seen, action=message, reward=reward))
            self._seen = (Message(role="user", content=observation),)
        elif truncated:
            self._inner.truncate()  # by a wrapper, such as TimeLimit
        self._over = bool(terminated), bool(truncated)
        return observation, reward, *self._over, {**about, "messages": self.messages}

    @property
    def trajectory(self) -> Trajectory:
        """What has been played so far."""
        terminated, truncated = self._over
        if self._inner is not None:
            return replace(self._inner.trajectory, terminated=terminated, truncated=truncated)
        return Trajectory(task=self._task, steps=tuple(self._steps), terminated=terminated, truncated=truncated)

    @property
    def messages(self) -> tuple[Message, ...]:
        """The whole dialogue so far, with what the agent sees now."""
        if self._inner is not None:
            return self._inner.messages
        return (*self.trajectory.messages, *self._seen)


class _Scored(Transcript):
    """Has rewards, which are what `Scorer` takes."""

    def __init__(self, env: gymnasium.Env[str, str], rewards: Any, *, task: TaskOf | None = None) -> None:
        super().__init__(env, task=task)
        self._scorer = open_scorer(rewards)
        if self._scorer.needs_groups:
            raise ConfigError("a reward compares attempts, of which there is one here: score the recorded episodes")

    def close(self) -> None:
        """Close the environment and the rewards."""
        super().close()
        self._scorer.close()

    def _paid(self, stepped: Stepped, scored: RewardResult) -> Stepped:
        observation, own, terminated, truncated, about = stepped
        missing = scored.total is None
        about = {**about, "env_reward": own, "reward_result": scored, "reward_missing": missing}
        if scored.total is None:
            terminated, truncated = False, True
        return observation, scored.total or 0.0, terminated, truncated, about


class ScoreAtEnd(_Scored):
    """Pays the total of the rewards when the episode ends, and 0 before; `info["env_reward"]` is what `env` paid.

    `info["reward_result"]` has all that is known, with the numbers of the steps for rewards that judge steps. Where the
    total cannot be had, `info["reward_missing"]` is True and the episode counts as truncated, as in a TextEnv.
    """

    def step(self, action: str) -> Stepped:
        """Take one action; score the episode when it has ended."""
        stepped = observation, own, terminated, truncated, about = super().step(action)
        if not (terminated or truncated):
            return observation, 0.0, terminated, truncated, {**about, "env_reward": own}
        if about.get("reward_missing"):  # the environment broke off
            return stepped
        return self._paid(stepped, self._scorer.score(self.trajectory))


class ScoreOnStep(_Scored):
    """Pays every step what the rewards give for it, as soon as it is taken; rewards without steps pay at the end.

    After each step all that was played so far is scored, and the last number of `Score.steps` is paid (None: 0). So
    the numbers must not depend on what comes later, and n steps cost n(n + 1) / 2: to pay for steps afterwards, use
    ScoreAtEnd and `info["reward_result"].scores[name].steps`. A step that cannot be judged ends the episode as
    truncated, with `info["reward_missing"]`. Raises ConfigError for rewards with a gate.
    """

    def __init__(self, env: gymnasium.Env[str, str], rewards: Any, *, task: TaskOf | None = None) -> None:
        super().__init__(env, rewards, task=task)
        if gated := [term.name for term in self._scorer.terms if term.gate is not None]:
            raise ConfigError(f"reward {gated[0]!r} has a gate, which one step cannot close: use ScoreAtEnd")

    def step(self, action: str) -> Stepped:
        """Take one action and score what was played so far."""
        stepped = super().step(action)
        if stepped[4].get("reward_missing"):
            return stepped
        outcomes = [column[0] for column in self._scorer.submit([self.trajectory]).outcomes()]
        over = stepped[2] or stepped[3]
        return self._paid(stepped, self._scorer.combine([_for_step(outcome, over) for outcome in outcomes]))


class RecordTrajectory(Transcript):
    """Appends every episode that ends to a `.jsonl` file, for `rewardkit score`; what is given up is not recorded.

    The trajectory's metadata is `metadata` with `seed` (of the last reset), `return` (all that was paid, null where a
    reward is missing) and, where the episode was scored, `reward` (the total) and `signature` (how it was made).
    Several environments, also in several processes, may append to one file.
    """

    def __init__(
        self,
        env: gymnasium.Env[str, str],
        path: str | Path,
        *,
        metadata: Mapping[str, Any] | None = None,
        task: TaskOf | None = None,
    ) -> None:
        super().__init__(env, task=task)
        self._file = TrajectoryFile(path)
        self._constant = dict(metadata or {})
        self._return = 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Begin an episode."""
        self._return = 0.0
        return super().reset(seed=seed, options=options)

    def step(self, action: str) -> Stepped:
        """Take one action; append the episode when it has ended."""
        stepped = _, reward, terminated, truncated, about = super().step(action)
        self._return += reward
        if terminated or truncated:
            outcome = outcome_of(self.seed, self._return, about)
            self._file.append(replace(self.trajectory, metadata={**self._constant, **outcome}))
        return stepped

    def close(self) -> None:
        """Close the environment and the file."""
        super().close()
        self._file.close()


def outcome_of(seed: int | None, paid: float, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a record says of a finished episode, from the sum of its rewards and its last `info`."""
    missing = about.get("reward_missing", False)
    outcome: dict[str, Any] = {"seed": seed, "return": None if missing else paid}
    if (scored := about.get("reward_result")) is not None:
        outcome |= {"reward": scored.total, "signature": scored.signature}
    return outcome


def _for_step(outcome: Outcome, over: bool) -> Outcome:
    """Return what counts for the last step: its own number, or the whole value at the end."""
    if not isinstance(outcome, Score) or (outcome.steps is None and over):
        return outcome
    return replace(outcome, value=(outcome.steps[-1] or 0.0) if outcome.steps else 0.0)


def _task_of(observation: str, about: Mapping[str, Any]) -> Task:
    return Task(id=str(about.get("task_id", "")), prompt=(Message(role="user", content=observation),))


def _require_text(what: str, value: Any) -> None:
    if not isinstance(value, str):
        error = ConfigError if what == "observation" else TypeError
        raise error(f"this is for environments of text: the {what} is {type(value).__name__}")
