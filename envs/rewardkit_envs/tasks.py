"""Where an environment's tasks come from: a file, a list, or a rule that makes one from a seed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from rewardkit.errors import ConfigError, InvalidTrajectoryError
from rewardkit.serialize import read_tasks, task_from_json
from rewardkit.types import Task


@runtime_checkable
class TaskSource(Protocol):
    """Tasks by chance and by id. The same state of `random` gives the same task."""

    def draw(self, random: np.random.Generator, /) -> Task:
        """Return a task."""
        ...

    def find(self, task_id: str, /) -> Task:
        """Return the task of that id; raises KeyError."""
        ...


class TaskList:
    """A fixed list of tasks; ids must be unique."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self.tasks = list(tasks)
        self._by_id = {task.id: task for task in self.tasks}
        if not self.tasks:
            raise ConfigError("an environment needs at least one task")

    def draw(self, random: np.random.Generator, /) -> Task:
        """Return one of the tasks, each as likely as the others."""
        return self.tasks[int(random.integers(len(self.tasks)))]

    def find(self, task_id: str, /) -> Task:
        """Return the task of that id; raises KeyError."""
        return self._by_id[task_id]

    def __len__(self) -> int:
        return len(self.tasks)


def open_tasks(source: Any) -> TaskSource:
    """Return the tasks that `source` stands for.

    A path to a file of tasks (any shape that `rewardkit score` reads, with or without a completion), a sequence of
    Tasks or of such records, or a TaskSource. Raises ConfigError.
    """
    try:
        if isinstance(source, (str, os.PathLike)):
            return TaskList(read_tasks(source))
        if isinstance(source, TaskSource):
            return source
        if isinstance(source, Sequence):
            return TaskList(task if isinstance(task, Task) else task_from_json(task) for task in source)
    except InvalidTrajectoryError as error:
        raise ConfigError(f"these are no tasks: {error}") from error
    raise ConfigError(f"tasks={source!r}: give a path, a list of tasks, or an object with draw and find")
