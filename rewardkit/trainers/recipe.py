"""Recipes for scorers: they pickle, and what they describe is made where and when it is first needed.

They come from arguments, or from environment variables for trainers that are told only the path of a file.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rewardkit.errors import ConfigError
from rewardkit.executors import open_executor
from rewardkit.protocols import Executor
from rewardkit.scorer import DEFAULT_TIMEOUT, Scorer
from rewardkit.trainers.plain import plain

SETTINGS = ("rewards", "executor", "workers", "timeout", "missing")


@dataclass(kw_only=True)
class Recipe:
    """How to make a scorer; it pickles, and the scorer is made where and when it is first needed.

    `rewards` is what `Scorer` takes, one spec, or the path of a rewards.toml. `executor` is the name of one, or one
    that is shared with others (then the recipe pickles if that does). `workers` and `timeout` are as for
    `rewardkit score`.
    """

    rewards: Any
    executor: str | Executor = "process"
    workers: int | None = None
    timeout: float | None = DEFAULT_TIMEOUT
    _scorer: Scorer | None = field(default=None, init=False, repr=False, compare=False)
    _lock: Any = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    @property
    def scorer(self) -> Scorer:
        """The scorer, made at the first call; raises ConfigError and what else `Scorer` raises."""
        with self._lock:
            if self._scorer is None:
                self._scorer = self._open()
            return self._scorer

    def close(self) -> None:
        """Close the scorer, if there is one; the next use opens another. Idempotent."""
        with self._lock:
            if self._scorer is not None:
                self._scorer.close()
                self._scorer = None

    def _open(self) -> Scorer:
        executor = self.executor
        if isinstance(executor, str):
            executor = open_executor(executor, workers=self.workers if executor == "process" else None)
        rewards = self.rewards
        if str(rewards).endswith(".toml"):
            return Scorer.from_toml(rewards, executor=executor, timeout=self.timeout)
        return Scorer([rewards] if isinstance(rewards, str) else rewards, executor=executor, timeout=self.timeout)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_scorer": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())


def settings_from(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a recipe: those `given`, else those of the environment variables `REWARDKIT_...`.

    `rewards` may be a spec, the path of a rewards.toml, or JSON (a list or an object). Raises ConfigError when no
    reward is named.
    """
    found = {name: os.environ.get(f"REWARDKIT_{name.upper()}") for name in SETTINGS}
    found.update({name: plain(given[name]) for name in SETTINGS if given.get(name) is not None})
    chosen = {name: value for name, value in found.items() if value not in (None, "")}
    if "rewards" not in chosen:
        raise ConfigError("name the rewards: REWARDKIT_REWARDS='math', a list in JSON, or the path of a rewards.toml")
    if isinstance(chosen["rewards"], str) and chosen["rewards"].lstrip()[:1] in ("[", "{"):
        chosen["rewards"] = _from_json(chosen["rewards"])
    for name, kind in (("workers", int), ("timeout", float)):
        if name in chosen:
            chosen[name] = _number(name, chosen[name], kind)
    return chosen


def _number(name: str, value: Any, kind: Any) -> Any:
    try:
        return kind(value)
    except (TypeError, ValueError):
        raise ConfigError(f"{name}={value!r} must be a number") from None


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"REWARDKIT_REWARDS={text!r} is not JSON: {error}") from error


_recipes: dict[str, Recipe] = {}
_recipes_lock = threading.Lock()


def shared_recipe(settings: Mapping[str, Any]) -> Recipe:
    """Return this process's recipe for `settings`: trainers that call a bare function have no place to keep one."""
    own = {key: value for key, value in settings.items() if key != "missing"}
    key = json.dumps(own, sort_keys=True, default=repr)
    with _recipes_lock:
        return _recipes.setdefault(key, Recipe(**own))
