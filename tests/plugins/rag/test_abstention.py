"""abstention: what pays when there is an answer, what when there is none, and how it is gamed."""

from __future__ import annotations

import pytest

from rewardkit.errors import ConfigError
from rewardkit.testing import RewardContract, trajectory
from rewardkit_plugins.rag.abstention import Abstention

DECLINE = "The passages do not say."


def value(answer, references=("Paris",), answerable=None, **options):
    metadata = {} if answerable is None else {"answerable": answerable}
    return Abstention(**options).score(trajectory("Capital?", answer, references, metadata=metadata)).value


class TestContract(RewardContract):
    reward = "abstention"

    def trajectories(self):
        return [
            trajectory("Capital of France?", "It is Paris [1].", ["Paris"]),
            trajectory("Who painted it?", DECLINE, metadata={"answerable": False}),
        ]


@pytest.mark.parametrize(
    ("answer", "answerable", "unanswerable"),
    [
        ("It is Paris [1].", 1, 0),
        ("It is Lyon.", 0, 0),
        (DECLINE, 0, 1),
        (f"{DECLINE} It is Paris.", 0, 0),
        ("Parisian", 0, 0),
        ("", 0, 0),
    ],
)
def test_doing_what_is_right_pays(answer, answerable, unanswerable):
    assert value(answer) == answerable
    assert value(answer, (), answerable=False) == unanswerable


def test_guessing_can_be_made_to_cost_more_than_declining():
    options = {"wrong": -1.0, "declined": 0.25}
    assert value("It is Lyon.", **options) == -1
    assert value(DECLINE, **options) == 0.25
    assert value("It is Paris.", **options) == 1
    assert value("It is Paris.", (), answerable=False, **options) == -1
    assert value("", **options) == -1, "silence is never better than a guess"


def test_without_the_check_any_answer_to_an_answerable_question_will_do():
    assert value("It is Lyon.", check=False) == 1
    assert value("It is Lyon.", (), answerable=True) == 1
    assert value(DECLINE, (), answerable=True) == 0


def test_a_task_that_does_not_say_makes_it_abstain():
    assert value("It is Paris.", ()) is None


def test_gaming_by_declining_always_pays_for_the_unanswerable_only():
    assert [value(DECLINE), value(DECLINE, (), answerable=False)] == [0, 1]


def test_gaming_by_hedging_pays_nowhere():
    for hedge in (f"{DECLINE} But it is Paris.", "I don't know, but Paris.", "Paris; it is not known."):
        assert [value(hedge), value(hedge, (), answerable=False)] == [0, 0], hedge


def test_gaming_by_naming_every_answer_pays():
    assert value("Rome, Paris, Lyon") == 1  # hence answer_f1 beside it


@pytest.mark.parametrize("options", [{"wrong": 2.0}, {"declined": float("nan")}, {"check": 1}])
def test_an_option_that_cannot_be_right_is_refused(options):
    with pytest.raises(ConfigError):
        Abstention(**options)
