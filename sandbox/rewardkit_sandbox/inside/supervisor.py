"""The first process behind the outer wall: takes orders from the host, has fresh copies run them, and reports.

It never runs a program. One order at a time: a program, or a program and its peer. It ends, and all with it, when its
stream from the host does.
"""

from __future__ import annotations

import fcntl
import os
import platform
import select
import signal
import site
import socket
import sys
import time
from typing import Any

from rewardkit_sandbox.inside import capture, frames, runs, usage, walls, zygote

_FIRST_DESCRIPTOR = 32  # what the supervisor keeps is above what programs count on
_FIRST_PIECE = 1 << 15  # bytes of an order that go with the descriptors
_MOST_DYING = 4  # programs that have ended while the kernel still takes them apart
_LOOK_S = 0.1  # between looks at what the compiler of a program uses
_START_S = 20.0  # seconds that a copy may take to get behind its wall on a machine that is very busy


class Spare:
    """A copy that waits for its program, with our ends of the socket and of the pipes that it has."""

    def __init__(self, control: socket.socket, pipes: tuple[int, int, int], *, network: bool) -> None:
        self.pid = 0  # until the zygote has said it
        self.control = control
        self.pipes = pipes
        self.network = network  # whether it has a network namespace of its own
        self.ready = False
        control.settimeout(_START_S)

    def wait(self) -> None:
        """Wait until it is behind its wall; raises OSError with the reason when it cannot get there."""
        if not self.ready:
            mark = self.control.recv(4096)
            if mark != b"I":
                raise OSError(f"a program's own wall cannot be built: {mark[1:].decode() or 'no answer'}")
            self.ready = True

    def hand_over(self, order: bytes, links: list[int]) -> None:
        """Give it its program, and the stream to a peer."""
        self.wait()
        sent = socket.send_fds(self.control, [order[:_FIRST_PIECE]], links) if links else 0
        if len(order) > sent:
            self.control.sendall(memoryview(order)[sent:])
        for link in links:
            os.close(link)

    def job(self, stdin: bytes, limits: dict[str, Any]) -> capture.Job:
        """Return the job to watch when its program takes its place."""
        return capture.Job(self.pid, self.pipes, stdin, limits, control=self.control.detach())

    def hear(self) -> bytes:
        """Return the next piece of what it reports, nothing when it has ended."""
        try:
            return self.control.recv(1 << 20)
        except ConnectionResetError:  # before it was told that it was enough
            return b""

    def left_s(self, started: float, limits: dict[str, Any]) -> float:
        """Return how many seconds it may go on compiling what it `started` to, 0 when its CPU time is over."""
        over = sum(usage.cpu_s_of(self.pid)) > limits["cpu_s"]
        return 0.0 if over else started + float(limits["wall_s"]) - time.monotonic()

    def discard(self) -> tuple[int, float]:
        """End and reap it, and all in its namespace; returns how it had ended and the CPU seconds that it used."""
        self.control.close()
        for descriptor in self.pipes:
            os.close(descriptor)
        os.kill(self.pid, signal.SIGKILL)
        _, status, usage = os.wait4(self.pid, 0)
        return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime


