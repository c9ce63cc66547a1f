"""Attacks on the machine's resources: processes, memory, disk, time, output. Each is bounded by itself.

Where nothing holds them they take at most 300 processes, 1.2 GiB of memory, 300 MB of disk, 4 seconds of four cores,
and 400 MB of output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rewardkit.programs import Execution, Program
from rewardkit_sandbox.attacks.model import LIMITS, Attack, at_most, attack, ending, every, nothing_reported, stopped_by

_TELL = r"""
def tell(**numbers):
    os.write(1, json.dumps(numbers).encode() + b"\n")


"""

_FORKS = (
    _TELL
    + r"""
alive = 0
for _ in range(300):
    try:
        child = os.fork()
    except OSError:
        break
    if child == 0:
        signal.alarm(4)
        os.setsid()
        time.sleep(4)
        os._exit(0)
    alive += 1
tell(processes=alive)
"""
)

_RABBITS = r"""
def breed(generation):  # a process that leaves a copy of itself behind, in two lines of descent
    for _ in range(2):
        try:
            child = os.fork()
        except OSError:
            continue
        if child == 0:
            signal.alarm(3)
            os.setsid()
            return breed(generation + 1) if generation < 60 else os._exit(0)
    os._exit(0)


if os.fork() == 0:
    signal.alarm(3)
    breed(53)
report()
"""

_THREADS = (
    _TELL
    + r"""
import _thread

alive = 0
for _ in range(300):
    try:
        _thread.start_new_thread(time.sleep, (4,))
    except (RuntimeError, MemoryError):
        break
    alive += 1
tell(threads=alive)
os._exit(0)
"""
)

_HEAP = (
    _TELL
    + r"""
held = []
tell(MiB=0)
try:
    for step in range(1, 38):
        held.append(bytearray(os.urandom(1) * (32 << 20)))
        tell(MiB=32 * step)
except MemoryError:
    pass
"""
)

_SHARED = (
    _TELL
    + r"""
import mmap

held, taken = [], 0


def take(way):
    global taken
    try:
        for _ in range(12):
            held.append(way())
            taken += 32
            tell(MiB=taken)
    except (OSError, MemoryError, ValueError, BufferError):
        pass


def shared():
    area = mmap.mmap(-1, 32 << 20)
    area.write(b"x" * (32 << 20))
    return area


def memory_file():
    descriptor = os.memfd_create("m")
    os.write(descriptor, b"x" * (32 << 20))
    area = mmap.mmap(descriptor, 32 << 20)  # counted also by who counts what is mapped
    area.read(32 << 20)
    return descriptor, area


def system_v():
    segment = libc.shmget(0, 32 << 20, 0o1600)
    libc.shmat.restype = ctypes.c_void_p
    address = libc.shmat(segment, None, 0)
    if segment < 0 or address in (None, ctypes.c_void_p(-1).value):
        raise OSError
    libc.shmctl(segment, 0, None)  # gone with the last that has it
    ctypes.memset(address, 1, 32 << 20)


tell(MiB=0)
for way in (shared, memory_file, system_v):
    take(way)
"""
)

_TOGETHER = (
    _TELL
    + r"""
tell(MiB=0)
reader, writer = os.pipe()
for _ in range(8):
    try:
        child = os.fork()
    except OSError:
        break
    if child == 0:
        signal.alarm(4)
        try:
            held = bytearray(os.urandom(1) * (128 << 20))
            os.write(writer, b"x")
            time.sleep(2)
        finally:
            os._exit(0)
os.close(writer)
taken, stop = 0, time.monotonic() + 2  # those that were ended count no more: all that live at one time
while select.select([reader], [], [], max(0, stop - time.monotonic()))[0] and os.read(reader, 1):
    taken += 128
alive = 0
for pid in filter(str.isdecimal, entries("/proc")):
    fields = content(f"/proc/{pid}/statm").split()
    if int(pid) != os.getpid() and fields and int(fields[1]) > 120 << 8:
        alive += 128 * (MARK.encode() in content(f"/proc/{pid}/comm"))
tell(MiB=min(taken, alive) if entries("/proc") else taken)
"""
)

_RECURSION = r"""
if os.fork() == 0:
    sys.setrecursionlimit(10 ** 9)
    deep = lambda: deep()
    deep()
os.wait()
if os.fork() == 0:
    signal.alarm(2)
    eval("(" * 150 + "lambda:" * 3000 + "0" + ")" * 150)
os.wait()
if os.fork() == 0:
    libc.memset(0, 0, 1 << 30)
os.wait()
held = []
for _ in range(500_000):
    held = [held]  # taken apart at the end, one inside the other
report()
"""

_DISK = (
    _TELL
    + r"""
taken = {}
folders = [f for f in (".", "/tmp", "/dev/shm", "/var/tmp", "/run", "/dev/mqueue") if os.access(f, os.W_OK)]
block = b"x" * (1 << 20)
tell(MB=0)
for folder in folders:
    for number in range(6):  # in several files: a limit for each file is none
        try:
            with open(os.path.join(folder, f"{MARK}{number}"), "wb", 0) as file:
                for _ in range(8):
                    taken[folder] = taken.get(folder, 0) + file.write(block) / (1 << 20)
        except OSError:
            continue
    tell(MB=sum(taken.values()), each=max(taken.values(), default=0))
"""
)

_INODES = (
    _TELL
    + r"""
made = 0
try:
    for number in range(3000):
        os.close(os.open(f"f{number}", os.O_CREAT | os.O_WRONLY))
        made += 1
except OSError:
    pass
tell(files=made)
"""
)

_DEAF = r"""
for number in signal.valid_signals():
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
"""

_HOG = (
    _DEAF
    + r"""
stop = time.monotonic() + 3
while time.monotonic() < stop:
    pass
