"""Three numbers that a worker shares with its parent: what it is doing, since when, and what it need not do.

Reading them costs nothing and disturbs nobody, so that the limit of each trajectory can be kept to the millisecond
without a message for each, and work can be taken back from a worker that has stopped reading.
"""

from __future__ import annotations

import mmap
import os
import struct
import time

_SIZE = 24
_WHAT, _SINCE, _WITHDRAWN = 0, 8, 16  # offsets
_INTEGER, _TIME = struct.Struct("<q"), struct.Struct("<d")


class Board:
    """A page of memory, made by the parent (no `fd`) and opened by the worker."""

    def __init__(self, fd: int | None = None) -> None:
        self.fd = _new_file() if fd is None else fd
        self._page = mmap.mmap(self.fd, _SIZE)

    def post(self, what: int) -> None:
        """Say that `what` begins now."""
        # The time goes first: a reader between the two writes sees the old work with a new time, which harms nobody.
        _TIME.pack_into(self._page, _SINCE, time.monotonic())
        _INTEGER.pack_into(self._page, _WHAT, what)

    def read(self) -> tuple[int, float]:
        """Return what is being done (0: nothing yet) and since when on `time.monotonic`'s clock."""
        what: int = _INTEGER.unpack_from(self._page, _WHAT)[0]
        return what, _TIME.unpack_from(self._page, _SINCE)[0]

    def withdraw(self, number: int) -> None:
        """Say that units up to `number` need not be begun any more."""
        _INTEGER.pack_into(self._page, _WITHDRAWN, number)

    @property
    def withdrawn(self) -> int:
        """The number up to which units need not be begun."""
        number: int = _INTEGER.unpack_from(self._page, _WITHDRAWN)[0]
        return number

    def close_fd(self) -> None:
        """Close the file, so that no child inherits it; the page stays."""
        os.close(self.fd)


def _new_file() -> int:
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("rewardkit")
    else:
        import tempfile

        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, _SIZE)
    return fd