class Supervisor:
    """Keeps spares ready and runs orders."""

    def __init__(
        self, streams: tuple[int, int], orders: socket.socket, ceilings: dict[str, Any], *, own: set[int]
    ) -> None:
        self.host_in, self.host_out = streams
        self.orders = orders
        self.ceilings = ceilings
        self.buffer = bytearray()
        self.spares: list[Spare] = []
        self.ordered: list[Spare] = []
        self.dying: list[capture.Job] = []
        self.wanted = 1  # spares; two once a program with a peer has been seen
        self.own = own

    def serve(self) -> None:
        """Take orders until the host is gone."""
        while True:
            try:
                header, payload = frames.read(self.host_in, self.buffer)
            except EOFError:
                return
            if "programs" not in header:
                continue  # a late "enough"
            try:
                self.run(header, payload)
            except (OSError, EOFError, ValueError) as error:
                self.send({"error": f"{type(error).__name__}: {error}"})
                return
            self.fill()

    def fill(self) -> None:
        """Have as many spares made as are wanted; the zygote works beside us.

        Of two that may run at the same time, one has a network of its own, or they would share abstract unix sockets.
        """
        while len(self.spares) + len(self.ordered) < self.wanted:
            network = self.wanted > 1 and not any(spare.network for spare in self.spares + self.ordered)
            ours, theirs = socket.socketpair()
            into, out, err = os.pipe(), os.pipe(), os.pipe()
            given = [theirs.detach(), into[0], out[1], err[1]]
            socket.send_fds(self.orders, [frames.pack({**self.ceilings, "network": network})], given)
            for descriptor in given:
                os.close(descriptor)
            self.ordered.append(Spare(ours, (into[1], out[0], err[0]), network=network))

    def collect(self) -> None:
        """Wait for the spares that were ordered."""
        while self.ordered:
            pid = int.from_bytes(self.orders.recv(8), "big", signed=True)
            if pid <= 0:
                raise OSError(-pid, f"clone: {os.strerror(-pid)}")
            spare = self.ordered.pop(0)
            spare.pid = pid
            self.spares.append(spare)

    def run(self, header: dict[str, Any], payload: bytes) -> None:
        """Run one order and send its report, the last frame of which says "done"."""
        programs = header["programs"]
        ceilings = header["ceilings"]
        self.collect()
        if ceilings != self.ceilings:  # spares are made for what was asked for last
            self.ceilings = ceilings
            while self.spares:
                self.spares.pop().discard()
        self.wanted = max(self.wanted, len(programs))
        self.fill()
        self.collect()
        self.spares.sort(key=lambda spare: spare.network)  # a program that is alone leaves that one for others
        spares = [self.spares.pop(0) for _ in programs]
        if self.dying and _sockets_have_names():  # they can be read until their process is gone
            self.bury(0)
        parts = frames.split(payload, [size for p in programs for size in (p["order"], p["stdin"])])
        if programs[0]["direct"]:
            self.run_direct(programs, spares, parts)
        else:
            self.relay(programs[0], spares[0], parts[0])

    def run_direct(self, programs: list[Any], spares: list[Spare], parts: list[bytes]) -> None:
        """Run one program, or two that are linked, each in the place of its copy."""
        links = [end.detach() for end in socket.socketpair()] if len(programs) > 1 else []
        for n, spare in enumerate(spares):
            spare.hand_over(parts[2 * n], links[n : n + 1])
        jobs = [spare.job(parts[2 * n + 1], programs[n]["limits"]) for n, spare in enumerate(spares)]

        def on_end(job: capture.Job) -> None:
            if job is not jobs[0] and not jobs[0].outcome:
                jobs[0].stop()

        self.fill()  # while the program runs
        self.watch(jobs, on_end)
        self.send({"done": [job.report() for job in jobs]}, *(text for job in jobs for text in job.output))
        self.dying += jobs
        self.bury(_MOST_DYING)

    def bury(self, most: int) -> None:
        """Reap programs that have ended, and wait while there are more than `most` that the kernel takes apart."""
        self.dying = [job for job in self.dying if not job.reap(wait=False)]
        while len(self.dying) > most:
            self.dying.pop(0).reap(wait=True)

    def watch(self, jobs: list[capture.Job], on_end: Any) -> None:
        """Watch jobs to their ends, or end with them when the host does."""

        def members(job: capture.Job) -> list[int]:
            self.collect()
            ours = self.own | {spare.pid for spare in self.spares}
            found = [int(name) for name in os.listdir("/proc") if name.isdigit()]
            strangers = [pid for pid in found if pid not in ours]
            return (
                strangers
                if len(jobs) == 1 and not self.dying
                else [pid for pid in strangers if usage.place_of(pid) == job.place]
            )

        capture.Watch(jobs, members=members, on_end=on_end, others={self.host_in: self.listen}).run()

    def listen(self) -> None:
        """Read what the host says while a program runs; its end is ours."""
        try:
            frames.fill(self.host_in, self.buffer)
        except EOFError:
            os._exit(0)  # pid 1: everything behind the outer wall ends with it

    def relay(self, program: dict[str, Any], spare: Spare, order: bytes) -> None:
        """Pass on what a copy that stays reports of its runs."""
        limits = program["limits"]
        spare.hand_over(order, [])
        self.fill()
        most = int(2 * limits["output_kb"] * 1024 + (limits["disk_mb"] << 20) + (1 << 20))
        deadline = time.monotonic() + (program["runs"] + 1) * (limits["wall_s"] + 1.0) + _START_S
        buffer, left, started = bytearray(), program["runs"], 0.0
        while left:
            frame = frames.unpack(buffer)
            if frame is not None and "next" in frame[0]:
                started = time.monotonic() if frame[0]["next"] == "compile" else 0.0
                continue
            if frame is not None:
                started = 0.0
                left = 0 if frame[0]["phase"] == "compile" else left - 1
                self.send({"run": frame[0]}, frame[1])
                continue
            if frames.wanted(buffer) > most:
                raise OSError("a run reports more than its limits allow")
            left_s = spare.left_s(started, limits) if started else deadline - time.monotonic()
            streams = [spare.control.fileno(), self.host_in]
            ready, _, _ = select.select(streams, [], [], min(max(0.0, left_s), _LOOK_S))
            if not ready and left_s > 0:
                continue
            if not ready and started:
                break
            if not ready:
                raise OSError("the runs of a program do not end")
            if self.host_in in ready:  # "enough", or the host's end: nothing else may come now
                self.listen()
                self.tell_enough(spare)
            if spare.control.fileno() in ready:
                if not (piece := spare.hear()):
                    break
                buffer += piece
        code, used = spare.discard()
        if started:  # the compiler did not come to its end
            wall = time.monotonic() - started
            limit = "wall_s" if wall >= limits["wall_s"] else "cpu_s" if used > 0.7 * limits["cpu_s"] else None
            report = {**runs.NO_RUN, "exit": code, "wall": wall, "cpu": used, "limit": limit, "phase": "compile"}
            self.send({"run": {**report, "out": 0, "err": 0, "files": []}})
        self.send({"done": []})

    def tell_enough(self, spare: Spare) -> None:
        """Let the copy stop after the run that it is at."""
        while frames.unpack(self.buffer) is not None:
            try:
                spare.control.sendall(b"x")
            except OSError:
                return

    def send(self, header: dict[str, Any], *payload: bytes) -> None:
        """Send one frame to the host."""
        frames.write(self.host_out, frames.pack(header, *payload))


