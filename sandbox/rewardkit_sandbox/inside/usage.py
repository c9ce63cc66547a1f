"""What `/proc` tells of processes: where they are, what they use, who they left. Knows nothing of programs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

_PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024
_PATIENCE_S = 0.25  # of CPU time for counting shared pages: there may be billions of them
_SOCKET_KB = 208  # what one unix socket can hold back: `net.core.wmem_default`, which the filter lets nobody raise
_SPARSE = (4 << 20) // _PAGE_KB  # pages mapped, from which on page tables may hold more than what they map
TICKS = os.sysconf("SC_CLK_TCK")


def place_of(pid: int) -> str:
    """Return the pid namespace of a process, "" for one that is gone."""
    for thread in _threads(pid):
        try:
            return os.readlink(f"{thread}/ns/pid")
        except OSError:
            continue
    return ""


def _threads(pid: int) -> Iterator[str]:
    """Yield where a process is in `/proc`, then its threads: of a first thread that has ended little is to be read."""
    yield f"/proc/{pid}"
    try:
        yield from [f"/proc/{pid}/task/{name}" for name in os.listdir(f"/proc/{pid}/task") if name != str(pid)]
    except OSError:
        return


def end_of(pid: int) -> tuple[float, bool]:
    """Return the CPU seconds of a process that has been killed, and whether it has neither threads nor children."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:
            return sum(map(int, fields[11:15])) / TICKS, int(fields[17]) < 2 and not file.read()
    except OSError:
        return 0.0, False


def kill_all(pids: list[int]) -> None:
    """Kill processes, those that are gone left out."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def cpu_s_of(pid: int) -> tuple[float, float]:
    """Return the CPU seconds of a process, and of those that it has waited for."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            own, system, children, theirs = map(int, file.read().rpartition(b")")[2].split()[11:15])
    except OSError:
        return 0.0, 0.0
    return (own + system) / TICKS, (children + theirs) / TICKS


def peak_kb(pid: int) -> int:
    """Return the most memory that a process has had, in KiB; 0 when that is gone."""
    return _field_kb(f"/proc/{pid}/status", b"VmHWM:")


def resident_kb(pid: int) -> int:
    """Return the memory that a process has, in KiB, with what it shares, and with its page tables where they count."""
    for thread in _threads(pid):
        try:
            with open(f"{thread}/statm", "rb") as file:
                mapped, pages = map(int, file.read().split()[:2])
        except OSError:
            continue
        if pages:
            tables = _field_kb(f"{thread}/status", b"VmPTE:") if mapped > _SPARSE else 0
            return pages * _PAGE_KB + tables
    return 0


def together_kb(pids: list[int]) -> int:
    """Return what processes use that share pages; past `_PATIENCE_S` of counting, the rest as if they shared none."""
    stop = time.process_time() + _PATIENCE_S
    return sum(_proportional_kb(pid) if time.process_time() < stop else resident_kb(pid) for pid in pids)


def sockets_kb(pids: list[int]) -> int:
    """Return what the sockets of the network that processes are in can hold, in KiB: it belongs to no process."""
    for pid in pids:
        try:
            with open(f"/proc/{pid}/net/sockstat", "rb") as file:
                return int(file.readline().split()[2]) * _SOCKET_KB
        except (OSError, IndexError):
            continue
    return 0


def _proportional_kb(pid: int) -> int:
    shared = _field_kb(f"/proc/{pid}/smaps_rollup", b"Pss:")
    return shared + _field_kb(f"/proc/{pid}/status", b"VmPTE:") if shared else resident_kb(pid)


def _field_kb(path: str, name: bytes) -> int:
    """Return a number of KiB from a table in `/proc`, 0 where it is not there."""
    try:
        with open(path, "rb") as file:
            return next((int(line.split()[1]) for line in file if line.startswith(name)), 0)
    except OSError:
        return 0
