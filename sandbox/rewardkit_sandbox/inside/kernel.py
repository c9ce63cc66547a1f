"""The Linux calls that Python has no function for, through ctypes; every failure is an OSError that names the call."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from typing import Any

MACHINE = platform.machine()
# x86-64, then the generic table that arm64 uses.
_NUMBERS = {
    "clone": (56, 220),
    "capset": (126, 91),
    "pivot_root": (155, 41),
    "mount_setattr": (442, 442),
    "seccomp": (317, 277),
}

CLONE_PARENT, CLONE_NEWNS = 0x8000, 0x20000
CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER = 0x4000000, 0x8000000, 0x10000000
CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWCGROUP = 0x20000000, 0x40000000, 0x2000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000

_libc: Any = ctypes.PyDLL(None, use_errno=True)  # PyDLL keeps the interpreter's lock: nothing may run beside a clone
_libc.syscall.restype = ctypes.c_long


def _checked(outcome: int, call: str) -> int:
    if outcome < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
    return outcome


def _syscall(name: str, *arguments: Any) -> int:
    number = _NUMBERS[name][0 if MACHINE == "x86_64" else 1]
    return _checked(_libc.syscall(ctypes.c_long(number), *arguments), name)


def clone(flags: int) -> int:
    """Fork with clone's `flags`; returns the child's pid in the parent and 0 in the child. One thread only."""
    zero = ctypes.c_long(0)
    return _syscall("clone", ctypes.c_long(flags), zero, zero, zero, zero)


def unshare(flags: int) -> None:
    """Move this process into new namespaces."""
    _checked(_libc.unshare(ctypes.c_int(flags)), "unshare")


def mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    """Mount; `kind` None for binds and remounts."""
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    outcome = _libc.mount(*encoded, ctypes.c_ulong(flags), options.encode() or None)
    _checked(outcome, f"mount {kind or 'bind'} on {target}")


def make_read_only(target: str) -> None:
    """Make the mount at `target` and all below it read-only, nosuid and nodev (mount_setattr, Linux 5.12)."""
    attributes = struct.pack("QQQQ", MS_RDONLY | MS_NOSUID | MS_NODEV, 0, 0, 0)
    path = ctypes.c_char_p(os.fsencode(target))
    size = ctypes.c_size_t(len(attributes))
    _syscall("mount_setattr", ctypes.c_int(_AT_FDCWD), path, ctypes.c_uint(_AT_RECURSIVE), attributes, size)


def unmount(target: str) -> None:
    """Detach the mount at `target`."""
    _checked(_libc.umount2(os.fsencode(target), ctypes.c_int(MNT_DETACH)), f"umount {target}")


def pivot_root(new: str) -> None:
    """Make `new`, a mount point, the root of this mount namespace, and let go of the old one."""
    os.chdir(new)
    _syscall("pivot_root", ctypes.c_char_p(b"."), ctypes.c_char_p(b"."))
    unmount(".")
    os.chdir("/")


def set_host_name(name: str) -> None:
    """Set the host's name in this UTS namespace."""
    _checked(_libc.sethostname(name.encode(), ctypes.c_size_t(len(name))), "sethostname")


def set_dumpable(dumpable: bool) -> None:
    """Let other processes of this user look into this one, or not."""
    _prctl(_PR_SET_DUMPABLE, int(dumpable))


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that made it ends; set it after every change of user."""
    _prctl(_PR_SET_PDEATHSIG, 9)


def drop_privileges() -> None:
    """Give up every capability for good; without new privileges, nothing that is executed brings one back."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    header, nothing = struct.pack("Ii", 0x20080522, 0), bytes(24)
    _syscall("capset", header, nothing)


class SystemCallFilter:
    """A seccomp filter (BPF instructions), laid out once and installed in many processes."""

    def __init__(self, program: bytes) -> None:
        self._buffer = ctypes.create_string_buffer(program, len(program))
        self._header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(self._buffer))

    def install(self) -> None:
        """Put this process behind the filter for good; `drop_privileges` comes first."""
        _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.c_char_p(self._header))


def _prctl(option: int, *arguments: Any) -> None:
    padded = [a if not isinstance(a, int) else ctypes.c_ulong(a) for a in (*arguments, 0, 0, 0, 0)[:4]]
    _checked(_libc.prctl(ctypes.c_int(option), *padded), f"prctl {option}")
