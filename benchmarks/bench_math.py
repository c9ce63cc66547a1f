"""Speed of the `math` reward beside math-verify and a bare string comparison; run it as a script.

Every class of answers is scored through `score_batch`, once per repetition and after one warm-up, and the medians are
compared within this one run. The slow peer sees a sample of each class. Without ../shared/data the classes are made up.
"""

from __future__ import annotations

import gzip
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from rewardkit.types import Message, Step, Task, Trajectory
from rewardkit_plugins.math.extract import extract
from rewardkit_plugins.math.reward import MathReward

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "math"
REPETITIONS = 5
PEER_SAMPLE = 120
Pair = tuple[str, str]  # reference, response
Item = TypeVar("Item")
LIMITS = {"gsm8k": 50.0, "math": 50.0, "symbols": 1.5, "labelled": 1.0}


def main() -> int:
    """Print the table and return 1 if a limit is missed."""
    names = ("math-verify", "mpmath", "sympy")
    print(f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in names))
    print(f"answers per second, median of {REPETITIONS}")
    print(f"{'class':10} {'pairs':>6} {'ours':>9} {'peer':>7} {'floor':>9} {'ratio':>7} {'limit':>6}")
    failed = False
    for name, pairs in classes().items():
        ours, floor = rate(score, trajectories(pairs)), rate(compare_strings, pairs)
        peer = rate(peer_scores, pairs[:: max(1, len(pairs) // PEER_SAMPLE)])
        passed = ours >= LIMITS[name] * peer
        failed |= not passed
        cells = f"{name:10} {len(pairs):6} {ours:9.0f} {peer:7.0f} {floor:9.0f} {ours / peer:7.1f} {LIMITS[name]:6.1f}"
        print(cells, "PASS" if passed else "FAIL")
    return int(failed)


def classes() -> dict[str, list[Pair]]:
    """Return the pairs to score by class."""
    if not SHARED.exists():
        return {
            "gsm8k": [(f"#### {n}", f"So it is {n - 1} + 1.\n#### {n}") for n in range(1000)],
            "math": [(str(n), f"Therefore the answer is $\\boxed{{{n}}}$.") for n in range(1000)],
            "symbols": [(f"(x+{n})^2", f"\\boxed{{x^2+{2 * n}x+{n * n}}}") for n in range(100)],
        }
    solutions = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
    gsm8k = [
        (row["ground_truth"].rsplit("A: ", 1)[-1], row[who]["solution"])
        for row in rows("gsm8k_test_model_solutions")
        for who in solutions
    ]
    math = [(row["gt"], response) for row in rows("qwen_math_cot_samples") for response in row["code"]]
    labelled = [(row["gold"], row["pred"]) for row in rows("math_verify_pairs")]
    return {"gsm8k": gsm8k, "math": math, "symbols": symbolic_pairs(), "labelled": labelled}


def symbolic_pairs() -> list[Pair]:
    """Return answers of MATH that no string comparison decides, each with itself rewritten."""
    pairs = []
    for row in rows("math_test"):
        answer = extract(row["solution"]) or ""
        if any(mark in answer for mark in ("x", "sqrt", "pi", "i", "^")) and "text" not in answer and "," not in answer:
            pairs.append((answer, f"So we get $\\boxed{{1 \\cdot ({answer}) + 0}}$."))
    return pairs


def rows(name: str) -> list[dict[str, Any]]:
    """Read one data file."""
    with gzip.open(SHARED / f"{name}.jsonl.gz", "rt") as lines:
        return [json.loads(line) for line in lines]


def trajectories(pairs: Sequence[Pair]) -> list[Trajectory]:
    """Return the pairs as trajectories of one step."""
    return [
        Trajectory(task=Task(references=(gold,)), steps=(Step(action=Message(role="assistant", content=response)),))
        for gold, response in pairs
    ]


def score(batch: Sequence[Trajectory]) -> None:
    """Score with our reward."""
    reward = MathReward()
    reward.setup()
    reward.score_batch(batch)


def peer_scores(pairs: Sequence[Pair]) -> None:
    """Score with math-verify as its documentation shows, the reference put into math mode."""
    from math_verify import parse, verify

    for gold, response in pairs:
        reference = gold if "$" in gold or "\\boxed" in gold else f"${gold}$"
        verify(parse(reference, parsing_timeout=None), parse(response, parsing_timeout=None), timeout_seconds=None)


def compare_strings(pairs: Sequence[Pair]) -> None:
    """Find the last box or number and compare it as a string: the least that any grader does."""
    for gold, response in pairs:
        tail = response[response.rfind("\\boxed{") + 7 :] if "\\boxed{" in response else response[-12:]
        tail.partition("}")[0].strip() == gold  # noqa: B015


def rate(run: Callable[[Sequence[Item]], None], items: Sequence[Item]) -> float:
    """Return items per second."""
    run(items)
    seconds = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        run(items)
        seconds.append(time.perf_counter() - start)
    return len(items) / statistics.median(seconds)


if __name__ == "__main__":
    sys.exit(main())
