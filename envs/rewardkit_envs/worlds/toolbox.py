"""A world made of LangChain tools that share a memory: each call works on a copy, which is kept if it ends well.

For tools with a state outside of that memory (a browser, a server), use them beside a world instead
(`AgentEnv(tools=...)`): what they change is not part of the episode.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rewardkit.errors import ConfigError
from rewardkit.types import Task
from rewardkit_envs.calls import Call
from rewardkit_envs.langchain import answer_of, described
from rewardkit_envs.tasks import TaskSource
from rewardkit_envs.worlds.world import Reply, Tool


class ToolWorld:
    """A world over any set of LangChain tools.

    `make(memory)` returns the tools; what they read and change is `memory`, a dictionary of JSON values, which begins
    as a copy of `memory` in the task's metadata. The goal is `{"memory": {...}}` in the task's metadata (the keys that
    it names must end so), or `check(task, memory)`, which returns the reward in [0, 1].
    """

    pays = False

    def __init__(
        self,
        make: Callable[[dict[str, Any]], Sequence[Any]],
        *,
        check: Callable[[Task, Mapping[str, Any]], float] | None = None,
    ) -> None:
        self._make = make
        self._check = check
        self.tools: tuple[Tool, ...] = tuple(described(tool) for tool in make({}))

    def tasks(self) -> TaskSource:
        """Raise ConfigError: tools alone are no task."""
        raise ConfigError("a ToolWorld needs tasks=...: a file or a list of tasks")

    def start(self, task: Task) -> tuple[dict[str, Any], str]:
        """Return a copy of the task's memory."""
        memory = task.metadata.get("memory", {})
        if not isinstance(memory, dict):
            raise ConfigError(f"task {task.id!r}: memory must be an object, not {type(memory).__name__}")
        return copy.deepcopy(memory), ""

    def call(self, task: Task, memory: Any, name: str, arguments: Mapping[str, Any]) -> Reply:  # noqa: ARG002
        """Call a tool on a copy of the memory, and keep that if the tool ends well."""
        changed = copy.deepcopy(memory)
        tool = next(tool for tool in self._make(changed) if tool.name == name)
        text, well = answer_of(tool, arguments)
        return Reply(text=text, memory=changed if well else memory)

    def evidence(self, task: Task, memory: Any) -> Mapping[str, Any]:
        """Return the memory, and the verdict of `check`."""
        verdict = {} if self._check is None else {"value": float(self._check(task, copy.deepcopy(memory)))}
        return {"memory": copy.deepcopy(memory), **verdict}

    def gold(self, task: Task, memory: Any) -> Call | None:  # noqa: ARG002  the task's own plan it is
        """Return None."""
        return None

    def close(self) -> None:
        """Do nothing."""
