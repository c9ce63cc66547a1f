"""Watch running programs: feed their input, keep their output, hold them to their limits, say how they ended."""

from __future__ import annotations

import os
import select
import signal
import struct
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from rewardkit_sandbox.inside import usage

_CHUNK = 1 << 16
_FIRST_LOOK, _NEXT_LOOK = 0.02, 0.04  # seconds between looks at the memory and the CPU time in use
_MARK_BYTES = 64
_MOST_KB = 1 << 40
_CLAIM = struct.Struct("=xBdQ")  # "X", exit status, CPU seconds, KiB of memory at the peak


class Job:
    """One program under watch: its first process, the ends of its pipes, its limits, and what is known so far."""

    def __init__(
        self, pid: int, pipes: tuple[int, int, int], feed: bytes, limits: dict[str, Any], *, control: int = -1
    ) -> None:
        self.pid = pid
        self.place = usage.place_of(pid)
        self.handle = os.pidfd_open(pid)
        self.stdin, self.stdout, self.stderr = pipes
        self.control = control  # where its process says how far it is: see `hear`
        self.marks = b"" if control >= 0 else b"R"
        self.reaped = False
        self.feed = memoryview(feed)
        self.kept = {self.stdout: bytearray(), self.stderr: bytearray()}
        self.limits = limits
        self.started = time.monotonic()
        self.limit: str | None = None
        self.truncated = False
        self.stopped = False  # killed because its peer had ended, or nobody wants it any more
        self.peak_kb = 0
        self.cpu_s = 0.0  # of all its processes, at the last look
        self.cpu_of: dict[int, float] = {}
        self.outcome: dict[str, Any] = {}
        for descriptor in (*pipes, *([control] if control >= 0 else [])):
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

    def look(self, pids: list[int]) -> None:
        """Hold its processes together to the limits of memory and of CPU time."""
        used = sum(map(usage.resident_kb, pids))
        limit = self.limits["memory_mb"] * 1024
        if used > limit and len(pids) > 1:  # pages that its processes share were counted for each of them
            used = usage.together_kb(pids)
        self.peak_kb = max(self.peak_kb, used)
        if used > limit or usage.sockets_kb(pids) > limit:
            self.stop("memory_mb")
        times = {pid: usage.cpu_s_of(pid) for pid in pids}
        for pid, (own, _) in times.items():
            self.cpu_of[pid] = max(own, self.cpu_of.get(pid, 0.0))
        # Children count for who waits for them, and for nobody when nobody does: those that were seen count anyway.
        self.cpu_s = max(self.cpu_s, sum(self.cpu_of.values()), sum(own + waited for own, waited in times.values()))
        if self.cpu_s > self.limits["cpu_s"]:
            self.stop("cpu_s")

    def hear(self) -> bool:
        """Take in what its process says of itself; returns whether it says that it has ended.

        Until it says "R" (it runs the program) it is ours and to be believed: "P", it has its program; "C", that did
        not compile. Afterwards it may be the program that speaks, and all that counts is "X", its exit status and
        what it used: that saves waiting for the kernel to take the process apart, where it is the last of its
        namespace. A program that lies about its end is ended there and then.
        """
        try:
            said = os.read(self.control, _MARK_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            said = b""
        if not said:
            os.close(self.control)
            self.control = -1
            return False
        self.marks += said if len(self.marks) < _MARK_BYTES else b""
        _, runs, claim = self.marks.partition(b"R")
        return bool(runs) and claim[:1] == b"X" and len(claim) >= _CLAIM.size

    @property
    def is_ending(self) -> bool:
        """Whether it has been killed, so that all which is left of it has to go."""
        return self.stopped or self.limit is not None or bool(self.outcome)

    def take_claim(self) -> bool:
        """Note the end that its process claims, and end it; returns whether it was alone, and may be reaped later."""
        code, used, peak = _CLAIM.unpack(self.marks.partition(b"R")[2][: _CLAIM.size])
        wall = time.monotonic() - self.started
        peak = min(peak, _MOST_KB) if wall < _FIRST_LOOK else max(usage.peak_kb(self.pid), min(peak, _MOST_KB))
        os.kill(self.pid, signal.SIGKILL)
        before, alone = usage.end_of(self.pid)
        used = used if used >= 0 else 0.0  # NaN as well
        self.outcome = {
            "exit": code,
            "wall": wall,
            "cpu": max(self.cpu_s, before, min(used, before + 1 / usage.TICKS)),
            "memory": max(self.peak_kb, peak) / 1024,
        }
        return alone

    def reap(self, *, wait: bool) -> bool:
        """Let go of its process once the kernel is done with it; returns whether it is."""
        if not self.reaped and os.waitpid(self.pid, 0 if wait else os.WNOHANG)[0]:
            os.close(self.handle)
            self.reaped = True
        return self.reaped

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
        """Reap it and note how it ended, unless it has said so."""
        if self.outcome:
            self.reap(wait=True)
            return
        _, status, spent = os.wait4(self.pid, 0)
        os.close(self.handle)
        self.reaped = True
        used = max(self.cpu_s, spent.ru_utime + spent.ru_stime)
        code = os.waitstatus_to_exitcode(status)
        if self.limit is None and code in (-signal.SIGKILL, -signal.SIGXCPU) and used > 0.7 * self.limits["cpu_s"]:
            self.limit = "cpu_s"
        self.outcome = {
            "exit": code,
            "wall": time.monotonic() - self.started,
            "cpu": used,
            "memory": max(self.peak_kb, spent.ru_maxrss) / 1024,
        }

    def drain(self) -> None:
        """Take what is left in its pipes, for nobody writes any more, and close them."""
        for descriptor in (self.stdout, self.stderr):
            while self.read(descriptor) and select.select([descriptor], [], [], 0)[0]:
                pass
            os.close(descriptor)
        self.close_stdin()
        if self.control >= 0:
            self.hear()
        if self.control >= 0:
            os.close(self.control)
            self.control = -1
        if self.limit is None and self.outcome["exit"] and self.output[1].rstrip().endswith(b"MemoryError"):
            self.limit = "memory_mb"

    def report(self) -> dict[str, Any]:
        """Return how it ended, as JSON values."""
        out, err = self.output
        sizes = {"out": len(out), "err": len(err)}
        before, runs, _ = self.marks.partition(b"R")
        said = {"mark": (before + runs)[-1:].decode("ascii", "replace")}
        flags = {"limit": self.limit, "truncated": self.truncated, "stopped": self.stopped}
        return {**self.outcome, **sizes, **said, **flags}


class Watch:
    """Watches jobs until all have ended.

    `members` lists the processes of a job, for what they use. `others` are more descriptors to serve, each with what to
    do when it can be read. `on_end` is called when a job's first process has been reaped, before its pipes are emptied.
    """

    def __init__(
        self,
        jobs: list[Job],
        *,
        members: Callable[[Job], list[int]],
        on_end: Callable[[Job], None],
        others: dict[int, Callable[[], None]] | None = None,
    ) -> None:
        self.running = list(jobs)
        self.members = members
        self.on_end = on_end
        self.serve: dict[int, Callable[[], None]] = dict(others or {})
        self.poller = select.poll()
        self.look = time.monotonic() + _FIRST_LOOK
        for descriptor in self.serve:
            self.poller.register(descriptor, select.POLLIN)
        for job in jobs:
            self._add(job.handle, partial(self._finish, job))
            self._add(job.stdout, partial(self._read, job, job.stdout))
            self._add(job.stderr, partial(self._read, job, job.stderr))
            if job.stdin >= 0:
                self._add(job.stdin, partial(self._write, job, job.stdin), select.POLLOUT)
            if job.control >= 0:
                self._add(job.control, partial(self._hear, job, job.control))

    def run(self) -> None:
        """Return when all jobs have ended."""
        while self.running:
            now = time.monotonic()
            if now >= self.look:
                for job in self.running:
                    (usage.kill_all if job.is_ending else job.look)(self.members(job))
                self.look = now + _NEXT_LOOK
            waiting = [job for job in self.running if not job.is_ending]
            for job in waiting:
                if now >= job.deadline:
                    job.stop("wall_s")
            wake = min([self.look, *(job.deadline for job in waiting)])
            for descriptor, _ in self.poller.poll(max(0.0, wake - now) * 1000):
                if descriptor in self.serve:  # else it was closed a moment ago
                    self.serve[descriptor]()

    def _add(self, descriptor: int, serve: Callable[[], None], event: int = select.POLLIN) -> None:
        self.poller.register(descriptor, event)
        self.serve[descriptor] = serve

    def _drop(self, descriptor: int) -> None:
        if self.serve.pop(descriptor, None) is not None:
            self.poller.unregister(descriptor)

    def _read(self, job: Job, descriptor: int) -> None:
        if not job.read(descriptor):
            self._drop(descriptor)

    def _write(self, job: Job, descriptor: int) -> None:
        job.write()
        if job.stdin < 0:
            self._drop(descriptor)

    def _hear(self, job: Job, descriptor: int) -> None:
        claims = job.hear()
        if claims and not job.is_ending:
            if job.take_claim():
                self._end(job)
            else:  # what it leaves would live until the kernel is done with it, which it can delay
                usage.kill_all(self.members(job))
        if job.control < 0 or claims:
            self._drop(descriptor)

    def _finish(self, job: Job) -> None:
        job.finish()
        self._end(job)

    def _end(self, job: Job) -> None:
        for descriptor in (job.handle, job.stdout, job.stderr, job.stdin, job.control):
            self._drop(descriptor)
        self.running.remove(job)
        self.on_end(job)
        job.drain()


def claim(code: int, cpu_s: float, peak_kb: int) -> bytes:
    """Return what a process says when its program has ended."""
    return b"X" + _CLAIM.pack(code, cpu_s, peak_kb)[1:]
