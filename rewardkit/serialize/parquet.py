"""Outputs as Parquet, flat for data frames: one row a result, one column a score.

Reading Parquet, trajectories or results, is `sources`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec

from rewardkit.errors import ConfigError
from rewardkit.serialize.sources import check_source, import_parquet, json_lines

_ROW_GROUP = 10_000


class _Value(msgspec.Struct):
    value: float | None


class _Row(msgspec.Struct):
    """One output line, whose details stay JSON text."""

    id: str | None
    hash: str | None
    total: float | None
    scores: msgspec.Raw
    failures: msgspec.Raw
    signature: str


_row = msgspec.json.Decoder(_Row).decode
_values = msgspec.json.Decoder(dict[str, _Value]).decode


def write_parquet(jsonl_path: str | os.PathLike[str], parquet_path: str | os.PathLike[str]) -> None:
    """Turn an output of JSON lines into Parquet with the same rows in the same order, in bounded memory.

    Columns: `id`, `hash`, `total`, one `score.<name>` for each reward (null: it abstained or failed), `scores` and
    `failures` (all there is to know, as JSON text) and `signature`. Raises ConfigError for a line that is no result,
    MissingExtraError without pyarrow.
    """
    parquet = import_parquet()
    import pyarrow as pa

    names = list(dict.fromkeys(name for row in _rows(jsonl_path) for name in _values(row.scores)))
    schema = pa.schema(
        [
            *((name, pa.string()) for name in ("id", "hash")),
            *((name, pa.float64()) for name in ("total", *(f"score.{name}" for name in names))),
            *((name, pa.string()) for name in ("scores", "failures", "signature")),
        ]
    )
    rows = _rows(jsonl_path)
    with parquet.ParquetWriter(parquet_path, schema, compression="zstd") as writer:
        while group := list(islice(rows, _ROW_GROUP)):
            writer.write_table(pa.Table.from_pylist([_flat(row) for row in group], schema=schema))


def _rows(path: str | os.PathLike[str]) -> Iterator[_Row]:
    check_source(path)
    for number, text in enumerate(json_lines(path), start=1):
        try:
            row = _row(text or b"")
            _values(row.scores)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}:{number} is not a result that rewardkit wrote: {error}") from error
        yield row


def _flat(row: _Row) -> dict[str, Any]:
    return {
        "id": row.id,
        "hash": row.hash,
        "total": row.total,
        **{f"score.{name}": score.value for name, score in _values(row.scores).items()},
        "scores": bytes(row.scores).decode(),
        "failures": bytes(row.failures).decode(),
        "signature": row.signature,
    }
