"""Environments for TRL: classes whose methods are tools, and a spec that holds all that TRL asks for.

Speaks to `GRPOTrainer(environment_factory=...)`, which TRL calls experimental. Rewards of completions are `trl`,
episodes without tool calls `trl_rollouts`.
"""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from rewardkit.errors import ConfigError
from rewardkit.protocols import Executor
from rewardkit.scorer import DEFAULT_TIMEOUT
from rewardkit.trainers.episodes import Player, Stage, pay, rows_of
from rewardkit.trainers.trl_rollouts import Generate, RolloutFunc

_TYPES = {"string": str, "integer": int, "number": float, "boolean": bool, "array": list, "object": dict}
_ACT = {
    "name": "act",
    "description": "Take an action and see what follows.",
    "parameters": {
        "type": "object",
        "properties": {"action": {"type": "string", "description": "The action, as the task asks for it."}},
        "required": ["action"],
    },
}


class EnvironmentFactory:
    """Makes environments for TRL, all of one class: `reset(**row)`, one method for each tool, and `get_reward()`.

    A tool's method sends its call to the environment as text, `{"name": ..., "arguments": {...}}`; the tool `act` sends
    its argument as it is. `get_reward` pays for the tools' work; it never sees the text that the model ends with. Where
    that text is the answer, leave it out (`get_reward=False`) and use `episode_reward`, as `Spec` does.
    """

    def __init__(self, stage: Stage, tools: Sequence[Mapping[str, Any]] | None, *, get_reward: bool) -> None:
        self.stage = stage
        self._tools = tools
        self.pays = get_reward
        self._made: type | None = None

    def __call__(self) -> Any:
        """Return a new environment."""
        if self._made is None:
            tools = _tools_of(Player(self.stage).env) if self._tools is None else self._tools
            self._made = _environment_class(self.stage, tools, get_reward=self.pays)
        return self._made()

    def close(self) -> None:
        """Stop the workers that score."""
        self.stage.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": None}


def environment_factory(
    env_id: str,
    *,
    tool_schemas: Sequence[Mapping[str, Any]] | None = None,
    get_reward: bool = True,
    executor: str | Executor = "process",
    workers: int | None = None,
    timeout: float | None = DEFAULT_TIMEOUT,
    **options: Any,
) -> EnvironmentFactory:
    """Return what `GRPOTrainer(environment_factory=...)` takes, around a Gymnasium environment over text.

    `tool_schemas` are OpenAI's, for functions; without them the environment's own are used, or the one tool `act`.
    `options` go to the environment. The other arguments say how its rewards are scored, as for `trl.reward_func`.
    """
    stage = Stage(env_id=env_id, options=options, executor=executor, workers=workers, timeout=timeout)
    return EnvironmentFactory(stage, tool_schemas, get_reward=get_reward)


def episode_reward(
    completions: Sequence[Any] | None = None,
    environments: Sequence[Any] | None = None,
    environment_reward: Sequence[float | None] | None = None,
    **_: Any,
) -> list[float | None]:
    """Pay for episodes: a reward function for TRL.

    The text that a completion ends with is the last action of an episode that still runs, unless its actions came
    through the tool `act`; then all are scored in one batch. What a rollout has scored already is passed on. None where
    a reward is missing, which masks the sample. Raises ConfigError when there are no episodes.
    """
    if environment_reward is not None:
        return list(environment_reward)
    if environments is None or completions is None:
        raise ConfigError("episode_reward pays for episodes: give the trainer environment_factory= or rollout_func=")
    for environment, completion in zip(environments, completions, strict=True):
        by_act = environment._player.acted and hasattr(environment, "act")
        environment._player.finish(None if by_act else _last_words(completion))
    return pay([environment._player for environment in environments])


