"""Files into lines of JSON text, whatever the compression, in bounded memory; what the lines hold is `reading`.

Compression and Parquet are recognised by their first bytes, not by the file's name.
"""

from __future__ import annotations

import json
import os
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from io import BufferedReader
from itertools import chain
from pathlib import Path
from typing import Any, cast

import msgspec
import zstandard

from rewardkit.errors import ConfigError, InvalidTrajectoryError, MissingExtraError, RewardkitError
from rewardkit.serialize.fields import check_depth

LONGEST_LINE = 64 * 2**20
_CHUNK = 2**18
_SLICE = 2**9  # compressed bytes at a time: zstd makes up to 32,000 of one, 16 MiB in all
_GZIP, _ZSTD, _PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"
_JSON_COLUMNS = ("task", "steps", "messages", "metadata")


class BrokenSourceError(RewardkitError, OSError):
    """A file cannot be read further; what came before is good."""


def check_source(path: str | os.PathLike[str]) -> None:
    """Raise ConfigError, which says why, when `path` cannot be read; "-" is standard input."""
    if str(path) == "-":
        return
    if not Path(path).exists():
        raise ConfigError(f"cannot read {str(path)!r}: there is no such file")
    if Path(path).is_dir():
        raise ConfigError(f"cannot read {str(path)!r}: it is a folder, name the files in it")
    if not os.access(path, os.R_OK):
        raise ConfigError(f"cannot read {str(path)!r}: permission denied")


def json_lines(path: str | os.PathLike[str], longest: int = LONGEST_LINE) -> Iterator[bytes | None]:
    """Yield the lines of a file without their ends, or the rows of a Parquet file as JSON text; None: line too long.

    Raises ConfigError when nothing can be read, BrokenSourceError when reading cannot go on.
    """
    with _open(path) as stream:
        try:
            head = stream.read(len(_PARQUET))
        except OSError as error:
            raise ConfigError(f"cannot read {str(path)!r}: {error.strerror}") from error
        chunks = chain([head], _chunks(stream))
        if head == _PARQUET:
            yield from _parquet_rows(path)
        elif head == _ZSTD:
            yield from _split(_decompress(chunks, zstandard.ZstdDecompressor().decompressobj), longest)
        elif head.startswith(_GZIP):
            yield from _split(_decompress(chunks, lambda: zlib.decompressobj(16 + zlib.MAX_WBITS)), longest)
        else:
            yield from _split(chunks, longest)


def import_parquet() -> Any:
    """Return `pyarrow.parquet`, or raise MissingExtraError with the cure."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("Parquet needs 'pyarrow': pip install 'agentic-rewardkit[parquet]'") from error
    return pyarrow.parquet


def _open(path: str | os.PathLike[str]) -> AbstractContextManager[BufferedReader]:
    if str(path) == "-":
        return nullcontext(cast("BufferedReader", sys.stdin.buffer))
    try:
        return open(path, "rb")
    except OSError as error:
        raise ConfigError(f"cannot read {str(path)!r}: {error.strerror}") from error


def _chunks(stream: BufferedReader) -> Iterator[bytes]:
    try:
        while chunk := stream.read1(_CHUNK):
            yield chunk
    except OSError as error:
        raise BrokenSourceError(f"the file cannot be read further ({error.strerror})") from error


def _decompress(chunks: Iterable[bytes], start: Callable[[], Any]) -> Iterator[bytes]:
    """Yield the contents of all gzip members or zstd frames."""
    member: Any = None
    try:
        for chunk in chunks:
            for i in range(0, len(chunk), _SLICE):
                rest = chunk[i : i + _SLICE]
                while member or (rest := rest.lstrip(b"\x00")):  # zeros may pad the space between members
                    member = member or start()
                    yield member.decompress(rest)
                    if not member.eof:
                        break
                    rest, member = member.unused_data, None
    except (zlib.error, zstandard.ZstdError) as error:
        raise BrokenSourceError(f"the compressed file is damaged from here on ({error}): fetch it again") from error
    if member:
        raise BrokenSourceError("the compressed file ends early: fetch it again, or finish writing it")


def _split(chunks: Iterable[bytes], longest: int) -> Iterator[bytes | None]:
    """Cut chunks at newlines; a line longer than `longest` bytes is not kept in memory."""
    parts: list[bytes] = []
    size = 0
    for chunk in chunks:
        first, *others = chunk.split(b"\n")
        size += len(first)
        if size <= longest:
            parts.append(first)
        else:
            parts.clear()
        for line in others:
            yield b"".join(parts) if size <= longest else None
            parts, size = [line], len(line)
    if size:
        yield b"".join(parts) if size <= longest else None


def _parquet_rows(path: str | os.PathLike[str]) -> Iterator[bytes]:
    """Yield rows as JSON text; null fields are left out, as Parquet gives every row the fields of all rows."""
    if str(path) == "-":
        raise ConfigError("Parquet cannot be read from standard input: name the file")
    parquet = import_parquet()
    import pyarrow as pa

    try:
        file = parquet.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(f"cannot read {str(path)!r}: damaged Parquet ({error})") from error
    with file:
        try:
            for batch in file.iter_batches(batch_size=256):
                for row in batch.to_pylist():
                    yield _row_text(row)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise BrokenSourceError(f"the Parquet file is damaged from here on ({error})") from error


def _row_text(row: dict[str, Any]) -> bytes:
    record = _without_nulls(row)
    for key in _JSON_COLUMNS:
        if isinstance(record.get(key), str):
            with suppress(msgspec.DecodeError, RecursionError, InvalidTrajectoryError):  # a bad text stays text
                nested = msgspec.json.decode(record[key])
                check_depth((nested,))
                record[key] = nested
    return json.dumps(record, default=_plain, ensure_ascii=False).encode()


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _plain(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
