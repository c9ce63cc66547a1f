"""The system calls that no program gets, as a seccomp filter in classic BPF for x86-64 and arm64.

The namespaces are the wall; the filter takes away what could be used against the kernel behind it, and what could make
new namespaces. Calls are refused with an error, so that a program that only tries goes on; foreign architectures kill.
"""

from __future__ import annotations

import struct

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS, _EAFNOSUPPORT = 1, 38, 97
_NEW_NAMESPACE = 0x7E020080  # every CLONE_NEW* flag, NEWTIME included
_AF_UNIX = 1
_X32 = 0x40000000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# name: (x86-64, arm64); None where the architecture lacks the call.
_DENIED: dict[str, tuple[int | None, int | None]] = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioperm": (173, None),
    "iopl": (172, None),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "lookup_dcookie": (212, 18),
    "mbind": (237, 235),
    "memfd_create": (319, 279),  # its pages belong to no file system with a size and to no process
    "memfd_secret": (447, 447),
    "migrate_pages": (256, 238),
    "modify_ldt": (154, None),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "mq_open": (240, 180),
    "msgget": (68, 186),
    "name_to_handle_at": (303, 264),
    "nfsservctl": (180, 42),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_madvise": (440, 440),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "semget": (64, 190),
    "set_mempolicy": (238, 237),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "shmget": (29, 194),  # as memfd_create
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "uselib": (134, None),
    "userfaultfd": (323, 282),
    "ustat": (136, None),
    "vhangup": (153, 58),
}
_CLONE, _CLONE3, _SOCKET, _IOCTL = (56, 220), (435, 435), (41, 198), (16, 29)
_PRLIMIT, _SOCKETPAIR, _SETSOCKOPT = (302, 261), (53, 199), (54, 208)
_SO_SNDBUF = 7
# sched_setparam, sched_setscheduler, sched_setaffinity, sched_setattr
_SCHEDULING = ((142, 118), (144, 119), (203, 122), (314, 274))
# setpriority, ioprio_set; and the word that says that it is for one process
_OF_PROCESS = (((141, 140), 0), ((251, 30), 1))


def build_filter(machine: str) -> bytes:
    """Return the filter for `machine` (as `platform.machine()` says it); raises OSError for one that is not known."""
    if machine not in _ARCHITECTURES:
        raise OSError(f"no system-call filter for {machine!r}: x86_64 and aarch64 are supported")
    column = 0 if machine == "x86_64" else 1
    number, low_argument = 0, (16, 24, 32)
    code = [_op(_LOAD, 4), _op(_EQUAL, _ARCHITECTURES[machine], 1, 0), _op(_RETURN, _KILL), _op(_LOAD, number)]
    if machine == "x86_64":
        code += [_op(_AT_LEAST, _X32, 0, 1), _op(_RETURN, _KILL)]
    for numbers in _DENIED.values():
        if (denied := numbers[column]) is not None:
            code += [_op(_EQUAL, denied, 0, 1), _refuse(_EPERM)]
    code += [_op(_EQUAL, _CLONE3[column], 0, 1), _refuse(_ENOSYS)]  # its flags cannot be read: libc falls back to clone
    first, second, third = low_argument
    code += _when(_CLONE[column], first, [_op(_ANY_BIT, _NEW_NAMESPACE, 0, 1), _refuse(_EPERM)])
    for call in (_SOCKET, _SOCKETPAIR):
        code += _when(call[column], first, [_op(_EQUAL, _AF_UNIX, 1, 0), _refuse(_EAFNOSUPPORT)])
    code += _when(_PRLIMIT[column], first, [_op(_EQUAL, 0, 1, 0), _refuse(_EPERM)])  # of itself only
    # What sockets hold is nobody's memory: a larger buffer is asked for in vain, without an error.
    code += _when(_SETSOCKOPT[column], third, [_op(_EQUAL, _SO_SNDBUF, 0, 1), _refuse(0)])
    # The first process may be ours, which watches the program's runs: nobody may put it behind all others.
    not_the_first = _op(_EQUAL, 1, 0, 1), _refuse(_EPERM)
    for call in _SCHEDULING:
        code += _when(call[column], first, [*not_the_first])
    for call, process in _OF_PROCESS:
        one = [_op(_EQUAL, process, 1, 0), _refuse(_EPERM), _op(_LOAD, second), *not_the_first]
        code += _when(call[column], first, one)
    for command in (_TIOCSTI, _TIOCLINUX):
        code += _when(_IOCTL[column], second, [_op(_EQUAL, command, 0, 1), _refuse(_EPERM)])
    return b"".join([*code, _op(_RETURN, _ALLOW)])


def _when(call: int, argument: int, then: list[bytes]) -> list[bytes]:
    """Return code that runs `then` on one argument of `call`, and goes on with the call's number loaded."""
    body = [_op(_LOAD, argument), *then, _op(_LOAD, 0)]
    return [_op(_EQUAL, call, 0, len(body)), *body]


def _refuse(error: int) -> bytes:
    return _op(_RETURN, _ERRNO | error)


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
