"""Gymnasium's toy_text (FrozenLake, CliffWalking, Taxi, Blackjack) in words; gold by value iteration.

What is paid is success, 1.0 or 0.0, because in their own rewards doing nothing beats reaching the goal.
"""

from __future__ import annotations

import re
from typing import Any

import gymnasium
import numpy as np

from rewardkit.errors import ConfigError
from rewardkit.types import Task
from rewardkit_envs.tasks import TaskSource
from rewardkit_envs.worlds.outside import Played, SeededTasks

_GAMES: dict[str, tuple[str, tuple[str, ...]]] = {
    "FrozenLake": (
        "Walk from S to G over the frozen lake (F) without falling into a hole (H).",
        ("left", "down", "right", "up"),
    ),
    "CliffWalking": (
        "Walk from the lower left corner to T. Stepping on the cliff (C) takes you back to the start.",
        ("up", "right", "down", "left"),
    ),
    "Taxi": (
        "Drive to the passenger, pick up, drive to the destination, and drop off. A bar is a wall.",
        ("south", "north", "east", "west", "pickup", "dropoff"),
    ),
    "Blackjack": ("Come closer to 21 than the dealer, but not above it.", ("stick", "hit")),
}
_HIGHLIGHT = re.compile(r"\x1b\[4\dm(.)\x1b\[0m", re.S)
_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_DISCOUNT = 0.99
_PASSENGER = ("at R", "at G", "at Y", "at B", "in the taxi")


class ToyText:
    """One of gymnasium's toy_text environments; `options` are its own. FrozenLake is not slippery unless asked."""

    def __init__(self, name: str, **options: Any) -> None:
        kind = name.partition("-")[0].removesuffix("8x8").removesuffix("Slippery")
        if kind not in _GAMES:
            raise ConfigError(
                f"there is no toy_text game {name!r}: choose one of {', '.join(_GAMES)}, with its version"
            )
        if kind == "FrozenLake":
            options = {"is_slippery": False, **options}
        self._name, self._kind = name, kind
        self._about, self._actions = _GAMES[kind]
        self.how = f"Take one action: {', '.join(self._actions)}."
        self._env = gymnasium.make(name, render_mode=None if kind == "Blackjack" else "ansi", **options)
        self._seen: Any = None
        self._policy: list[int] | None = None

    def tasks(self) -> TaskSource:
        """Return a task for each seed."""
        return SeededTasks(name=f"toy_text/{self._name}", text=self._about)

    def start(self, task: Task) -> str:
        """Start with the task's seed."""
        self._seen, _ = self._env.reset(seed=task.metadata.get("seed", 0))
        return self._shown()

    def play(self, action: str) -> Played:
        """Take an action by name."""
        if action.lower() not in self._actions:
            return Played(text=f"There is no such action. {self.how}", valid=False)
        self._seen, reward, terminated, truncated, _ = self._env.step(self._actions.index(action.lower()))
        won = terminated and (self._kind == "CliffWalking" or float(reward) > 0)
        text = f"{self._shown()}\n{'You have reached the goal.' if won else ''}".rstrip()
        return Played(text=text, value=float(won), over=bool(terminated or truncated))

    def gold(self, task: Task, actions: tuple[str, ...]) -> str:  # noqa: ARG002  where it stands is enough
        """Return the best action by value iteration over the environment's own model."""
        model = getattr(self._env.unwrapped, "P", None)
        if model is None:
            raise ConfigError(f"{self._name} has no model from which the best action follows")
        if self._policy is None:
            self._policy = _best(model)
        return self._actions[self._policy[int(self._seen)]]

    def close(self) -> None:
        """Close it."""
        self._env.close()

    def _shown(self) -> str:
        if self._kind == "Blackjack":
            own, dealer, ace = self._seen
            return f"Your cards make {own}{' with a usable ace' if ace else ''}; the dealer shows {dealer}."
        drawn = str(self._env.render())
        text = _COLOUR.sub("", _HIGHLIGHT.sub(r"[\1]", drawn)).strip()
        if self._kind != "Taxi":
            return text
        row, column, passenger, goal = self._env.unwrapped.decode(int(self._seen))  # type: ignore[attr-defined]
        where = f"The taxi is in row {row}, column {column}; the passenger is {_PASSENGER[passenger]}"
        return f"{text}\n{where} and wants to go to {'RGYB'[goal]}."


def _best(model: dict[int, dict[int, list[tuple[float, int, float, bool]]]]) -> list[int]:
    """Return the best action of each state, by value iteration."""
    states, actions = len(model), len(model[0])
    longest = max(len(ways) for choices in model.values() for ways in choices.values())
    chance, reward = np.zeros((states, actions, longest)), np.zeros((states, actions, longest))
    follower, goes_on = np.zeros((states, actions, longest), dtype=int), np.zeros((states, actions, longest))
    for state, choices in model.items():
        for action, ways in choices.items():
            for i, (p, then, paid, ends) in enumerate(ways):
                chance[state, action, i], follower[state, action, i] = p, int(then)
                reward[state, action, i], goes_on[state, action, i] = paid, not ends
    values = np.zeros(states)
    quality = np.zeros((states, actions))
    for _ in range(2000):
        quality = (chance * (reward + _DISCOUNT * goes_on * values[follower])).sum(axis=2)
        values, before = quality.max(axis=1), values
        if np.abs(values - before).max() < 1e-9:
            break
    return [int(action) for action in quality.argmax(axis=1)]
