"""The zygote: a warm interpreter that does nothing but copy itself, each copy behind its own inner wall.

It never sees a program, an input or an output, so that none of them can be found in the memory of a copy. The copies
are children of the supervisor, which reaps them.
"""

from __future__ import annotations

import fcntl
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial

from rewardkit_sandbox.inside import child, frames, kernel, seccomp, walls

_CONTROL = 32  # above the descriptors that programs count on
# What a module costs every copy is little beside what importing it costs a program; hashlib's libraries are too large.
_PRELOADED = """
    abc array ast bisect cmath collections collections.abc contextlib copy dataclasses datetime decimal enum fractions
    functools heapq io itertools json keyword linecache math numbers operator os.path random re statistics string struct
    textwrap threading time traceback types typing warnings
"""


def preload() -> None:
    """Import what programs often import, once for all copies."""
    register, os.register_at_fork = os.register_at_fork, lambda **_: None  # they would touch pages in every copy
    try:
        for name in _PRELOADED.split():
            __import__(name)
    finally:
        os.register_at_fork = register


def serve(orders: socket.socket, user: int | None) -> None:
    """Make a copy for every order, until the supervisor is gone. An order brings the copy's end of a socket."""
    hidden = walls.writable_places()
    calls = kernel.SystemCallFilter(seccomp.build_filter(kernel.MACHINE))
    flags = signal.SIGCHLD | kernel.CLONE_PARENT | walls.clone_flags(user)
    os.environ.clear()
    os.environ.update(child.ENVIRONMENT)
    gc.collect()
    gc.freeze()
    gc.disable()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    while True:
        order, descriptors, _, _ = socket.recv_fds(orders, 4096, 4)
        if not order:
            os._exit(0)
        header, _ = frames.unpack(bytearray(order)) or ({}, b"")
        try:
            pid = kernel.clone(flags | kernel.CLONE_NEWNET if header.get("network") else flags)
        except OSError as error:
            pid = -(error.errno or 1)
        if pid == 0:
            os.close(orders.fileno())
            _become(descriptors, partial(walls.isolate, header, hidden, calls, user=user))
        for descriptor in descriptors:
            os.close(descriptor)
        orders.sendall(pid.to_bytes(8, "big", signed=True))


def _become(descriptors: list[int], isolate: Callable[[], None]) -> None:
    """Be a copy: go behind the wall, then wait for a program and run it; never returns."""
    control = descriptors[0]
    try:
        control = fcntl.fcntl(control, fcntl.F_DUPFD_CLOEXEC, _CONTROL)
        for number, descriptor in enumerate(descriptors[1:]):
            os.dup2(descriptor, number)
        os.closerange(3, _CONTROL)
        os.setsid()  # else a signal to its process group would reach the supervisor and the zygote
        isolate()
        child.rehearse()
    except BaseException as error:
        frames.write(control, b"E" + f"{type(error).__name__}: {error}".encode())
        os._exit(70)
    frames.write(control, b"I")
    gc.enable()
    child.main(control)
    sys.exit(70)
