"""Reading trajectories from files, line by line: a bad line is a Failure and stops nothing.

Compression is `sources`, the three shapes are `shapes`, scoring is `offline`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from rewardkit.errors import InvalidTrajectoryError
from rewardkit.serialize.building import constructor
from rewardkit.serialize.shapes import parse_trajectory, task_from_json
from rewardkit.serialize.sources import LONGEST_LINE, BrokenSourceError, check_source, json_lines
from rewardkit.types import Failure, Task, Trajectory

_BOM = b"\xef\xbb\xbf"  # also in the middle, where files were joined


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a file (or row of a Parquet file), counted from 1, and what it holds."""

    source: str
    number: int
    content: Trajectory | Failure


_new_line = constructor(Line)


def read_trajectories(path: str | os.PathLike[str], *, longest_line: int = LONGEST_LINE) -> Iterator[Line]:
    """Return the trajectories of a file in order, in memory bounded by its longest line.

    `path` names JSON lines, plain or compressed with gzip or zstd, or Parquet, recognised by content; "-" is standard
    input. Every line that is not blank gives one Line; what is wrong with it (including more than `longest_line`
    bytes) becomes a Failure of kind "input". So does a file that breaks off, as the last Line. Raises ConfigError at
    once when there is no such file, and MissingExtraError for Parquet without pyarrow.
    """
    check_source(path)
    return _read(path, longest_line)


def read_tasks(path: str | os.PathLike[str], *, longest_line: int = LONGEST_LINE) -> Iterator[Task]:
    """Return the tasks of a file in order (see `task_from_json`); raises InvalidTrajectoryError for a bad line."""
    check_source(path)
    for number, text in enumerate(json_lines(path, longest_line), start=1):
        try:
            if text is None:
                raise InvalidTrajectoryError(f"longer than {longest_line} bytes")
            if text and not text.isspace():
                yield task_from_json(msgspec.json.decode(text.removeprefix(_BOM), type=dict[str, Any]))
        except (InvalidTrajectoryError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidTrajectoryError(f"{path}:{number}: {error}") from error


def _read(path: str | os.PathLike[str], longest: int) -> Iterator[Line]:
    source = "stdin" if str(path) == "-" else str(path)
    number = 0
    try:
        for number, text in enumerate(json_lines(path, longest), start=1):
            if text is None:
                yield _failed(source, number, f"longer than {longest} bytes: raise longest_line, or split the line")
            elif text and not text.isspace():
                yield _line(source, number, text.removeprefix(_BOM))
    except BrokenSourceError as error:
        yield _failed(source, number + 1, str(error))


def _line(source: str, number: int, text: bytes) -> Line:
    try:
        return _new_line(source, number, parse_trajectory(text))
    except InvalidTrajectoryError as error:
        return _failed(source, number, str(error))


def _failed(source: str, number: int, reason: str) -> Line:
    failure = Failure(reward="", kind="input", message=f"{source}:{number}: {reason}")
    return Line(source=source, number=number, content=failure)
