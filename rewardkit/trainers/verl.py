"""verl's word for rewards: `compute_score`, for `reward.custom_reward_function`.

    reward.custom_reward_function.path=pkg://rewardkit.trainers.verl
    +reward.custom_reward_function.reward_kwargs.rewards='[math,"0.1*length:maximum=400"]'

What comes back has the same keys for every sample, whatever failed, because verl stacks them. verl gives one attempt
at a time, so rewards that compare attempts are refused. It has no way to leave a sample out: see `compute_score` for
what a missing reward becomes, and `verl_grpo` for an estimator that leaves it out. Not covered: verl's agent loops.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewardkit.errors import ConfigError
from rewardkit.registry import did_you_mean
from rewardkit.trainers.recipe import SETTINGS, Recipe, settings_from, shared_recipe
from rewardkit.trainers.scoring import flat_scores, number_for, read_missing, score, score_async
from rewardkit.types import RewardResult


def compute_score(
    data_source: str, solution_str: str, ground_truth: Any, extra_info: Mapping[str, Any] | None = None, **settings: Any
) -> dict[str, float]:
    """Score one attempt: `score`, `reward_missing`, and `rewards/NAME` for every reward (NaN where it has no value).

    `ground_truth` is the reference; what is in `extra_info` reaches the rewards as the task's metadata, and its
    `prompt` or `question` as the prompt. `settings` are `reward_kwargs`: `rewards` (a spec, a list, a mapping, or the
    path of a rewards.toml), `executor`, `workers` (1 for each of verl's `reward.num_workers`), `timeout`, `missing`;
    the environment variables `REWARDKIT_REWARDS` and so on stand in for them.

    Where there is no total, `missing="raise"` (the default) raises RewardError, which ends the training; "nan" gives
    NaN, which is for the estimator of `verl_grpo` alone; a number gives that number. Raises ConfigError for settings
    that cannot be right.
    """
    recipe, missing = _recipe(settings)
    return _scored(recipe, score(recipe, [_record(data_source, solution_str, ground_truth, extra_info)]), missing)


async def compute_score_async(
    data_source: str, solution_str: str, ground_truth: Any, extra_info: Mapping[str, Any] | None = None, **settings: Any
) -> dict[str, float]:
    """Do as `compute_score` does, without a thread for each attempt: `reward.custom_reward_function.name` picks it."""
    recipe, missing = _recipe(settings)
    record = _record(data_source, solution_str, ground_truth, extra_info)
    return _scored(recipe, await score_async(recipe, [record]), missing)


def _recipe(settings: Mapping[str, Any]) -> tuple[Recipe, str | float]:
    for key in settings:  # verl adds words of its own, such as reward_router_address
        if key not in SETTINGS and (hint := did_you_mean(key, list(SETTINGS))):
            raise ConfigError(f"reward_kwargs has no setting {key!r}{hint}")
    found = settings_from(settings)
    missing = read_missing(found.pop("missing", "raise"))
    recipe = shared_recipe({"workers": 1, **found})
    if recipe.scorer.needs_groups:
        names = [term.name for term in recipe.scorer.terms if "group" in term.spec.needs]
        raise ConfigError(f"verl scores one attempt at a time, but reward {names[0]!r} compares attempts: leave it out")
    return recipe, missing


def _record(data_source: str, solution: str, ground_truth: Any, extra_info: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the attempt as `rewardkit score` reads it; `references` comes before an `answer` in `extra_info`."""
    extra = dict(extra_info or {})
    prompt = next((extra[key] for key in ("prompt", "question") if extra.get(key) is not None), "")
    given = {"prompt": prompt, "completion": solution, "references": ground_truth, "data_source": data_source}
    return {**extra, **given}


def _scored(recipe: Recipe, scored: list[RewardResult], missing: str | float) -> dict[str, float]:
    return {"score": number_for(scored[0], missing), **flat_scores(recipe, scored[0])}
