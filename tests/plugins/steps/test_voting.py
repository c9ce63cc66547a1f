"""voting: self-certainty's Borda votes as recorded and by hand, ties, attempts without answers."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardkit.errors import ConfigError, RewardError
from rewardkit_plugins.steps.voting import best_of_n, borda, borda_votes

ATTEMPTS = st.lists(st.tuples(st.floats(-5, 5), st.sampled_from(["a", "b", "c", None])), max_size=9)


def test_recorded_votes_are_reproduced(vectors):
    for case in vectors("self_certainty_borda"):
        answers = case["answers"]
        votes = borda_votes(case["conf"], answers, power=case["p"])
        assert votes == pytest.approx({a: v for a, v in zip(answers, case["votes"], strict=True) if v})
        winner = borda(case["conf"], answers, power=case["p"])
        if case["answer"] is None:  # recorded as the first attempt; none has an answer
            assert winner is None
        else:
            assert winner == case["winner"]
            assert answers[winner] == case["answer"]


def test_votes_by_hand():
    assert borda_votes([3, 2, 1, 0], ["A", "B", "B", None]) == pytest.approx({"A": 2.0, "B": 3.1462643699})
    assert borda_votes([3, 2, 1, 0], ["A", "B", "B", None], power=0) == {"A": 1.0, "B": 2.0}
    assert borda_votes([3, 2, 1, 0], ["A", "B", "B", "B"], power=1) == {"A": 4.0, "B": 6.0}


@given(ATTEMPTS)
def test_power_0_is_a_majority_vote(attempts):
    confidences, answers = [c for c, _ in attempts], [a for _, a in attempts]
    assert borda_votes(confidences, answers, power=0) == Counter(a for a in answers if a is not None)


@given(ATTEMPTS)
def test_a_high_power_takes_the_best_that_answers(attempts):
    confidences, answers = [c for c, _ in attempts], [a for _, a in attempts]
    best, voted = best_of_n(confidences, answers), borda(confidences, answers, power=60)
    assert (best is None) == (voted is None)
    if best is not None and voted is not None:
        assert answers[best] == answers[voted]


def test_the_best_attempt_has_an_answer_and_comes_first_among_equals():
    assert best_of_n([0.1, 0.9, 0.9]) == 1
    assert best_of_n([0.1, 0.9, 0.5], ["a", None, "b"]) == 2
    assert best_of_n([0.1], [None]) is None
    assert best_of_n([]) is None


def test_what_cannot_be_voted_on_is_refused():
    with pytest.raises(RewardError, match="2 confidences for 1"):
        borda([1.0, 2.0], ["a"])
    with pytest.raises(RewardError):
        best_of_n([float("nan"), 1.0], ["a", "b"])
    with pytest.raises(ConfigError, match="power"):
        borda([1.0], ["a"], power=-1)
