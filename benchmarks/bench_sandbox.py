"""What it costs to run a small program in each sandbox, beside what else people run programs in.

Run: python benchmarks/bench_sandbox.py [--quick] (about two minutes). Latency is that of one tiny program while nothing
else goes on: there are 10 ms of rest before each. The same without the rest is "in a row": then our sandboxes make the
next child while they run the last one. Throughput is that of programs of ten kinds that read their input, two at a
time, every output checked. All take
turns in every round, so that a noisy moment hits all, and what is compared is their ratio in the same round. The
floor is what an interpreter that is as warm takes for a bare fork (`contenders.WarmFork`): it has no walls.
"""

from __future__ import annotations

import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field

import contenders
from contenders import NotHereError, Opening, Run, WarmFork
from sandboxes import WORKERS, sandboxes_here
from workload import TINY, Job, jobs

from rewardkit.errors import SandboxError
from rewardkit.programs import Execution, Program
from rewardkit.protocols import Sandbox

QUICK = "--quick" in sys.argv
ROUNDS = 2 if QUICK else 5
REST = 0.01  # seconds before a program whose latency counts
TESTS = 10  # inputs of one program
FLOOR, SUBPROCESS, EXEC, RUN = "fork of a warm interpreter", "subprocess python -I -S", "docker exec", "docker run --rm"
BUBBLEWRAP = "bubblewrap per program"
AT_MOST = {FLOOR: 2.0}  # times the latency
AT_LEAST = {RUN: 60.0, EXEC: 18.0, BUBBLEWRAP: 4.0, SUBPROCESS: 1.5}  # times the throughput
PEER = "import socket; s = socket.socket(fileno=3); s.sendall(b'ping'); print(s.recv(9) == b'ping')"
ECHO = "import socket; s = socket.socket(fileno=3); s.sendall(s.recv(9)); s.recv(1)"


@dataclass
class Figures:
    """What one contender reached: seconds of a program, and programs a second, by round."""

    walls: str  # what they keep safe
    count: int  # programs a round
    latencies: list[list[float]] = field(default_factory=list)
    in_a_row: list[float] = field(default_factory=list)  # the median of each round
    rates: list[float] = field(default_factory=list)
    wrong: list[bytes] = field(default_factory=list)

    def latency(self) -> list[float]:
        """Return the median of each round."""
        return [statistics.median(seconds) for seconds in self.latencies]


def main() -> int:
    """Print the table and return 1 if a limit is missed or an output was wrong."""
    print(f"{contenders.versions('llm-sandbox')}, Linux {platform.release()}; {ROUNDS} rounds, {WORKERS} workers")
    with ExitStack() as stack:
        figures, works, extras = enter_all(stack)
        for _ in range(ROUNDS):
            for name, work in works.items():
                work(figures[name])
            for extra in extras:
                extra()
        rows = [row for extra in extras for row in extra.rows()]
    print_figures(figures)
    for row in rows:
        print(row)
    missed = [judge(figures, extra.name) for extra in extras]
    wrong = [
        f"{name}: {len(found.wrong)} wrong outputs, such as {found.wrong[0]!r}"
        for name, found in figures.items()
        if found.wrong
    ]
    print(*wrong, sep="\n")
    return int(any(missed) or bool(wrong) or not missed)


