"""The two walls: the outer one around a worker for its whole life, the inner one around a single program.

The outer wall is only built here where there is no container. Each program then gets, whatever is outside, user, pid,
mount and ipc namespaces of its own, private and limited `/tmp` and `/dev/shm`, a `/proc`, no capability, and the
system-call filter. Not covered: memory, which the supervisor watches.
"""

from __future__ import annotations

import errno
import os
import resource
import stat
from typing import Any

from rewardkit_sandbox.inside import kernel

NOBODY = 65534
WORK = "/tmp/work"
_DEVICES = ("null", "zero", "full", "random", "urandom")
_FILES = {
    "/etc/passwd": f"nobody:x:{NOBODY}:{NOBODY}:nobody:/tmp:/bin/sh\n",
    "/etc/group": f"nogroup:x:{NOBODY}:\n",
    "/etc/hosts": "127.0.0.1 localhost\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}
_LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"}


def enter_namespaces(shown: dict[str, str]) -> None:
    """Go behind an outer wall where only what is `shown` of the host is left, read-only, and go on as pid 1 there.

    `shown` maps paths outside to paths inside. Forks: the process outside waits for the one inside and ends with it.
    For root and for ordinary users. Raises OSError where the kernel refuses.
    """
    flags = kernel.CLONE_NEWNS | kernel.CLONE_NEWIPC | kernel.CLONE_NEWNET | kernel.CLONE_NEWUTS | kernel.CLONE_NEWPID
    user, group, is_root = os.geteuid(), os.getegid(), os.geteuid() == 0
    kernel.unshare(flags | kernel.CLONE_NEWCGROUP if is_root else flags | kernel.CLONE_NEWUSER)
    if not is_root:
        _map_user(user, group)
    if child := os.fork():
        for number in range(3):
            os.close(number)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)
    _build_root(shown)
    kernel.set_host_name("sandbox")
    if is_root:
        become_user(NOBODY)
    kernel.die_with_parent()


def isolate(ceilings: dict[str, Any], hidden: list[str], calls: kernel.SystemCallFilter, *, user: int | None) -> None:
    """Put this process, fresh from `kernel.clone`, behind the inner wall; it never leaves it again.

    `hidden` are the writable directories of the outer wall; `ceilings` holds disk_mb, files and processes; `calls` is
    the filter of system calls. `user` is whom to become where there is no user namespace (see `clone_flags`).
    """
    if user is None:
        _map_user(NOBODY, NOBODY)
    hard = kernel.MS_NOSUID | kernel.MS_NODEV
    _mount_scratch("/tmp", hard, ceilings)
    _mount_scratch("/dev/shm", hard | kernel.MS_NOEXEC, ceilings)
    kernel.mount("proc", "/proc", "proc", hard | kernel.MS_NOEXEC)
    for path in hidden:
        kernel.mount("tmpfs", path, "tmpfs", hard | kernel.MS_NOEXEC | kernel.MS_RDONLY, "size=4k")
    if user is not None:
        become_user(user)
    os.mkdir(WORK, 0o700)
    os.chdir(WORK)
    _set_ceilings(ceilings)
    kernel.drop_privileges()
    calls.install()


def _mount_scratch(place: str, flags: int, ceilings: dict[str, Any]) -> None:
    size = f"size={ceilings['disk_mb']}m,mode=1777"
    try:
        kernel.mount("tmpfs", place, "tmpfs", flags, f"{size},nr_inodes={ceilings['files'] + 16}")
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        kernel.mount("tmpfs", place, "tmpfs", flags, size)  # gVisor's kernel counts no inodes


def clone_flags(user: int | None) -> int:
    """Return the namespaces that a program gets: all but the network's, which its worker has alone.

    Without a `user` to become, a user namespace makes the others possible. With one, the zygote must be privileged: for
    kernels that let nobody else have user namespaces.
    """
    flags = kernel.CLONE_NEWPID | kernel.CLONE_NEWNS | kernel.CLONE_NEWIPC
    return flags | kernel.CLONE_NEWUSER if user is None else flags


