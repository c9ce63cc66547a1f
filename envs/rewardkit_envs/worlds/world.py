"""What a world is: tools that change a memory, and evidence of what it has become. Values and one protocol.

The environment around a world (calls, turns, rewards) is `agent`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from rewardkit.errors import ConfigError
from rewardkit.types import Task
from rewardkit_envs.calls import Call, Malformed
from rewardkit_envs.tasks import TaskSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool as the agent sees it; `parameters` is the JSON schema of its arguments (an object)."""

    name: str
    description: str
    parameters: Mapping[str, Any] = field(default_factory=lambda: takes())

    @property
    def schema(self) -> dict[str, Any]:
        """The tool as chat models are told of it, in OpenAI's shape."""
        function = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": function}

    @property
    def line(self) -> str:
        """The tool as a line of text."""
        properties = self.parameters.get("properties", {})
        listed = ", ".join(f"{name}: {kind.get('type', 'any')}" for name, kind in properties.items())
        return f"- {self.name}({listed}): {self.description}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a call led to: the text that the agent is shown, and the memory after it.

    `reward` is what the world itself pays for the step, if it does; `over` ends the episode.
    """

    text: str
    memory: Any
    reward: float | None = None
    over: bool = False


@runtime_checkable
class World(Protocol):
    """A place with a goal that is checked, not claimed.

    `memory` is all that the world knows of an episode: values that can be copied and pickled, so that an episode can be
    left and come back to. What a policy can write must never raise; a sandbox that fails raises SandboxError.
    """

    @property
    def tools(self) -> tuple[Tool, ...]:
        """The tools that the agent has here."""
        ...

    @property
    def pays(self) -> bool:
        """Whether the world itself pays for steps; else `goal_state` pays at the end."""
        ...

    def tasks(self) -> TaskSource:
        """Return the tasks for callers that name none; raises ConfigError where there are none."""
        ...

    def start(self, task: Task) -> tuple[Any, str]:
        """Return the memory that an episode begins with, and what the agent sees beside the prompt.

        Raises ConfigError for a task that is not for this world.
        """
        ...

    def call(self, task: Task, memory: Any, name: str, arguments: Mapping[str, Any]) -> Reply:
        """Let a call of one of `tools` take effect; its arguments fit the tool's schema as `fit` sees it."""
        ...

    def evidence(self, task: Task, memory: Any) -> Mapping[str, Any]:
        """Return what the world has become: JSON values from which the goal is judged, now or from a file later."""
        ...

    def gold(self, task: Task, memory: Any) -> Call | None:
        """Return the call that a perfect agent might make now; None where the task's own plan is to be followed."""
        ...

    def close(self) -> None:
        """Free everything. Idempotent."""
        ...


def goal_of(task: Task) -> Mapping[str, Any]:
    """Return what the task asks for, which may be nothing; raises ConfigError where it is no object."""
    goal = task.metadata.get("goal", {})
    if not isinstance(goal, Mapping):
        raise ConfigError(f"task {task.id!r}: goal must be an object, not {type(goal).__name__}")
    return goal


_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


def takes(*required: str, **described: str) -> dict[str, Any]:
    """Return the JSON schema of a tool that takes texts: those `described`, of which some are `required`."""
    properties = {name: {"type": "string", "description": text} for name, text in described.items()}
    return {"type": "object", "properties": properties, "required": list(required or described)}


def fit(call: Call, tool: Tool) -> dict[str, Any] | Malformed:
    """Return the arguments of `call` by name, or why they do not fit the tool: names, and the types of JSON.

    Plain text is the argument of a tool that takes a single one.
    """
    properties: Mapping[str, Any] = tool.parameters.get("properties", {})
    required = tool.parameters.get("required", [])
    given = _by_name(call.arguments, properties, required)
    wanted = f"It takes {', '.join(properties) or 'none'}."
    if given is None:
        return Malformed(f"The arguments of {tool.name} must be a JSON object. {wanted}")
    for name in required:
        if name not in given:
            return Malformed(f"{tool.name} lacks the argument {name!r}. {wanted}")
    for name, value in given.items():
        if name not in properties:
            return Malformed(f"{tool.name} has no argument {name[:80]!r}. {wanted}")
        kind = properties[name].get("type")
        if kind in _TYPES and not _is_a(value, kind):
            return Malformed(f"The argument {name!r} of {tool.name} must be of type {kind}.")
    return given


def _by_name(arguments: Mapping[str, Any] | str, properties: Mapping[str, Any], required: Any) -> dict[str, Any] | None:
    if not isinstance(arguments, str):
        return dict(arguments)
    if not properties and not arguments.strip():
        return {}
    names = list(required) if len(required) == 1 else list(properties)
    if len(names) != 1 or properties[names[0]].get("type", "string") != "string":
        return None
    return {names[0]: arguments}


def _is_a(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _TYPES[kind])
