"""TextArena's games for one player (PyPI `textarena`); the reward is the game's own, from 0.0 to 1.0.

Its games draw from Python's global random numbers: what happens by chance later in a game can be repeated only where
nothing else draws from them meanwhile. Not covered: games for several players.
"""

from __future__ import annotations

import contextlib
import importlib
import io
from typing import Any

from rewardkit.errors import ConfigError, MissingExtraError
from rewardkit.types import Task
from rewardkit_envs.tasks import TaskSource
from rewardkit_envs.worlds.outside import Played, SeededTasks


class TextArena:
    """One game, by its id in TextArena's registry, such as "TowerOfHanoi-v0"; `options` are its own."""

    how = "Make a move, written as the game says."

    def __init__(self, name: str, **options: Any) -> None:
        self._name, self._options = name, options
        self._env: Any = None
        self._read = ""

    def tasks(self) -> TaskSource:
        """Return a task for each seed."""
        return SeededTasks(name=f"textarena/{self._name}", text="Play this game.")

    def start(self, task: Task) -> str:
        """Start with the task's seed."""
        self._env = _made(self._name, self._options)
        self._env.reset(num_players=1, seed=task.metadata.get("seed", 0))
        self._read = ""
        return self._news()

    def play(self, action: str) -> Played:
        """Make a move."""
        over, _ = self._env.step(action)
        if not over:
            return Played(text=self._news())
        rewards, about = self._env.close()
        value = min(max(float(rewards[0]), 0.0), 1.0) if rewards else 0.0
        return Played(text=str(about.get(0, {}).get("reason", "")), value=value, over=True)

    def gold(self, task: Task, actions: tuple[str, ...]) -> str:  # noqa: ARG002  where it stands is enough
        """Return the best move in TowerOfHanoi; raises ConfigError for other games."""
        towers = self._env.state.game_state.get("towers") if self._env is not None else None
        if towers is None:
            raise ConfigError(f"no best move is known for {self._name}")
        source, target = _hanoi({name: list(disks) for name, disks in towers.items()})
        return f"[{source} {target}]"

    def close(self) -> None:
        """Forget the game."""
        self._env = None

    def _news(self) -> str:
        """Return what the player has not read yet; the game repeats all of it."""
        _, shown = self._env.get_observation()
        before, self._read = self._read, str(shown)
        return self._read.removeprefix(before).strip()


def _made(name: str, options: dict[str, Any]) -> Any:
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return importlib.import_module("textarena").make(name, **options)  # tells of word lists that it lacks
    except ModuleNotFoundError as error:
        raise MissingExtraError("outside:textarena needs 'textarena': pip install textarena") from error
    except ValueError as error:
        raise ConfigError(f"TextArena cannot make {name!r}: {error}") from error


def _hanoi(towers: dict[str, list[int]]) -> tuple[str, str]:
    """Return the next move of the shortest way to tower C: the largest disk that is not there must get there."""
    place = {disk: name for name, disks in towers.items() for disk in disks}
    target, move = "C", ("A", "C")
    for disk in sorted(place, reverse=True):
        if place[disk] != target:
            move = (place[disk], target)
            target = ({"A", "B", "C"} - {place[disk], target}).pop()
    return move
