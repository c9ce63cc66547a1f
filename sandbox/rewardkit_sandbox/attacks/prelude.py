"""What attacks in Python start with, and the probe that runs after each of them. Text, run inside the sandbox only.

The prelude gives the facts of the host, system calls by number, and `attempt`, which tries one way in a process of its
own, so that a way that kills or hangs does not end the others.
"""

from __future__ import annotations

PLACES = [
    *("/", "/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue", "/dev"),  # noqa: S108
    *("/run", "/run/lock", "/var", "/var/lock", "/sys/fs/cgroup", "/boot"),
    *("/etc", "/usr", "/usr/lib", "/usr/local", "/usr/local/lib", "/opt", "/srv", "/mnt", "/media", "/home", "/root"),
]
IPC_KEYS = (0x5EC0DE, 0x10D6E)  # of the System V segments, queues and semaphores that attacks leave

_LIBRARY = r'''
import ctypes, errno, json, os, platform, re, select, signal, socket, sys, time

FACTS = json.loads(sys.argv[-1])
MARK = FACTS["mark"]
SECRET = re.compile(rb"RKSECRET-([0-9a-f]{32})")
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
libc.prctl(15, MARK.encode(), 0, 0, 0)
got = {}
NUMBERS = {  # system call: x86_64, aarch64
    "unshare": (272, 97), "setns": (308, 268), "clone": (56, 220), "clone3": (435, 435), "mount": (165, 40),
    "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "keyctl": (250, 219), "add_key": (248, 217), "kexec_load": (246, 104),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "swapon": (167, 224), "reboot": (169, 142),
    "sethostname": (170, 161), "acct": (163, 89), "syslog": (103, 116), "fanotify_init": (300, 262),
    "settimeofday": (164, 170), "open_tree": (428, 428), "fsopen": (430, 430), "mount_setattr": (442, 442),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424), "kcmp": (312, 272),
    "memfd_create": (319, 279), "shmget": (29, 194), "shmat": (30, 196), "semget": (64, 190), "msgget": (68, 186),
    "msgsnd": (69, 189), "mq_open": (240, 180), "prlimit64": (302, 261), "getpid": (39, 172), "execveat": (322, 281),
}
MACHINE = 0 if platform.machine() in ("x86_64", "AMD64") else 1


def apart(name):
    """Whether this program has another namespace than the host: only then it may do in it what would do harm there."""
    try:
        own = os.readlink("/proc/self/ns/" + name)
    except OSError:
        return False
    return bool(FACTS["namespaces"][name]) and own != FACTS["namespaces"][name]


def call(name, *arguments):
    """Make a system call by its number; -1 with `ctypes.get_errno()` when it is refused."""
    given = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return libc.syscall(ctypes.c_long(NUMBERS[name][MACHINE]), *given)


def does(name, *arguments):
    """Say so when a system call works."""
    outcome = call(name, *arguments)
    return f"allowed ({outcome})" if outcome >= 0 else None


def may(name, *arguments):
    """Say so when a system call, made in a way that cannot do harm, fails for another reason than permission."""
    if call(name, *arguments) >= 0 or ctypes.get_errno() not in (errno.EPERM, errno.EACCES, errno.ENOSYS):
        return f"allowed ({errno.errorcode.get(ctypes.get_errno(), 'done')})"


def attempt(way, function, *arguments, seconds=3):
    """Try one way in a process of its own: something true that it returns got through."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            outcome = function(*arguments)
        except BaseException:
            outcome = None
        try:
            os.write(writer, str(outcome or "")[:300].encode())
        finally:
            os._exit(0)
    os.close(writer)
    ready = select.select([reader], [], [], seconds)[0]
    outcome = os.read(reader, 4096).decode() if ready else ""
    os.close(reader)
    try:
        os.kill(child, signal.SIGKILL)
    except OSError:
        pass
    os.waitpid(child, 0)
    if outcome:
        got[way] = outcome


def report(**more):
    """Print what got through as the last line."""
    sys.stdout.write("\n" + json.dumps({**got, **more}) + "\n")
    sys.stdout.flush()


def entries(folder):
    try:
        return os.listdir(folder)
    except OSError:
        return []


def content(path, size=1 << 16):
    """Return the start of a file, without waiting; nothing where it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        return os.read(descriptor, size)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def strangers():
    """Return the processes that can be seen and are neither this one, nor its ancestors' line, nor its children."""
    parents = {}
    for pid in filter(str.isdecimal, entries("/proc")):
        fields = content(f"/proc/{pid}/stat").rpartition(b")")[2].split()
        if fields and fields[0] not in (b"Z", b"X"):
            parents[int(pid)] = int(fields[1])
    family, pid = set(), os.getpid()
    while pid in parents:
        family.add(pid)
        pid = parents[pid]
    growing = True
    while growing:
        children = {pid for pid, parent in parents.items() if parent == os.getpid() or parent in family - {1}} - family
        growing = bool(children)
        family |= children
    return sorted(pid for pid in parents if pid not in family and pid != 1)


def secrets_in_memory():
    """Return the secrets that can be found in this process's own memory, through /proc or by trial."""
    found = set()
    for start, stop in regions():
        tail = b""
        for address in range(start, stop, 1 << 20):
            piece = peek(address, min(1 << 20, stop - address))
            found.update(SECRET.findall(tail + piece))
            tail = piece[-64:]
    return sorted("RKSECRET-" + digits.decode() for digits in found)


def regions():
    try:
        with open("/proc/self/maps") as lines:
            maps = lines.read().splitlines()
    except OSError:
        maps = []
    for line in maps:
        span, permissions = line.split()[:2]
        if permissions.startswith("r") and "[v" not in line:
            start, stop = (int(part, 16) for part in span.split("-"))
            yield start, min(stop, start + (64 << 20))
    if not maps:  # nothing is told: look around what is known to be there
        libc.sbrk.restype = ctypes.c_void_p
        for middle in (libc.sbrk(0), id(object()), id([])):
            start = (middle & ~0xFFFFF) - (16 << 20)
            yield start, start + (24 << 20)


def peek(address, size):
    """Return memory by way of a file, into which the kernel copies as much as there is."""
    global MEMORY
    if MEMORY is None:
        try:
            MEMORY = open("/proc/self/mem", "rb", 0)
        except OSError:
            MEMORY = False
    if MEMORY:
        try:
            MEMORY.seek(address)
            return MEMORY.read(size) or b""
        except (OSError, OverflowError, ValueError):
            return b""
    with open("peek", "wb+", 0) as copy:
        libc.write.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)
        for page in range(address, address + size, 4096):
            libc.write(copy.fileno(), page, 4096)
        copy.seek(0)
        return copy.read()


MEMORY = None
'''

