"""Small things to test with: a builder of trajectories, and rewards that behave in a known way.

They judge nothing: none of them is registered, and none belongs into a scorer that trains something.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rewardkit.errors import RewardError
from rewardkit.types import Message, Score, Step, Task, Trajectory


def trajectory(
    prompt: str = "",
    completion: str = "",
    references: Sequence[str] = (),
    *,
    id: str = "",  # noqa: A002  the name of the field
    metadata: Mapping[str, Any] | None = None,
) -> Trajectory:
    """Build the trajectory of one question and one answer; `metadata` becomes the task's."""
    task = Task(
        id=id,
        prompt=(Message(role="user", content=prompt),),
        references=tuple(references),
        metadata=dict(metadata or {}),
    )
    return Trajectory(id=id, task=task, steps=(Step(action=Message(role="assistant", content=completion)),))


class EchoReward:
    """Gives every trajectory the same value, and counts in `calls` what it was asked."""

    def __init__(self, *, value: float = 1.0) -> None:
        self.value = value
        self.calls: list[str] = []

    def setup(self) -> None:
        """Note the call."""
        self.calls.append("setup")

    def score_batch(self, batch: Sequence[Trajectory], /) -> list[Score]:
        """Return the value for each trajectory."""
        self.calls.append(f"score_batch({len(batch)})")
        return [Score(value=self.value) for _ in batch]

    def close(self) -> None:
        """Note the call."""
        self.calls.append("close")


class FailingReward(EchoReward):
    """Raises RewardError for every trajectory whose completion holds `word`; "" means for all of them."""

    def __init__(self, *, word: str = "") -> None:
        super().__init__()
        self.word = word

    def score_batch(self, batch: Sequence[Trajectory], /) -> list[Score]:
        """Raise if `word` occurs, else return 1.0 for each trajectory."""
        if any(self.word in one.completion for one in batch):
            raise RewardError(f"the completion holds {self.word!r}")
        return super().score_batch(batch)


class HangingReward(EchoReward):
    """Sleeps for `seconds` before it answers, to try time limits with."""

    def __init__(self, *, seconds: float = 3600.0) -> None:
        super().__init__()
        self.seconds = seconds

    def score_batch(self, batch: Sequence[Trajectory], /) -> list[Score]:
        """Sleep, then return 1.0 for each trajectory."""
        time.sleep(self.seconds)
        return super().score_batch(batch)
