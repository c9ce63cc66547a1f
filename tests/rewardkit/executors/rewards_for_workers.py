"""Rewards that do what the completion says, addressed as "rewards_for_workers:name"."""

from __future__ import annotations

import os
import time
from pathlib import Path

import deeds_for_tests

from rewardkit import Score, reward


@reward
def count(trajectory, *, scale: float = 1.0):
    """Count the words, or do the deed that the completion names."""
    text = trajectory.completion
    if text in deeds_for_tests.DEEDS:
        deeds_for_tests.behave(text)
    if text == "NaN":
        return float("nan")
    return scale * len(text.split())


class Batched:
    """Count the words of whole batches; a batch with a deed in it does the deed."""

    def __init__(self, *, log: str = ""):
        self.log = log

    def setup(self):
        self._note("setup")

    def score_batch(self, batch, /):
        self._note(f"batch {len(batch)}")
        deeds = {t.completion for t in batch}
        for deed in deeds & set(deeds_for_tests.DEEDS):
            deeds_for_tests.behave(deed)
        return [Score(value=float(len(t.completion.split()))) for t in batch if t.completion != "lose one"]

    def score_group(self, group, /):
        scores = self.score_batch(group)
        best = max((s.value for s in scores), default=0.0)
        return [Score(value=float(s.value == best)) for s in scores]

    def close(self):
        self._note("close")

    def _note(self, event):
        if self.log:
            with open(self.log, "a") as file:
                file.write(f"{event} {os.getpid()}\n")


class BadSetup(Batched):
    """Fails or hangs in `setup`."""

    def __init__(self, *, deed: str, log: str = ""):
        super().__init__(log=log)
        self.deed = deed

    def setup(self):
        self._note("setup")
        deeds_for_tests.behave(self.deed)


class Slow:
    """Sleep as many seconds as the completion says."""

    def setup(self):
        pass

    def score_batch(self, batch, /):
        for trajectory in batch:
            time.sleep(float(trajectory.completion))
        return [Score(value=float(t.completion)) for t in batch]

    def close(self):
        pass


class Detailed:
    """Return scores with everything in them, or with what cannot be sent."""

    def setup(self):
        pass

    def score_batch(self, batch, /):
        return [self._score(t) for t in batch]

    def close(self):
        pass

    def _score(self, trajectory):
        metadata = {"path": Path("x")} if trajectory.completion == "a path" else dict(trajectory.metadata)
        return Score(
            value=None if trajectory.completion == "abstain" else 0.1,
            steps=tuple(None if i % 2 else 1 / 3 for i in range(len(trajectory.steps))),
            tokens=(-1e-300, 2.0),
            parts={"a": 1e308, "é": -0.0},
            uncertainty=0.2,
            explanation=trajectory.completion,
            metadata=metadata,
        )
