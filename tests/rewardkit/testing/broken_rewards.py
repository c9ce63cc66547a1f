"""Rewards that each break one thing that the contract asks for; they are loaded by path."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import threading

from rewardkit import Score, reward
from rewardkit.errors import RewardError


@reward
def sound(trajectory, *, scale: float = 1.0):
    """Give the reference its value, and everything else nothing."""
    references = trajectory.task.references
    if not references:
        return None
    return scale * any(reference in trajectory.completion for reference in references)


class Sound:
    def setup(self):
        self.ready = True

    def score_batch(self, batch, /):
        return [Score(value=sound(t)) for t in batch]

    def close(self):
        self.ready = False


class SoundButRefusesSilence(Sound):
    def score_batch(self, batch, /):
        if not all(t.completion for t in batch):
            raise RewardError("silence cannot be judged")
        return super().score_batch(batch)


class SoundRank:
    """A group reward: the share of the others that an attempt is not worse than."""

    def setup(self):
        pass

    def score_group(self, group, /):
        values = [sound(t) or 0.0 for t in group]
        return [Score(value=sum(v >= other for other in values) / len(group)) for v in values]

    def close(self):
        pass


class ManyOptions(Sound):
    def __init__(self, **options):
        pass


class OddDefault(Sound):
    def __init__(self, *, order=(1, 2)):
        pass


class ChangingSignature(Sound):
    def signature_fields(self):
        return {"object": repr(id(self))}


class Unpicklable(Sound):
    def __init__(self):
        self.lock = threading.Lock()


class ClosesWhatIsNotThere(Sound):
    def close(self):
        del self.ready


class SetsUpOnce(Sound):
    ready = False

    def setup(self):
        if self.ready:
            raise RuntimeError("already set up")
        self.ready = True


class OneTooFew(Sound):
    def score_batch(self, batch, /):
        return super().score_batch(batch[:1])


class PlainNumbers(Sound):
    def score_batch(self, batch, /):
        return [1.0 for _ in batch]


class TooManySteps(Sound):
    def score_batch(self, batch, /):
        return [Score(value=sound(t), steps=(1.0,) * (len(t.steps) + 1)) for t in batch]


class NoEmptyBatch(Sound):
    def score_batch(self, batch, /):
        assert batch
        return super().score_batch(batch)


class RankNeedsTwo(SoundRank):
    def score_group(self, group, /):
        return [Score(value=score.value / (len(group) - 1)) for score in super().score_group(group)]


class Drifts(Sound):
    def setup(self):
        self.calls = itertools.count()

    def score_batch(self, batch, /):
        drift = next(self.calls)
        return [Score(value=None if s.value is None else s.value + drift) for s in super().score_batch(batch)]


class LooksAtTheBatch(Sound):
    def score_batch(self, batch, /):
        return [Score(value=None if s.value is None else s.value / len(batch)) for s in super().score_batch(batch)]


class FixedOrder(Sound):
    def score_batch(self, batch, /):
        return super().score_batch(sorted(batch, key=lambda t: t.completion))


class UsesSignals(Sound):
    def score_batch(self, batch, /):
        signal.signal(signal.SIGUSR1, signal.getsignal(signal.SIGUSR1))
        return super().score_batch(batch)


class RunsALoop(Sound):
    def score_batch(self, batch, /):
        work = asyncio.sleep(0)
        try:
            asyncio.run(work)
        finally:
            work.close()
        return super().score_batch(batch)


class KnowsItsProcess(Sound):
    def score_batch(self, batch, /):
        if os.environ.get("REWARDKIT_TEST_PROCESS") != str(os.getpid()):
            raise RuntimeError("this is another process")
        return super().score_batch(batch)


class TupleMetadata(Sound):
    def score_batch(self, batch, /):
        return [Score(value=sound(t), metadata={"pair": (1, 2)}) for t in batch]


@reward
def abstains(trajectory):
    return None


@reward
def raises(trajectory):
    raise KeyError("unit_tests")


@reward
def zero_without_references(trajectory):
    return sound(trajectory) or 0.0


@reward
def likes_silence(trajectory):
    return sound(trajectory) if trajectory.completion else 2.0


@reward
def likes_the_question(trajectory):
    return float(trajectory.task.question in trajectory.completion)


@reward
def likes_variety(trajectory):
    return float(len(set(trajectory.completion)))


@reward
def trusts_int(trajectory):
    boxed = trajectory.completion.partition("\\boxed{")[2].partition("}")[0]
    return float(int(boxed)) if boxed.isdigit() else sound(trajectory)
