"""ScienceWorld (PyPI `scienceworld`, needs Java): elementary science in a house of text, with dense scores.

Its score runs from 0 to 100, and to -100 when the wrong object is focused on, which ends the episode: here from 0.0 to
1.0, and 0.0 for whatever is below. Not covered: lists of valid actions, which cost ten times the step.
"""

from __future__ import annotations

import importlib
import shutil
from typing import Any

from rewardkit.errors import ConfigError, MissingExtraError, SandboxError
from rewardkit.types import Message, Task
from rewardkit_envs.tasks import TaskList, TaskSource
from rewardkit_envs.worlds.outside import Played

_TASKS = (
    "boil",
    "melt",
    "freeze",
    "use-thermometer",
    "power-component",
    "find-living-thing",
    "find-non-living-thing",
    "find-plant",
    "find-animal",
    "grow-plant",
    "lifespan-longest-lived",
    "identify-life-stages-2",
)


class ScienceWorld:
    """One simulator in a Java process of its own (about 570 MiB), started by the first episode.

    A task's metadata says what is played, as `scienceworld`: {"task": name, "variation": number, "simplifications":
    text}; the last is "easy" (all of them) unless given. `jar` is another simulator than the package's.
    """

    how = "Do something, such as: look around, open door to kitchen, focus on thermometer, wait."

    def __init__(self, name: str = "", *, jar: str | None = None) -> None:
        if name:
            raise ConfigError(f"outside:scienceworld takes no name, not {name!r}: the tasks say what is played")
        self._jar = jar
        self._simulator: Any = None
        self._plan: tuple[str, list[str]] = ("", [])

    def tasks(self) -> TaskSource:
        """Return a dozen of its 30 tasks, in their first variation."""
        prompt = (Message(role="user", content="Do the science task that you are given."),)
        return TaskList(
            Task(id=f"scienceworld/{name}/0", prompt=prompt, metadata={"scienceworld": {"task": name, "variation": 0}})
            for name in _TASKS
        )

    def start(self, task: Task) -> str:
        """Load the task's variation and return its description and what is there to see."""
        self._load(task, with_plan=False)
        described = self._ask("getTaskDescription")
        return f"{described}\n\n{self._ask('step', 'look around')}"

    def play(self, action: str) -> Played:
        """Take a step."""
        text = str(self._ask("step", action))
        score = round(100 * float(self._ask("getScore")))
        over = bool(self._ask("getCompleted")) or score < 0
        return Played(text=text, value=max(score, 0) / 100, over=over)

    def gold(self, task: Task, actions: tuple[str, ...]) -> str:
        """Return the next step of the simulator's own plan that was not made yet."""
        if self._plan[0] != task.id:
            self._load(task, with_plan=True)
            self._plan = (task.id, [str(step) for step in self._ask("getGoldActionSequence")])
            for action in ("look around", *actions):
                self._ask("step", action)
        left = list(self._plan[1])
        for action in actions:
            if left and action == left[0]:
                del left[0]
        return left[0] if left else "wait"

    def close(self) -> None:
        """End the Java process."""
        if self._simulator is not None:
            simulator, self._simulator = self._simulator, None
            _end(simulator)

    def _load(self, task: Task, *, with_plan: bool) -> None:
        wanted = task.metadata.get("scienceworld")
        if not isinstance(wanted, dict) or not isinstance(wanted.get("task"), str):
            raise ConfigError(
                f"task {task.id!r}: metadata must hold scienceworld: {{'task': name, 'variation': number}}"
            )
        if self._simulator is None:
            self._simulator = _started(self._jar)
        simplifications = wanted.get("simplifications", "easy")
        try:
            self._simulator.load(
                wanted["task"], wanted.get("variation", 0), simplifications, generateGoldPath=with_plan
            )
        except ValueError as error:
            raise ConfigError(f"task {task.id!r}: {error}") from error
        self._ask("reset")

    def _ask(self, method: str, *arguments: Any) -> Any:
        """Call the simulator; raises SandboxError when Java does not answer."""
        broken: type[Exception] = importlib.import_module("py4j.protocol").Py4JError
        try:
            return getattr(self._simulator.server, method)(*arguments)
        except broken as error:
            self.close()
            raise SandboxError(f"ScienceWorld's Java process does not answer: {error}") from error


def _end(simulator: Any) -> None:
    """End a simulator, and what it leaves open itself: the pipes to its Java process, and a directory."""
    process = simulator._gateway.java_process
    simulator.close()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    process.wait(timeout=30)
    simulator._obj_tree_tempdir.cleanup()


def _started(jar: str | None) -> Any:
    try:
        package = importlib.import_module("scienceworld")
    except ModuleNotFoundError as error:
        raise MissingExtraError("outside:scienceworld needs 'scienceworld': pip install scienceworld") from error
    if shutil.which("java") is None:
        raise MissingExtraError("outside:scienceworld needs Java: install a Java runtime, version 8 or later")
    return package.ScienceWorldEnv("", jar)
