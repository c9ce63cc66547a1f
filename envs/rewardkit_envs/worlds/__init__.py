"""Worlds for `AgentEnv`: each is tools, a state that they change, and evidence of what that state became."""

from __future__ import annotations

from typing import Any

from rewardkit.errors import ConfigError
from rewardkit.protocols import Sandbox
from rewardkit_envs.worlds.world import World

_OUTSIDE = "outside:"


def open_world(name: str, *, sandbox: str | Sandbox = "auto", **options: Any) -> World:
    """Return the world called `name`; raises ConfigError for a name or an option that there is not.

    "shell" and "database" run in the sandbox. "outside:GAME" is another package's environment: "toy_text/FrozenLake-v1"
    (any of gymnasium's toy_text), "scienceworld", or "textarena/TowerOfHanoi-v0".
    """
    try:
        if name == "shell":
            from rewardkit_envs.worlds.shell import ShellWorld

            return ShellWorld(sandbox=sandbox, **options)
        if name == "database":
            from rewardkit_envs.worlds.database import DatabaseWorld

            return DatabaseWorld(sandbox=sandbox, **options)
        if name.startswith(_OUTSIDE):
            from rewardkit_envs.worlds.outside import OutsideWorld

            return OutsideWorld(name.removeprefix(_OUTSIDE), **options)
    except TypeError as error:
        raise ConfigError(f"world {name!r} cannot be made with {options!r}: {error}") from error
    raise ConfigError(f"there is no world {name!r}: choose 'shell', 'database' or 'outside:...', or give a World")
