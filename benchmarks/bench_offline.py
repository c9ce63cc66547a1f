"""Scoring files from the command line: lines a second, and the peak memory of the process, which must not grow.

The rewards are cheap, so this is the cost of reading, hashing, storing and writing. No peer does all four.

Run: python benchmarks/bench_offline.py (about two minutes; it needs 1.2 GB of disk)
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FEW, MANY = 10_000, 100_000
MOST_GROWTH = 1.25


def main() -> None:
    """Print the table."""
    print(f"CPython {platform.python_version()}, {os.cpu_count()} cores, exact_match and length, lines of 5 KB")
    failed = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for executor in ("serial", "process"):
            few, many = (score(folder, count, executor) for count in (FEW, MANY))
            growth = many[1] / few[1]
            failed |= growth > MOST_GROWTH
            verdict = "FAIL" if growth > MOST_GROWTH else "PASS"
            print(f"{executor:<8} {MANY / many[0]:6.0f} lines/s; peak {few[1]:.0f} MB for {FEW} lines, ", end="")
            print(f"{many[1]:.0f} MB for {MANY}: {growth:.2f}x, limit {MOST_GROWTH}x: {verdict}")
    sys.exit(failed)


def score(folder: Path, count: int, executor: str) -> tuple[float, float]:
    """Score `count` lines; return the seconds, and the megabytes that the job or one of its workers held at most."""
    source = folder / f"{count}.jsonl"
    if not source.exists():
        with source.open("w") as file:
            for i in range(count):
                record = {"id": str(i), "prompt": "word " * 500, "completion": f"{i} " * 400, "answer": "x"}
                file.write(json.dumps(record) + "\n")
    rewards = ("-r", "exact_match", "-r", "length:maximum=100")
    command = [sys.executable, "-m", "rewardkit", "score", str(source), *rewards, "-o", str(folder / "out.jsonl")]
    start = time.monotonic()
    job = subprocess.Popen([*command, "--executor", executor, "--quiet"])
    _, status, usage = os.wait4(job.pid, 0)
    if status != 0:
        raise RuntimeError(f"the job ended with status {status}")
    return time.monotonic() - start, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
