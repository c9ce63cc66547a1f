"""OpenRLHF's words for rewards and environments: `reward_func`, and `agent_classes` for an agent file.

OpenRLHF loads files, not modules, so a file of two lines names these. It has no way to leave a sample out; what a
missing reward becomes is the setting `missing`, as for `verl`: "raise" (the default), "nan", or a number. A NaN is for
runs with `--algo.dynamic_filtering_enable` alone: there the samples of that prompt are dropped and replaced.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import re
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from rewardkit.errors import ConfigError, RewardError
from rewardkit.protocols import Executor
from rewardkit.scorer import DEFAULT_TIMEOUT
from rewardkit.trainers.episodes import Player, Stage, pay
from rewardkit.trainers.recipe import Recipe, settings_from, shared_recipe
from rewardkit.trainers.scoring import MISSING, flat_scores, log, number_for, read_missing, score
from rewardkit.types import Failure, RewardResult

_ENDING = re.compile(r"(?:<\|[^<>|]{1,40}\|>|</s>|<eos>|<pad>|<end_of_turn>)$")
_TASK_KEYS = frozenset({"references", "reference", "answer", "ground_truth", "solution", "metadata", "task_id", "seed"})


def reward_func(
    queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any], **settings: Any
) -> dict[str, Any]:
    """Score attempts for `--reward.remote_url FILE.py`: tensors `rewards`, `scores` and, by name, `extra_logs`.

    A query is the prompt with the answer behind it; the label is the reference, or JSON with the columns that
    `rewardkit score` reads. Settings come from the environment variables `REWARDKIT_REWARDS`, `REWARDKIT_EXECUTOR`,
    `REWARDKIT_WORKERS` (default 2), `REWARDKIT_TIMEOUT` and `REWARDKIT_MISSING`, or as arguments.

    Where there is no total, RewardError is raised by default. OpenRLHF logs that at INFO, leaves the reward None, and
    stops at the next step; the reason is logged here as an error. Raises ConfigError for settings that cannot be right.
    """
    recipe, missing = _recipe(settings)
    rows = [_record(*row) for row in zip(queries, prompts, labels, strict=True)]
    scored = score(recipe, rows)
    rewards = [_number(item, missing) for item in scored]
    logs = [flat_scores(recipe, item) for item in scored]
    tensor = importlib.import_module("torch").tensor
    keys = logs[0] if logs else ()
    return {
        "rewards": tensor(rewards),
        "scores": tensor(rewards),
        "extra_logs": {key: tensor([item[key] for item in logs]) for key in keys},
    }


def agent_classes(
    env_id: str,
    *,
    feedback: str = "\n\n{observation}\n\n",
    missing: str | float = "raise",
    executor: str | Executor = "process",
    workers: int | None = 2,
    timeout: float | None = DEFAULT_TIMEOUT,
    **options: Any,
) -> tuple[type, type]:
    """Return `AgentInstance` and `AgentExecutor` for `--train.agent_func_path FILE.py`.

    An episode of the environment `env_id` (`options` go to it) for each sample; the label says which: JSON with
    `task_id`, `seed` or the task's columns, or else the reference for the prompt. `feedback` is the text between two
    turns of the model, in the words of its chat template. The rewards are scored when an episode ends, also when its
    tokens run out. A missing reward becomes what `missing` says; RewardError ends the training.
    """
    stage = Stage(env_id=env_id, options=options, executor=executor, workers=workers, timeout=timeout)
    missing = read_missing(missing)
    base = importlib.import_module("openrlhf.utils.agent")
    tensor = importlib.import_module("torch").tensor
    playing: ContextVar[list[Player]] = ContextVar("playing")

    class AgentInstance(base.AgentInstanceBase):  # type: ignore[misc,name-defined]
        """One episode."""

        def __init__(self, *_: Any, **__: Any) -> None:
            self.player = Player(stage)
            playing.set([self.player])

        async def reset(self, states: dict[str, Any], **_: Any) -> dict[str, Any]:
            """Begin the episode; the prompt is what the model sees."""
            row = _columns(states["label"], states["observation"])
            await asyncio.to_thread(self.player.start, row)
            return {"observation": states["observation"]}

        async def step(self, states: dict[str, Any], **_: Any) -> dict[str, Any]:
            """Take what the model said as an action."""
            observation = await asyncio.to_thread(self.player.act, _spoken(states["action_text"]))
            over = self.player.over
            earned, logs = await _earned(self.player, missing) if over else (0.0, {MISSING: 0.0})
            return {
                "rewards": tensor(earned),
                "scores": tensor(earned),
                "environment_feedback": "" if over else feedback.replace("{observation}", observation),
                "done": over,
                "sampling_params": states.get("sampling_params"),
                "extra_logs": {key: tensor(number) for key, number in logs.items()},
            }

    class AgentExecutor(base.MultiTurnAgentExecutor):  # type: ignore[misc,name-defined]
        """Plays the episodes; one whose tokens ran out is scored as it stands, where OpenRLHF would pay 0."""

        def __init__(self) -> None:
            super().__init__(AgentInstance)

        async def execute(self, *args: Any, **named: Any) -> Any:
            """Return OpenRLHF's response for one sample."""
            response = await super().execute(*args, **named)
            (player,) = playing.get()
            await asyncio.to_thread(player.finish)
            if player.due:
                earned, logs = await _earned(player, missing)
                response.update(reward=earned, scores=earned, extra_logs=logs)
            player.close()
            return response

    return AgentInstance, AgentExecutor


