"""Other packages' text environments as worlds: one tool, `act`, and what was done as the memory.

A live game cannot be copied, but what was done can: coming back to an earlier point plays it again from the start. So
games must be deterministic, given their seed, as far as scores go; their texts may differ (ScienceWorld lists objects
in any order) and are never compared. Not covered: games for several players.
"""

from __future__ import annotations

import copy
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from rewardkit.errors import ConfigError
from rewardkit.types import Message, Task
from rewardkit_envs.calls import Call
from rewardkit_envs.tasks import TaskSource
from rewardkit_envs.worlds.world import Reply, Tool, takes

_GAMES = {
    "toy_text": "rewardkit_envs.worlds.toy_text:ToyText",
    "scienceworld": "rewardkit_envs.worlds.scienceworld:ScienceWorld",
    "textarena": "rewardkit_envs.worlds.textarena:TextArena",
}
_LONGEST = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What an action led to; `value` is what the episode is worth so far, in [0, 1]. Not `valid`: nothing was done."""

    text: str
    value: float = 0.0
    over: bool = False
    valid: bool = True


class Game(Protocol):
    """One live environment of another package."""

    how: str
    """What the agent is told of its actions."""

    def tasks(self) -> TaskSource:
        """Return the built-in tasks."""
        ...

    def start(self, task: Task) -> str:
        """Start anew and return the first observation; raises ConfigError for a task that is not for this game."""
        ...

    def play(self, action: str) -> Played:
        """Take one action; one that there is not is answered, with `valid` False, and changes nothing."""
        ...

    def gold(self, task: Task, actions: tuple[str, ...]) -> str:
        """Return a perfect agent's action after `actions`, and stay there; raises ConfigError where none is known."""
        ...

    def close(self) -> None:
        """End it. Idempotent."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What was done so far, and what it is worth: enough to play it again."""

    actions: tuple[str, ...] = ()
    value: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SeededTasks:
    """The tasks of a game that makes an episode from a seed, which `metadata["seed"]` holds; ids are `NAME/SEED`."""

    name: str
    text: str
    seeds: int = 2**31

    def draw(self, random: np.random.Generator, /) -> Task:
        """Return the task of any seed."""
        return self.find(f"{self.name}/{int(random.integers(self.seeds))}")

    def find(self, task_id: str, /) -> Task:
        """Return the task of that id; raises KeyError."""
        name, _, seed = task_id.rpartition("/")
        if name != self.name or not (seed.isascii() and seed.isdigit() and len(seed) <= 10):
            raise KeyError(task_id)
        prompt = (Message(role="user", content=self.text),)
        return Task(id=task_id, prompt=prompt, metadata={"seed": int(seed)})


class OutsideWorld:
    """A game of another package; it pays for each step by how much the episode's value changes, 1.0 in all at most.

    `game` is "toy_text/NAME", "scienceworld" or "textarena/NAME", or a `Game`; `options` are for making it.
    """

    pays = True

    def __init__(self, game: str | Game, **options: Any) -> None:
        self._make = (game, options)
        self._game: Game | None = None
        self._played: tuple[Any, ...] = ()  # the task and the actions that the live game has seen
        self.tools: tuple[Tool, ...] = (
            Tool(name="act", description=self.game.how, parameters=takes(action="the action")),
        )

    @property
    def game(self) -> Game:
        """The live game, made on first use."""
        if self._game is None:
            self._game = _made(*self._make)
        return self._game

    def tasks(self) -> TaskSource:
        """Return the game's tasks."""
        return self.game.tasks()

    def start(self, task: Task) -> tuple[History, str]:
        """Start the game."""
        self._played = ()
        first = self.game.start(task)
        self._played = (task, ())
        return History(), first

    def call(self, task: Task, memory: History, name: str, arguments: Mapping[str, Any]) -> Reply:  # noqa: ARG002
        """Take an action, after going back to where the episode is."""
        action = arguments["action"].strip()
        if len(action) > _LONGEST:
            return Reply(text=f"An action may have {_LONGEST} characters.", memory=memory, reward=0.0)
        self._go_to(task, memory)
        self._played = ()  # until the action is done
        played = self.game.play(action)
        after = memory
        if played.valid:
            after = replace(memory, actions=(*memory.actions, action), value=played.value)
        self._played = (task, after.actions)
        return Reply(text=played.text, memory=after, reward=after.value - memory.value, over=played.over)

    def evidence(self, task: Task, memory: History) -> Mapping[str, Any]:  # noqa: ARG002  the memory says all
        """Return what was done, and its value."""
        return {"actions": list(memory.actions), "value": memory.value}

    def gold(self, task: Task, memory: History) -> Call | None:
        """Return the game's own advice."""
        self._go_to(task, memory)
        return Call(name="act", arguments={"action": self.game.gold(task, memory.actions)})

    def close(self) -> None:
        """End the game."""
        if self._game is not None:
            self._game.close()
        self._game, self._played = None, ()

    def _go_to(self, task: Task, memory: History) -> None:
        if self._played == (task, memory.actions):
            return
        self._played = ()
        self.game.start(task)
        for action in memory.actions:
            self.game.play(action)
        self._played = (task, memory.actions)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_game": None, "_played": ()}

    def __deepcopy__(self, memo: Any) -> OutsideWorld:
        twin = object.__new__(OutsideWorld)
        twin.__dict__.update(self.__getstate__())
        twin._make = copy.deepcopy(self._make, memo)
        return twin


def _made(game: str | Game, options: Mapping[str, Any]) -> Game:
    if not isinstance(game, str):
        return game
    kind, _, name = game.partition("/")
    if kind not in _GAMES:
        raise ConfigError(f"there is no outside world {game!r}: choose one of {', '.join(_GAMES)}")
    module, _, attribute = _GAMES[kind].partition(":")
    made: Game = getattr(importlib.import_module(module), attribute)(name, **options)
    return made
