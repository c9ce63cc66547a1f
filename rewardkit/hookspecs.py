"""What a plugin may implement. Hooks register; plain objects compute: nothing is ever scored through a hook.

A plugin is a module (or object) named by an entry point in the group `rewardkit`; each hook below is optional. All
hooks but `rewardkit_scored` are called once, when the registries are built: they return data and import nothing heavy.
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from rewardkit.registry import CommandSpec, EnvSpec, RewardSpec, SandboxSpec, ToolSpec
from rewardkit.types import RewardResult, Trajectory

hookspec = pluggy.HookspecMarker("rewardkit")
hookimpl = pluggy.HookimplMarker("rewardkit")


@hookspec
def rewardkit_rewards() -> Iterable[RewardSpec]:  # type: ignore[empty-body]
    """Return the rewards that the plugin provides."""


@hookspec
def rewardkit_envs() -> Iterable[EnvSpec]:  # type: ignore[empty-body]
    """Return the Gymnasium environments that the plugin provides."""


@hookspec
def rewardkit_sandboxes() -> Iterable[SandboxSpec]:  # type: ignore[empty-body]
    """Return the sandboxes that the plugin provides."""


@hookspec
def rewardkit_tools() -> Iterable[ToolSpec]:  # type: ignore[empty-body]
    """Return the tools that the plugin provides, for tool-augmented rewards and for agents."""


@hookspec
def rewardkit_commands() -> Iterable[CommandSpec]:  # type: ignore[empty-body]
    """Return the subcommands of `rewardkit` that the plugin provides."""


@hookspec
def rewardkit_scored(trajectory: Trajectory, result: RewardResult) -> None:
    """Observe one scored trajectory: logging, dashboards. Called by the scorer in input order, in its own process."""
