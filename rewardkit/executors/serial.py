"""Run rewards in this process, at once. No time limit is enforced and a crash is a crash: see `process` for those."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from rewardkit.errors import WorkerError
from rewardkit.executors.ledger import RETRY_SETUP_SECONDS
from rewardkit.judging import close_quietly, failure_of, judge
from rewardkit.registry import RewardSpec
from rewardkit.types import Outcome, Trajectory


class SerialExecutor:
    """Scores in the calling thread; each reward is built and set up once, and every call with it is serialised.

    A setup that fails is tried again after a minute; until then it fails what it would have scored.
    """

    def __init__(self) -> None:
        self._rewards: dict[str, Any] = {}
        self._broken: dict[str, tuple[float, Exception | SystemExit]] = {}
        self._closed = False
        self._lock = threading.RLock()

    def adopt(self, spec: RewardSpec, options: Mapping[str, Any], reward: Any) -> None:
        """Use `reward`, a live object, for this spec and these options instead of building one."""
        reward.setup()
        self._rewards[_key(spec, options)] = reward

    def submit(
        self, spec: RewardSpec, options: Mapping[str, Any], batch: Sequence[Trajectory], *, timeout: float | None
    ) -> Future[list[Outcome]]:
        """Score `batch` now and return a future that is done; `timeout` is not kept. Raises WorkerError once closed."""
        del timeout
        future: Future[list[Outcome]] = Future()
        with self._lock:
            if self._closed:
                raise WorkerError("the executor is closed")
            try:
                reward = self._reward(spec, options)
            except (Exception, SystemExit) as error:  # noqa: BLE001  setup runs the plugin's code, as in `judge`
                future.set_result([failure_of(spec.name, error)] * len(batch))
            else:
                future.set_result(judge(spec, reward, batch))
        return future

    def close(self) -> None:
        """Close all rewards; what one of them raises then is a warning, for its scores are out already."""
        with self._lock:
            self._closed = True
            while self._rewards:
                close_quietly(self._rewards.popitem()[1])

    def _reward(self, spec: RewardSpec, options: Mapping[str, Any]) -> Any:
        key = _key(spec, options)
        until, error = self._broken.get(key, (0.0, None))
        if error is not None and time.monotonic() < until:
            raise error
        if key not in self._rewards:
            try:
                reward = spec.build(**options)
                reward.setup()
            except (Exception, SystemExit) as error:
                self._broken[key] = (time.monotonic() + RETRY_SETUP_SECONDS, error)
                raise
            self._rewards[key] = reward
        return self._rewards[key]


def _key(spec: RewardSpec, options: Mapping[str, Any]) -> str:
    return json.dumps([spec.name, spec.factory, options], sort_keys=True, default=repr)