async def _earned(player: Player, missing: str | float) -> tuple[float, dict[str, float]]:
    """Return what the episode earned, and what to log."""
    (earned,) = await asyncio.to_thread(pay, [player])
    if earned is None and missing == "raise":
        raise RewardError("there is no reward for an episode (the log says why): mend that, or choose missing=...")
    number = float(missing) if earned is None else earned
    return number, {MISSING: float(earned is None)}


def _recipe(settings: Mapping[str, Any]) -> tuple[Recipe, str | float]:
    found = settings_from(settings)
    missing = read_missing(found.pop("missing", "raise"))
    recipe = shared_recipe({"workers": 2, **found})
    if recipe.scorer.needs_groups:
        raise ConfigError("OpenRLHF scores one attempt at a time: leave out rewards that compare attempts")
    return recipe, missing


def _record(query: str, prompt: str, label: Any) -> dict[str, Any] | Failure:
    """Return the attempt: what stands behind the prompt, without the tokens that end a turn."""
    _, found, answer = query.partition(prompt)
    if prompt and not found:
        return Failure(reward="", kind="input", message="the query does not hold the prompt: was it cut to fit?")
    return {**_columns(label, prompt), "completion": _spoken(answer if prompt else query)}


def _spoken(text: str) -> str:
    """Return the text without the special tokens that it ends with, which OpenRLHF leaves in."""
    while ending := _ENDING.search(text.rstrip()[-44:]):
        text = text.rstrip()[: -len(ending[0])]
    return text


def _columns(label: Any, prompt: str) -> dict[str, Any]:
    """Return the columns that a label holds, with the prompt as the model saw it."""
    columns = label
    if isinstance(label, str) and label.lstrip().startswith("{"):
        try:
            columns = json.loads(label)
        except json.JSONDecodeError:
            columns = None
    if isinstance(columns, Mapping) and not _TASK_KEYS.isdisjoint(columns):
        return {**columns, "prompt": prompt}
    return {"prompt": prompt, "references": label}


def _number(scored: RewardResult, missing: str | float) -> float:
    try:
        return number_for(scored, missing)
    except RewardError as error:
        log.error("OpenRLHF goes on without a reward and then stops: %s", error)
        raise
