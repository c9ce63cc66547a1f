"""Rewards that tests address by name; this file is loaded by path."""

from __future__ import annotations

import importlib
import time

from rewardkit import Score, reward


@reward
def words(trajectory, *, scale: float = 1.0):
    """Count words."""
    return scale * len(trajectory.completion.split())


@reward
def reads_number(trajectory):
    """Return the completion as a number: abstain on nothing, raise on text."""
    return float(trajectory.completion) if trajectory.completion else None


class Rank:
    """Rank the group by length: the longest gets 1, the shortest 0."""

    def setup(self):
        pass

    def score_group(self, group, /):
        order = sorted(range(len(group)), key=lambda i: len(group[i].completion))
        best = max(len(group) - 1, 1)
        return [Score(value=order.index(i) / best) for i in range(len(group))]

    def close(self):
        pass


def make_words(scale: float):
    """Return `words` with a required option."""
    return words.with_options(scale=scale)


NOT_A_FACTORY = 3


@reward
def slow_words(trajectory, *, log: str = "", seconds: float = 0.0):
    """Count words after a pause, and note in a file that it was done."""
    time.sleep(seconds)
    if log:
        with open(log, "a") as file:
            file.write(trajectory.id + "\n")
    return float(len(trajectory.completion.split()))


class Heavy:
    """Need a package that nobody has."""

    def __init__(self):
        importlib.import_module("no_such_package.inside")


class Unfinished:
    """Lack close."""

    def setup(self):
        pass

    def score_batch(self, batch, /):
        return []


def bare(trajectory):
    """Forget @reward."""
    return 1.0
