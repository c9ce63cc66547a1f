"""The messages between the process executor and its workers.

A worker is sent a reward's spec and options once, then units of work by number; it answers with their outcomes. A unit
is one trajectory, one batch or one whole group; its trajectories travel as packed bytes of their own, so that one that
cannot be read spoils no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from rewardkit.executors.wire import pack, unpack
from rewardkit.registry import RewardSpec
from rewardkit.types import Failure, Outcome, Score, Trajectory


class Load(msgspec.Struct, array_like=True, tag=1):
    """Set up a reward, to be known as `key` (from 1)."""

    key: int
    spec: RewardSpec
    options: dict[str, Any]


class Work(msgspec.Struct, array_like=True, tag=2):
    """Score units, each with its number (from 1), with the reward `key`."""

    key: int
    units: list[tuple[int, bytes]]


class Stop(msgspec.Struct, array_like=True, tag=3):
    """Close the rewards and end."""


class Ready(msgspec.Struct, array_like=True, tag=4):
    """The worker has started."""


class Broken(msgspec.Struct, array_like=True, tag=5):
    """The reward `key` could not be set up; the work sent for it is not done."""

    key: int
    failure: Failure


class Done(msgspec.Struct, array_like=True, tag=6):
    """Units of the reward `key` and their outcomes, which took so many seconds all together."""

    key: int
    seconds: float
    units: list[tuple[int, bytes]]


class _Judged(msgspec.Struct, array_like=True):
    score: Score | None
    failure: Failure | None


Order = Load | Work | Stop
Report = Ready | Broken | Done


def pack_outcomes(outcomes: Sequence[Outcome]) -> bytes:
    """Return the outcomes of a unit as bytes; raises as `wire.pack`."""
    return pack([_Judged(o, None) if isinstance(o, Score) else _Judged(None, o) for o in outcomes])


def unpack_outcomes(packed: bytes) -> list[Outcome]:
    """Return the outcomes of a unit; raises ValueError when that is not what it is."""
    outcomes = [judged.score or judged.failure for judged in unpack(packed, list[_Judged])]
    return [outcome for outcome in outcomes if outcome is not None]


def unpack_batch(packed: bytes) -> tuple[Trajectory, ...]:
    """Return the trajectories of a unit; raises ValueError when that is not what it is."""
    batch: tuple[Trajectory, ...] = unpack(packed, tuple[Trajectory, ...])
    return batch
