"""Several rewards, one number: run them through an executor and combine their scores.

Reading and writing files is `offline`; what a single reward may do wrong is caught in `judging`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, cast

from rewardkit.errors import ConfigError
from rewardkit.executors.serial import SerialExecutor
from rewardkit.plugins import Plugins
from rewardkit.protocols import Executor
from rewardkit.terms import Term, read_config, read_terms
from rewardkit.types import Failure, Outcome, RewardResult, Score, Trajectory

DEFAULT_TIMEOUT = 60.0


class Scorer:
    """Scores trajectories with several rewards and adds them up.

    `rewards` is a list of specs (`["math", "0.3*bleu:max_order=2"]`), or a mapping from names to any of: a spec, a
    weight (`{"math": 1.0}`), a table as in rewards.toml (`{"reward", "weight", "gate", "required", "options"}`), or a
    reward object. `timeout` is the wall-clock limit in seconds of one reward on one trajectory; it is enforced by the
    executors that own processes, not by the default one. Raises ConfigError, UnknownNameError or MissingExtraError when
    a reward cannot be built.

    The total is the weighted sum of the values. Rewards that abstain are left out of it. Where a gate is closed (a
    reward with a `gate` is not above it) only rewards with a gate count. The total is None when a required reward
    failed, when a gate has no value, or when every reward with a weight abstained.
    """

    def __init__(
        self,
        rewards: Mapping[str, Any] | Sequence[Any],
        *,
        executor: Executor | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
        plugins: Plugins | None = None,
    ) -> None:
        if timeout is not None and not timeout > 0:
            raise ConfigError(f"a timeout must be a number of seconds above 0, or None, not {timeout!r}")
        self.plugins = plugins or Plugins.load()
        self.terms = tuple(read_terms(rewards, self.plugins.rewards))
        self.timeout = timeout
        self.executor = executor or SerialExecutor()
        self.signature = "+".join(str(term.signature_in_total()) for term in self.terms)
        for term in self.terms:
            self._adopt(term)

    @classmethod
    def from_toml(cls, path: str | Path, **options: Any) -> Self:
        """Return the scorer that a rewards.toml describes."""
        return cls(read_config(Path(path)), **options)

    @property
    def needs_groups(self) -> bool:
        """Whether a reward compares the attempts at one task, so that a batch must hold whole groups."""
        return any("group" in term.spec.needs for term in self.terms)

    def score(self, trajectory: Trajectory) -> RewardResult:
        """Score one trajectory."""
        return self.score_batch([trajectory])[0]

    def score_batch(self, batch: Sequence[Trajectory]) -> list[RewardResult]:
        """Score a batch; one result each, in order. Group rewards see the members of a group that are in the batch."""
        return self.submit(batch).results()

    async def score_batch_async(self, batch: Sequence[Trajectory]) -> list[RewardResult]:
        """Score a batch without blocking the event loop."""
        pending = await asyncio.to_thread(self.submit, batch)
        await asyncio.gather(*(asyncio.wrap_future(f) for _, calls in pending.columns for _, f in calls))
        return pending.results()

    def submit(
        self, batch: Sequence[Trajectory], *, known: Sequence[Mapping[int, Outcome]] | None = None
    ) -> PendingBatch:
        """Hand a batch to the executor; its `results()` waits for the scores.

        `known` may hold, for each term, outcomes by index into the batch that need not be computed again.
        """
        for item in cast("Sequence[Any]", batch):
            if not isinstance(item, Trajectory):
                kind = type(item).__name__
                raise TypeError(f"expected a Trajectory, not {kind}: read JSON with serialize.trajectory_from_json")
        pending = PendingBatch(self, batch)
        for term, have in zip(self.terms, known or [{}] * len(self.terms), strict=True):
            calls = []
            for indices in _calls_of(term, batch, have):
                some = batch if len(indices) == len(batch) else [batch[i] for i in indices]
                future = self.executor.submit(term.spec, term.options, some, timeout=self.timeout)
                calls.append((indices, future))
            pending.columns.append((have, calls))
        return pending

    def combine(self, outcomes: Sequence[Outcome]) -> RewardResult:
        """Return the result for one trajectory from the outcomes of the terms, in their order."""
        scores: dict[str, Score] = {}
        failures: list[Failure] = []
        masked = closed = counted = False
        for term, outcome in zip(self.terms, outcomes, strict=True):
            if isinstance(outcome, Failure):
                failures.append(outcome if outcome.reward == term.name else replace(outcome, reward=term.name))
                masked |= term.required or term.gate is not None
                continue
            scores[term.name] = outcome
            if outcome.value is not None:
                counted |= term.weight != 0
                closed |= term.gate is not None and outcome.value <= term.gate
            elif term.gate is not None:
                masked = True
        total = None
        if not masked and (counted or closed):
            total = self._total(scores, only_gates=closed)
            if not math.isfinite(total):
                failures.append(Failure(reward="total", kind="error", message=f"the weighted sum is {total}"))
                total = None
        return RewardResult(total=total, scores=scores, failures=tuple(failures), signature=self.signature)

    def close(self) -> None:
        """Close the executor and with it the rewards."""
        self.executor.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _total(self, scores: Mapping[str, Score], *, only_gates: bool) -> float:
        total = 0.0
        for term in self.terms:
            score = scores.get(term.name)
            if score is not None and score.value is not None and (term.gate is not None or not only_gates):
                total += term.weight * score.value
        return total

    def _adopt(self, term: Term) -> None:
        if term.instance is None:
            return
        adopt = getattr(self.executor, "adopt", None)
        if adopt is not None:
            adopt(term.spec, term.options, term.instance)
        elif not term.spec.factory:
            raise ConfigError(
                f"reward {term.name!r} was given as an object, which cannot be sent to workers: "
                "put it into a module and name it as 'package.module:attribute'"
            )


class PendingBatch:
    """A batch that is being scored: for each term the outcomes known before, and the calls that are under way."""

    def __init__(self, scorer: Scorer, batch: Sequence[Trajectory]) -> None:
        self.batch = batch
        self.columns: list[tuple[Mapping[int, Outcome], list[tuple[Sequence[int], Future[list[Outcome]]]]]] = []
        self._scorer = scorer

    @property
    def done(self) -> bool:
        """Whether `outcomes` and `results` would not wait."""
        return all(future.done() for _, calls in self.columns for _, future in calls)

    def wait(self, timeout: float) -> None:
        """Wait until it is done, or for `timeout` seconds."""
        wait([future for _, calls in self.columns for _, future in calls], timeout)

    def outcomes(self) -> list[list[Outcome]]:
        """Wait, and return the outcomes of each term, in the order of the batch."""
        size = len(self.batch)
        columns = []
        for known, calls in self.columns:
            if len(calls) == 1 and len(calls[0][0]) == size:
                columns.append(calls[0][1].result())
                continue
            at = dict(known)
            for indices, future in calls:
                at.update(zip(indices, future.result(), strict=True))
            columns.append([at[i] for i in range(size)])
        return columns

    def results(self) -> list[RewardResult]:
        """Wait, and return one result for each trajectory, in order."""
        results = [self._scorer.combine(outcomes) for outcomes in zip(*self.outcomes(), strict=True)]
        plugins = self._scorer.plugins
        if plugins.has_observers:
            for trajectory, scored in zip(self.batch, results, strict=True):
                plugins.scored(trajectory, scored)
        return results


def _calls_of(term: Term, batch: Sequence[Trajectory], known: Mapping[int, Outcome]) -> list[Sequence[int]]:
    """Return the indices that each call of the term's reward must score: whole groups, or all that is not known."""
    if "group" in term.spec.needs:
        groups: dict[str, list[int]] = {}
        for index, trajectory in enumerate(batch):
            groups.setdefault(trajectory.group, []).append(index)
        return [indices for indices in groups.values() if not all(i in known for i in indices)]
    missing = [i for i in range(len(batch)) if i not in known] if known else range(len(batch))
    return [missing] if missing else []
