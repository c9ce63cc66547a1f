"""Episodes of an environment for trainers that bring the agent's turns and want one reward back.

Any Gymnasium environment over text will do. Those of rewardkit are scored when the trainer asks, all that ended in one
batch and in supervised workers; others pay what their steps paid.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium

from rewardkit.errors import ConfigError
from rewardkit.executors import open_executor
from rewardkit.protocols import Executor
from rewardkit.scorer import DEFAULT_TIMEOUT, Scorer
from rewardkit.serialize import task_from_json
from rewardkit.trainers.plain import plain
from rewardkit.trainers.scoring import report_missing
from rewardkit.types import Message

_OVER = "The episode is over: nothing happens any more."


@dataclass(kw_only=True)
class Stage:
    """How to make an environment and what scores its episodes; it pickles if the options do.

    `env_id` is what `gymnasium.make` takes (`rewardkit_envs` is imported for its own), `options` go to the environment.
    """

    env_id: str
    options: Mapping[str, Any] = field(default_factory=dict)
    executor: str | Executor = "process"
    workers: int | None = None
    timeout: float | None = DEFAULT_TIMEOUT
    _first: Any = field(default=None, init=False, repr=False, compare=False)
    _lock: Any = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    def make(self) -> Any:
        """Return a new environment; those of rewardkit share tasks, tools and rewards with the first one."""
        first = self._opened()
        wrapped = getattr(first, "env", first) is not first.unwrapped
        return first.unwrapped.twin() if hasattr(first.unwrapped, "twin") and not wrapped else self._make()

    @property
    def scorer(self) -> Scorer | None:
        """What scores the episodes; None where the steps pay."""
        inner = self._opened().unwrapped
        return inner.open_rewards() if hasattr(inner, "open_rewards") else None

    def close(self) -> None:
        """Stop the workers that score, and what the environments share."""
        with self._lock:
            if self._first is not None:
                self._first.close()
                self._first = None

    def _opened(self) -> Any:
        with self._lock:
            if self._first is None:
                self._first = self._make()
                self._open_rewards(self._first.unwrapped)
            return self._first

    def _open_rewards(self, inner: Any) -> None:
        if not hasattr(inner, "open_rewards"):
            return
        executor = self.executor
        if isinstance(executor, str):
            executor = open_executor(executor, workers=self.workers if executor == "process" else None)
        scorer = inner.open_rewards(executor)
        if scorer is not None and scorer is not self.options.get("reward"):
            scorer.timeout = self.timeout

    def _make(self) -> Any:
        name = f"rewardkit_envs:{self.env_id}" if self.env_id.startswith("rewardkit/") else self.env_id
        env = gymnasium.make(name, **self.options, disable_env_checker=True)
        inner: Any = env.unwrapped
        if hasattr(inner, "defer_reward"):
            inner.defer_reward = True
        return env

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_first": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())


class Player:
    """Plays one episode after the other in an environment of its own.

    `observation` is what the agent saw last, `over` whether the episode has ended, `acted` whether it had an action,
    `paid` what it has earned so far (None: that cannot be known), `due` whether it waits for its score.
    """

    def __init__(self, stage: Stage) -> None:
        self.env = stage.make()
        self.scorer = stage.scorer
        self.observation = ""
        self.over = True
        self.paid: float | None = 0.0
        self.due = False
        self.acted = False

    def start(self, row: Mapping[str, Any]) -> list[dict[str, str]]:
        """Begin the episode that a row of a dataset names, and return the messages that the agent sees.

        The row's `task_id` names the task; else its `seed` draws one; else the row is the task itself, with the columns
        that `rewardkit score` reads. Raises ConfigError for a row that names none: the attempts of one group would be
        at different tasks.
        """
        seed, options = _task_of(plain(row))
        self.observation, told = self.env.reset(seed=seed, options=options)
        self.over, self.paid, self.due, self.acted = False, 0.0, True, False
        messages: Sequence[Message] = told.get("messages") or (Message(role="user", content=self.observation),)
        return [{"role": item.role, "content": item.content} for item in messages]

    def act(self, action: str) -> str:
        """Take an action and return what the agent sees next; after the end nothing happens, which it is told."""
        if self.over:
            return _OVER
        self.acted = True
        self.observation, reward, terminated, truncated, told = self.env.step(action)
        self.over = bool(terminated or truncated)
        missing = self.paid is None or told.get("reward_missing")
        self.paid = None if missing else (self.paid or 0.0) + float(reward)
        return self.observation

    def finish(self, action: str | None = None) -> None:
        """End the episode if it still runs, after one last action if there is one; silence all along is one, too."""
        if action is None and not self.acted and self.scorer is not None:
            action = ""
        if not self.over and action is not None:
            self.act(action)
        if not self.over and self.scorer is not None:
            inner = self.env.unwrapped
            inner.truncate()
            if inner.episode.result is not None:  # it broke off
                self.paid = None
        self.over = True

    def close(self) -> None:
        """Close the environment, unless it shares what there is to close."""
        if not hasattr(self.env.unwrapped, "twin"):
            self.env.close()


def pay(players: Sequence[Player]) -> list[float | None]:
    """Return what each finished episode earned, None where that cannot be known.

    That is the total of the environment's rewards, all scored in one batch, or else the sum of what the steps paid. An
    episode is scored once, however often this is called.
    """
    waiting: dict[int, list[Player]] = {}
    for player in players:
        if player.due and player.scorer is not None and player.paid is not None:
            waiting.setdefault(id(player.scorer), []).append(player)
        player.due = False
    for some in waiting.values():
        scorer = some[0].scorer
        assert scorer is not None
        results = scorer.score_batch([player.env.unwrapped.trajectory for player in some])
        report_missing(results)
        for player, scored in zip(some, results, strict=True):
            player.env.unwrapped.settle(scored)
            player.paid = scored.total
    return [player.paid for player in players]


def _task_of(row: Mapping[str, Any]) -> tuple[int | None, dict[str, Any] | None]:
    """Return the seed and the options to reset an environment with."""
    if row.get("task_id") is not None:
        return None, {"task_id": row["task_id"]}
    if row.get("seed") is not None:
        return int(row["seed"]), None
    prompt = row.get("prompt")
    if not (prompt if isinstance(prompt, str) else any(item.get("content") for item in prompt or ())):
        raise ConfigError("a row names no task: give it a `task_id`, a `seed`, or a `prompt` with its references")
    return None, {"task": task_from_json(row)}


def rows_of(stage: Stage, *, count: int | None = None, seed: int = 0) -> list[dict[str, Any]]:
    """Return rows for a dataset: `prompt` (messages) and `task_id`.

    Without `count` there is one for each task of the environment's list; with it, so many tasks are drawn with the
    seeds from `seed` on. Raises ConfigError when the tasks have no end and there is no `count`.
    """
    player = Player(stage)
    if count is not None:
        return [_row(player, {"seed": seed + i}) for i in range(count)]
    return [_row(player, {"task_id": task.id}) for task in _listed(player.env, stage)]


def _row(player: Player, start: Mapping[str, Any]) -> dict[str, Any]:
    prompt = player.start(start)
    episode = getattr(player.env.unwrapped, "episode", None)
    return {"prompt": prompt, **(start if episode is None else {"task_id": episode.task.id})}


def _listed(env: Any, stage: Stage) -> Sequence[Any]:
    tasks = getattr(getattr(env.unwrapped, "tasks", None), "tasks", None)
    if not isinstance(tasks, Sequence):
        raise ConfigError(f"{stage.env_id!r} has no list of tasks: say how many to draw with count=...")
    return tasks
