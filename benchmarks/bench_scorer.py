"""What the scorer costs over the rewards themselves, beside the loops that trainers run; no reward does any work here.

Run: python benchmarks/bench_scorer.py
"""

from __future__ import annotations

import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence

from rewardkit import Message, Score, Scorer, Step, Task, Trajectory, reward
from rewardkit.plugins import Plugins

SIZE = 2048
REPETITIONS = 15
LIMIT = 10.0


@reward
def constant(trajectory: Trajectory) -> float:
    """Return one number for every trajectory."""
    return 0.5 if trajectory.steps else 0.0


class Prepared:
    """A reward whose scores are ready, so that all the time measured is the scorer's."""

    def __init__(self) -> None:
        self._scores = [Score(value=0.5)] * SIZE

    def setup(self) -> None:
        """Do nothing."""

    def score_batch(self, batch: Sequence[Trajectory], /) -> list[Score]:
        """Return the prepared scores."""
        return self._scores[: len(batch)]

    def close(self) -> None:
        """Do nothing."""


def microseconds(work: Callable[[], object]) -> float:
    """Return the median time of `work` in microseconds a trajectory."""
    times = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times) / SIZE * 1e6


def main() -> None:
    """Print the table."""
    action = Message(role="assistant", content="42")
    batch = [Trajectory(id=str(i), task=Task(id=str(i // 8)), steps=(Step(action=action),)) for i in range(SIZE)]
    print(f"Python {platform.python_version()}, {SIZE} trajectories a batch, median of {REPETITIONS} runs")
    show("floor: plain calls of a function, as TRL makes", microseconds(lambda: [constant(t) for t in batch]))
    failed = False
    for count in (1, 3):
        scorer = Scorer({f"r{i}": Prepared() for i in range(count)}, plugins=Plugins())
        cost = microseconds(lambda scorer=scorer: scorer.score_batch(batch))
        failed |= cost >= LIMIT
        verdict = f"limit {LIMIT:.0f}: {'FAIL' if cost >= LIMIT else 'PASS'}"
        show(f"Scorer with {count} reward(s), over the rewards themselves", cost, verdict)
        lifted = Scorer({f"r{i}": constant.with_options() for i in range(count)}, plugins=Plugins())
        show(
            f"Scorer with {count} function(s) under @reward, all in",
            microseconds(lambda s=lifted: s.score_batch(batch)),
        )
    print("published elsewhere, not run here: verifiers 0.4 Task.score 74 to 88 us, TRL's loop 0.5 to 3.5 us")
    sys.exit(failed)


def show(what: str, cost: float, verdict: str = "") -> None:
    """Print one row."""
    print(f"{what:<58}{cost:8.2f} us  {verdict}")


if __name__ == "__main__":
    main()