def enter_all(stack: ExitStack) -> tuple[dict[str, Figures], dict[str, Callable[[Figures], None]], list[Extras]]:
    """Open every contender that is here; return their empty figures, a round of each, and the rounds of our extras."""
    figures = {FLOOR: Figures("none", 100)}
    floors = [stack.enter_context(WarmFork(TINY.code, TINY.expected)) for _ in range(WORKERS)]
    works: dict[str, Callable[[Figures], None]] = {FLOOR: lambda found: fork_round(floors, found)}
    extras = []
    for name, walls, count, opening in others():
        try:
            run = stack.enter_context(opening())
        except NotHereError as reason:
            print(f"not run here: {reason}")
            continue
        figures[name] = Figures(walls, max(2, count // 5) if QUICK else count)
        works[name] = peer_round(run)
    for name, sandbox in sandboxes_here():
        stack.callback(sandbox.close)
        figures[name] = Figures("host, programs", 80 if QUICK else 300)
        works[name] = ours_round(sandbox)
        extras.append(Extras(name, sandbox))
    return figures, works, extras


def others() -> Sequence[tuple[str, str, int, Opening]]:
    """Return what we compare with: its name, what its walls keep safe, programs a round, how it is opened."""
    image = find_image()
    return [
        (SUBPROCESS, "none", 100, contenders.plain_subprocess),
        ("SandboxFusion /run_code", "none", 40, contenders.sandbox_fusion),
        (BUBBLEWRAP, "host, programs", 60, contenders.bubblewrap),
        (EXEC, "host", 20, contenders.docker_exec(image)),
        ("llm-sandbox, open session", "host", 10, contenders.llm_sandbox(image)),
        (RUN, "host, programs", 8, contenders.docker_run(image)),
    ]


def find_image() -> str:
    """Return the image of our Docker sandbox, built if need be, or nothing where no daemon answers."""
    try:
        from rewardkit_sandbox.docker_daemon import Daemon
        from rewardkit_sandbox.docker_images import find_image as find

        with closing(Daemon()) as daemon:
            return find(daemon, None).id
    except (SandboxError, ImportError):
        return ""


def fork_round(floors: Sequence[WarmFork], found: Figures) -> None:
    """Let the floor fork, alone and then two at a time."""
    found.latencies.append(floors[0].seconds(found.count, rest=REST))
    found.in_a_row.append(statistics.median(floors[0].seconds(found.count)))
    start = time.perf_counter()
    with ThreadPoolExecutor(len(floors)) as threads:
        list(threads.map(lambda floor: floor.seconds(found.count), floors))
    found.rates.append(len(floors) * found.count / (time.perf_counter() - start))


def program_round(run: Run, run_all: Callable[[Sequence[Job]], list[bytes]], found: Figures) -> None:
    """Run the tiny program one at a time, then the others side by side, and check what they print."""
    count = max(2, min(100, found.count // 2))
    found.latencies.append([timed(run, found, rest=REST) for _ in range(count)])
    found.in_a_row.append(statistics.median(timed(run, found, rest=0.0) for _ in range(count)))
    todo = jobs(found.count, seed=len(found.rates))
    start = time.perf_counter()
    printed_all = run_all(todo)
    found.rates.append(len(todo) / (time.perf_counter() - start))
    found.wrong += [printed for printed, job in zip(printed_all, todo, strict=True) if printed != job.expected]


def timed(run: Run, found: Figures, *, rest: float) -> float:
    """Return the seconds that the tiny program takes after a rest."""
    time.sleep(rest)
    start = time.perf_counter()
    printed = run(TINY.code, b"")
    seconds = time.perf_counter() - start
    found.wrong += [printed] * (printed != TINY.expected)
    return seconds


def peer_round(run: Run) -> Callable[[Figures], None]:
    """Return a round of a contender that runs two programs at a time."""

    def run_all(todo: Sequence[Job]) -> list[bytes]:
        with ThreadPoolExecutor(WORKERS) as threads:
            return list(threads.map(lambda job: run(job.code, job.stdin), todo))

    return lambda found: program_round(run, run_all, found)


def ours_round(sandbox: Sandbox) -> Callable[[Figures], None]:
    """Return a round of one of our sandboxes."""

    def run_all(todo: Sequence[Job]) -> list[bytes]:
        ended = sandbox.run_many([Program(code=job.code, stdin=job.stdin) for job in todo])
        return [end.stdout if isinstance(end, Execution) else str(end).encode() for end in ended]

    def run(code: str, stdin: bytes) -> bytes:
        return sandbox.run(Program(code=code, stdin=stdin)).stdout

    return lambda found: program_round(run, run_all, found)


class Extras:
    """What only our sandboxes do: many inputs for one program, and pairs of programs that talk."""

    def __init__(self, name: str, sandbox: Sandbox) -> None:
        self.name, self.sandbox = name, sandbox
        self.tests: list[float] = []
        self.pairs: list[float] = []

    def __call__(self) -> None:
        """Run a round."""
        todo = jobs(10 * TESTS, seed=len(self.tests))
        kinds = [todo[start::10] for start in range(10)] * (1 if QUICK else 3)
        programs = [Program(code=same[0].code, inputs=tuple(job.stdin for job in same)) for same in kinds]
        start = time.perf_counter()
        ended = self.sandbox.run_many(programs)
        self.tests.append(TESTS * len(kinds) / (time.perf_counter() - start))
        for same, execution in zip(kinds, ended, strict=True):
            assert isinstance(execution, Execution), execution
            assert [run.stdout for run in execution.runs] == [job.expected for job in same], execution
        pair = Program(code=ECHO, peer=Program(code=PEER))
        start = time.perf_counter()
        ended = self.sandbox.run_many([pair] * 100)
        self.pairs.append(100 / (time.perf_counter() - start))
        printed = {end.peer.stdout for end in ended if isinstance(end, Execution) and end.peer}
        assert printed == {b"True\n"}, ended

    def rows(self) -> list[str]:
        """Return what was measured, in words."""
        tests, pairs = statistics.median(self.tests), statistics.median(self.pairs)
        return [f"{self.name}: {tests:.0f} tests/s ({TESTS} inputs a program), {pairs:.0f} pairs of programs/s"]


def print_figures(figures: dict[str, Figures]) -> None:
    """Print the table of all contenders."""
    print(f"{'':28} {'ms':>7} {'p90':>7} {'in a row':>9} {'programs/s':>11}  walls to")
    for name, found in figures.items():
        everything = sorted(second for seconds in found.latencies for second in seconds)
        middle, late = statistics.median(everything) * 1e3, everything[len(everything) * 9 // 10] * 1e3
        row = statistics.median(found.in_a_row) * 1e3
        print(f"{name:28} {middle:7.2f} {late:7.2f} {row:9.2f} {statistics.median(found.rates):11.1f}  {found.walls}")


def judge(figures: dict[str, Figures], ours: str) -> bool:
    """Print the limits of one of our sandboxes; return whether one is missed."""
    missed = False
    pairs = zip(figures[ours].in_a_row, figures[FLOOR].in_a_row, strict=True)
    row = statistics.median(one / two for one, two in pairs)
    print(f"{ours}: latency in a row / {FLOOR}: {row:.1f} (no limit)")
    for limits, what in ((AT_MOST, "latency"), (AT_LEAST, "throughput")):
        for other, limit in limits.items():
            if other not in figures:
                print(f"{ours}: {what} / {other}: not measured")
                continue
            ratio = factor(figures[ours], figures[other], what)
            passed = ratio <= limit if what == "latency" else ratio >= limit
            missed |= not passed
            sign = "<=" if what == "latency" else ">="
            print(f"{ours}: {what} / {other}: {ratio:.1f} (limit {sign} {limit:g}) {'PASS' if passed else 'FAIL'}")
    return missed


def factor(ours: Figures, other: Figures, what: str) -> float:
    """Return the median over the rounds of our latency, or throughput, over the other's."""
    mine, theirs = (ours.latency(), other.latency()) if what == "latency" else (ours.rates, other.rates)
    return statistics.median(one / two for one, two in zip(mine, theirs, strict=True))


if __name__ == "__main__":
    sys.exit(main())
