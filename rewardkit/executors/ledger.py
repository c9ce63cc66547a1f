"""What is to be scored and what has become of it: the units that wait, the jobs they belong to, who is to blame.

It knows no processes; `crew` tells it what happened to them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from rewardkit.executors.wire import pack
from rewardkit.registry import RewardSpec
from rewardkit.types import Failure, FailureKind, Outcome, Trajectory

RETRY_SETUP_SECONDS = 60.0


@dataclass(eq=False, slots=True)
class Job:
    """One call of `Executor.submit`; `key` numbers the reward with its options."""

    key: int
    spec: RewardSpec
    options: dict[str, object]
    batch: Sequence[Trajectory]
    timeout: float | None
    future: Future[list[Outcome]] = field(default_factory=Future)
    outcomes: dict[int, Outcome] = field(default_factory=dict)

    def units(self) -> list[Unit]:
        """Cut the batch into what one call scores: a group stays whole."""
        size = len(self.batch) if "group" in self.spec.needs else max(1, self.spec.batch_size)
        everything = range(len(self.batch))
        return [Unit(self, everything[i : i + size]) for i in range(0, len(self.batch), size)]


@dataclass(eq=False, slots=True)
class Unit:
    """Trajectories of a job that one call scores; `suspect`: a worker died while it was at this unit."""

    job: Job
    indices: range
    suspect: bool = False

    @property
    def is_model(self) -> bool:
        """Whether its reward is a model, of which one copy is loaded."""
        return "gpu" in self.job.spec.needs

    def packed(self) -> bytes:
        """Return the trajectories as bytes; raises as `wire.pack`."""
        return pack([self.job.batch[i] for i in self.indices])

    def halves(self) -> list[Unit]:
        """Return two units that hold one half each, or nothing where the unit cannot be cut."""
        size = len(self.indices)
        if size == 1 or "group" in self.job.spec.needs:
            return []
        return [Unit(self.job, self.indices[: size // 2]), Unit(self.job, self.indices[size // 2 :])]

    def failure(self, kind: FailureKind, message: str) -> Failure:
        """Return a failure of the unit's reward; what took too long may do better next time."""
        return Failure(reward=self.job.spec.name, kind=kind, message=message, retryable=kind == "timeout")


class Ledger:
    """The books of a crew. Units of models wait in a queue of their own, since not every worker takes them."""

    def __init__(self) -> None:
        self._queues: dict[bool, deque[Unit]] = {False: deque(), True: deque()}
        self._jobs: set[Job] = set()
        self._paces: dict[int, float] = {}
        self._broken: dict[int, tuple[float, Failure]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    @property
    def employs(self) -> int:
        """How many workers could be busy with what waits: one with all that needs a model."""
        return len(self._queues[False]) + bool(self._queues[True])

    def accept(self, job: Job) -> None:
        """Enter a job."""
        self._jobs.add(job)
        self._queues["gpu" in job.spec.needs].extend(job.units())
        if not job.batch:
            self._resolve(job)

    def front(self, *, models: bool = False) -> Unit | None:
        """Return the unit whose turn it is; those that need no scoring any more are settled and passed over."""
        queue = self._queues[models]
        while queue:
            unit = queue[0]
            until, failure = self._broken.get(unit.job.key, (0.0, None))
            if unit.job.future.cancelled():
                failure = Failure(reward=unit.job.spec.name, kind="error", message="cancelled")
            elif failure is None or until < time.monotonic():
                return unit
            queue.popleft()
            self.finish(unit, [failure])
        return None

    def take(self, most: int, *, models: bool = False) -> list[Unit]:
        """Take up to `most` units from the front, all of one reward."""
        units: list[Unit] = []
        while (
            len(units) < most and (unit := self.front(models=models)) and unit.job.key == (units or [unit])[0].job.key
        ):
            units.append(self._queues[models].popleft())
        return units

    def put_back(self, units: Iterable[Unit]) -> None:
        """Put units in front of the queue, in their order."""
        for unit in reversed(list(units)):
            self._queues[unit.is_model].appendleft(unit)

    def finish(self, unit: Unit, outcomes: Sequence[Outcome]) -> None:
        """Enter the outcomes of a unit; one Failure stands for all its trajectories."""
        job, size = unit.job, len(unit.indices)
        outcomes = [*outcomes] * (size if len(outcomes) == 1 else 1)
        job.outcomes.update(zip(unit.indices, outcomes, strict=True))
        if len(job.outcomes) == len(job.batch):
            self._resolve(job)

    def blame(self, unit: Unit, kind: FailureKind, message: str) -> None:
        """Take note that scoring a unit came to nothing.

        A unit of several is halved until the culprit stands alone. A death may be another's doing (a leak, a child
        left behind), so a unit that is alone has a second try, after all others.
        """
        if halves := unit.halves():
            self.put_back(halves)
        elif kind == "killed" and not unit.suspect:
            unit.suspect = True
            self._queues[unit.is_model].append(unit)
        else:
            self.finish(unit, [unit.failure(kind, message)])

    def break_reward(self, key: int, failure: Failure) -> None:
        """Fail, for a while, all units of a reward whose setup failed: setting up again and again would be no help."""
        self._broken[key] = (time.monotonic() + RETRY_SETUP_SECONDS, failure)

    def fail_all(self, message: str) -> None:
        """Fail everything that waits: there is nobody to score it."""
        for unit in [unit for queue in self._queues.values() for unit in queue]:
            self.finish(unit, [Failure(reward=unit.job.spec.name, kind="killed", message=message, retryable=True)])
        for queue in self._queues.values():
            queue.clear()

    def cancel_all(self) -> None:
        """Cancel all jobs, and tell those who wait for them."""
        for job in self._jobs:
            if job.future.cancel():
                job.future.set_running_or_notify_cancel()

    def pace(self, key: int) -> float | None:
        """Return how many seconds a unit of this reward takes, or None where that is not known yet."""
        return self._paces.get(key)

    def learn_pace(self, key: int, seconds: float) -> None:
        """Take note of how long a unit took."""
        self._paces[key] = 0.7 * self._paces.get(key, seconds) + 0.3 * max(seconds, 1e-6)

    def _resolve(self, job: Job) -> None:
        self._jobs.remove(job)
        if job.future.set_running_or_notify_cancel():
            job.future.set_result([job.outcomes[i] for i in range(len(job.batch))])
