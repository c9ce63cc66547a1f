"""Run rewards in supervised worker processes: nothing that a reward does can hang, crash or litter the caller.

The workers are no sandbox: for code that means harm there are sandboxes. Rewards given as live objects cannot be sent.
"""

from __future__ import annotations

import json
import os
import threading
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Self

from rewardkit.errors import ConfigError, WorkerError
from rewardkit.executors.crew import Crew
from rewardkit.executors.ledger import Job
from rewardkit.registry import RewardSpec
from rewardkit.types import Outcome, Trajectory


class ProcessExecutor:
    """Scores in `workers` processes (default: one a core), which start with the first work and are kept warm.

    A worker is sent a reward's spec and options and loads it once. Past its limit, a trajectory's worker is killed with
    all that it started, and the trajectory has a Failure of kind "timeout"; one whose worker dies twice has a Failure
    of kind "killed". Everything else is scored, by a replacement if need be; after the first loss one spare process is
    kept for that. With `batch_size` above 1 the limit holds for a call, and a batch that fails is halved to find the
    culprit; a group fails as a whole. A setup that fails or takes longer than `setup_timeout` seconds fails the
    trajectories of that reward, and is tried again after a minute.

    Models (rewards that need a "gpu") are all loaded by one worker, so that there is one copy of each.

    `memory_limit` is the bytes that one worker and its children may hold (default: 80 % of what there is, shared by
    the workers; the one with the models may hold all of it); it is looked at every 50 ms, on Linux only. `submit` may
    be called from any thread; a forked copy of this process gets workers of its own. Callbacks of the futures run in
    the supervisor's thread: keep them short.
    """

    def __init__(
        self, workers: int | None = None, *, memory_limit: int | None = None, setup_timeout: float = 600.0
    ) -> None:
        self.workers = _cores() if workers is None else workers
        if self.workers < 1:
            raise ConfigError(f"an executor needs at least 1 worker, not {workers}")
        self._memory_limit = memory_limit
        self._setup_timeout = setup_timeout
        self._crew: Crew | None = None
        self._begin()

    def submit(
        self, spec: RewardSpec, options: Mapping[str, Any], batch: Sequence[Trajectory], *, timeout: float | None
    ) -> Future[list[Outcome]]:
        """Score `batch` in the workers; one outcome each, in order.

        Raises ConfigError when the options are not JSON, WorkerError when the executor is closed.
        """
        if self._owner != os.getpid():
            self._begin()
        try:
            address = json.dumps([spec.to_json(), dict(options)], sort_keys=True)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"reward {spec.name!r}: options must be JSON to reach a worker: {error}") from error
        with self._lock:
            if self._closed:
                raise WorkerError("the executor is closed")
            if self._crew is None:
                self._crew = Crew(self.workers, memory_limit=self._memory_limit, setup_timeout=self._setup_timeout)
                weakref.finalize(self, self._crew.stop)  # also when the interpreter ends
            key = self._keys.setdefault(address, len(self._keys) + 1)
            job = Job(key, spec, dict(options), list(batch), timeout)
            self._crew.submit(job)
        return job.future

    def close(self) -> None:
        """Cancel what is pending, stop all workers and wait until they are gone. Idempotent; then `submit` raises."""
        with self._lock:
            self._closed = True
        if self._crew is not None:
            self._crew.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin(self) -> None:
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._crew = None
        self._closed = False
        self._keys: dict[str, int] = {}


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
