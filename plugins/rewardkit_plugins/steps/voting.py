"""Which of n attempts to take, from a confidence in each and the answers given; equal answers must be equal texts."""

from __future__ import annotations

from collections.abc import Sequence

from rewardkit.errors import RewardError
from rewardkit_plugins.rules.rule import check_number
from rewardkit_plugins.steps.scores import checked


def borda_votes(confidences: Sequence[float], answers: Sequence[str | None], *, power: float = 0.5) -> dict[str, float]:
    """Return the votes for each answer, in order of first appearance (self-certainty, 2502.18581).

    The most confident of n attempts has n^power votes, the next (n - 1)^power, down to 1; the earlier comes first among
    equals. Power 0 is a majority vote; the higher the power, the nearer to `best_of_n`. An attempt without an answer
    (None) keeps its rank and votes for nothing.
    """
    check_number("borda_votes: power", power, low=0.0)
    _same_length(confidences, answers)
    ranks = sorted(range(len(answers)), key=lambda i: -confidences[i])
    votes = dict.fromkeys((answer for answer in answers if answer is not None), 0.0)
    for rank, place in enumerate(ranks):
        if (answer := answers[place]) is not None:
            votes[answer] += (len(answers) - rank) ** power
    return votes


def borda(confidences: Sequence[float], answers: Sequence[str | None], *, power: float = 0.5) -> int | None:
    """Return the place of the first attempt with the answer of most votes; None when no attempt has an answer.

    Among answers with equal votes the one that came first wins.
    """
    votes = borda_votes(confidences, answers, power=power)
    return answers.index(max(votes, key=votes.__getitem__)) if votes else None


def best_of_n(confidences: Sequence[float], answers: Sequence[str | None] | None = None) -> int | None:
    """Return the place of the most confident attempt, the first among equals; None when there is none.

    Attempts whose answer is None do not count; without `answers` all do.
    """
    if answers is not None:
        _same_length(confidences, answers)
    found = checked(confidences)
    places = [i for i in range(len(found)) if answers is None or answers[i] is not None]
    return max(places, key=found.__getitem__, default=None)


def _same_length(confidences: Sequence[float], answers: Sequence[str | None]) -> None:
    if len(checked(confidences)) != len(answers):
        raise RewardError(f"{len(confidences)} confidences for {len(answers)} answers: give one for each attempt")