"""
)

_HOGS = r"""
for _ in range(3):
    if os.fork() == 0:
        break
stop = time.monotonic() + 2.5
while time.monotonic() < stop:
    pass
for _ in range(3):
    try:
        os.wait()
    except OSError:
        break
"""

_RELAY = r"""
stop = time.monotonic() + 4
while time.monotonic() < stop:  # many processes one after the other, none of which reaches a limit of its own
    child = os.fork()
    if child == 0:
        ending = time.process_time() + 0.2
        while time.process_time() < ending:
            pass
        os._exit(0)
    os.waitpid(child, 0)
"""

_FLOOD = r"""
stop, block, left = time.monotonic() + 3, b"x" * (1 << 16), 6000
while time.monotonic() < stop and left:
    os.write({}, block)
    left -= 1
"""

_STOPPED = r"""
for number in (signal.SIGSTOP, signal.SIGTSTP):
    os.kill(os.getpid(), number)
time.sleep(3)
"""

_CLOSED = r"""
for descriptor in range(3):
    os.close(descriptor)
time.sleep(3)
"""

# Sources that crash a compiler of Python, keep it busy, or eat its memory; none of them may break the sandbox.
_CRASHES = "[0 " + "for a in b " * 50_000 + "]"
_TAKES_LONG = "f(" + ",".join(f"a{n}=1" for n in range(30_000)) + ")"
_SOURCES = (_CRASHES, "x = 1\n" * 500_000, "-" * 200_000 + "1", "'" + "a" * 10_000_000)

_HALF = replace(LIMITS, wall_s=0.5)
_CPU = replace(LIMITS, cpu_s=0.5)
_MEMORY = at_most({"MiB": LIMITS.memory_mb * 1.1 + 32})


def _short(executions: Sequence[Execution]) -> str | None:
    for execution in executions:
        for name in ("stdout", "stderr"):
            if len(getattr(execution, name)) > LIMITS.output_kb << 10:
                return f"{len(getattr(execution, name))} bytes of {name} came back"
        if not execution.truncated:
            return "what came back does not say that it was cut"
    return None


def _survived(executions: Sequence[Execution]) -> str | None:
    return None if executions[0].limit == "memory_mb" else nothing_reported(executions)


def _went_on(executions: Sequence[Execution]) -> str | None:
    return None if executions[-1].ok else f"it was not over when the program was: {ending(executions[-1])}"


def _in_time(executions: Sequence[Execution]) -> str | None:
    for execution in executions:
        if execution.wall_s > 3:
            return f"its source took {execution.wall_s:.1f} s"
    return None


_COMPILED = (
    *(Program(code=source, limits=_CPU) for source in _SOURCES),
    *(Program(code=source, limits=_CPU, inputs=(b"", b"")) for source in (_CRASHES, _TAKES_LONG)),
)
ATTACKS = (
    Attack(
        name="compiler",
        group="resources",
        summary="sources that crash the compiler, keep it busy or eat its memory",
        programs=_COMPILED,
        held=_in_time,
        bare=True,
    ),
    attack("fork-bomb", "resources", "300 processes at once", _FORKS, held=at_most({"processes": LIMITS.processes})),
    attack("rabbits", "resources", "processes that multiply while their parents end", _RABBITS),
    attack("thread-bomb", "resources", "300 threads", _THREADS, held=at_most({"threads": LIMITS.processes})),
    attack("memory", "resources", "1.2 GiB of heap", _HEAP, held=_MEMORY),
    attack(
        "shared-memory", "resources", "1.1 GiB of shared maps, memory files, System V segments", _SHARED, held=_MEMORY
    ),
    attack("memory-together", "resources", "1 GiB by eight processes together", _TOGETHER, held=_MEMORY),
    attack(
        "recursion",
        "resources",
        "recursion, nesting and wild writes that crash the interpreter",
        _RECURSION,
        held=_survived,
    ),
    attack(
        "disk",
        "resources",
        "fills its directory, /tmp, /dev/shm and what else it can write",
        _DISK,
        held=at_most({"each": LIMITS.disk_mb * 1.1, "MB": LIMITS.disk_mb * 3.0}),
    ),
    attack("many-files", "resources", "3,000 files", _INODES, held=at_most({"files": LIMITS.files * 1.1})),
    attack("cpu", "resources", "spins, deaf to all signals", _HOG, held=stopped_by("cpu_s", within=2.5), limits=_CPU),
    attack(
        "cpu-together", "resources", "four processes spin", _HOGS, held=stopped_by("cpu_s", within=2.0), limits=_CPU
    ),
    attack(
        "cpu-relay",
        "resources",
        "spins in short-lived children",
        _RELAY,
        held=stopped_by("cpu_s", within=3),
        limits=_CPU,
    ),
    attack(
        "sleep",
        "resources",
        "sleeps, deaf to all signals",
        _DEAF + "time.sleep(3)",
        held=stopped_by("wall_s", within=2),
        limits=_HALF,
    ),
    attack("stopped", "resources", "stops itself", _STOPPED, held=stopped_by("wall_s", within=2), limits=_HALF),
    attack(
        "closed", "resources", "closes 0, 1 and 2 and stays", _CLOSED, held=stopped_by("wall_s", within=2), limits=_HALF
    ),
    attack(
        "flood", "resources", "floods stdout", _FLOOD.format(1), held=every(stopped_by("output_kb", within=2), _short)
    ),
    attack(
        "flood-stderr",
        "resources",
        "floods stderr",
        _FLOOD.format(2),
        held=every(stopped_by("output_kb", within=2), _short),
    ),
    attack(
        "unread",
        "resources",
        "does not read 20 MB of standard input",
        "report()",
        held=_went_on,
        stdin=b"x" * (20 << 20),
    ),
)
