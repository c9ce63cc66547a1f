"""Content hashes: the same content has the same hash whatever its ids, its shape, and the order of metadata keys.

A hash is 32 hexadecimal digits of BLAKE2b over MessagePack. Stored scores are found by it, so that it must not change
between versions: tests pin its values.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from rewardkit.errors import InvalidTrajectoryError
from rewardkit.types import Message, Trajectory

_ORDERED = msgspec.msgpack.Encoder(order="deterministic")


def trajectory_hash(trajectory: Trajectory) -> str:
    """Return the hash of all that a trajectory holds but its own id and its task's.

    Metadata counts, as rewards read it. Raises InvalidTrajectoryError where it holds more than JSON values.
    """
    t, task = trajectory, trajectory.task
    return _hash((task.prompt, task.references, task.metadata, t.steps, t.terminated, t.truncated, t.metadata))


def task_hash(prompt: tuple[Message, ...], references: tuple[str, ...]) -> str:
    """Return the hash of a task's prompt and references: the id of a task that has none."""
    return _hash((prompt, references))


def _hash(content: tuple[Any, ...]) -> str:
    try:
        encoded = _ORDERED.encode(content)
    except OverflowError:  # MessagePack has no integers beyond 64 bits
        encoded = msgspec.json.encode(content, order="deterministic")
    except (TypeError, UnicodeEncodeError, RecursionError) as error:
        raise InvalidTrajectoryError(f"a trajectory must hold JSON values only: {error}") from error
    return hashlib.blake2b(encoded, digest_size=16).hexdigest()
