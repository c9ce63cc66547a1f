"""One reward, one batch: the isolation point where whatever a reward does becomes one Outcome per trajectory.

It enforces no time limit and survives no crash of the process: that is what executors are for.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from rewardkit.errors import InvalidScoreError, SandboxError, UnparsableError
from rewardkit.registry import RewardSpec
from rewardkit.types import Failure, FailureKind, Outcome, Score, Trajectory


def judge(spec: RewardSpec, reward: Any, batch: Sequence[Trajectory]) -> list[Outcome]:
    """Score `batch` with a reward that is set up; return one Score or Failure for each trajectory, in order.

    When a batch raises or comes back with the wrong shape, its halves are scored again until the culprit stands alone;
    the others keep their scores. A group reward judges the group as a whole, so there all members fail together.
    Whatever the metadata of a score held, it holds JSON values afterwards: numbers of numpy and torch become numbers,
    sets lists, and what JSON has no form for becomes text. KeyboardInterrupt alone passes through.
    """
    if not batch:
        return []
    try:
        if "group" in spec.needs:
            return _checked(reward.score_group(batch), batch)
        return _checked(reward.score_batch(batch), batch)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  an isolation point: a reward may raise anything, or call sys.exit
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
    return Failure(reward=name, kind=kind, message=describe(error), retryable=kind in ("sandbox", "timeout"))


def close_quietly(reward: Any) -> None:
    """Close a reward; whatever it raises becomes a warning."""
    try:
        reward.close()
    except (Exception, SystemExit) as error:  # noqa: BLE001  the plugin's code, and no score depends on it
        warnings.warn(f"{type(reward).__name__}.close failed: {describe(error)}", RuntimeWarning, stacklevel=2)


def describe(error: BaseException) -> str:
    """Return the type and the text of `error` on one line that can be encoded."""
    try:
        text = " ".join(str(error).split())[:500]
    except Exception as another:  # noqa: BLE001  the exception's class is the reward's code, too
        text = f"its text cannot be had ({type(another).__name__})"
    message = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return message.encode(errors="replace").decode()


def _checked(scores: Any, batch: Sequence[Trajectory]) -> list[Outcome]:
    """Return `scores` if it is one sound Score per trajectory; else raise InvalidScoreError."""
    if not isinstance(scores, Sequence) or isinstance(scores, (str, bytes)):
        raise InvalidScoreError(f"expected a sequence of {len(batch)} Scores, got {type(scores).__name__}")
    if len(scores) != len(batch):
        raise InvalidScoreError(f"expected {len(batch)} Scores, one for each trajectory, got {len(scores)}")
    return [_checked_score(score, trajectory) for score, trajectory in zip(scores, batch, strict=True)]


def _checked_score(score: Any, trajectory: Trajectory) -> Score:
    if not isinstance(score, Score):
        raise InvalidScoreError(f"expected a Score, got {type(score).__name__}: return Score(value=...)")
    if score.steps is not None and len(score.steps) != len(trajectory.steps):
        raise InvalidScoreError(f"{len(score.steps)} step scores for {len(trajectory.steps)} steps")
    if not isinstance(score.explanation, str):
        raise InvalidScoreError(f"Score.explanation must be text, not {type(score.explanation).__name__}")
    if not isinstance(score.metadata, Mapping):
        raise InvalidScoreError(f"Score.metadata must be a mapping, not {type(score.metadata).__name__}")
    if not score.metadata:
        return score
    try:
        return replace(score, metadata=msgspec.to_builtins(dict(score.metadata), str_keys=True, enc_hook=_plain))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidScoreError(f"Score.metadata cannot become JSON: {error}") from error


def _plain(value: Any) -> Any:
    to_list = getattr(value, "tolist", None)
    return to_list() if callable(to_list) else str(value)
