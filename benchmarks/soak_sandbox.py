"""Thousands of programs, some of which hang, fork, eat memory or flood, and what is left of them afterwards.

Run: python benchmarks/soak_sandbox.py [N] [SANDBOX ...] (20,000 programs in each sandbox that is here: about five
minutes each). Every answer is checked, the parent's memory is watched, and processes, containers, mounts, cgroups,
files, threads and descriptors are compared before and after. Speed is that of a run without hostile programs, after
the seconds in which programs hung are taken out. The image of the Docker sandbox counts as there before.
"""

from __future__ import annotations

import ctypes
import gc
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sandboxes import WORKERS, sandboxes_here
from workload import Job, jobs

from rewardkit.errors import SandboxError
from rewardkit.programs import Execution, Limits, Program
from rewardkit.protocols import Sandbox

BATCH = 400
SHORT = Limits(wall_s=0.3, memory_mb=64, processes=32, output_kb=64)
HOSTILE = {
    "hang": "import signal\nfor n in (2, 15):\n    signal.signal(n, signal.SIG_IGN)\nwhile True: pass",
    "sleep": "import time\nprint('half', flush=True)\ntime.sleep(3600)",
    "fork": "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass",
    "memory": "kept = []\nwhile True:\n    kept.append(b'x' * (1 << 22) + str(len(kept)).encode())",
    "flood": "while True:\n    print('a' * 4096)",
}
SHARES = {"hang": 25, "sleep": 25, "fork": 20, "memory": 20, "flood": 20, "litter": 10}  # of 1,000; the rest are jobs
LITTER = """
import os, time
open("left", "w").write("x" * 100000)
open("/tmp/left", "w").write("x" * 100000)
open("/dev/shm/left", "w").write("x" * 100000)
if not os.fork():
    os.setsid()
    if not os.fork():
        for descriptor in range(3):
            os.close(descriptor)
        time.sleep(3600)
    os._exit(0)
print("littered")
"""
SLOWER_AT_MOST, GROWTH_MB = 2.0, 4.0


@dataclass
class Tally:
    """What came out of the programs so far."""

    programs: int = 0
    seconds: float = 0.0
    hanging: float = 0.0  # seconds in which programs that were stopped by time held a worker
    wrong: Counter[str] = field(default_factory=Counter)


def main(arguments: Sequence[str]) -> int:
    """Soak every sandbox that is asked for, or here; return 1 if anything was wrong or left."""
    count = int(arguments[0]) if arguments else 20_000
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: what loses its parent becomes our child
    failed = done = False
    with tempfile.TemporaryDirectory() as place:
        tempfile.tempdir = place
        for name, sandbox in sandboxes_here(arguments[1:]):
            failed |= soak(name, sandbox, count)
            done = True
        tempfile.tempdir = None
    return int(failed or not done)


