"""Where results go: lines into a file that is moved into place when it is whole, or to standard output.

What the lines say is `serialize`; which lines are written when is `offline`.
"""

from __future__ import annotations

import gzip
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Self, cast

import zstandard

from rewardkit.errors import ConfigError
from rewardkit.serialize import write_parquet


class Output:
    """Where results go: standard output, a special file as it is, or a regular file that is moved into place."""

    def __init__(self, path: Path | None, *, to_stdout: bool) -> None:
        self._path = path
        self._direct = path is not None and path.exists() and not path.is_file()
        self._writing = path if path is None or self._direct else beside(path, ".writing")
        self._stack = ExitStack()
        self._stream: IO[bytes] | None = sys.stdout.buffer if to_stdout else None

    def __enter__(self) -> Self:
        if self._path is None or self._writing is None:
            return self
        try:
            stream: IO[bytes] = self._stack.enter_context(open(self._writing, "wb"))
        except OSError as error:
            raise ConfigError(f"cannot write {str(self._path)!r}: {error.strerror}") from error
        if self._path.suffix == ".gz":
            packed = self._stack.enter_context(gzip.GzipFile("", "wb", fileobj=stream, mtime=0))
            stream = cast("IO[bytes]", packed)
        elif self._path.suffix == ".zst":
            stream = self._stack.enter_context(zstandard.ZstdCompressor().stream_writer(stream))
        self._stream = stream
        return self

    def line(self, text: bytes) -> None:
        """Write one line."""
        if self._stream is not None:
            self._stream.write(text)

    def finish(self) -> None:
        """Move the file into place."""
        if self._path is None or self._direct or self._writing is None:
            if self._stream is not None:
                self._stream.flush()
            return
        self._stack.close()
        if self._path.suffix == ".parquet":
            write_parquet(self._writing, rows := beside(self._path, ".parquet.writing"))
            self._writing.unlink()
            self._writing = rows
        with open(self._writing, "rb") as file:
            os.fsync(file.fileno())
        os.replace(self._writing, self._path)

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        if self._writing is not None and not self._direct:
            self._writing.unlink(missing_ok=True)


def beside(path: Path, ending: str) -> Path:
    """Return the path of a file that belongs to `path`, in the same folder."""
    return path.with_name(path.name + ending)
