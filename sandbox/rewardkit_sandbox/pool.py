"""Warm workers behind one `Sandbox`: what the built-in sandboxes share.

A worker runs one program (or one with its peer) at a time; a caller waits while all are busy. A worker that breaks is
replaced and its program run again elsewhere, for a program leaves no trace. Not covered: how a worker is made; backends
subclass `WarmSandbox` for that.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import Any, Self

from rewardkit.errors import ConfigError, SandboxError, SandboxUnavailableError
from rewardkit.programs import Execution, Limits, Program
from rewardkit_sandbox import wire
from rewardkit_sandbox.bundle import boot_message
from rewardkit_sandbox.wire import Transport, TransportError

LANGUAGES = ("python", "bash", "sh", "javascript", "c", "cpp")
_ATTEMPTS = 3
_LONGEST_NAME = 255  # bytes, in any file system


class Worker:
    """One warm worker and how many programs it has run."""

    def __init__(self, transport: Transport, hello: dict[str, Any]) -> None:
        self.transport = transport
        self.hello = hello
        self.programs = 0


class WarmSandbox:
    """A pool of `workers` (default: one per core) that start when they are first needed.

    `limits` are the ceiling of every program and what a program gets that names none. A worker is replaced after
    `recycle_after` programs. Thread-safe; a fork of this process is refused and has to make its own. Raises ConfigError
    for options that cannot be right.
    """

    name = "warm"

    def __init__(self, *, workers: int | None = None, limits: Limits | None = None, recycle_after: int = 5000) -> None:
        self.workers = workers if workers is not None else len(os.sched_getaffinity(0))
        self.limits = limits or Limits()
        self.recycle_after = recycle_after
        if not isinstance(self.limits, Limits):
            raise ConfigError(f"sandbox {self.name!r}: limits={limits!r} must be Limits(...)")
        for name in ("workers", "recycle_after"):
            number = getattr(self, name)
            if isinstance(number, bool) or not isinstance(number, int) or number < 1:
                raise ConfigError(f"sandbox {self.name!r}: {name}={number!r} must be a whole number of at least 1")
        self._owner = os.getpid()
        self._idle: list[Worker] = []
        self._free = threading.BoundedSemaphore(self.workers)
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None
        self._closed = False
        self._live: set[Worker] = set()

    # What a backend provides.

    def identity(self) -> str:
        """Return what decides how programs behave here; raises SandboxUnavailableError."""
        raise NotImplementedError

    def start_worker(self) -> Transport:
        """Start one bare interpreter behind the outer wall, waiting for its modules, and return its stream."""
        raise NotImplementedError

    def boot_config(self) -> dict[str, Any]:
        """Return how the supervisor is to build its walls.

        "outer": "container" where there is one, or "namespace", with the paths "shown" of the host. "user": the number
        of the user whom programs become where the kernel has no user namespaces for them; the worker must be root then.
        """
        return {"outer": "container"}

    def sweep(self) -> None:
        """Remove what dead owners left behind."""

    # What callers use.

    def run(self, program: Program, /) -> Execution:
        """Run one program to its end; raises SandboxError when the sandbox fails, ConfigError for what it lacks."""
        self._check(program)
        with self._free:
            return self._run(program)

    def run_many(self, programs: Sequence[Program], /) -> list[Execution | SandboxError]:
        """Run programs side by side; one Execution each, in order, or the error where the sandbox failed."""
        for program in programs:
            self._check(program)
        return list(self._pool().map(self._run_or_error, programs))

    async def arun(self, program: Program, /) -> Execution:
        """Run one program without blocking the event loop; cancelling stops waiting, not the program."""
        return await asyncio.get_running_loop().run_in_executor(self._pool(), self.run, program)

    async def arun_many(self, programs: Sequence[Program], /) -> list[Execution | SandboxError]:
        """Run programs side by side without blocking the event loop, as `run_many`."""
        for program in programs:
            self._check(program)
        loop = asyncio.get_running_loop()
        jobs = [loop.run_in_executor(self._pool(), self._run_or_error, program) for program in programs]
        return list(await asyncio.gather(*jobs))

    def start(self) -> Self:
        """Start all workers now rather than when they are needed."""
        self._check_owner()
        if self._closed:
            raise SandboxError(f"sandbox {self.name!r} is closed")
        try:
            for _ in range(self.workers - len(self._idle)):
                self._put_back(self._new_worker())
        except TransportError as error:
            raise SandboxError(f"sandbox {self.name!r}: a worker did not start: {error}") from error
        return self

    def close(self) -> None:
        """Stop everything and leave nothing behind. Idempotent; in a fork of the process that made it, nothing."""
        if os.getpid() != self._owner:
            return
        with self._lock:
            self._closed = True
            workers, self._idle = list(self._live), []
            self._live.clear()
            threads, self._threads = self._threads, None
        for worker in workers:
            worker.transport.kill()
        if threads is not None:
            threads.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError(f"a running sandbox cannot be pickled: build {self.name!r} where it is used")

    def _check(self, program: Program) -> None:
        self._check_owner()
        given: Any = program
        if not isinstance(given, Program):
            raise ConfigError(f"sandbox {self.name!r} runs a Program(code=...), not {given!r:.60}")
        for part in (program, program.peer):
            if part is None:
                continue
            if part.code is not None and part.language not in LANGUAGES:
                listed = ", ".join(LANGUAGES)
                raise ConfigError(f"sandbox {self.name!r} does not run {part.language!r} (it runs: {listed}); use argv")
            limits = (part.limits or self.limits).within(self.limits)
            size = sum(map(len, part.files.values()))
            folders = {str(parent) for path in part.files for parent in PurePosixPath(path).parents}
            if size > limits.disk_mb << 20 or len(part.files) + len(folders) > limits.files:
                given = f"{len(part.files)} files of {size} bytes, with {len(folders)} folders,"
                allowed = f"disk_mb={limits.disk_mb} and files={limits.files}"
                raise ConfigError(f"sandbox {self.name!r}: {given} are more than {allowed} allow")
            if long := [
                path for path in part.files if max(map(len, map(os.fsencode, path.split("/")))) > _LONGEST_NAME
            ]:
                raise ConfigError(f"sandbox {self.name!r}: the file name {long[0][:40]!r}... is longer than 255 bytes")

    def _check_owner(self) -> None:
        """Refuse a fork: it would share the streams to the workers, and may wait for locks that nobody opens."""
        if os.getpid() != self._owner:
            raise SandboxError(f"sandbox {self.name!r} belongs to the process that made it: make one in the fork")

    def _pool(self) -> ThreadPoolExecutor:
        self._check_owner()
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self.workers, thread_name_prefix=f"rewardkit-{self.name}")
            return self._threads

    def _run_or_error(self, program: Program) -> Execution | SandboxError:
        try:
            return self.run(program)
        except SandboxError as error:
            return error

    def _run(self, program: Program) -> Execution:
        problem = ""
        for _ in range(_ATTEMPTS):
            try:
                worker = self._take()
            except TransportError as error:
                problem = f"a worker did not start: {error}"
                continue
            try:
                ended = wire.run(worker.transport, program, self.limits)
            except TransportError as error:
                problem = str(error)
                self._discard(worker)
            except BaseException:
                self._discard(worker)
                raise
            else:
                worker.programs += 1
                self._put_back(worker)
                return ended
        raise SandboxError(f"sandbox {self.name!r} broke {_ATTEMPTS} times under one program: {problem}")

    def _take(self) -> Worker:
        with self._lock:
            if self._closed:
                raise SandboxError(f"sandbox {self.name!r} is closed")
            if self._idle:
                return self._idle.pop()
        return self._new_worker()

    def _put_back(self, worker: Worker) -> None:
        with self._lock:
            if worker.programs < self.recycle_after and not self._closed:
                self._idle.append(worker)
                return
        self._discard(worker)

    def _discard(self, worker: Worker) -> None:
        with self._lock:
            self._live.discard(worker)
        worker.transport.kill()

    def _new_worker(self) -> Worker:
        if not self._live:
            self.sweep()
            _OPEN.add(self)
        transport = self.start_worker()
        try:
            ceiling = {"disk_mb": self.limits.disk_mb, "files": self.limits.files, "processes": self.limits.processes}
            hello = wire.boot(transport, boot_message({**self.boot_config(), "ceilings": ceiling}))
        except SandboxUnavailableError as error:
            transport.kill()
            raise SandboxUnavailableError(f"sandbox {self.name!r}: {error}") from error
        except BaseException:
            transport.kill()
            raise
        worker = Worker(transport, hello)
        with self._lock:
            self._live.add(worker)
        return worker


_OPEN: weakref.WeakSet[WarmSandbox] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for sandbox in list(_OPEN):
        sandbox.close()
