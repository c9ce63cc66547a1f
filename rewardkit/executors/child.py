"""One worker process as its parent sees it: start it, talk to it, watch its memory, kill it, say how it died.

When to kill is the business of `crew`; the killing itself is done by the `keeper`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys

from rewardkit.executors.tree import descendants, resident, total_memory
from rewardkit.executors.wire import Channel

TICK = 0.05  # seconds between two looks at the memory of a worker that has work
_BOOT = """
import json, sys
orders = json.loads(sys.argv[1])
sys.path[:] = orders.pop("path")
from rewardkit.executors.keeper import main
main(**orders)
"""
_END_SECONDS = 2.0


class Child:
    """A process that runs `entry` ("pkg.mod:function") with a socket and `arguments`, below a keeper.

    It imports whatever this process can import. `pass_fds` are left open in it under the same numbers.
    """

    def __init__(self, entry: str, *arguments: str, memory_limit: int, pass_fds: tuple[int, ...] = ()) -> None:
        self.memory_limit = memory_limit
        ours, theirs = socket.socketpair()
        with theirs, contextlib.ExitStack() as undo:
            undo.enter_context(ours)
            orders = {
                "path": [path or os.getcwd() for path in sys.path],
                "entry": entry,
                "arguments": arguments,
                "parent": os.getpid(),
                "socket_fd": theirs.fileno(),
            }
            # Not multiprocessing: that re-imports __main__, forbids children of daemons and forks threads and locks.
            self._popen = subprocess.Popen(
                [sys.executable, "-c", _BOOT, json.dumps(orders)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=(theirs.fileno(), *pass_fds),
            )
            undo.pop_all()
        self.channel = Channel(ours)
        self._owner = os.getpid()
        self._cause = ""

    @property
    def over_memory(self) -> bool:
        """Whether the worker and all below it hold more memory than they may."""
        return resident(descendants(self._popen.pid)) > self.memory_limit

    @property
    def gone(self) -> bool:
        """Whether the worker and all that it started have ended."""
        return self._popen.poll() is not None

    def doom(self, cause: str) -> None:
        """Have the worker and all its descendants killed, without waiting for it; `cause` is for `obituary`."""
        self._cause = cause
        with contextlib.suppress(OSError):  # the other end may be gone
            self.channel.socket.shutdown(socket.SHUT_RDWR)  # unlike close, it holds whoever has a copy of the socket
        self._popen.send_signal(signal.SIGCONT)  # in case that somebody stopped the keeper

    def kill(self, cause: str = "") -> None:
        """Kill the worker and all its descendants, and wait until they are gone. Idempotent.

        In a forked copy of the process that started the worker this does nothing.
        """
        if self._owner != os.getpid() or self.channel.socket.fileno() < 0:
            return
        self.doom(cause or self._cause)
        self._wait()
        self.channel.socket.close()

    def wait(self, seconds: float) -> None:
        """Wait for it to end by itself, for some seconds at most."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(max(0.0, seconds))

    def obituary(self) -> str:
        """Wait for the end and return how it came: a signal, an exit status, the memory limit."""
        self.kill()
        status = self._popen.returncode
        if self._cause:
            return self._cause
        if status == -signal.SIGKILL:
            return "the worker was killed by SIGKILL (by the kernel, if memory is short)"
        if status < 0:
            return f"the worker was killed by {signal_name(-status)}"
        return f"the worker ended with exit status {status}"

    def _wait(self) -> None:
        """Wait for the keeper; one that does not come to its end is killed, and all that is below it."""
        try:
            self._popen.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            for pid in [self._popen.pid, *descendants(self._popen.pid)]:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            self._popen.wait()


def memory_share(workers: int) -> int:
    """Return the bytes that each of `workers` may use where nobody said: all of them together 80 % of what there is."""
    return total_memory() * 4 // (5 * workers)


def memory_cause(limit: int) -> str:
    """Return what to say of a worker that was killed for its memory."""
    return f"the worker went over its memory limit of {limit / 2**30:.3g} GiB and was killed"


def signal_name(number: int) -> str:
    """Return the name of a signal."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
