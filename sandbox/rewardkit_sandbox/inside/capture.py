"""Watch running programs: feed their input, keep their output, hold them to their limits, say how they ended."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from typing import Any

_CHUNK = 1 << 16
_FIRST_LOOK, _NEXT_LOOK = 0.02, 0.04  # seconds between looks at the memory in use
_PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024


class Job:
    """One program under watch: its first process, the ends of its pipes, its limits, and what is known so far."""

    def __init__(self, pid: int, pipes: tuple[int, int, int], feed: bytes, limits: dict[str, Any]) -> None:
        self.pid = pid
        self.handle = os.pidfd_open(pid)
        self.stdin, self.stdout, self.stderr = pipes
        self.feed = memoryview(feed)
        self.kept = {self.stdout: bytearray(), self.stderr: bytearray()}
        self.limits = limits
        self.started = time.monotonic()
        self.limit: str | None = None
        self.truncated = False
        self.stopped = False  # killed because its peer had ended, or nobody wants it any more
        self.peak_kb = 0
        self.outcome: dict[str, Any] = {}
        for descriptor in pipes:
            os.set_blocking(descriptor, False)
        if not feed:
            self.close_stdin()

    @property
    def deadline(self) -> float:
        """When its wall time is over (monotonic seconds)."""
        return self.started + float(self.limits["wall_s"])

    @property
    def output(self) -> tuple[bytes, bytes]:
        """What it wrote to stdout and to stderr, as far as it was kept."""
        return bytes(self.kept[self.stdout]), bytes(self.kept[self.stderr])

    def stop(self, limit: str | None = None) -> None:
        """Kill it: for the limit that it hit, or because it is not wanted any more."""
        if limit is None:
            self.stopped = True
        elif self.limit is None:
            self.limit = limit
        os.kill(self.pid, signal.SIGKILL)

    def write(self) -> None:
        """Feed what its standard input takes now."""
        try:
            self.feed = self.feed[os.write(self.stdin, self.feed[:_CHUNK]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self.feed = self.feed[:0]
        if not self.feed:
            self.close_stdin()

    def close_stdin(self) -> None:
        """Let its standard input end."""
        if self.stdin >= 0:
            os.close(self.stdin)
            self.stdin = -1

    def read(self, descriptor: int) -> bool:
        """Keep what it wrote; returns False at the end. More than the limit stops it."""
        try:
            piece = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return True
        kept = self.kept[descriptor]
        room = int(self.limits["output_kb"] * 1024) - len(kept)
        kept += piece[:room]
        if len(piece) > room and not self.truncated:
            self.truncated = True
            if not self.outcome:
                self.stop("output_kb")
        return bool(piece)

    def finish(self) -> None:
        """Reap it and note how it ended."""
        _, status, usage = os.wait4(self.pid, 0)
        used = usage.ru_utime + usage.ru_stime
        code = os.waitstatus_to_exitcode(status)
        if self.limit is None and code in (-signal.SIGKILL, -signal.SIGXCPU) and used > self.limits["cpu_s"] - 0.1:
            self.limit = "cpu_s"
        self.outcome = {
            "exit": code,
            "wall": time.monotonic() - self.started,
            "cpu": used,
            "memory": max(self.peak_kb, usage.ru_maxrss) / 1024,
        }

    def drain(self) -> None:
        """Take what is left in its pipes, for nobody writes any more, and close them."""
        for descriptor in (self.stdout, self.stderr):
            while self.read(descriptor) and select.select([descriptor], [], [], 0)[0]:
                pass
            os.close(descriptor)
        self.close_stdin()
        os.close(self.handle)
        if self.limit is None and self.outcome["exit"] and self.output[1].rstrip().endswith(b"MemoryError"):
            self.limit = "memory_mb"

    def report(self) -> dict[str, Any]:
        """Return how it ended, as JSON values."""
        out, err = self.output
        sizes = {"out": len(out), "err": len(err)}
        return {**self.outcome, **sizes, "limit": self.limit, "truncated": self.truncated, "stopped": self.stopped}


def watch(
    jobs: list[Job],
    *,
    members: Callable[[Job], list[int]],
    others: dict[int, Callable[[], None]],
    on_end: Callable[[Job], None],
) -> None:
    """Run until all `jobs` have ended.

    `members` lists the processes of a job, for their memory; `others` are more descriptors to serve, each with what to do
    when it can be read; `on_end` is called when a job's first process has been reaped, before its pipes are emptied.
    """
    poller = select.poll()
    owners: dict[int, Job] = {}
    for job in jobs:
        for descriptor in (job.handle, job.stdout, job.stderr):
            poller.register(descriptor, select.POLLIN)
            owners[descriptor] = job
        if job.stdin >= 0:
            poller.register(job.stdin, select.POLLOUT)
            owners[job.stdin] = job
    for descriptor in others:
        poller.register(descriptor, select.POLLIN)
    running = list(jobs)
    look = time.monotonic() + _FIRST_LOOK
    while running:
        now = time.monotonic()
        if now >= look:
            _look_at_memory(running, members)
            look = now + _NEXT_LOOK
        for job in running:
            if now >= job.deadline and job.limit is None and not job.stopped:
                job.stop("wall_s")
        next_turn = min([look, *(j.deadline for j in running if j.limit is None and not j.stopped)])
        for descriptor, _ in poller.poll(max(0.0, next_turn - now) * 1000):
            if descriptor in others:
                others[descriptor]()
                continue
            job = owners[descriptor]
            if descriptor == job.handle:
                poller.unregister(descriptor)
                job.finish()
                running.remove(job)
                on_end(job)
            elif descriptor == job.stdin:
                job.write()
                if job.stdin < 0:
                    poller.unregister(descriptor)
            elif not job.outcome and not job.read(descriptor):
                poller.unregister(descriptor)
        for job in jobs:
            if job.outcome and job.handle in owners:
                _release(job, poller, owners)


def _release(job: Job, poller: select.poll, owners: dict[int, Job]) -> None:
    for descriptor in [d for d, owner in owners.items() if owner is job]:
        del owners[descriptor]
        try:
            poller.unregister(descriptor)
        except KeyError:
            pass
    job.drain()


def _look_at_memory(jobs: list[Job], members: Callable[[Job], list[int]]) -> None:
    for job in jobs:
        pids = members(job)
        used = sum(map(_resident_kb, pids))
        limit = job.limits["memory_mb"] * 1024
        if used > limit and len(pids) > 1:  # pages that its processes share were counted for each of them
            used = sum(map(_proportional_kb, pids))
        job.peak_kb = max(job.peak_kb, used)
        if used > limit:
            job.stop("memory_mb")


def _resident_kb(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE_KB
    except OSError:
        return 0


def _proportional_kb(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            return next((int(line.split()[1]) for line in file if line.startswith(b"Pss:")), 0)
    except OSError:
        return _resident_kb(pid)
