"""answer_f1: words against references, ALCE's numbers, and how it is gamed."""

from __future__ import annotations

import pytest

from rewardkit.errors import ConfigError
from rewardkit.testing import RewardContract, trajectory
from rewardkit_plugins.rag.answer_f1 import AnswerF1, list_scores


def value(answer, references=("Paris",), metric="f1", **metadata):
    return AnswerF1(metric=metric).score(trajectory("Capital?", answer, references, metadata=metadata)).value


class TestContract(RewardContract):
    reward = "answer_f1"

    def trajectories(self):
        return [trajectory("Capital of France?", "Paris [1].", ["Paris"]), trajectory("2+2?", "The 4", ["four", "4"])]


class TestStrEmContract(TestContract):
    reward = "answer_f1:metric=str_em"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Paris", 1),
        ("the paris!", 1),
        ("Paris [1][2].", 1),
        ("It is Paris", 2 * (1 / 3) * 1 / (1 / 3 + 1)),
        ("Lyon", 0),
        ("", 0),
        ("[1]", 0),
    ],
)
def test_f1_is_the_harmonic_mean_of_precision_and_recall(answer, expected):
    assert value(answer) == pytest.approx(expected)


def test_the_best_reference_counts_and_empty_ones_do_not():
    assert value("City of Light", ["Paris", "the city of light", ""]) == 1
    assert value("", [""]) is None
    assert value("x", []) is None


def test_exact_wants_every_word_in_order():
    assert value("The New York!", ["new york"], "exact") == 1
    assert value("York New", ["new york"], "exact") == 0
    assert value("new york city", ["new york"], "exact") == 0
    assert value("", ["the"], "exact") == value("", ["..."], "exact") == 0


def test_an_article_that_is_the_whole_answer_is_kept():
    assert value("A", ["A"], "exact") == value("A", ["A"]) == 1
    assert value("An", ["A"], "exact") == value("B", ["A"]) == 0


def test_str_em_finds_words_and_the_released_variant_finds_letters(alce):
    for case in alce["str_em"]:
        attempt = trajectory("", case["output"], metadata={"qa_pairs": case["qa"]})
        released = AnswerF1(metric="str_em_released").score(attempt)
        assert released.value * 100 == case["str_em"]
        assert released.parts["hit"] * 100 == case["hit"]
    assert value("particle", ["art"], "str_em") == 0
    assert value("particle", ["art"], "str_em_released") == 1
    assert value("In 1914, Paris", qa_pairs=[{"short_answers": ["1914"]}, {"short_answers": ["Lyon", "Rome"]}]) == 2 / 4
    assert value("In 1914", (), "str_em", qa_pairs=[{"short_answers": ["1914"]}, {"short_answers": ["x"]}]) == 0.5


def test_lists_are_scored_as_qampari_is(alce):
    for case in alce["qampari"]:
        scores = list_scores(case["answers"], case["output"])
        for ours, theirs in {
            "precision": "qampari_prec",
            "recall": "qampari_rec",
            "recall_top5": "qampari_rec_top5",
            "f1": "qampari_f1",
            "f1_top5": "qampari_f1_top5",
        }.items():
            assert scores[ours] * 100 == pytest.approx(case[theirs])
        assert scores["given"] == case["num_preds"]
    assert value("Rome, Paris", ["Paris", "Lyon"], "list_f1") == 0.5
    assert value("Rome, Paris", (), "list_f1", answers=[["Paris"], ["Rome", "Roma"]]) == 1


def test_where_there_is_no_answer_only_declining_pays():
    assert value("The passages do not say.", (), answerable=False) == 1
    assert value("Paris", (), answerable=False) == value("", (), answerable=False) == 0
    assert value("I don't know, but Paris.", ["Paris"], answerable=False) == 0


def test_gaming_f1_by_listing_answers_costs_precision_and_str_em_does_not_see_it():
    listing = "Paris London Rome Berlin Madrid Vienna"
    assert value(listing) == pytest.approx(2 / 7)
    assert value(listing, metric="str_em") == 1


def test_a_metric_that_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match="did you mean 'str_em'"):
        AnswerF1(metric="strem")
