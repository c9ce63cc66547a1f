"""Find plugins, load them in isolation from each other, and fill the registries: the only module that touches pluggy.

`REWARDKIT_DISABLE_PLUGINS=a,b` leaves plugins out, `REWARDKIT_TRACE=1` prints every hook call to stderr. Nothing is
found or imported until `Plugins.load`, and each call of it starts from nothing: there is no global plugin manager.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
import warnings
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from importlib import metadata
from typing import Any

import pluggy

from rewardkit import hookspecs
from rewardkit.errors import DuplicateNameError, PluginError, UnknownNameError
from rewardkit.registry import CommandSpec, EnvSpec, Registry, RewardSpec, SandboxSpec, ToolSpec
from rewardkit.types import RewardResult, Trajectory

GROUP = "rewardkit"
_NAME = re.compile(r"[\w./-]+")
_KINDS = (
    ("rewardkit_rewards", "rewards", RewardSpec),
    ("rewardkit_envs", "envs", EnvSpec),
    ("rewardkit_sandboxes", "sandboxes", SandboxSpec),
    ("rewardkit_tools", "tools", ToolSpec),
    ("rewardkit_commands", "commands", CommandSpec),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """One plugin that was found: who ships it, and, if it is broken or disabled, why it is not in use."""

    name: str
    module: str
    distribution: str
    version: str
    problem: str = ""
    hooks: tuple[str, ...] = ()


@dataclass(slots=True)
class Plugins:
    """The loaded plugins and what they registered."""

    found: list[Plugin] = field(default_factory=list)
    rewards: Registry[RewardSpec] = field(default_factory=lambda: Registry("reward"))
    envs: Registry[EnvSpec] = field(default_factory=lambda: Registry("environment"))
    sandboxes: Registry[SandboxSpec] = field(default_factory=lambda: Registry("sandbox"))
    tools: Registry[ToolSpec] = field(default_factory=lambda: Registry("tool"))
    commands: Registry[CommandSpec] = field(default_factory=lambda: Registry("command"))
    _pm: pluggy.PluginManager = field(default_factory=lambda: _new_pm())

    @classmethod
    def load(cls, only: Collection[str] | None = None) -> Plugins:
        """Load every installed plugin, or only those named; a broken one is noted in `found` and breaks no other.

        A name that two plugins register raises DuplicateNameError; a name in `only` that is not installed raises
        UnknownNameError.
        """
        entries = sorted(metadata.entry_points(group=GROUP), key=lambda entry: entry.name)
        if only is not None:
            if missing := sorted(set(only) - {entry.name for entry in entries}):
                raise UnknownNameError(f"no plugin is called {missing[0]!r}: is its distribution installed?")
            entries = [entry for entry in entries if entry.name in only]
        plugins = cls()
        disabled = {name.strip() for name in os.environ.get("REWARDKIT_DISABLE_PLUGINS", "").split(",")}
        for entry in entries:
            plugins._load_entry(entry, disabled=entry.name in disabled)
        return plugins

    def add(self, plugin: Any, *, name: str, distribution: str = "", version: str = "") -> None:
        """Register a plugin module or object; raises PluginError when it breaks the hook contract."""
        specs = [
            (attribute, replace(spec, owner=distribution or name, version=spec.version or version))
            for hook, attribute, kind in _KINDS
            for spec in _specs_of(plugin, name=name, hook=hook, kind=kind)
        ]
        try:
            self._pm.register(plugin, name=name)
            self._pm.check_pending()
        except (pluggy.PluginValidationError, ValueError) as error:
            if self._pm.get_plugin(name) is plugin:
                self._pm.unregister(name=name)
            raise PluginError(f"plugin {name!r}: {error}") from error
        for attribute, spec in specs:
            getattr(self, attribute).add(spec)

    def scored(self, trajectory: Trajectory, result: RewardResult) -> None:
        """Tell all observers of one scored trajectory; one that raises gives a warning and stops nothing else."""
        observers = [hook.plugin for hook in self._pm.hook.rewardkit_scored.get_hookimpls()]
        for observer in observers:
            others = [other for other in observers if other is not observer]
            try:
                self._pm.subset_hook_caller("rewardkit_scored", others)(trajectory=trajectory, result=result)
            except Exception as error:  # noqa: BLE001  an observer only looks on: no score may depend on it
                text = f"the observer of plugin {self._pm.get_name(observer)!r} failed: {type(error).__name__}: {error}"
                warnings.warn(text, RuntimeWarning, stacklevel=2)

    @property
    def has_observers(self) -> bool:
        """Whether any plugin observes scored trajectories."""
        return bool(self._pm.hook.rewardkit_scored.get_hookimpls())

    def _load_entry(self, entry: metadata.EntryPoint, *, disabled: bool) -> None:
        distribution = entry.dist.name if entry.dist else ""
        version = entry.dist.version if entry.dist else ""
        plugin = Plugin(name=entry.name, module=entry.value, distribution=distribution, version=version)
        if disabled:
            self.found.append(replace(plugin, problem="disabled by REWARDKIT_DISABLE_PLUGINS"))
            return
        try:
            module = entry.load()
            self.add(module, name=entry.name, distribution=distribution, version=version)
        except DuplicateNameError as error:
            raise DuplicateNameError(f"{error}={entry.name}") from None
        except (Exception, SystemExit) as error:  # noqa: BLE001  an isolation point: importing a plugin runs its code
            self.found.append(replace(plugin, problem=f"{type(error).__name__}: {error}"))
            return
        hooks = tuple(name for name in vars(hookspecs) if name.startswith("rewardkit_") and hasattr(module, name))
        self.found.append(replace(plugin, hooks=hooks))


class _PluginManager(pluggy.PluginManager):
    """Takes every function called `rewardkit_*` for a hook, marked or not, so that no misspelt one goes unnoticed."""

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        marked = super().parse_hookimpl_opts(plugin, name)
        if marked is None and name.startswith("rewardkit_") and inspect.isroutine(getattr(plugin, name, None)):
            return {}
        return marked


def _new_pm() -> pluggy.PluginManager:
    pm = _PluginManager("rewardkit")
    pm.add_hookspecs(hookspecs)
    if os.environ.get("REWARDKIT_TRACE"):
        pm.trace.root.setwriter(lambda text: print(text, end="", file=sys.stderr))
        pm.enable_tracing()
    return pm


def _specs_of(plugin: Any, *, name: str, hook: str, kind: type[Any]) -> list[Any]:
    """Return what a plugin registers through one hook, checked; a plugin need not implement it."""
    implementation = getattr(plugin, hook, None)
    specs = [] if implementation is None else list(implementation())
    for spec in specs:
        if not isinstance(spec, kind):
            raise PluginError(f"plugin {name!r}: {hook} must return {kind.__name__}s, not {type(spec).__name__}")
        if not isinstance(spec.name, str) or not _NAME.fullmatch(spec.name):
            raise PluginError(f"plugin {name!r}: {spec.name!r} is no name: use letters, digits and _ - . /")
    return specs