def become_user(user: int) -> None:
    """Be `user` for good, with no other group."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    kernel.set_dumpable(True)  # or its own /proc entries would belong to root


def writable_places() -> list[str]:
    """Return the writable mount points that the inner wall must hide; raises OSError where `/` itself is writable."""
    own = {"/tmp", "/dev/shm", "/proc"}
    if _nobody_writes("/") or _nobody_writes("/dev"):
        raise OSError("the root of the sandbox is writable")
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        points = [line.split()[4] for line in table]
    return sorted({p for p in points if p not in own and os.path.isdir(p) and _nobody_writes(p)})


def _nobody_writes(path: str) -> bool:
    if os.geteuid():
        return os.access(path, os.W_OK)
    entry = os.stat(path)  # root may write everywhere: ask for those whom programs become
    return bool(entry.st_mode & stat.S_IWOTH) or entry.st_uid == NOBODY


def _map_user(user: int, group: int) -> None:
    """Be nobody in this new user namespace, and nothing more than `user` outside."""
    for name, line in (("setgroups", "deny"), ("uid_map", f"{NOBODY} {user} 1"), ("gid_map", f"{NOBODY} {group} 1")):
        table = os.open(f"/proc/self/{name}", os.O_WRONLY)
        os.write(table, line.encode())
        os.close(table)


def _set_ceilings(ceilings: dict[str, Any]) -> None:
    disk = ceilings["disk_mb"] << 20
    hard = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: ceilings["processes"],
        resource.RLIMIT_NOFILE: 256,
        resource.RLIMIT_FSIZE: disk,
        resource.RLIMIT_MEMLOCK: 1 << 16,
        resource.RLIMIT_NICE: 0,
        resource.RLIMIT_RTPRIO: 0,
        resource.RLIMIT_SIGPENDING: 1024,
    }
    for kind, value in hard.items():
        before = resource.getrlimit(kind)[1]
        if before == resource.RLIM_INFINITY or before > value:
            resource.setrlimit(kind, (value, value))


def _build_root(shown: dict[str, str]) -> None:
    """Make a root file system of nothing but `shown`, bare devices and a `/proc`; nothing else of the host is left."""
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    root = next(p for p in ("/mnt", "/media", "/srv", "/opt", "/home", "/tmp") if _is_free(p, shown))
    kernel.mount("tmpfs", root, "tmpfs", kernel.MS_NOSUID, "size=16m,mode=755")
    for path, place in shown.items():
        _show(path, root + place)
    for name in ("proc", "tmp", "dev/shm", "etc", "usr", "var"):
        os.makedirs(f"{root}/{name}", exist_ok=True)
    os.chmod(f"{root}/tmp", 0o1777)
    for path, text in _FILES.items():
        with open(root + path, "w", encoding="ascii") as file:
            file.write(text)
    for name in _DEVICES:
        with open(f"{root}/dev/{name}", "w", encoding="ascii"):
            pass
        kernel.mount(f"/dev/{name}", f"{root}/dev/{name}", None, kernel.MS_BIND)
    for name, target in _LINKS.items():
        os.symlink(target, f"{root}/dev/{name}")
    kernel.mount("proc", f"{root}/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
    kernel.pivot_root(root)
    kernel.mount("none", "/", None, kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | kernel.MS_NOSUID)


def _is_free(place: str, shown: dict[str, str]) -> bool:
    return os.path.isdir(place) and not any(f"{path}/".startswith(f"{place}/") for path in shown)


def _show(path: str, target: str) -> None:
    """Bind one path of the host read-only; a symbolic link stays one."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.islink(path):
        os.symlink(os.readlink(path), target)
        return
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        with open(target, "a", encoding="ascii"):
            pass
    kernel.mount(path, target, None, kernel.MS_BIND | kernel.MS_REC)
    kernel.make_read_only(target)