PRELUDE = f"PLACES = {PLACES!r}\n{_LIBRARY}"

PROBE = r"""
import builtins, decimal, gc, locale, random, resource, threading, types, warnings

mask = os.umask(0)
os.umask(mask)
print(json.dumps({
    "answer": sum(range(1000)),
    "builtins": sorted(f"{name} {type(thing).__name__} {getattr(thing, '__module__', '')}"
                       for name, thing in vars(builtins).items() if name != "_"),
    "patched": [name for name, thing in (("print", print), ("open", open), ("json.dumps", json.dumps),
                ("os.getpid", os.getpid), ("random.random", random.random), ("sys.stdout.write", sys.stdout.write))
                if isinstance(thing, types.FunctionType) and thing.__module__ not in ("json",)],
    "modules": sorted(name for name in sys.modules if MARK in name),
    "environment": {name: text for name, text in os.environ.items() if text != os.getcwd()},
    "path": [folder for folder in sys.path if folder not in ("", os.getcwd())],
    "settings": [sys.getrecursionlimit(), sys.getswitchinterval(), gc.isenabled(), gc.get_threshold(), mask,
                 decimal.getcontext().prec, locale.setlocale(locale.LC_ALL), len(warnings.filters),
                 threading.active_count(), sys.gettrace() is None, sys.getprofile() is None,
                 getattr(sys, "get_int_max_str_digits", int)(), len(gc.callbacks)],
    "signals": [str(signal.getsignal(number)) for number in (1, 2, 13, 14, 15, 17)],
    "blocked": sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, []))),
    "limits": [resource.getrlimit(name) for name in range(16)],
    "nice": os.getpriority(os.PRIO_PROCESS, 0),
    "processors": sorted(os.sched_getaffinity(0)),
    "host name": socket.gethostname(),
    "directory": entries("."),
    "left files": sorted({os.path.join(place, name) for place in (*PLACES, os.path.expanduser("~"))
                          for name in entries(place) if MARK in name}),
    "temporary files": sorted(name for place in ("/tmp", "/dev/shm", "/var/tmp", "/dev/mqueue")
                              for name in entries(place) if os.path.join(place, name) not in os.getcwd()),
    "left ipc": [path for path in ("shm", "sem", "msg") if content(f"/proc/sysvipc/{path}").count(b"\n") > 1],
    "strangers": len(strangers()),
    "seeded": random.random() in (0.5, random.Random(1).random()),
}))
"""