def main(config: dict[str, Any]) -> None:
    """Build the outer wall if there is none, start the zygote, and serve until the host is gone."""
    host_out = os.dup(1)
    try:
        if config["outer"] == "namespace":
            walls.enter_namespaces(config["shown"])
    except OSError as error:
        frames.write(host_out, frames.pack({"error": f"the outer wall cannot be built: {error}"}))
        sys.exit(70)
    host_in, host_out = (fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, _FIRST_DESCRIPTOR) for number in (0, host_out))
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nothing, number)
    os.closerange(3, _FIRST_DESCRIPTOR)
    try:
        supervisor = _start(host_in, host_out, config)
    except (OSError, EOFError, ValueError) as error:
        frames.write(host_out, frames.pack({"error": str(error)}))
        os._exit(70)
    supervisor.send({"hello": {"python": platform.python_version(), "kernel": platform.release()}})
    supervisor.serve()
    os._exit(0)


def _start(host_in: int, host_out: int, config: dict[str, Any]) -> Supervisor:
    """Start the zygote, and see a first copy behind its wall."""
    if config["outer"] == "container":
        sys.path += site.getsitepackages()  # what the image's maker has put there
    sys.path += config.get("packages", [])
    zygote.preload()
    ours, theirs = socket.socketpair()
    own = {os.getpid(), zygote_pid} if (zygote_pid := os.fork()) else set()
    if not own:
        for descriptor in (host_in, host_out, ours.fileno()):
            os.close(descriptor)
        zygote.serve(theirs, config.get("user"))
    theirs.close()
    supervisor = Supervisor((host_in, host_out), ours, config["ceilings"], own=own)
    supervisor.fill()
    supervisor.collect()
    supervisor.spares[0].wait()
    _check_kernel(supervisor.spares[0].pid)
    return supervisor


def _sockets_have_names() -> bool:
    """Return whether a unix socket of this network has a name, which programs could leave to others."""
    with open("/proc/net/unix", "rb") as table:
        return any(len(line.split(None, 7)) > 7 for line in list(table)[1:])


def _check_kernel(child: int) -> None:
    """Raise OSError for a kernel that lacks what watching programs takes, as gVisor's of 2022 does."""
    try:
        os.close(os.pidfd_open(child))
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except OSError as error:
        raise OSError(f"this kernel has no pidfd_open, or no CLONE_PARENT: {error}") from error
