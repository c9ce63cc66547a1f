"""One function in a process of its own, with a wall-clock and a memory limit that hold whatever it does.

For a function that may hang, crash or eat memory on some inputs. Scoring batches of trajectories is `process`.
"""

from __future__ import annotations

import os
import select
import threading
import time
import weakref
from typing import Any, Self

from rewardkit.errors import WorkerDiedError, WorkerError, WorkerTimeoutError
from rewardkit.executors.child import TICK, Child, memory_cause, memory_share
from rewardkit.executors.wire import pack, unpack


class SupervisedWorker:
    """Calls `target` ("package.module:function") in a supervised process.

    The process is started by the first call, is kept warm, and is replaced after a death. Calls may come from any
    thread; they are served one at a time. In a forked copy of this process the worker starts afresh. `memory_limit` is
    in bytes and counts the process and its descendants (default: a quarter of what there is); it is looked at every
    50 ms, on Linux only. `setup_timeout` is the limit in seconds of starting the process and importing the target.
    """

    def __init__(self, target: str, *, memory_limit: int | None = None, setup_timeout: float = 60.0) -> None:
        self.target = target
        self._memory_limit = memory_limit or memory_share(4)
        self._setup_timeout = setup_timeout
        self._begin()

    def call(self, payload: Any, *, timeout: float) -> Any:
        """Return `target(payload)`; payload and answer are JSON-like. It blocks: use a thread under asyncio.

        `timeout` is the limit in seconds of the function itself, start-up not counted. Raises WorkerTimeoutError (it
        ran past that and was killed), WorkerDiedError (a signal, an exit, the memory limit), WorkerError (the function
        raised, or the target cannot be imported), TypeError or ValueError (the payload is not JSON-like).
        """
        if self._owner != os.getpid():
            self._begin()
        request = pack(payload)
        with self._lock:
            try:
                child = self._ready_child()
                child.channel.queue(request)
                answer = self._receive(child, timeout, f"the call ran past its limit of {timeout:g} s")
            except WorkerError:
                started = self._is_ready
                self._end()
                if started:
                    self._start()  # now, so that the next call need not wait for it
                raise
            except BaseException:
                self._end()  # an answer that nobody waits for must not meet the next call
                raise
        return self._value(answer)

    def close(self) -> None:
        """End the process and wait until it is gone. Idempotent; a later call starts a new one."""
        if self._owner == os.getpid():
            with self._lock:
                self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin(self) -> None:
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._is_ready = False

    def _start(self) -> Child:
        self._child = Child("rewardkit.executors.worker:serve_calls", self.target, memory_limit=self._memory_limit)
        self._finalizer = weakref.finalize(self, self._child.kill)  # also when the interpreter ends
        return self._child

    def _end(self) -> None:
        if self._child is not None:
            self._finalizer()
        self._child = None
        self._is_ready = False

    def _ready_child(self) -> Child:
        """Return a child that has imported the target; one that died while it was idle is replaced."""
        if self._child is not None and self._is_ready:
            try:
                self._child.channel.read()
            except EOFError:
                self._end()
        child = self._child or self._start()
        if not self._is_ready:
            limit = self._setup_timeout
            self._value(self._receive(child, limit, f"the import ran past its limit of {limit:g} s"))
            self._is_ready = True
        return child

    def _receive(self, child: Child, limit: float, too_late: str) -> bytes:
        """Send what is queued and return the answer, or raise WorkerTimeoutError or WorkerDiedError."""
        deadline = time.monotonic() + limit
        poller = select.poll()
        try:
            while (left := deadline - time.monotonic()) > 0:
                child.channel.write()
                poller.register(child.channel.socket, select.POLLIN | select.POLLOUT * child.channel.has_outgoing)
                ready = poller.poll(1000 * min(left, TICK))
                if ready and (frames := child.channel.read()):
                    return frames[0]
                if not ready and child.over_memory:
                    child.kill(memory_cause(child.memory_limit))
                    raise EOFError
        except EOFError:
            raise WorkerDiedError(f"{self.target}: {child.obituary()}") from None
        raise WorkerTimeoutError(f"{self.target}: {too_late} and was killed")

    def _value(self, answer: bytes) -> Any:
        succeeded, value = unpack(answer)
        if not succeeded:
            raise WorkerError(f"{self.target}: {value}")
        return value
