"""One reward, one batch: the isolation point where whatever a reward does becomes one Outcome per trajectory.

It enforces no time limit and survives no crash of the process: that is what executors are for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rewardkit.errors import InvalidScoreError, SandboxError, UnparsableError
from rewardkit.registry import RewardSpec
from rewardkit.types import Failure, FailureKind, Outcome, Score, Trajectory


def judge(spec: RewardSpec, reward: Any, batch: Sequence[Trajectory]) -> list[Outcome]:
    """Score `batch` with a reward that is set up; return one Score or Failure for each trajectory, in order.

    When a batch raises or comes back with the wrong shape, its halves are scored again until the culprit stands alone;
    the others keep their scores. A group reward judges the group as a whole, so there all members fail together.
    """
    if not batch:
        return []
    try:
        if "group" in spec.needs:
            return list(_checked(reward.score_group(batch), batch))
        return list(_checked(reward.score_batch(batch), batch))
    except Exception as error:  # noqa: BLE001  one of the two isolation points: a reward may raise anything
        if len(batch) == 1 or "group" in spec.needs:
            return [failure_of(spec.name, error)] * len(batch)
    middle = len(batch) // 2
    return judge(spec, reward, batch[:middle]) + judge(spec, reward, batch[middle:])


def failure_of(name: str, error: BaseException) -> Failure:
    """Return the Failure that an exception raised by the reward `name` stands for."""
    kind: FailureKind = "error"
    if isinstance(error, UnparsableError):
        kind = "unparsable"
    elif isinstance(error, SandboxError):
        kind = "sandbox"
    elif isinstance(error, TimeoutError):
        kind = "timeout"
    text = " ".join(str(error).split())[:500]
    message = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return Failure(reward=name, kind=kind, message=message, retryable=kind in ("sandbox", "timeout"))


def _checked(scores: Any, batch: Sequence[Trajectory]) -> Sequence[Score]:
    """Return `scores` if it is one Score per trajectory, with one step score per step; else InvalidScoreError."""
    if not isinstance(scores, Sequence) or isinstance(scores, (str, bytes)):
        raise InvalidScoreError(f"expected a sequence of {len(batch)} Scores, got {type(scores).__name__}")
    if len(scores) != len(batch):
        raise InvalidScoreError(f"expected {len(batch)} Scores, one for each trajectory, got {len(scores)}")
    for score, trajectory in zip(scores, batch, strict=True):
        if not isinstance(score, Score):
            raise InvalidScoreError(f"expected a Score, got {type(score).__name__}: return Score(value=...)")
        if score.steps is not None and len(score.steps) != len(trajectory.steps):
            raise InvalidScoreError(f"{len(score.steps)} step scores for {len(trajectory.steps)} steps")
    return scores
