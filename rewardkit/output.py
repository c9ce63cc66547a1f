"""Where results go: lines into a file that is moved into place when it is whole, or to standard output.

What the lines say is `serialize`; which lines are written when is `offline`.
"""

from __future__ import annotations

import gzip
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import IO, Self, cast

import zstandard

from rewardkit.errors import ConfigError
from rewardkit.serialize import write_parquet
from rewardkit.serialize.sources import import_parquet

ENDINGS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")


class Output:
    """Where results go: standard output, a special file as it is, or a regular file that is moved into place.

    While results go to standard output, what rewards print in this process goes to standard error.
    """

    def __init__(self, path: Path | None, *, to_stdout: bool) -> None:
        self._path = path
        self._direct = path is not None and is_special(path)
        self._writing = path if path is None or self._direct else beside(path, ".writing")
        self._stack = ExitStack()
        self._stream: IO[bytes] | None = sys.stdout.buffer if to_stdout else None

    def __enter__(self) -> Self:
        if self._path is None or self._writing is None:
            if self._stream is not None:
                self._stack.enter_context(redirect_stdout(sys.stderr))
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
        """Write one line; raises OSError that names the file, as the other methods do."""
        if self._stream is not None:
            with self._named_errors():
                self._stream.write(text)

    def finish(self) -> None:
        """Write what is left, and move the file into place."""
        with self._named_errors():
            if self._stream is not None:
                self._stream.flush()
            self._stack.close()
            if self._path is not None and self._writing is not None and not self._direct:
                self._move(self._path, self._writing)

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # on the way out because of an error already, for `finish` closes everything
            self._stack.close()
        if self._writing is not None and not self._direct:
            self._writing.unlink(missing_ok=True)

    def _move(self, path: Path, writing: Path) -> None:
        if path.suffix == ".parquet":
            self._writing = beside(path, ".parquet.writing")
            write_parquet(writing, self._writing)
            writing.unlink()
            writing = self._writing
        with open(writing, "rb") as file:
            os.fsync(file.fileno())
        os.replace(writing, path)

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            where = "standard output" if self._path is None else str(self._path)
            raise OSError(error.errno, f"cannot write {where!r}: {error.strerror or error}") from error


def checked_path(path: Path, sources: Sequence[str]) -> Path:
    """Return where the output `path` really is; raises ConfigError where it cannot be written without harm."""
    if is_special(path):
        return path
    real = path.resolve()  # what a link points to is replaced, not the link; and a reward may change the folder
    if not real.name.endswith(ENDINGS):
        raise ConfigError(f"cannot write {str(real)!r}: its name must end in {', '.join(ENDINGS)}")
    if real.suffix == ".parquet":
        import_parquet()
    if not real.parent.is_dir():
        raise ConfigError(f"cannot write {str(path)!r}: there is no folder {str(real.parent)!r}")
    for own in (real, *(beside(real, ending) for ending in (".writing", ".partial"))):
        if own.exists() and any(source != "-" and own.samefile(source) for source in sources):
            raise ConfigError(f"cannot write {str(path)!r}: the input {own.name!r} would be lost")
    return real


def is_special(path: Path) -> bool:
    """Whether `path` is a device, a pipe or a folder: something that cannot be replaced by a file."""
    return path.exists() and not path.is_file()


def beside(path: Path, ending: str) -> Path:
    """Return the path of a file that belongs to `path`, in the same folder."""
    return path.with_name(path.name + ending)
