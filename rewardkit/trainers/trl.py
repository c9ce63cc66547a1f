"""TRL's words for rewards and environments: `reward_funcs`, `environment_factory`, `rollout_func`, and a spec of them.

TRL masks a sample for which every reward function returns None: that is what a missing total becomes. Speaks to
`GRPOTrainer` (trl/trainer/grpo_trainer.py, `_calculate_rewards`) and to the asynchronous one of TRL 1.16, which pickles
the functions. Environments are `trl_environments` and `trl_rollouts`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rewardkit.errors import ConfigError
from rewardkit.protocols import Executor
from rewardkit.scorer import DEFAULT_TIMEOUT
from rewardkit.terms import Term
from rewardkit.trainers.recipe import Recipe
from rewardkit.trainers.scoring import MISSING, score, score_async, value_of, why_missing
from rewardkit.trainers.trl_environments import (
    EnvironmentFactory,
    Spec,
    environment_factory,
    episode_reward,
    rollout_func,
)
from rewardkit.trainers.trl_rollouts import RolloutFunc
from rewardkit.types import RewardResult

__all__ = [
    "AsyncRewardFunc",
    "EnvironmentFactory",
    "RewardFunc",
    "RolloutFunc",
    "Spec",
    "TermFunc",
    "environment_factory",
    "episode_reward",
    "reward_func",
    "reward_funcs",
    "rollout_func",
]

_NOT_COLUMNS = frozenset({"completion_ids", "trainer_state", "log_extra", "log_metric", "environments"})
LogExtra = Callable[[str, list[Any]], None]
LogMetric = Callable[[str, float], None]


class RewardFunc:
    """A reward function for TRL that returns the total of one or more rewards; None masks the sample.

    Every column of the dataset reaches the rewards as it does in `rewardkit score`: `answer` and its like are the
    references, the others the task's metadata. What each reward paid is logged beside the total. It pickles as a
    recipe; every training process has its own workers.
    """

    def __init__(self, recipe: Recipe, name: str) -> None:
        self.recipe = recipe
        self.__name__ = name

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Any = None,  # noqa: ARG002  TRL gives it by name
        *,
        log_extra: LogExtra | None = None,
        log_metric: LogMetric | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """Return one number for each completion, in order, or None where there is none."""
        scored = score(self.recipe, records(prompts, completions, columns))
        _log(scored, self.recipe, self.__name__, log_extra, log_metric)
        return [item.total for item in scored]

    def close(self) -> None:
        """Stop the workers; the next call starts others."""
        self.recipe.close()


class AsyncRewardFunc(RewardFunc):
    """The same as a coroutine, which TRL runs beside other asynchronous ones (1.16 takes such an object, 1.10 not)."""

    async def __call__(  # type: ignore[override]
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Any = None,  # noqa: ARG002
        *,
        log_extra: LogExtra | None = None,
        log_metric: LogMetric | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """Return one number for each completion, in order, or None where there is none."""
        scored = await score_async(self.recipe, records(prompts, completions, columns))
        _log(scored, self.recipe, self.__name__, log_extra, log_metric)
        return [item.total for item in scored]


def reward_func(
    rewards: Any,
    *,
    name: str = "rewardkit",
    executor: str | Executor = "process",
    workers: int | None = None,
    timeout: float | None = DEFAULT_TIMEOUT,
    asynchronous: bool = False,
) -> RewardFunc:
    """Return one function for `GRPOTrainer(reward_funcs=...)` that pays the total of `rewards`.

    `rewards` is a spec, a list of specs, what else `Scorer` takes, or the path of a rewards.toml. The rewards run in
    `workers` supervised processes (default: one a core) with a limit of `timeout` seconds each, so that none can hang
    the training; `executor` may be "serial" for cheap rules. `name` is what TRL logs it under. Raises ConfigError and
    its like when a reward cannot be built.
    """
    kind = AsyncRewardFunc if asynchronous else RewardFunc
    recipe = Recipe(rewards=rewards, executor=executor, workers=workers, timeout=timeout)
    _ = recipe.scorer  # what cannot be built is said here, not in the middle of training
    return kind(recipe, name)


class TermFunc:
    """One of several reward functions that share one scoring: it pays what one reward gives, TRL adds them up.

    None where the total is missing, for every one of the functions, so that TRL masks the sample; and where the reward
    does not count (it abstained, or a gate is closed), which TRL leaves out of the sum as `rewardkit score` does.
    `weight` belongs into `GRPOConfig(reward_weights=[f.weight for f in functions])`.
    """

    def __init__(self, batch: _SharedBatch, index: int) -> None:
        term = batch.recipe.scorer.terms[index]
        self.__name__ = term.name
        self.weight = term.weight
        self._batch = batch
        self._index = index

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Any = None,  # noqa: ARG002
        **columns: Any,
    ) -> list[float | None]:
        """Return the reward's value for each completion, in order, or None where it does not count."""
        scored = self._batch.score(prompts, completions, columns)
        return [counted(self._batch.recipe.scorer.terms, self._index, item) for item in scored]

    def close(self) -> None:
        """Stop the workers, which all of the functions share; the next call starts others."""
        self._batch.recipe.close()


