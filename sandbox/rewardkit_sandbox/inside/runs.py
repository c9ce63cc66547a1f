"""Run one program several times from the same start, and bring its files back; the first process of its namespace.

Each run is a fork of this process, of which nothing is left before the next one starts. The runs are of one program, so
it may know its own inputs; it cannot reach this process, which is not dumpable and deaf to signals.
"""

from __future__ import annotations

import fnmatch
import os
import select
import signal
import stat
from collections.abc import Callable
from typing import Any, NoReturn

from rewardkit_sandbox.inside import capture, frames, kernel

_LONGEST_PATH = 1024
_PRIVATE = ("/tmp", "/dev/shm")
NO_RUN: dict[str, Any] = {
    "exit": 1,
    "wall": 0.0,
    "cpu": 0.0,
    "memory": 0.0,
    "limit": None,
    "truncated": False,
    "stopped": False,
}


class Runner:
    """Starts programs one after the other, each in what the one before it left untouched."""

    def __init__(self, control: int, limits: dict[str, Any]) -> None:
        kernel.set_dumpable(False)
        self.control = control
        self.limits = limits

    def run(self, become: Callable[[], NoReturn], content: bytes) -> capture.Job:
        """Fork, let the fork `become` the program with `content` on its standard input, and watch it to its end."""
        stdin, out, err = os.pipe(), os.pipe(), os.pipe()
        pid = kernel.clone(signal.SIGCHLD)
        if pid == 0:
            kernel.set_dumpable(True)
            for number, descriptor in enumerate((stdin[0], out[1], err[1])):
                os.dup2(descriptor, number)
            os.closerange(3, 256)
            become()
        for descriptor in (stdin[0], out[1], err[1]):
            os.close(descriptor)
        job = capture.Job(pid, (stdin[1], out[0], err[0]), content, self.limits)
        capture.Watch([job], members=lambda _: _all_others(), on_end=lambda _: _kill_others()).run()
        return job

    def tell(self, phase: str) -> None:
        """Tell the supervisor what comes next: a source may be made to crash the compiler, or to keep it busy."""
        frames.write(self.control, frames.pack({"next": phase}))

    def send(self, phase: str, job: capture.Job, files: dict[str, bytes]) -> None:
        """Tell the supervisor how a run ended."""
        listed = [[path, len(content)] for path, content in files.items()]
        header = {**job.report(), "phase": phase, "files": listed}
        frames.write(self.control, frames.pack(header, *job.output, *files.values()))

    def refuse(self, problem: bytes) -> NoReturn:
        """Tell the supervisor that there is nothing to run, and end."""
        limit = "memory_mb" if problem.endswith(b"MemoryError\n") else None
        header = {**NO_RUN, "limit": limit, "out": 0, "err": len(problem), "phase": "compile", "files": []}
        frames.write(self.control, frames.pack(header, problem))
        os._exit(1)

    def is_enough(self) -> bool:
        """Whether the supervisor wants no more runs."""
        return bool(select.select([self.control], [], [], 0)[0])


def clear(keep: set[str]) -> None:
    """Remove every file that a run left, but those in `/tmp` that are named in `keep`.

    Raises OSError or RecursionError where a run has seen to it that this cannot be done.
    """
    for top in _PRIVATE:
        for name in os.listdir(top):
            path = f"{top}/{name}"
            if path not in keep:
                _remove(path)


def fetch(patterns: list[str], limit: int) -> dict[str, bytes]:
    """Return the regular files below the current directory that the patterns name, up to `limit` bytes in all.

    Nothing but regular files is opened, and no symbolic link is followed.
    """
    found: dict[str, bytes] = {}
    room = limit
    for path in _files_below(".") if patterns else []:
        if not any(pattern in ("*", path) or fnmatch.fnmatchcase(path, pattern) for pattern in patterns):
            continue
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            continue
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                continue
            content = file.read(room + 1)
        if len(content) <= room:
            room -= len(content)
            found[path] = content
    return found


def _files_below(folder: str) -> list[str]:
    """Return the paths of what is no directory, sorted; what is too deep or oddly named is left out."""
    paths: list[str] = []
    folders = [folder]
    while folders:
        try:
            entries = list(os.scandir(folders.pop()))
        except OSError:
            continue
        for entry in entries:
            path = os.path.relpath(entry.path, folder)
            if len(path) > _LONGEST_PATH or not path.isprintable():
                continue
            (folders if entry.is_dir(follow_symlinks=False) else paths).append(path)
    return sorted(paths)


def _remove(path: str) -> None:
    """Remove a file, or a directory with all that is in it, whatever their modes forbid."""
    if os.path.islink(path) or not os.path.isdir(path):
        os.unlink(path)
        return
    os.chmod(path, 0o700)
    for name in os.listdir(path):
        _remove(f"{path}/{name}")
    os.rmdir(path)


def _all_others() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and name != "1"]


def _kill_others() -> None:
    """Kill every process of this namespace but this one, and reap them all."""
    while True:
        try:
            os.kill(-1, signal.SIGKILL)
            os.waitpid(-1, 0)
        except (ProcessLookupError, ChildProcessError):
            return
