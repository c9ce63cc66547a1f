"""What the scorer costs over the rewards themselves, beside the loops that trainers run; no reward does any work here.

Run: python benchmarks/bench_scorer.py
"""

from __future__ import annotations

import platform
import statistics
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
    return 0.5


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
    plugins = Plugins()
    print(f"{platform.python_implementation()} {platform.python_version()}, {SIZE} trajectories a batch, median of {REPETITIONS}")
    floor = microseconds(lambda: [constant(t) for t in batch])
    print(f"{'plain calls of a function (what TRL does)':<60}{floor:8.2f} us")
    for count in (1, 3):
        rewards = {f"r{i}": Prepared() for i in range(count)}
        scorer = Scorer(rewards, plugins=plugins)
        cost = microseconds(lambda scorer=scorer: scorer.score_batch(batch))
        verdict = "PASS" if cost < LIMIT else "FAIL"
        print(f"{f'Scorer, {count} reward(s), over the rewards themselves':<60}{cost:8.2f} us  limit {LIMIT:.0f}  {verdict}")
        lifted = Scorer({f"r{i}": constant.with_options() for i in range(count)}, plugins=plugins)
        print(f"{f'Scorer, {count} function(s) under @reward, all in':<60}{microseconds(lambda s=lifted: s.score_batch(batch)):8.2f} us")
    print("for reference, measured elsewhere: verifiers 0.4 Task.score 74 to 88 us, TRL's loop 0.5 to 3.5 us")


if __name__ == "__main__":
    main()