def reward_funcs(
    rewards: Any,
    *,
    executor: str | Executor = "process",
    workers: int | None = None,
    timeout: float | None = DEFAULT_TIMEOUT,
) -> list[TermFunc]:
    """Return one function for each of `rewards`, so that TRL logs and weighs them one by one; see `reward_func`.

    They score a batch once, together. Give TRL their weights: it knows none of those in the specs.
    """
    recipe = Recipe(rewards=rewards, executor=executor, workers=workers, timeout=timeout)
    batch = _SharedBatch(recipe)
    return [TermFunc(batch, index) for index in range(len(recipe.scorer.terms))]


def counted(terms: Sequence[Term], index: int, scored: RewardResult) -> float | None:
    """Return what the reward at `index` adds to the total before its weight; None when it is left out."""
    values = [value_of(scored, term.name) for term in terms]
    closed = any(
        term.gate is not None and value is not None and value <= term.gate
        for term, value in zip(terms, values, strict=True)
    )
    left_out = scored.total is None or (closed and terms[index].gate is None)
    return None if left_out else values[index]


def records(prompts: Sequence[Any], completions: Sequence[Any], columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what TRL hands over by columns as one record for each completion; raises ConfigError for odd lengths."""
    used = {key: values for key, values in columns.items() if key not in _NOT_COLUMNS and isinstance(values, list)}
    for key, values in [("completions", completions), *used.items()]:
        if len(values) != len(prompts):
            raise ConfigError(f"{key!r} has {len(values)} values for {len(prompts)} prompts: give one for each")
    return [
        {**{key: values[i] for key, values in used.items()}, "prompt": prompts[i], "completion": completions[i]}
        for i in range(len(prompts))
    ]


class _SharedBatch:
    """The batch that was scored last. TRL calls one function after the other with the same lists."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self._lock = threading.Lock()
        self._last: tuple[Any, Any, list[RewardResult]] | None = None

    def score(
        self, prompts: Sequence[Any], completions: Sequence[Any], columns: Mapping[str, Any]
    ) -> list[RewardResult]:
        """Score a batch, or return what is known when these very lists were scored last."""
        with self._lock:
            if self._last is None or self._last[0] is not prompts or self._last[1] is not completions:
                scored = score(self.recipe, records(prompts, completions, columns))
                _log(scored, self.recipe, "rewardkit", columns.get("log_extra"), columns.get("log_metric"))
                self._last = (prompts, completions, scored)
            return self._last[2]

    def __getstate__(self) -> dict[str, Any]:
        return {"recipe": self.recipe}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["recipe"])  # type: ignore[misc]


def _log(
    scored: Sequence[RewardResult],
    recipe: Recipe,
    prefix: str,
    log_extra: LogExtra | None,
    log_metric: LogMetric | None,
) -> None:
    """Log means of values and parts as metrics, and the values of each sample as columns of TRL's table."""
    names = [term.name for term in recipe.scorer.terms]
    if log_metric is not None:
        for key, numbers in _numbers(scored).items():
            log_metric(f"{prefix}/{key}", sum(numbers) / len(numbers))
        log_metric(f"{prefix}/{MISSING}", sum(item.total is None for item in scored) / max(len(scored), 1))
    if log_extra is not None:
        for name in names:
            log_extra(name, [value_of(item, name) for item in scored])
        log_extra(MISSING, [why_missing(item) if item.total is None else "" for item in scored])


def _numbers(scored: Sequence[RewardResult]) -> dict[str, list[float]]:
    """Return the values of each reward and part, over the samples that have one."""
    numbers: dict[str, list[float]] = {}
    for item in scored:
        for name, given in item.scores.items():
            if given.value is not None:
                numbers.setdefault(name, []).append(given.value)
            for part, number in given.parts.items():
                numbers.setdefault(f"{name}/{part}", []).append(number)
    return numbers
