"""A scoring worker as its parent keeps it: what it was given, and until when it may take.

Giving out work and drawing conclusions is the business of `crew`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from rewardkit.executors.board import Board
from rewardkit.executors.child import Child
from rewardkit.executors.ledger import Unit
from rewardkit.executors.orders import Load, Order, Report, Stop, Work
from rewardkit.executors.wire import pack, unpack

_STUCK_SECONDS = 0.1


class Hand:
    """One worker process that scores; it is `ready` once it has said so."""

    def __init__(self, *, memory_limit: int, setup_timeout: float) -> None:
        self.board = Board()
        try:
            self.child = Child(
                "rewardkit.executors.worker:serve_rewards",
                str(self.board.fd),
                memory_limit=memory_limit,
                pass_fds=(self.board.fd,),
            )
        finally:
            self.board.close_fd()
        self.ready = False
        self.outstanding: dict[int, Unit] = {}
        self.rewards: set[int] = set()
        self._setup_timeout = setup_timeout
        self._since = time.monotonic()

    @property
    def busy(self) -> bool:
        """Whether something is expected of it: to start, or to score."""
        return bool(self.outstanding) or not self.ready

    @property
    def loading(self) -> int:
        """The key of the reward that it is setting up, or 0."""
        return max(0, -self.board.read()[0])

    def term(self) -> tuple[float, float]:
        """Return since when it is at one thing, on `time.monotonic`'s clock, and how many seconds that may take.

        What it says on the board counts. Where that is none of its units, it is starting, setting up a reward or
        reading its orders, and the time for a setup is the limit.
        """
        what, since = self.board.read()
        if (unit := self.outstanding.get(what)) is not None:
            return since, math.inf if unit.job.timeout is None else unit.job.timeout
        return max(since, self._since), self._setup_timeout

    def at(self) -> Unit | None:
        """Return the unit that it is scoring, if any."""
        return self.outstanding.get(self.board.read()[0])

    def overrun(self) -> str:
        """Return what to say when the deadline has passed."""
        if (unit := self.at()) is not None:
            return f"it ran past its limit of {unit.job.timeout:g} s and was killed"
        return f"setting up ran past its limit of {self._setup_timeout:g} s and was killed"

    def current(self) -> Unit | None:
        """Take out the unit that it is scoring, or else the first that it has yet to score."""
        what, _ = self.board.read()
        return self.outstanding.pop(what if what in self.outstanding else next(iter(self.outstanding), 0), None)

    @property
    def stuck(self) -> bool:
        """Whether it has been at one unit for longer than all that it was given should have taken."""
        what, since = self.board.read()
        return what in self.outstanding and time.monotonic() - since > _STUCK_SECONDS

    def withdraw(self) -> list[Unit]:
        """Take back the units that it has not begun."""
        what, _ = self.board.read()
        numbers = [number for number in self.outstanding if number != what]
        if numbers:
            self.board.withdraw(numbers[-1])
        return [self.outstanding.pop(number) for number in numbers]

    def give(self, units: Sequence[tuple[int, Unit, bytes]]) -> None:
        """Send units of one reward, each with its number, and before them the reward where it is not known yet."""
        job = units[0][1].job
        if not self.outstanding:
            self._since = time.monotonic()
        if job.key not in self.rewards:
            self.rewards.add(job.key)
            self._send(Load(job.key, job.spec, job.options))
        self.outstanding.update((number, unit) for number, unit, _ in units)
        self._send(Work(job.key, [(number, packed) for number, _, packed in units]))

    def read(self) -> list[Report]:
        """Return what it reports; raises EOFError when it is dead, ValueError when it sends what cannot be read."""
        return [unpack(frame, Report) for frame in self.child.channel.read()]

    def stop(self) -> None:
        """Ask it to close its rewards and end."""
        self._send(Stop())

    def _send(self, order: Order) -> None:
        self.child.channel.queue(pack(order))
        try:
            self.child.channel.write()
        except EOFError:
            pass  # it is dead: whoever reads finds that out