def soak(name: str, sandbox: Sandbox, count: int) -> bool:
    """Soak one sandbox, print what was seen, return whether anything was missed."""
    before = belongings()
    try:
        run(sandbox, healthy(40), Tally())  # warm
        clean, hostile = Tally(), Tally()
        run(sandbox, healthy(max(100, count // 20)), clean)
        memory = run(sandbox, mixture(count), hostile)
        run(sandbox, healthy(max(100, count // 20), seed=1), clean)
    finally:
        sandbox.close()
    left = leftovers(before)
    fast = clean.programs / clean.seconds
    mixed = hostile.programs / (hostile.seconds - hostile.hanging / WORKERS)
    wrong = clean.wrong + hostile.wrong
    checks = {
        f"{count} programs, wrong: {dict(wrong.most_common(5)) or 'none'}": not wrong,
        f"programs/s: {mixed:.0f}, clean {fast:.0f}, limit half of it ({hostile.hanging:.0f} s of hanging taken out)": (
            mixed * SLOWER_AT_MOST >= fast
        ),
        f"memory of the parent, MB: {memory[0]:.1f} to {memory[1]:.1f}, limit +{GROWTH_MB:g}": (
            memory[1] - memory[0] <= GROWTH_MB
        ),
        f"left behind: {left or 'nothing'}": not left,
    }
    for words, passed in checks.items():
        print(f"{name}: {words} {'PASS' if passed else 'FAIL'}", flush=True)
    return not all(checks.values())


def healthy(count: int, *, seed: int = 0) -> Iterator[tuple[str, Job]]:
    """Return programs that do no harm."""
    return (("job", job) for job in jobs(count, seed=seed))


def mixture(count: int) -> Iterator[tuple[str, Job]]:
    """Return programs of all kinds in a random order that is always the same."""
    random_ = random.Random(7)
    kinds = [kind for kind, share in SHARES.items() for _ in range(max(1, count * share // 1000))]
    kinds += ["job"] * (count - len(kinds))
    random_.shuffle(kinds)
    for kind, job in zip(kinds, jobs(count, seed=2), strict=True):
        if kind == "litter":
            job = Job(LITTER, b"", b"littered\n")
        yield kind, job if kind in ("job", "litter") else Job(HOSTILE[kind], b"", b"")


def run(sandbox: Sandbox, programs: Iterator[tuple[str, Job]], tally: Tally) -> tuple[float, float]:
    """Run programs in batches, check each; return the parent's memory after the first batches and after all, in MB."""
    memory = []
    todo = list(programs)
    for start in range(0, len(todo), BATCH):
        batch = todo[start : start + BATCH]
        begun = time.perf_counter()
        ended = sandbox.run_many([program(kind, job) for kind, job in batch])
        tally.seconds += time.perf_counter() - begun
        tally.programs += len(batch)
        for (kind, job), execution in zip(batch, ended, strict=True):
            tally.wrong += Counter([fault] if (fault := complaint(kind, job, execution)) else [])
            if isinstance(execution, Execution) and execution.limit in ("wall_s", "cpu_s"):
                tally.hanging += execution.wall_s
        del ended
        memory.append(resident_mb())
    return memory[len(memory) // 5], memory[-1]


def program(kind: str, job: Job) -> Program:
    """Return the program to run; hostile ones get little room."""
    return Program(code=job.code, stdin=job.stdin, limits=SHORT if kind in HOSTILE else None)


def complaint(kind: str, job: Job, execution: Execution | SandboxError) -> str:
    """Return what is wrong with how a program ended, or nothing."""
    if isinstance(execution, SandboxError):
        return f"{kind}: {type(execution).__name__}: {execution}"
    if kind in ("job", "litter"):
        right = execution.ok and execution.stdout == job.expected
    elif kind == "flood":
        right = (
            execution.limit == "output_kb" and execution.truncated and len(execution.stdout) == SHORT.output_kb << 10
        )
    elif kind == "memory":
        right = execution.limit == "memory_mb" or execution.exit_code != 0
    else:
        right = execution.limit in ("wall_s", "cpu_s") and execution.stdout == (b"half\n" if kind == "sleep" else b"")
    return "" if right else f"{kind}: {execution.exit_code} {execution.limit} {execution.stderr[-80:]!r}"


def resident_mb() -> float:
    """Return the memory that this process holds."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def belongings() -> dict[str, set[str]]:
    """Return everything that a sandbox might leave behind, but what belongs to containers of other processes."""
    ours, others = containers()
    mounts = {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    cgroups = {place for place, _, _ in os.walk("/sys/fs/cgroup")}
    places = [Path(place) for place in ("/dev/shm", "/dev/mqueue", tempfile.gettempdir()) if os.path.isdir(place)]
    return {
        "processes": descendants(os.getpid()),
        "containers": ours,
        "mounts": {place for place in mounts if not any(other in place for other in others)},
        "cgroups": {place for place in cgroups if not any(other in place for other in others)},
        "files": {str(path) for place in places for path in place.iterdir()},
        "threads": {str(n) for n in range(threading.active_count())},
        "descriptors": set(descriptors()),
    }


def containers() -> tuple[set[str], set[str]]:
    """Return the ids of our containers, and what the paths of all others have in them: ids and places."""
    fields = (
        ".Id",
        'index .Config.Labels "rewardkit.owner"',
        ".GraphDriver.Data.MergedDir",
        ".NetworkSettings.SandboxKey",
    )
    shown = " ".join(f"{{{{{field}}}}}" for field in fields)
    try:
        ids = subprocess.run(["docker", "ps", "-aq"], capture_output=True, text=True, timeout=60).stdout.split()
        listing = ["docker", "inspect", "--format", shown, *ids]
        rows = subprocess.run(listing, capture_output=True, text=True, timeout=60).stdout.splitlines() if ids else []
    except OSError:
        return set(), set()
    owned = [row for row in rows if f":{os.getpid()}:" in row]
    # /var/run is /run in the list of mounts
    words = {word.removeprefix("/var") for row in rows if row not in owned for word in row.split()}
    return {row.split()[0] for row in owned}, words


def descriptors() -> Iterator[str]:
    """Yield the kind of every open descriptor and which of its kind it is: `socket 2`."""
    seen: Counter[str] = Counter()
    for entry in os.listdir("/proc/self/fd"):
        try:
            kind = os.readlink(f"/proc/self/fd/{entry}").partition(":[")[0]
        except OSError:  # that of the listing itself
            continue
        seen[kind] += 1
        yield f"{kind} {seen[kind]}"


def descendants(parent: int) -> set[str]:
    """Return the living processes below one, those that have ended and wait to be reaped left out."""
    found: set[str] = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().rpartition(")")
        except OSError:
            continue
        status, ppid = rest.split()[:2]
        if int(ppid) == parent and status != "Z":
            pid = stat.parent.name
            found |= {f"{pid} {name.partition('(')[2]}"} | descendants(int(pid))
    return found


def leftovers(before: dict[str, set[str]]) -> dict[str, list[str]]:
    """Return what is there that was not before, after some seconds in which it may still go away."""
    gc.collect()
    for _ in range(40):
        left = {kind: sorted(found - before[kind])[:5] for kind, found in belongings().items()}
        left = {kind: found for kind, found in left.items() if found}
        if not left:
            break
        time.sleep(0.25)
    return left


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
