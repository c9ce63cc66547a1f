"""Score what trainers hand over, and say what a missing reward becomes.

How one trainer calls is its own module; how a scorer is made is `recipe`.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rewardkit.errors import ConfigError, InvalidTrajectoryError, RewardError
from rewardkit.serialize import trajectory_from_json
from rewardkit.trainers.plain import plain
from rewardkit.trainers.recipe import Recipe
from rewardkit.types import Failure, RewardResult, Trajectory

log = logging.getLogger("rewardkit.trainers")

MISSING = "reward_missing"  # the key under which trainers log that a reward could not be had


def attempts(records: Sequence[Mapping[str, Any] | Failure]) -> list[Trajectory | Failure]:
    """Read one attempt from each record (`trajectory_from_json`); a Failure is a record that holds none.

    Values that JSON has no form for (images, environments) are left out, and NaN is null. Raises
    InvalidTrajectoryError when not one of them can be read: then no attempt is at fault, but the dataset.
    """
    read = [record if isinstance(record, Failure) else _attempt(record) for record in records]
    failures = [item for item in read if isinstance(item, Failure)]
    if len(failures) > 1 and len(failures) == len(read):
        raise InvalidTrajectoryError(f"not one sample of the batch can be read: {failures[0].message}")
    return read


def combined(read: Sequence[Trajectory | Failure], scored: Sequence[RewardResult]) -> list[RewardResult]:
    """Return one result for each item of `read`, from those of its trajectories; what was not read has no total."""
    left = iter(scored)
    return [RewardResult(total=None, failures=(item,)) if isinstance(item, Failure) else next(left) for item in read]


def score(recipe: Recipe, records: Sequence[Mapping[str, Any] | Failure]) -> list[RewardResult]:
    """Return one result for each record, in order; why a total is missing goes to the log `rewardkit.trainers`."""
    read = attempts(records)
    batch = _readable(recipe, read)
    results = combined(read, recipe.scorer.score_batch(batch))
    report_missing(results)
    return results


async def score_async(recipe: Recipe, records: Sequence[Mapping[str, Any] | Failure]) -> list[RewardResult]:
    """Do as `score` does, without blocking the event loop."""
    read = attempts(records)
    batch = _readable(recipe, read)
    results = combined(read, await recipe.scorer.score_batch_async(batch))
    report_missing(results)
    return results


def report_missing(results: Sequence[RewardResult]) -> None:
    """Log how many totals are missing, and why the first one is."""
    missing = [item for item in results if item.total is None]
    if missing:
        log.warning("%d of %d rewards are missing, the first: %s", len(missing), len(results), why_missing(missing[0]))


def why_missing(scored: RewardResult) -> str:
    """Say why there is no total."""
    if not scored.failures:
        return "every reward abstained"
    failure = scored.failures[0]
    return f"{failure.reward or 'reading'} failed ({failure.kind}): {failure.message}"


def number_for(scored: RewardResult, missing: str | float) -> float:
    """Return the total; where there is none, what `missing` says: "raise" (RewardError), "nan", or a number."""
    if scored.total is not None:
        return scored.total
    if missing == "raise":
        raise RewardError(
            f"there is no reward for an attempt: {why_missing(scored)}; mend that, or choose what it becomes "
            "with missing='nan' or missing=NUMBER"
        )
    return math.nan if missing == "nan" else float(missing)


def read_missing(value: Any) -> str | float:
    """Return the setting `missing` from what a user wrote; raises ConfigError."""
    if value in ("raise", "nan"):
        return str(value)
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(f"missing={value!r}: choose 'raise', 'nan' or a number")
    return number


def flat_scores(recipe: Recipe, scored: RewardResult) -> dict[str, float]:
    """Return the value of every reward, NaN where it has none, and whether the total is missing.

    The keys are the same for all samples, whatever failed: trainers stack them.
    """
    names = [term.name for term in recipe.scorer.terms]
    values = {f"rewards/{name}": value_of(scored, name) for name in names}
    numbers = {key: math.nan if value is None else value for key, value in values.items()}
    return {**numbers, MISSING: float(scored.total is None)}


def value_of(scored: RewardResult, name: str) -> float | None:
    """Return the value of the reward `name`; None when it failed or abstained."""
    return None if name not in scored.scores else scored.scores[name].value


def _attempt(record: Mapping[str, Any]) -> Trajectory | Failure:
    try:
        return trajectory_from_json(plain(record))
    except (InvalidTrajectoryError, RecursionError) as error:
        return Failure(reward="", kind="input", message=str(error))


def _readable(recipe: Recipe, read: Sequence[Trajectory | Failure]) -> list[Trajectory]:
    """Return the trajectories, and warn when a group reward sees parts of groups."""
    batch = [item for item in read if isinstance(item, Trajectory)]
    if recipe.scorer.needs_groups and len(set(Counter(item.group for item in batch).values())) > 1:
        log.warning("a reward that compares attempts sees groups of different sizes: keep each group in one process")
    return batch
