"""Whose a container is, and whether that process still lives: what the sweep goes by. Knows nothing of Docker."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def this_process() -> str:
    """Return a label for this process that no other has, on this machine or another, now or after a restart."""
    pid = os.getpid()
    return f"{_place()}:{pid}:{_started(pid)}"


def is_dead(owner: str) -> bool:
    """Return whether `owner`, a label by `this_process`, was a process of this machine and has ended.

    False for processes of other machines and of other containers, which cannot be seen from here.
    """
    place, _, process = owner.partition(":")
    pid, _, started = process.partition(":")
    return place == _place() and pid.isdigit() and _started(int(pid)) != started


def _place() -> str:
    """Return the boot of this machine and the pid namespace in it: where a pid means something."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:  # no Linux
        return platform.node().replace(":", "-")


def _started(pid: int) -> str:
    """Return when a process began (clock ticks since boot; "0" where that is not known), or "" when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        if Path("/proc/self/stat").exists():
            return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "0"
