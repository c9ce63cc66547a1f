"""Process trees and the memory they hold, read from /proc.

It starts and ends no process. Where there is no /proc (other Unixes than Linux) a tree is empty and holds nothing, so
that memory limits are not enforced there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

_RESIDENT = re.compile(rb"^Rss(?:Anon|Shmem):\s+(\d+) kB", re.MULTILINE)


def descendants(pid: int) -> list[int]:
    """Return the ids of all processes below `pid`, parents first; those that come or go meanwhile may be missed."""
    found: list[int] = []
    todo = [pid]
    while todo:
        children = list(_children(todo.pop()))
        found += children
        todo += children
    return found


def resident(pids: Iterable[int]) -> int:
    """Return the bytes of memory that `pids` hold: anonymous and shared pages, without mapped files.

    Pages that forked processes still share are counted once for each.
    """
    return sum(1024 * int(kib) for pid in pids for kib in _RESIDENT.findall(_read(f"/proc/{pid}/status")))


def total_memory() -> int:
    """Return the bytes of memory that this process may hope for: the machine's, or its cgroup's limit if less."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *_cgroup_limits()])


def _children(pid: int) -> Iterator[int]:
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return
    for thread in threads:  # the kernel lists a child under the thread that forked it
        yield from map(int, _read(f"/proc/{pid}/task/{thread}/children").split())


def _cgroup_limits() -> Iterator[int]:
    """Yield the limits of the cgroups (version 2 or 1) that this process is in, from the innermost outwards."""
    for line in _read("/proc/self/cgroup").decode().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, name = Path("/sys/fs/cgroup"), "memory.max"
        elif controllers == "memory":
            root, name = Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"
        else:
            continue
        inner = root / path.lstrip("/")
        for folder in (inner, *(p for p in inner.parents if p.is_relative_to(root))):
            limit = _read(str(folder / name)).strip()
            if limit.isdigit():
                yield int(limit)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
