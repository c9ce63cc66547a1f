"""Time what people wait for: whole processes that import rewardkit or list the rewards, best of five, with limits.

`tests/test_packaging.py` holds the same limits.
"""

from __future__ import annotations

import subprocess
import sys
import time

ROUNDS = 5
CASES = {
    "python -c pass": (["-c", "pass"], None),
    "import pluggy": (["-c", "import pluggy"], None),
    "import rewardkit": (["-c", "import rewardkit"], 0.150),
    "rewardkit rewards": (["-m", "rewardkit", "rewards"], 0.400),
}


def best_seconds(arguments: list[str]) -> float:
    """Return the shortest wall time of `ROUNDS` processes of this interpreter."""
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - started)
    return min(times)


def main() -> int:
    missed = 0
    for name, (arguments, limit) in CASES.items():
        seconds = best_seconds(arguments)
        verdict = "" if limit is None else f"limit {limit * 1000:.0f} ms  {'PASS' if seconds < limit else 'FAIL'}"
        missed += limit is not None and seconds >= limit
        print(f"{name:<20} {seconds * 1000:6.0f} ms  {verdict}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
