"""How near 256 episodes at once come to the ideal when a batch of rewards takes 50 ms.

Acting takes 0.1 ms an action and keeps the processor busy; episodes have 1 to 15 turns. The ideal of `step` is acting
plus 50 ms for each step in which something ended; of `send` and `recv` it is acting alone, for scoring can hide behind
it. "asleep" rewards wait, as for a server; "busy" ones compute, in a worker process.

Run: python benchmarks/bench_vector.py [--episodes N] [--actions N] [--rounds N]
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Sequence
from typing import Any, ClassVar

from rewardkit import Score, Trajectory
from rewardkit.executors import open_executor
from rewardkit_envs.env import TextEnv, Turn
from rewardkit_envs.vector import TextVectorEnv

BATCH_S, ACTION_S = 0.05, 0.0001
LIMIT = 0.9


class Lengths(TextEnv):
    """Ends after as many actions as the task's reference says."""

    def __init__(self, **options: Any) -> None:
        tasks = [{"id": str(n), "prompt": "Go on.", "answer": str(n)} for n in range(1, 16)]
        super().__init__(tasks=tasks, max_turns=16, **options)

    def act(self, action: str) -> Turn:
        """Compute, and count."""
        spin(ACTION_S)
        return Turn(observation=action, terminated=len(self.episode.steps) + 1 == int(self.episode.task.references[0]))


class Waiting:
    """Takes 50 ms for a batch, whatever is in it."""

    batches: ClassVar[int] = 0
    seconds = BATCH_S

    def setup(self) -> None:
        """Do nothing."""

    def score_batch(self, batch: Sequence[Trajectory], /) -> list[Score]:
        """Wait, and give 1 to each."""
        if batch and self.seconds:
            Waiting.batches += 1
            time.sleep(self.seconds)
        return [Score(value=1.0)] * len(batch)

    def close(self) -> None:
        """Do nothing."""


class Free(Waiting):
    """Takes no time."""

    seconds = 0.0


class Busy(Waiting):
    """Keeps a processor busy; for a worker process, which gives it one trajectory after the other."""

    def score_batch(self, batch: Sequence[Trajectory], /) -> list[Score]:
        """Compute for 0.4 ms, and give 1 to each."""
        spin(0.0004 * len(batch))
        return [Score(value=1.0)] * len(batch)


def spin(seconds: float) -> None:
    """Keep the processor busy."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def stepped(envs: TextVectorEnv, actions: int) -> float:
    """Return the seconds that `actions` actions take through `step`."""
    envs.reset(seed=0)
    start = time.perf_counter()
    for _ in range(actions // envs.num_envs):
        envs.step(["x"] * envs.num_envs)
    return time.perf_counter() - start


def sent(envs: TextVectorEnv, actions: int) -> float:
    """Return the seconds that `actions` actions take through `send` and `recv`."""
    envs.async_reset(seed=0)
    start = time.perf_counter()
    done = 0
    while done < actions:
        ids = envs.recv()[4]["env_id"]
        done += len(ids)
        envs.send(["x"] * len(ids), ids)
    return time.perf_counter() - start


def main() -> None:
    """Print the table; every figure is the best of the rounds, which go through all ways in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=256)
    parser.add_argument("--actions", type=int, default=20_480)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    actions = given.actions

    def envs(reward: Any, executor: Any = None) -> TextVectorEnv:
        return TextVectorEnv(Lengths, given.episodes, reward=reward, executor=executor)

    free, waiting = envs([Free()]), envs([Waiting()])
    busy = envs([f"{__file__}:Busy"], open_executor("process", workers=1))
    sent(busy, given.episodes)  # the worker has started
    best: dict[str, float] = {}
    batches = 0
    for _ in range(given.rounds):
        before = Waiting.batches
        took = {"free": stepped(free, actions), "step": stepped(waiting, actions)}
        batches = Waiting.batches - before
        took |= {"free, sent": sent(free, actions), "asleep": sent(waiting, actions), "busy": sent(busy, actions)}
        best = {name: min(seconds, best.get(name, seconds)) for name, seconds in took.items()}
    print(f"Python {platform.python_version()}, {given.episodes} episodes at once, {actions} actions")
    print(f"a free reward: step {best['free']:.2f} s, send and recv {best['free, sent']:.2f} s")
    show(f"step, {batches} batches of 50 ms", best["free"] + batches * BATCH_S, best["step"])
    show("send and recv, asleep", best["free, sent"], best["asleep"])
    show("send and recv, busy in a worker", best["free, sent"], best["busy"])
    for each in (free, waiting, busy):
        each.close()


def show(name: str, ideal: float, took: float) -> None:
    """Print one line, with whether it is within the limit."""
    share = ideal / took
    print(f"{name:<34} {took:6.2f} s, ideal {ideal:6.2f} s: {share:5.1%} {'PASS' if share > LIMIT else 'FAIL'}")


if __name__ == "__main__":
    main()
