"""Endless tasks of arithmetic, made from a seed: the sum, difference or product of two whole numbers."""

from __future__ import annotations

import re

import numpy as np

from rewardkit.errors import ConfigError
from rewardkit.types import Message, Task

_OPERATORS = "+-*"
_ID = re.compile(r"(-?\d{1,18})([+*-])(-?\d{1,18})")


class ArithmeticTasks:
    """Tasks such as "What is 17 + 25?", whose ids say all: `17+25`.

    Both numbers are from `low` to `high`, each as likely as the others, and so are the `operators` (of `+-*`). Raises
    ConfigError for a range or operators that cannot be.
    """

    def __init__(self, low: int = 0, high: int = 99, operators: str = "+-") -> None:
        if not -(10**18) < low <= high < 10**18:
            raise ConfigError(f"low={low!r} and high={high!r} must be a range of numbers of at most 18 digits")
        if not operators or not set(operators) <= set(_OPERATORS):
            raise ConfigError(f"operators={operators!r} must be some of {_OPERATORS}")
        self.low, self.high, self.operators = low, high, operators

    def draw(self, random: np.random.Generator, /) -> Task:
        """Return a task by chance."""
        left, right = random.integers(self.low, self.high + 1, size=2).tolist()
        return _task(left, self.operators[int(random.integers(len(self.operators)))], right)

    def find(self, task_id: str, /) -> Task:
        """Return the task of an id such as `17+25`; raises KeyError for one that could not be drawn."""
        match = _ID.fullmatch(task_id)
        if match is None or match[2] not in self.operators:
            raise KeyError(task_id)
        left, right = int(match[1]), int(match[3])
        if not (self.low <= left <= self.high and self.low <= right <= self.high):
            raise KeyError(task_id)
        return _task(left, match[2], right)


def _task(left: int, operator: str, right: int) -> Task:
    value = left + right if operator == "+" else left - right if operator == "-" else left * right
    shown = f"({right})" if right < 0 else right
    return Task(
        id=f"{left}{operator}{right}",
        prompt=(Message(role="user", content=f"What is {left} {operator} {shown}? Answer with a number."),),
        references=(str(value),),
    )
