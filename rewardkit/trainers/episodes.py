"""Episodes of an environment for trainers that bring the agent's turns and want one reward back.

Any Gymnasium environment over text will do. Those of rewardkit are scored when the trainer asks, all that ended in one
batch and in supervised workers; others pay what their steps paid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium

from rewardkit.errors import ConfigError
from rewardkit.protocols import Executor
from rewardkit.scorer import DEFAULT_TIMEOUT
from rewardkit.serialize import task_from_json
from rewardkit.trainers.plain import plain
from rewardkit.trainers.recipe import Recipe
from rewardkit.trainers.scoring import report_missing
from rewardkit.types import Message

_OVER = "The episode is over: nothing happens any more."


@dataclass(kw_only=True)
class Stage:
    """How to make an environment and the scorer of its episodes; it pickles if the options do.

    `env_id` is what `gymnasium.make` takes (`rewardkit_envs` is imported for its own), `options` go to the environment.
    """

    env_id: str
    options: Mapping[str, Any] = field(default_factory=dict)
    executor: str | Executor = "process"
    workers: int | None = None
    timeout: float | None = DEFAULT_TIMEOUT
    _recipe: Recipe | None = field(default=None, init=False, repr=False, compare=False)

    def make(self) -> Any:
        """Return a new environment."""
        name = f"rewardkit_envs:{self.env_id}" if self.env_id.startswith("rewardkit/") else self.env_id
        env = gymnasium.make(name, **self.options, disable_env_checker=True)
        inner: Any = env.unwrapped
        if hasattr(inner, "defer_reward"):
            inner.defer_reward = True
        return env

    def recipe_for(self, env: Any) -> Recipe | None:
        """Return the recipe of the rewards that `env` pays at the end, the same for all; None where steps pay."""
        rewards = self.options.get("reward", "default")
        if rewards == "default":
            rewards = getattr(env.unwrapped, "default_reward", None)
        if rewards is None or not hasattr(env.unwrapped, "settle"):
            return None
        if self._recipe is None:
            self._recipe = Recipe(rewards=rewards, executor=self.executor, workers=self.workers, timeout=self.timeout)
        return self._recipe

    def close(self) -> None:
        """Stop the workers that score."""
        if self._recipe is not None:
            self._recipe.close()


class Player:
    """Plays one episode after the other in an environment of its own.

    `observation` is what the agent saw last, `over` whether the episode has ended, `acted` whether it had an action,
    `paid` what it has earned so far (None: that cannot be known), `due` whether it waits for its score.
    """

    def __init__(self, stage: Stage) -> None:
        self.env = stage.make()
        self.recipe = stage.recipe_for(self.env)
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
        """End the episode if it still runs, after one last action if there is one."""
        if not self.over and action is not None:
            self.act(action)
        if not self.over and self.recipe is not None:
            self.env.unwrapped.episode.truncated = True
        self.over = True


def pay(players: Sequence[Player]) -> list[float | None]:
    """Return what each finished episode earned, None where that cannot be known.

    That is the total of the environment's rewards, all scored in one batch, or else the sum of what the steps paid. An
    episode is scored once, however often this is called.
    """
    waiting: dict[int, list[Player]] = {}
    for player in players:
        if player.due and player.recipe is not None and player.paid is not None:
            waiting.setdefault(id(player.recipe), []).append(player)
        player.due = False
    for some in waiting.values():
        recipe = some[0].recipe
        assert recipe is not None
        results = recipe.scorer.score_batch([player.env.unwrapped.trajectory for player in some])
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
    try:
        if count is not None:
            starts: list[dict[str, Any]] = [{"seed": seed + i} for i in range(count)]
        else:
            starts = [{"task_id": task.id} for task in _listed(player.env, stage)]
        return [_row(player, start) for start in starts]
    finally:
        player.env.close()


def _row(player: Player, start: Mapping[str, Any]) -> dict[str, Any]:
    prompt = player.start(start)
    episode = getattr(player.env.unwrapped, "episode", None)
    return {"prompt": prompt, **(start if episode is None else {"task_id": episode.task.id})}


def _listed(env: Any, stage: Stage) -> Sequence[Any]:
    tasks = getattr(getattr(env.unwrapped, "tasks", None), "tasks", None)
    if not isinstance(tasks, Sequence):
        raise ConfigError(f"{stage.env_id!r} has no list of tasks: say how many to draw with count=...")
    return tasks
