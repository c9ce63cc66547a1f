"""What it costs to score in supervised workers, how two of them share work, and what hostile trajectories delay.

Run: python benchmarks/bench_executors.py (about a minute). The peer is concurrent.futures.ProcessPoolExecutor, which
keeps no time limit and does not survive a crash; "ideal" is the same work in bare processes that are sent nothing.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from typing import Any

import msgspec

from rewardkit import Message, RewardSpec, Score, Step, Task, Trajectory, reward
from rewardkit.executors.process import ProcessExecutor
from rewardkit.executors.serial import SerialExecutor

REPETITIONS = 7
SPEED_UP = 1.8
LIMIT = 1.0  # seconds that a hostile trajectory may take


@reward
def constant(trajectory: Trajectory) -> float:
    """Return one number: all the time measured is the executor's."""
    return 0.5 if trajectory.steps else 0.0


@reward
def millisecond(trajectory: Trajectory) -> float:
    """Do about a millisecond of work: a fixed amount, so that a busy machine cannot make it look shared."""
    return float(sum(range(50_000)) > len(trajectory.steps))


@reward
def hostile(trajectory: Trajectory) -> float:
    """Do what the completion says."""
    deed = trajectory.completion
    if deed == "hang":
        time.sleep(3600)
    if deed == "segfault":
        ctypes.string_at(0)
    if deed == "hold the GIL":
        re.match(r"(a+)+$", "a" * 60 + "b")
    if deed == "eat memory":
        eaten = []
        while True:
            eaten.append(bytearray(b"x") * (32 << 20))
    if deed == "leave children":
        subprocess.Popen(["sleep", "3600"])
        subprocess.Popen(["setsid", "sleep", "3600"])
    return float("nan") if deed == "NaN" else float(len(deed))


def spec(name: str) -> RewardSpec:
    return RewardSpec(name=name, factory=f"{os.path.abspath(__file__)}:{name}")


def trajectory(text: str) -> Trajectory:
    """Return a trajectory of about 5 KB that shares no text with any other, as if it had been read from a file."""
    turn = Step(
        observation=(Message(role="user", content="word " * 100),),
        action=Message(role="assistant", content="other " * 80),
    )
    last = Step(action=Message(role="assistant", content=text))
    task = Task(prompt=(Message(role="user", content="question " * 30),))
    return msgspec.json.decode(msgspec.json.encode(Trajectory(task=task, steps=(turn,) * 4 + (last,))), type=Trajectory)


def alternate(works: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the median seconds of each work, run in turn, so that all meet the same neighbours."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(REPETITIONS):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(taken) for name, taken in times.items()}


def peer_constant(batch: list[Trajectory]) -> list[Score]:
    """Score a chunk in the peer."""
    return [Score(value=constant(t)) for t in batch]


def peer_millisecond(batch: list[Trajectory]) -> list[Score]:
    """Score a chunk in the peer."""
    return [Score(value=millisecond(t)) for t in batch]


def through(executor: Any, name: str, batch: list[Trajectory]) -> Callable[[], object]:
    return lambda: executor.submit(spec(name), {}, batch, timeout=60).result()


def through_peer(pool: ProcessPoolExecutor, function: Any, batch: list[Trajectory], size: int) -> Callable[[], object]:
    chunks = [batch[i : i + size] for i in range(0, len(batch), size)]
    return lambda: list(pool.map(function, chunks))


def bare(workers: int, units: int) -> Callable[[], object]:
    """Return the ideal: processes that do their share of the milliseconds and nothing else."""
    code = (
        "import sys\nprint(flush=True)\nfor line in sys.stdin:\n"
        "    for _ in range(int(line)): sum(range(50_000))\n    print(flush=True)"
    )
    command = [sys.executable, "-c", code]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(workers)
    ]
    for each in started:
        each.stdout.readline()

    def work() -> None:
        for each in started:
            each.stdin.write(f"{units // workers}\n")
            each.stdin.flush()
        for each in started:
            each.stdout.readline()

    return work


