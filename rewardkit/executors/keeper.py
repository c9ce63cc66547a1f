"""The first process of every worker: it forks the one that works, and leaves nothing of it behind.

The keeper runs no reward. It waits, at no cost, for one of three things: the worker ends, the parent shuts the socket
down (that is how a worker is killed), or the parent itself is gone (however it died). Then it kills everything below
itself and ends as the worker did, so that the parent reads the worker's fate from the keeper's exit status. On Linux
orphans are handed to the keeper by the kernel, so neither a double fork nor setsid escapes; elsewhere only the worker's
process group is killed. It is no sandbox: hostile code can kill its keeper.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import resource
import select
import signal
import socket
import sys
import time
from typing import Any, NoReturn

from rewardkit.executors.tree import descendants

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_KILL_SECONDS = 5.0  # what is in uninterruptible sleep, or belongs to another user, cannot be waited for


def main(*, entry: str, arguments: list[str], parent: int, socket_fd: int) -> None:
    """Fork, become the keeper, and return in the worker only, when `entry` ("pkg.mod:function") has returned there."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    wakeup, wakeup_write = os.pipe()
    os.set_blocking(wakeup_write, False)
    signal.signal(signal.SIGCHLD, _ignore)
    signal.set_wakeup_fd(wakeup_write, warn_on_full_buffer=False)
    keeper = os.getpid()
    worker = os.fork()
    if worker:
        _keep(worker, parent=parent, socket_fd=socket_fd, wakeup=wakeup)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.close(wakeup)
    os.close(wakeup_write)
    _settle_in(keeper)
    os.set_inheritable(socket_fd, False)
    module, _, function = entry.partition(":")
    getattr(importlib.import_module(module), function)(socket.socket(fileno=socket_fd), *arguments)


def _settle_in(keeper: int) -> None:
    """Make this process a worker: in a session of its own, first to go when memory is short, with no stdout."""
    os.setsid()
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != keeper:
        os._exit(1)
    try:
        os.dup2(2, 1)  # what a reward prints must not end up among the scores on the parent's stdout
    except OSError:
        pass  # there is no stderr: stdout stays /dev/null
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    except OSError:
        pass


def _keep(worker: int, *, parent: int, socket_fd: int, wakeup: int) -> NoReturn:
    """Wait for an end, clean up, and end in the same way."""
    poller = select.poll()
    poller.register(wakeup, select.POLLIN)
    poller.register(socket_fd, 0)  # reports only that the other end was shut down or closed
    # A forked copy of the parent may hold the socket open, so the parent's own death is watched too.
    patience = _watch_parent(poller, parent)
    status = None
    while status is None and os.getppid() == parent:
        ready = poller.poll(patience)
        status = _reap(worker)
        if any(fd != wakeup for fd, _ in ready):
            break
        if ready:
            os.read(wakeup, 4096)
    _kill_all(worker)
    _end_as(status or 0)


def _watch_parent(poller: select.poll, parent: int) -> int | None:
    """Have `poller` report the parent's end; return the milliseconds between looks where it cannot."""
    if not hasattr(os, "pidfd_open"):
        return 1000
    try:
        poller.register(os.pidfd_open(parent), select.POLLIN)
    except OSError:
        return 1000
    return None


def _reap(worker: int) -> int | None:
    """Bury all dead children; return the worker's wait status if it is among them."""
    found = None
    try:
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return found
            if pid == worker:
                found = status
    except ChildProcessError:
        return found


def _kill_all(worker: int) -> None:
    deadline = time.monotonic() + _KILL_SECONDS
    while time.monotonic() < deadline:
        _kill(-worker)
        for pid in descendants(os.getpid()):
            _kill(pid)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.001)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def _end_as(status: int) -> NoReturn:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status))


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _ignore(*_: Any) -> None:
    """Do nothing: a handler is needed for the signal to reach the wake-up pipe."""
