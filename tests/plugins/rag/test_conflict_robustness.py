"""conflict_robustness: right without wrong, and how it is gamed."""

from __future__ import annotations

import gzip
import json

import pytest

from rewardkit.errors import ConfigError, RewardError
from rewardkit.testing import RewardContract, trajectory
from rewardkit_plugins.rag.conflict_robustness import ConflictRobustness


def value(answer, references=("Tampa, Florida", "Tampa"), wrong=("Glendale, Arizona", "Glendale"), **options):
    attempt = trajectory("Where?", answer, references, metadata={"wrong_answers": list(wrong)})
    return ConflictRobustness(**options).score(attempt).value


def texts_of(value):
    return [value] if isinstance(value, str) else [text for one in value for text in texts_of(one)]


class TestContract(RewardContract):
    reward = "conflict_robustness"

    def trajectories(self):
        return [trajectory("Where?", "In Tampa [1].", ["Tampa"], metadata={"wrong_answers": ["Glendale"]})]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("In Tampa [1].", 1),
        ("In Glendale [2].", 0),
        ("In Tampa [1], though some say Glendale [2].", 0.5),
        ("The passages do not say.", 0),
        ("", 0),
        ("Tampax", 0),
    ],
)
def test_the_right_answer_alone_pays_fully(answer, expected):
    assert value(answer) == expected


def test_a_wrong_answer_within_a_right_one_is_not_said():
    assert value("New York City", ["New York City"], ["New York"]) == 1
    assert value("New York City, not New York", ["New York City"], ["New York"]) == 0.5
    assert value("New York", ["New York City"], ["New York"]) == 0


def test_a_task_without_a_conflict_makes_it_abstain():
    assert value("Tampa", wrong=()) is None
    assert value("Tampa", ()) is None


def test_wrong_answers_may_be_one_text_and_must_be_texts():
    def of(wrong):
        attempt = trajectory("Where?", "Tampa", ["Tampa"], metadata={"wrong_answers": wrong})
        return ConflictRobustness().score(attempt).value

    assert of("t") == 1, "no letter of it is a wrong answer"
    with pytest.raises(RewardError, match="wrong_answers"):
        of([["Glendale"]])


def test_gaming_by_naming_both_pays_what_was_chosen():
    assert value("Tampa or Glendale", both=0.0) == 0
    with pytest.raises(ConfigError, match="both"):
        ConflictRobustness(both=2.0)


def test_passages_that_were_made_wrong_lose_against_the_true_ones(shared):
    """RGB's counterfactual set: a passage where the answer was replaced, and the passage as it was."""
    with gzip.open(shared("data/rag/rgb_en_fact.jsonl.gz"), "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    pairs = []
    for row in rows:
        right, wrong = (texts_of(row[key]) for key in ("answer", "fakeanswer"))
        for true, false in zip(row["positive"], row["positive_wrong"], strict=False):
            pairs.append((value(true, right, wrong), value(false, right, wrong)))
    assert len(pairs) > 100
    assert sum(true >= false for true, false in pairs) == len(pairs)
    assert sum(true > false for true, false in pairs) / len(pairs) > 0.95