def overhead(executors: dict[str, Any], pool: ProcessPoolExecutor) -> None:
    many = [trajectory("x") for _ in range(4000)]
    size = len(msgspec.msgpack.encode(many[0]))
    rows = {name: through(executor, "constant", many) for name, executor in executors.items()}
    rows["peer, chunks of 64"] = through_peer(pool, peer_constant, many, 64)
    times = alternate(rows)
    print(f"\nMicroseconds a trajectory of {size} bytes, {len(many)} a batch, a reward that does nothing")
    for name, seconds in times.items():
        print(f"  {name:<22} {seconds / len(many) * 1e6:8.1f}")
    rows = {name: through(executor, "constant", many[:1]) for name, executor in executors.items()}
    rows["peer"] = lambda: pool.submit(peer_constant, many[:1]).result()
    print("Microseconds a round trip with one trajectory")
    for name, seconds in alternate(
        {name: lambda work=work: [work() for _ in range(200)] for name, work in rows.items()}
    ).items():
        print(f"  {name:<22} {seconds / 200 * 1e6:8.1f}")


def speed_up(executors: dict[str, Any], pool: ProcessPoolExecutor) -> bool:
    units = [trajectory("x") for _ in range(600)]
    rows = {name: through(executor, "millisecond", units) for name, executor in executors.items()}
    rows["peer 2, one by one"] = through_peer(pool, peer_millisecond, units, 1)
    rows["ideal 1"], rows["ideal 2"] = bare(1, len(units)), bare(2, len(units))
    times = alternate(rows)
    print(f"\n{len(units)} trajectories with a reward of about 1 ms")
    for name, seconds in times.items():
        print(f"  {name:<22} {seconds * 1000:8.0f} ms")
    ratio, ideal = times["process 1"] / times["process 2"], times["ideal 1"] / times["ideal 2"]
    busy = "" if ideal > 1.9 else "; others use the cores"
    print(f"  2 workers over 1: {ratio:.2f}x, limit {SPEED_UP}x: {verdict(ratio >= SPEED_UP)}", end="")
    print(f" (bare processes here and now: {ideal:.2f}x{busy})")
    return ratio >= SPEED_UP


def hostile_delay() -> bool:
    texts = ["x" * (n + 1) for n in range(200)]
    deeds = {"hang": "timeout", "segfault": "killed", "eat memory": "killed", "hold the GIL": "timeout", "NaN": "error"}
    for place, deed in zip((3, 30, 77, 100, 150, 199), [*deeds, "leave children"], strict=True):
        texts.insert(place, deed)
    expected = [deeds.get(text, float(len(text))) for text in texts]
    batch = [trajectory(text) for text in texts]
    healthy = [trajectory("x" * (n + 1)) for n in range(200)]
    delays, right = [], True
    for _ in range(5):
        with ProcessExecutor(2, memory_limit=300 << 20) as executor:
            through(executor, "hostile", healthy)()
            start = time.perf_counter()
            through(executor, "hostile", healthy)()
            between = time.perf_counter()
            outcomes = executor.submit(spec("hostile"), {}, batch, timeout=LIMIT).result()
            delays.append(time.perf_counter() - between - (between - start))
        found = [o.value if isinstance(o, Score) else o.kind for o in outcomes]
        right &= all(a == b or b == "killed" == deeds.get(t) for a, b, t in zip(found, expected, texts, strict=True))
    passed = right and statistics.median(delays) < LIMIT + 1
    print(
        f"\n200 healthy trajectories, 2 workers, limit {LIMIT:g} s, and among them: {', '.join(deeds)}, leave children"
    )
    print(
        f"  all 200 scores right: {'yes' if right else 'NO'}; delay {min(delays):.2f} to {max(delays):.2f} s, ", end=""
    )
    print(f"median {statistics.median(delays):.2f} s; limit {LIMIT + 1:.2f} s: {verdict(passed)}")
    return passed


def verdict(passed: bool) -> str:
    return "PASS" if passed else "FAIL"


def main() -> None:
    """Print the tables; the exit code is 1 when a limit is missed."""
    print(f"CPython {platform.python_version()}, msgspec {msgspec.__version__}, {os.cpu_count()} cores, ", end="")
    print(f"load {os.getloadavg()[0]:.1f}, median of {REPETITIONS}")
    with ExitStack() as stack:
        pool = stack.enter_context(ProcessPoolExecutor(2))
        executors = {"serial": SerialExecutor(), "process 1": ProcessExecutor(1), "process 2": ProcessExecutor(2)}
        for executor in executors.values():
            stack.callback(executor.close)
        overhead(executors, pool)
        passed = [speed_up(executors, pool)]
    passed.append(hostile_delay())
    sys.exit(0 if all(passed) else 1)


if __name__ == "__main__":
    main()
