"""A file of finished scores, so that an offline job can stop at any moment and go on.

Each outcome is found by what was judged (the trajectory's hash, for a group reward also its rivals') and how (the
reward's signature). SQLite makes every commit atomic: after a kill the file holds whole batches only. One process
writes at a time; the output file itself is written by `offline`.
"""

from __future__ import annotations

import errno
import hashlib
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from rewardkit.errors import ConfigError
from rewardkit.executors.wire import pack, unpack
from rewardkit.types import Failure, Outcome, Score

_LOOKUP = 500


class ScoreStore:
    """Outcomes by key, on disk; see `key_of`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with ExitStack() as stack:
            try:
                self._db = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
                stack.callback(self._db.close)
                self._db.execute("PRAGMA synchronous = NORMAL")
                self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
                self._db.execute("BEGIN EXCLUSIVE")
                self._db.execute(
                    "CREATE TABLE IF NOT EXISTS outcomes (key BLOB PRIMARY KEY, failed INT, outcome BLOB) WITHOUT ROWID"
                )
                self._db.execute("COMMIT")
            except sqlite3.OperationalError as error:
                hint = ": another job is writing the same output" if "locked" in str(error) else ""
                raise ConfigError(f"cannot use {str(path)!r} ({error}){hint}") from error
            except sqlite3.DatabaseError as error:
                raise ConfigError(f"{str(path)!r} is not a score store ({error}): delete it to start again") from error
            stack.pop_all()

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Outcome]:
        """Return the outcomes that are stored under `keys`."""
        found: dict[bytes, Outcome] = {}
        for start in range(0, len(keys), _LOOKUP):
            some = keys[start : start + _LOOKUP]
            marks = ",".join("?" * len(some))
            query = f"SELECT key, failed, outcome FROM outcomes WHERE key IN ({marks})"  # noqa: S608  only '?' marks
            for key, failed, blob in self._db.execute(query, some):
                found[key] = unpack(blob, Failure if failed else Score)
        return found

    def put(self, outcomes: Mapping[bytes, Outcome]) -> None:
        """Store `outcomes` in one transaction; raises OSError where there is no room for them."""
        rows = [(key, int(isinstance(o, Failure)), pack(o)) for key, o in outcomes.items()]
        try:
            self._db.execute("BEGIN")
            self._db.executemany("INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?)", rows)
            self._db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise OSError(errno.EIO, f"cannot write {str(self._path)!r}: {error}") from error

    def drop_failures(self) -> None:
        """Forget the failures, so that they are tried again."""
        self._db.execute("DELETE FROM outcomes WHERE failed")

    def __len__(self) -> int:
        count: int = self._db.execute("SELECT count(*) FROM outcomes").fetchone()[0]
        return count

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def key_of(signature: str, trajectory_hash: str, rivals: Iterable[str] = ()) -> bytes:
    """Return the key of one outcome: 16 bytes over the signature, the trajectory and, in order, its whole group."""
    text = "\n".join((signature, trajectory_hash, *rivals))
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
