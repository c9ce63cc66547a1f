"""`rewardkit/Agent-v0`: an agent with tools in a world whose goal is checked, not claimed.

What the world is, is in `worlds`; how an agent's text becomes a call, in `calls`; who judges, in the reward
`goal_state`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from rewardkit.errors import ConfigError
from rewardkit.protocols import Sandbox
from rewardkit.types import Message, Task
from rewardkit_envs.calls import Call, Malformed, parse_call
from rewardkit_envs.env import TextEnv, Turn
from rewardkit_envs.langchain import answer_of, described
from rewardkit_envs.tasks import TaskSource
from rewardkit_envs.worlds import open_world
from rewardkit_envs.worlds.world import Reply, Tool, World, fit

FINISH = Tool(
    name="finish",
    description="End the episode, with the answer if the task asks for one.",
    parameters={
        "type": "object",
        "properties": {"answer": {"type": "string", "description": "the answer"}},
        "required": [],
    },
)
_HOW = """Make one call at a time, with nothing behind it, either as

Action: NAME
Action Input: {"ARGUMENT": "VALUE"}

or as {"name": "NAME", "arguments": {"ARGUMENT": "VALUE"}}. A line "Final Answer: ..." is a call of finish."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What an episode remembers: the world's memory, and the answer that the agent finished with."""

    memory: Any
    answer: str | None = None


