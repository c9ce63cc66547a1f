"""Results to JSON lines and back: one object a line, in the format that docs/formats.md describes.

Parquet is `parquet`; which line goes where is `offline`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import msgspec

from rewardkit.errors import ConfigError, InvalidScoreError
from rewardkit.serialize.hashing import trajectory_hash
from rewardkit.serialize.reading import Line
from rewardkit.serialize.sources import BrokenSourceError, check_source, json_lines
from rewardkit.types import Failure, RewardResult, Score

_SCORE_FIELDS = tuple(f.name for f in fields(Score) if f.name != "value")
_encode = msgspec.json.Encoder(enc_hook=str).encode


def result_to_json(trajectory_id: str | None, content_hash: str | None, scored: RewardResult) -> dict[str, Any]:
    """Return one result as a JSON object; the id and hash of an input line that could not be read are None."""
    return {
        "id": trajectory_id,
        "hash": content_hash,
        "total": scored.total,
        "scores": {name: _score(score) for name, score in scored.scores.items()},
        "failures": [
            {"reward": f.reward, "kind": f.kind, "message": f.message, "retryable": f.retryable}
            for f in scored.failures
        ],
        "signature": scored.signature,
    }


def result_from_json(record: Mapping[str, Any]) -> RewardResult:
    """Read a result back; raises InvalidScoreError for what is none."""
    if "total" not in record:
        raise InvalidScoreError("a result needs `total`, a number or null")
    try:
        return msgspec.convert(record, RewardResult)
    except msgspec.ValidationError as error:
        raise InvalidScoreError(f"not a result: {error}") from error


def encode_line(line: Line, scored: RewardResult) -> bytes:
    """Return the output line of one input line, with its newline.

    Metadata that JSON has no form for is written as text, characters that UTF-8 has no form for as "?": nothing that
    a reward returns can stop a job.
    """
    if isinstance(line.content, Failure):
        record = result_to_json(None, None, scored)
    else:
        record = result_to_json(line.content.id, trajectory_hash(line.content), scored)
    try:
        return _encode(record) + b"\n"
    except UnicodeEncodeError:
        return _encode(_encodable(record)) + b"\n"


def read_results(path: str | os.PathLike[str]) -> Iterator[tuple[str, RewardResult]]:
    """Yield the trajectory's hash ("" for a line that could not be read) and the result of every line of an output.

    Reads what `encode_line` and `write_parquet` write. Raises ConfigError for a line that is no result.
    """
    check_source(path)
    number = 0
    try:
        for number, text in enumerate(json_lines(path), start=1):  # noqa: B007  used after the loop
            record = msgspec.json.decode(text or b"", type=dict[str, Any])
            for key in ("scores", "failures"):
                if isinstance(record.get(key), str):  # a row of Parquet, which leaves out nulls
                    record = {"total": None, **record, key: msgspec.json.decode(record[key])}
            yield record.get("hash") or "", result_from_json(record)
    except (msgspec.DecodeError, UnicodeDecodeError, InvalidScoreError, BrokenSourceError) as error:
        raise ConfigError(f"{path}:{number} is not a result that rewardkit wrote: {error}") from error


def _score(score: Score) -> dict[str, Any]:
    record: dict[str, Any] = {"value": score.value}
    for name in _SCORE_FIELDS:
        value = getattr(score, name)
        if value is not None and value != "" and value != {}:
            record[name] = value
    return record


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, Mapping):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    return [_encodable(item) for item in value] if isinstance(value, (list, tuple)) else value