class Spec:
    """All that TRL asks for an environment, in one object.

    `GRPOTrainer(train_dataset=spec.train_dataset, environment_factory=spec.environment_factory,
    reward_funcs=spec.reward_funcs)`. The dataset has one row for each task of the environment, or `count` rows that are
    drawn with the seeds from `seed` on. The other arguments are those of `environment_factory`.
    """

    def __init__(self, env_id: str, *, count: int | None = None, seed: int = 0, **options: Any) -> None:
        self.environment_factory = environment_factory(env_id, **{"get_reward": False, **options})
        self._count = count
        self._seed = seed

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of the dataset: `prompt` (messages) and `task_id`."""
        return rows_of(self.environment_factory.stage, count=self._count, seed=self._seed)

    @cached_property
    def train_dataset(self) -> Any:
        """The rows as a `datasets.Dataset`."""
        return importlib.import_module("datasets").Dataset.from_list(self.rows)

    @property
    def reward_funcs(self) -> list[Callable[..., list[float | None]]]:
        """The reward of the episodes; none where the environments have `get_reward`."""
        return [] if self.environment_factory.pays else [episode_reward]

    def rollout_func(self, **options: Any) -> RolloutFunc:
        """Return what `GRPOTrainer(rollout_func=...)` takes in place of `environment_factory`; see `RolloutFunc`."""
        return RolloutFunc(self.environment_factory.stage, self.rows, **options)

    def close(self) -> None:
        """Stop the workers that score."""
        self.environment_factory.close()


def rollout_func(
    env_id: str,
    *,
    count: int | None = None,
    seed: int = 0,
    generate: Generate | None = None,
    max_length: int | None = None,
    **options: Any,
) -> RolloutFunc:
    """Return what `GRPOTrainer(rollout_func=...)` takes, for the dataset of a `Spec` with the same arguments."""
    return Spec(env_id, count=count, seed=seed, **options).rollout_func(generate=generate, max_length=max_length)


def _environment_class(stage: Stage, tools: Sequence[Mapping[str, Any]], *, get_reward: bool) -> type:
    """Return a class of environments: TRL takes its plain methods for tools, so it has no others."""
    methods: dict[str, Any] = {"__init__": _init(stage), "reset": _reset, "__doc__": f"{stage.env_id} for TRL."}
    for tool in tools:
        schema = tool.get("function", tool)
        if schema["name"] in methods or not str(schema["name"]).isidentifier() or schema["name"].startswith("_"):
            raise ConfigError(f"a tool cannot be called {schema['name']!r}: choose a name that a method may have")
        methods[schema["name"]] = _tool_method(schema)
    if get_reward:
        methods["get_reward"] = _get_reward
    return type(stage.env_id.rpartition("/")[2].partition("-v")[0], (), methods)


def _init(stage: Stage) -> Callable[[Any], None]:
    def init(self: Any) -> None:
        self._player = Player(stage)

    return init


def _reset(self: Any, **row: Any) -> str | None:
    """Begin the episode of a row; return what the row's prompt does not show yet."""
    messages = self._player.start(row)
    prompt = row.get("prompt")
    shown = prompt if isinstance(prompt, str) else "".join(str(item.get("content") or "") for item in prompt or ())
    if not shown:
        return "\n\n".join(item["content"] for item in messages)
    added = messages[len(prompt) :] if isinstance(prompt, list) else messages[1:]
    return "".join("\n\n" + item["content"] for item in added) or None


def _get_reward(self: Any) -> float | None:
    """Return what the episode earned; None masks the sample."""
    self._player.finish()
    return pay([self._player])[0]


def _tool_method(schema: Mapping[str, Any]) -> Any:
    """Return a method with the type hints and the docstring from which chat templates describe a tool."""
    name, parameters = str(schema["name"]), schema.get("parameters") or {}
    properties: Mapping[str, Any] = parameters.get("properties", {})
    required = parameters.get("required", list(properties))

    def call(self: Any, **arguments: Any) -> str:
        given = {key: value for key, value in arguments.items() if value is not None}
        action = given.get("action", "") if schema is _ACT else json.dumps({"name": name, "arguments": given})
        return str(self._player.act(str(action)))

    hints = {key: _TYPES.get(str(kind.get("type")), str) for key, kind in properties.items()}
    ordered = sorted(hints, key=lambda key: key not in required)
    described = "".join(f"\n    {key}: {properties[key].get('description') or key}" for key in ordered)
    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"{schema.get('description') or name}\n\nArgs:{described}\n\nReturns:\n    What follows."
    call.__annotations__ = {**hints, "return": str}
    call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD),
            *(
                inspect.Parameter(
                    key,
                    inspect.Parameter.KEYWORD_ONLY,
                    annotation=hints[key],
                    default=inspect.Parameter.empty if key in required else None,
                )
                for key in ordered
            ),
        ],
        return_annotation=str,
    )
    return call


def _tools_of(env: Any) -> Sequence[Mapping[str, Any]]:
    """Return the schemas of the environment's tools, or that of `act` where it has none."""
    return getattr(env.unwrapped, "tool_schemas", None) or [_ACT]


def _last_words(completion: Any) -> str | None:
    """Return the text that a completion ends with; None where that is a tool call, or what a tool said."""
    if isinstance(completion, str):
        return completion
    last = completion[-1] if completion else {}
    if last.get("role") != "assistant" or last.get("tool_calls"):
        return None
    content = last.get("content") or ""
    return content if isinstance(content, str) else "".join(str(part.get("text", "")) for part in content)