class AgentEnv(TextEnv):
    """An episode in a world, by calls of its tools.

    `world` is "shell", "database", "outside:..." (see `worlds.open_world`), made with `world_options` and `sandbox`, or
    a `World`, which the caller then closes. `tools` are LangChain tools beside those of the world; what they change
    elsewhere is no part of the episode. An action makes one call, or is answered with what is wrong with it; `finish`
    ends the episode, and so does the world itself. Without `instructions` the first observation says nothing of tools
    and calls, for policies that are told of `tool_schemas` by other means.

    The last step's metadata holds `final_state`: what the world has become. The default reward `goal_state` judges
    that; in a world that pays for each step the default is what it pays.
    """

    def __init__(
        self,
        *,
        world: str | World = "shell",
        world_options: Mapping[str, Any] | None = None,
        sandbox: str | Sandbox = "auto",
        tools: Sequence[Any] = (),
        instructions: bool = True,
        tasks: Any = None,
        reward: Any = "default",
        max_turns: int = 20,
        render_mode: str | None = None,
        defer_reward: bool = False,
    ) -> None:
        self.world = open_world(world, sandbox=sandbox, **(world_options or {})) if isinstance(world, str) else world
        self._closes = isinstance(world, str)
        self.instructions = instructions
        self.tools = _by_name((*self.world.tools, *map(described, tools), FINISH))
        self._others = {tool.name: tool for tool in tools}
        if isinstance(reward, str) and reward == "default":
            reward = None if self.world.pays else "goal_state"
        super().__init__(
            tasks=tasks, reward=reward, max_turns=max_turns, render_mode=render_mode, defer_reward=defer_reward
        )

    @property
    def tool_schemas(self) -> list[dict[str, Any]]:
        """The tools as chat models are told of them, in OpenAI's shape."""
        return [tool.schema for tool in self.tools.values()]

    def default_tasks(self) -> TaskSource:
        """Return the world's own tasks."""
        return self.world.tasks()

    def begin(self, task: Task) -> str | tuple[Message, ...]:
        """Start the world, and tell of the tools."""
        memory, first = self.world.start(task)
        self.episode.memory = Scene(memory=memory)
        lines = "\n".join(tool.line for tool in self.tools.values())
        told = f"The tools are:\n{lines}\n\n{_HOW}" if self.instructions else ""
        return "\n\n".join(text for text in (told, first) if text)

    def act(self, action: str) -> Turn:
        """Make the call that `action` is, or say why it is none."""
        call = self._call_of(action)
        scene: Scene = self.episode.memory
        made: dict[str, Any] = {"malformed": True} if isinstance(call, Malformed) else {"call": call[0]}
        if isinstance(call, Malformed):
            reply = Reply(text=call.reason, memory=scene.memory)
        elif call[0] == FINISH.name:
            scene = replace(scene, answer=call[1].get("answer", ""))
            reply = Reply(text="", memory=scene.memory, over=True)
        else:
            reply = self._reply(scene.memory, *call)
        self.episode.memory = replace(scene, memory=reply.memory)
        return Turn(observation=reply.text, terminated=reply.over, reward=reply.reward, metadata=made)

    def evidence(self) -> dict[str, Any]:
        """Return what the world has become, and the answer."""
        scene: Scene = self.episode.memory
        return {"final_state": {**self.world.evidence(self.episode.task, scene.memory), "answer": scene.answer}}

    def gold(self) -> str:
        """Return the call that the world knows, or else the next one of the task's own plan that was not made yet."""
        task = self.episode.task
        if (call := self.world.gold(task, self.episode.memory.memory)) is not None:
            return text_of(call)
        if (left := self._plan()) is None:
            raise ConfigError(f"task {task.id!r} has no gold plan, and its world knows none")
        for step in self.episode.steps:
            if left and step.action.content == left[0]:
                del left[0]
        return left[0] if left else text_of(Call(name=FINISH.name, arguments={}))

    def slip(self, random: np.random.Generator) -> str:
        """Return a call that a careless agent might make now, for the policy `noisy`.

        It ends the episode, spoils the arguments of the right call, or is another step of the plan or of the past.
        """
        kind = random.integers(4)
        others = [*(self._plan() or []), *(step.action.content for step in self.episode.steps)]
        if kind == 0:
            return text_of(Call(name=FINISH.name, arguments={"answer": "done"}))
        if kind == 1 or not others:
            right = json.loads(self.gold())
            halves = {k: v[: len(v) // 2] if isinstance(v, str) else v for k, v in right["arguments"].items()}
            return text_of(Call(name=right["name"], arguments=halves))
        return others[int(random.integers(len(others)))]

    def twin(self) -> Self:
        """Return another environment with a world of its own: a live game is at one place at a time."""
        twin = super().twin()
        twin.world, twin._closes = copy.deepcopy(self.world), True
        return twin

    def close(self) -> None:
        """Close the rewards, and the world unless it was given."""
        if self._closes:
            self.world.close()
        super().close()

    def _plan(self) -> list[str] | None:
        """Return the steps of the task's own plan, as actions, if it has one."""
        plan = self.episode.task.metadata.get("gold")
        return plan and [text_of(Call(name=step["name"], arguments=step["arguments"])) for step in plan]

    def _call_of(self, action: str) -> tuple[str, dict[str, Any]] | Malformed:
        """Return the name and the arguments of the call that `action` makes."""
        call = parse_call(action, self.tools, final=FINISH.name)
        if call is None:
            return Malformed("There is no call in this text. " + _HOW.partition("\n\n")[0].replace(", either as", "."))
        if isinstance(call, Malformed):
            return call
        arguments = fit(call, self.tools[call.name])
        if isinstance(arguments, Malformed):
            return arguments
        if problem := _json_problem(arguments):
            return Malformed(problem)
        return call.name, arguments

    def _reply(self, memory: Any, name: str, arguments: Mapping[str, Any]) -> Reply:
        if name not in self._others:
            return self.world.call(self.episode.task, memory, name, arguments)
        text, _ = answer_of(self._others[name], arguments)
        return Reply(text=text, memory=memory)


def text_of(call: Call) -> str:
    """Return a call as the text of an action."""
    return json.dumps({"name": call.name, "arguments": call.arguments}, ensure_ascii=False)


def _by_name(tools: Sequence[Tool]) -> dict[str, Tool]:
    named = {tool.name: tool for tool in tools}
    if len(named) != len(tools):
        twice = next(tool.name for tool in tools if sum(other.name == tool.name for other in tools) > 1)
        raise ConfigError(f"two tools are called {twice!r}: rename or leave out one of them")
    return named


def _json_problem(arguments: Mapping[str, Any]) -> str:
    """Return why arguments that were read from JSON cannot be written as JSON again, or ""."""
    try:
        json.dumps(arguments, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        return "The arguments hold half of a surrogate pair, which no text may."
    except ValueError:
        return "The arguments hold a number that is too large."
    return ""
