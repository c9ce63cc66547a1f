"""A file of played episodes that grows line by line, in the format that `rewardkit score` reads.

A line is there whole or not at all, whoever is killed and however many processes write. Reading is `serialize`.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from rewardkit.errors import ConfigError, InvalidTrajectoryError
from rewardkit.serialize import trajectory_to_json
from rewardkit.types import Trajectory

_BLOCK = 2**16


class TrajectoryFile:
    """Appends trajectories to `path`, which ends in `.jsonl`; what a killed writer left of a line is cut off.

    With `alone`, no other process may write until it is closed. Raises ConfigError when that cannot be had.
    """

    def __init__(self, path: str | Path, *, alone: bool = False) -> None:
        self.path = Path(path).absolute()
        if self.path.suffix != ".jsonl" or self.path.is_dir():
            raise ConfigError(f"cannot append to {str(path)!r}: name a file that ends in .jsonl")
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise ConfigError(f"cannot append to {str(path)!r}: {error.strerror}") from error
        self._alone = alone
        if alone:
            self._keep_others_out()
            self._mend()

    def append(self, trajectory: Trajectory) -> None:
        """Write one line; raises InvalidTrajectoryError where metadata holds more than JSON values, OSError."""
        line = _line(trajectory)
        with self._turn():
            end = self._mend()
            try:
                while line:
                    line = line[os.write(self._file, line) :]
            except OSError:
                os.ftruncate(self._file, end)
                raise

    def close(self) -> None:
        """Close the file. Idempotent."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Keep other processes from writing, for as long as one line takes."""
        if self._alone:
            yield
            return
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def _keep_others_out(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise ConfigError(f"cannot append to {str(self.path)!r}: another process is writing it") from None

    def _mend(self) -> int:
        """Make the file end with a whole line, and return its length."""
        end = start = os.fstat(self._file).st_size
        if not end or os.pread(self._file, 1, end - 1) == b"\n":
            return end
        tail = b""
        while start and b"\n" not in tail:
            size = min(_BLOCK, start)
            start -= size
            tail = os.pread(self._file, size, start) + tail
        tail = tail[tail.rfind(b"\n") + 1 :]
        if _is_json(tail):
            return end + os.write(self._file, b"\n")  # a file of someone else's, whose last line has no end
        os.ftruncate(self._file, end - len(tail))
        return end - len(tail)


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _line(trajectory: Trajectory) -> bytes:
    try:
        text = json.dumps(trajectory_to_json(trajectory), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidTrajectoryError(
            f"cannot record {trajectory.task.id!r}: metadata must be JSON ({error})"
        ) from error
    return text.encode(errors="replace") + b"\n"  # half a surrogate pair is no text that anyone could read
