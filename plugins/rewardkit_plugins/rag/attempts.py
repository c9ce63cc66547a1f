"""What an attempt at a question over passages consists of: its answer, and the passages that the agent saw.

An environment says so in the metadata of the steps: `action`, `passages` and `answer`, as `rewardkit/RAG-v0` does. In
other trajectories the completion is the answer, and the task's `passages` (`docs` or `ctxs`) are numbered from 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rewardkit.errors import RewardError
from rewardkit.types import Task, Trajectory

_TASK_KEYS = ("passages", "docs", "ctxs")
_ACTIONS = ("search", "open", "answer", "malformed")


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage as the agent saw it."""

    title: str
    text: str

    @property
    def premise(self) -> str:
        """Its text under its title."""
        return f"{self.title}\n{self.text}" if self.title else self.text


def answer_of(trajectory: Trajectory) -> str:
    """Return the answer; "" where an environment with answers saw none."""
    return str(trajectory.steps[-1].metadata.get("answer") or "") if _has_actions(trajectory) else trajectory.completion


def passages_of(trajectory: Trajectory) -> dict[int, Passage] | None:
    """Return the passages by the numbers under which they were shown; None where nothing is known of any.

    A passage that was shown twice counts with the longer text. Raises RewardError for passages of another shape.
    """
    if _has_actions(trajectory):
        shown: dict[int, Passage] = {}
        for step in trajectory.steps:
            for value in step.metadata.get("passages", ()):
                passage = _passage(value)
                n = int(value["n"])
                if n not in shown or len(passage.text) > len(shown[n].text):
                    shown[n] = passage
        return shown
    for key in _TASK_KEYS:
        if (values := trajectory.task.metadata.get(key)) is not None:
            return {n: _passage(value) for n, value in enumerate(values, start=1)}
    return None


def is_answerable(task: Task) -> bool | None:
    """Return whether there is a right answer; None where the task does not say.

    `metadata["answerable"]` says so, or else a reference that is not empty.
    """
    said = task.metadata.get("answerable")
    if said is not None:
        return bool(said)
    return True if any(reference.strip() for reference in task.references) else None


def _has_actions(trajectory: Trajectory) -> bool:
    return any(step.metadata.get("action") in _ACTIONS for step in trajectory.steps)


def _passage(value: Any) -> Passage:
    if isinstance(value, str):
        return Passage("", value)
    if isinstance(value, Mapping) and isinstance(value.get("text"), str):
        return Passage(str(value.get("title") or ""), value["text"])
    raise RewardError(f"a passage is {value!r}: give a text, or an object with `text` and perhaps `title`")
