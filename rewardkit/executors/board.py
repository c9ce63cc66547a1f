"""Three numbers that a worker shares with its parent: what it is doing, since when, and what it need not do.

Reading them costs nothing and disturbs nobody, so that the limit of each trajectory can be kept to the millisecond
without a message for each, and work can be taken back from a worker that has stopped reading.
"""

from __future__ import annotations

import mmap
import os
import time

_SIZE = 24
_WHAT, _SINCE, _WITHDRAWN = 0, 1, 2  # places of 8 bytes each


class Board:
    """A page of memory, made by the parent (no `fd`) and opened by the worker."""

    def __init__(self, fd: int | None = None) -> None:
        self.fd = _new_file() if fd is None else fd
        # Not struct: it writes zeros first, and a reader in between would see that the work began long ago.
        page = memoryview(mmap.mmap(self.fd, _SIZE))
        self._integers, self._times = page.cast("q"), page.cast("d")

    def post(self, what: int) -> None:
        """Say that `what` begins now."""
        # The time goes first: a reader between the two writes sees the old work with a new time, which harms nobody.
        self._times[_SINCE] = time.monotonic()
        self._integers[_WHAT] = what

    def read(self) -> tuple[int, float]:
        """Return what is being done (0: nothing yet) and since when on `time.monotonic`'s clock."""
        return self._integers[_WHAT], self._times[_SINCE]

    def withdraw(self, number: int) -> None:
        """Say that units up to `number` need not be begun any more."""
        self._integers[_WITHDRAWN] = number

    @property
    def withdrawn(self) -> int:
        """The number up to which units need not be begun."""
        return self._integers[_WITHDRAWN]

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
