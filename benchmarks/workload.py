"""Small programs with their input and the output that is right, for the benchmarks of sandboxes.

What is right is computed here, by other means than the program's own.
"""

from __future__ import annotations

import itertools
import math
import random
import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Job:
    """A Python program, its standard input, and what it must print."""

    code: str
    stdin: bytes
    expected: bytes


TINY = Job("print(sum(range(1000)))", b"", b"499500\n")

KINDS = {
    "sum": "print(sum(int(line) for line in open(0)))",
    "sort": "print(*sorted(map(int, input().split())))",
    "words": "from collections import Counter\nprint(*[n for _, n in sorted(Counter(input().split()).items())])",
    "reverse": "import sys\nfor line in sys.stdin:\n    print(line.rstrip()[::-1])",
    "json": "import json, sys\nprint(json.dumps(sorted(json.load(sys.stdin).values())))",
    "pattern": r"import re" + "\n" + r"print(re.sub(r'(\d+)', lambda m: str(2 * int(m[1])), input()))",
    "primes": "n = int(input())\nprint([p for p in range(2, n) if all(p % d for d in range(2, int(p**0.5) + 1))])",
    "fibonacci": (
        "from functools import lru_cache\n@lru_cache(None)\ndef fib(n):\n"
        "    return n if n < 2 else fib(n - 1) + fib(n - 2)\nprint(fib(int(input())))"
    ),
    "median": "import statistics\nprint(statistics.median(map(int, input().split())))",
    "gcd": "import math, fractions\na, b = map(int, input().split())\nprint(fractions.Fraction(a, b), math.gcd(a, b))",
}


def jobs(count: int, *, seed: int = 0) -> list[Job]:
    """Return `count` jobs, each kind in turn, the same for the same seed."""
    random_ = random.Random(seed)
    return [job(kind, random_.sample(range(1, 1000), 9)) for kind in itertools.islice(itertools.cycle(KINDS), count)]


def job(kind: str, numbers: list[int]) -> Job:
    """Return the job of one kind that works on nine different numbers."""
    first, second = numbers[:2]
    text = " ".join(map(str, numbers))
    in_order, divisor = sorted(numbers), first * second // math.lcm(first, second)
    stdin, expected = {
        "sum": ("\n".join(map(str, numbers)), str(math.fsum(numbers)).removesuffix(".0")),
        "sort": (text, " ".join(map(str, in_order))),
        "words": ("b " * first + "a " * second, f"{second} {first}"),
        "reverse": (f"ab{first}\n\nc d\n", f"{str(first)[::-1]}ba\n\nd c"),
        "json": (str({str(n): n for n in numbers}).replace("'", '"'), str(in_order)),
        "pattern": (f"x{first} and {second}y", f"x{2 * first} and {2 * second}y"),
        "primes": (str(first), str(sieve(first))),
        "fibonacci": (str(first % 90), str(round_fibonacci(first % 90))),
        "median": (text, str(statistics.quantiles(numbers, n=2, method="inclusive")[0]).removesuffix(".0")),
        "gcd": (f"{first} {second}", f"{first // divisor}/{second // divisor}".removesuffix("/1") + f" {divisor}"),
    }[kind]
    return Job(KINDS[kind], stdin.encode(), expected.encode() + b"\n")


def sieve(limit: int) -> list[int]:
    """Return the primes below `limit`."""
    left = set(range(2, limit))
    for number in range(2, limit):
        left -= set(range(2 * number, limit, number))
    return sorted(left)


def round_fibonacci(n: int) -> int:
    """Return a Fibonacci number by adding up."""
    low, high = 0, 1
    for _ in range(n):
        low, high = high, low + high
    return low
