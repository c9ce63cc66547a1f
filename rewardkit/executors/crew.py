"""The supervisor of the scoring workers: one thread that gives out work, keeps the limits and replaces the dead.

It sleeps in `select` while nothing is in flight. Who is to blame for a death, and what is scored next, is in `ledger`.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import selectors
import socket
import threading
import time

from rewardkit.errors import WorkerError
from rewardkit.executors.child import TICK, Child, memory_cause, memory_share
from rewardkit.executors.hand import Hand
from rewardkit.executors.ledger import Job, Ledger, Unit
from rewardkit.executors.orders import Broken, Done, Ready, Report, unpack_outcomes
from rewardkit.types import Failure, FailureKind, Outcome

_AHEAD_SECONDS = 0.04  # how much work a worker is given at a time
_LARGEST_GIFT = 256
_OVERDUE_SECONDS, _OVERDUE_FACTOR = 0.25, 20  # a unit this long, and this many times the usual, is no slow one
_RELIEFS = 4  # so many workers at most stand in for those that are at overdue units
_STILLBORN = 3  # so many workers in a row that do not start mean that none will
_END_SECONDS = 2.0


class Crew:
    """Up to `size` worker processes and the thread that drives them; only `submit` and `stop` are for other threads."""

    def __init__(self, size: int, *, memory_limit: int | None, setup_timeout: float) -> None:
        self._size = size
        self._memory_limit = memory_limit or memory_share(size)
        self._model_memory_limit = memory_limit or memory_share(1)
        self._setup_timeout = setup_timeout
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._inbox: list[Job] = []
        self._stopping = False
        self._bell, self._bell_rope = socket.socketpair()
        self._bell.setblocking(False)
        self._bell_rope.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._ledger = Ledger()
        self._hands: list[Hand] = []
        self._modeller: Hand | None = None  # the one worker that loads models
        self._doomed: list[Child] = []
        self._numbers = itertools.count(1)
        self._stillborn = 0
        self._wary = False  # whether a worker died or came near its limit, so that a spare one is worth its while
        self._next_look = 0.0
        # A daemon, so that work that is pending does not keep the interpreter from ending.
        self._thread = threading.Thread(target=self._run, name="rewardkit-crew", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Queue a job; raises WorkerError after `stop`."""
        with self._lock:
            if self._stopping:
                raise WorkerError("the executor is closed")
            self._inbox.append(job)
        self._ring()

    def stop(self) -> None:
        """Cancel what is pending, end all workers, and wait until they are gone. Idempotent."""
        if self._owner != os.getpid():
            return  # a forked copy of the parent has no such thread, and the workers are not its
        with self._lock:
            self._stopping = True
        self._ring()
        if threading.current_thread() is not self._thread:
            self._thread.join(5 * _END_SECONDS)

    def _ring(self) -> None:
        with contextlib.suppress(OSError):  # it is ringing already, or nobody is left to hear it
            self._bell_rope.send(b"\0")

    def _run(self) -> None:
        try:
            while not self._stopping:
                for event, _ in self._selector.select(self._patience()):
                    if event.data in self._hands:
                        self._attend(event.data)
                self._accept()
                self._enforce()
                self._give_out()
                self._recruit()
        finally:
            self._disband()

    def _patience(self) -> float | None:
        """Return how many seconds to sleep; None, for ever, when nothing is expected of anybody."""
        deadlines = [sum(hand.term()) for hand in self._hands if hand.busy]
        if not deadlines and not self._doomed:
            return None
        now = time.monotonic()
        return max(0.0, min([TICK, *(deadline - now for deadline in deadlines)]))

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._bell.recv(4096)
        with self._lock:
            jobs, self._inbox = self._inbox, []
        for job in jobs:
            self._ledger.accept(job)

    def _attend(self, hand: Hand) -> None:
        """Read what a worker reports, and send it what it had no room for."""
        try:
            for report in hand.read():
                self._take_note(hand, report)
            hand.child.channel.write()
        except EOFError:
            self._lose(hand, "killed")
        except ValueError as error:
            self._lose(hand, "killed", f"the worker sent what cannot be read and was killed: {error}")
        else:
            self._watch(hand)

    def _take_note(self, hand: Hand, report: Report) -> None:
        match report:
            case Ready():
                hand.ready = True
                self._stillborn = 0
            case Done():
                self._ledger.learn_pace(report.key, report.seconds / len(report.units))
                for number, packed in report.units:
                    outcomes = unpack_outcomes(packed)
                    if unit := hand.outstanding.pop(number, None):  # else it was withdrawn just as it was begun
                        self._enter(unit, outcomes)
            case Broken():
                self._ledger.break_reward(report.key, report.failure)
                hand.rewards.discard(report.key)
                undone = [n for n, unit in hand.outstanding.items() if unit.job.key == report.key]
                self._ledger.put_back([hand.outstanding.pop(n) for n in undone])

    def _enter(self, unit: Unit, outcomes: list[Outcome]) -> None:
        match outcomes:
            case [Failure() as failure] if len(unit.indices) > 1:  # it stands for all of them: look closer
                self._ledger.blame(unit, failure.kind, failure.message)
            case _:
                self._ledger.finish(unit, outcomes)

    def _watch(self, hand: Hand) -> None:
        """Have the selector report when the worker sends, and when it has room for what is still to be sent."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if hand.child.channel.has_outgoing else 0)
        self._selector.modify(hand.child.channel.socket, events, hand)

    def _enforce(self) -> None:
        """Kill the workers that are past a limit, and take back what waits behind one that is stuck."""
        for child in [child for child in self._doomed if child.gone]:
            self._doomed.remove(child)
            child.kill()
        now = time.monotonic()
        look = now >= self._next_look
        if look:
            self._next_look = now + TICK
        for hand in [hand for hand in self._hands if hand.busy]:
            since, limit = hand.term()
            self._wary |= now - since > limit / 2
            if now - since >= limit:
                self._attend(hand)  # what it has finished counts
                if hand in self._hands and hand.busy and sum(hand.term()) <= now:
                    self._lose(hand, "timeout", hand.overrun())
            elif look and hand.child.over_memory:
                self._lose(hand, "killed", memory_cause(hand.child.memory_limit))
            elif hand.stuck:
                self._ledger.put_back(hand.withdraw())

    def _lose(self, hand: Hand, kind: FailureKind, cause: str = "") -> None:
        """Bury a worker that is dead, or kill it for `cause`; its work goes back to the queue but for the culprit."""
        self._selector.unregister(hand.child.channel.socket)
        self._hands.remove(hand)
        if cause:
            hand.child.doom(cause)
            self._doomed.append(hand.child)  # giving back much memory takes long, and others wait
        message = cause or hand.child.obituary()
        loading, culprit = hand.loading, hand.current()
        self._ledger.put_back(hand.outstanding.values())
        if culprit is not None:
            if loading:
                self._ledger.break_reward(loading, culprit.failure(kind, f"in its setup: {message}"))
                self._ledger.put_back([culprit])
            else:
                self._ledger.blame(culprit, kind, message)
        self._wary |= hand.ready
        self._stillborn += not hand.ready
        if self._stillborn >= _STILLBORN:
            self._ledger.fail_all(f"no worker can be started: {message}")

    def _give_out(self) -> None:
        at_work = [hand for hand in self._hands if hand.ready][: self._strength()]  # the one after them is the spare
        hands = sorted(at_work, key=lambda hand: len(hand.outstanding))
        if hands and self._modeller not in self._hands and self._ledger.front(models=True):
            self._modeller = hands[0]
            self._modeller.child.memory_limit = self._model_memory_limit
        if self._modeller in self._hands and self._modeller.ready:
            self._feed(self._modeller, models=True)
        for hand in hands:
            self._feed(hand)

    def _feed(self, hand: Hand, *, models: bool = False) -> None:
        """Give a worker as much as keeps it busy for a while, but no more than its share of what there is."""
        while (unit := self._ledger.front(models=models)) and (most := self._portion(hand, unit.job.key)):
            gift = []
            for taken in self._ledger.take(most, models=models):
                try:
                    gift.append((next(self._numbers), taken, taken.packed()))
                except (TypeError, ValueError, RecursionError) as error:
                    message = f"a trajectory cannot be sent to a worker: {type(error).__name__}: {error}"
                    self._ledger.blame(taken, "input", message)
            if gift:
                hand.give(gift)
                self._watch(hand)

    def _portion(self, hand: Hand, key: int) -> int:
        """Return how many units of a reward to give: one to begin with, none while there is enough to do."""
        pace = self._ledger.pace(key)
        if hand.outstanding and (pace is None or hand.stuck or len(hand.outstanding) * pace > _AHEAD_SECONDS / 2):
            return 0
        if pace is None:
            return 1
        share = math.ceil(len(self._ledger) / (2 * self._size))
        return max(1, min(int(_AHEAD_SECONDS / pace), share, _LARGEST_GIFT))

    def _strength(self) -> int:
        """Return how many workers there shall be: as many as were asked for, and reliefs for those at overdue units.

        So several hangs cost the others no more than one. One worker alone gets no relief: it may be alone on purpose.
        """
        overdue = sum(self._is_overdue(hand) for hand in self._hands) if self._size > 1 else 0
        return self._size + min(overdue, _RELIEFS)

    def _is_overdue(self, hand: Hand) -> bool:
        unit = hand.at()
        pace = self._ledger.pace(unit.job.key) if unit else None
        if unit is None or pace is None or "gpu" in unit.job.spec.needs:
            return False
        return time.monotonic() - hand.term()[0] > max(_OVERDUE_SECONDS, _OVERDUE_FACTOR * pace)

    def _recruit(self) -> None:
        """Start workers while more units wait than workers are starting, and a spare one once one was lost."""
        strength = self._strength()
        starting = sum(not hand.ready for hand in self._hands)
        while starting < self._ledger.employs and len(self._hands) < strength and self._hire():
            starting += 1
        while self._wary and self._stillborn < _STILLBORN and len(self._hands) <= strength and self._hire():
            pass
        for hand in [hand for hand in self._hands[strength + 1 :] if not hand.busy and hand is not self._modeller]:
            self._dismiss(hand)

    def _dismiss(self, hand: Hand) -> None:
        """Let an idle worker go."""
        self._selector.unregister(hand.child.channel.socket)
        self._hands.remove(hand)
        hand.stop()
        self._doomed.append(hand.child)

    def _hire(self) -> bool:
        try:
            hand = Hand(memory_limit=self._memory_limit, setup_timeout=self._setup_timeout)
        except OSError as error:
            if not self._hands:
                self._ledger.fail_all(f"no worker can be started: {error}")
            return False
        self._hands.append(hand)
        self._selector.register(hand.child.channel.socket, selectors.EVENT_READ, hand)
        return True

    def _disband(self) -> None:
        with self._lock:
            self._stopping = True
            for job in self._inbox:
                self._ledger.accept(job)
        self._ledger.cancel_all()
        until = time.monotonic() + _END_SECONDS
        idle = [hand for hand in self._hands if not hand.busy]
        for hand in idle:
            hand.stop()
        for hand in self._hands:
            if hand in idle:
                hand.child.wait(until - time.monotonic())
            hand.child.kill()
        for child in self._doomed:
            child.kill()
        for closing in (self._selector, self._bell, self._bell_rope):
            closing.close()
