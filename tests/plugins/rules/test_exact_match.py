"""exact_match: what equals a reference, what never does, and how it is gamed."""

from __future__ import annotations

import json

import pytest

from rewardkit.errors import ConfigError
from rewardkit.testing import RewardContract, trajectory
from rewardkit_plugins.rules.exact_match import ExactMatch


def value(completion, references, **options):
    references = [references] if isinstance(references, str) else references
    return ExactMatch(**options).score_batch([trajectory("", completion, references)])[0].value


class TestContract(RewardContract):
    reward = "exact_match"

    def trajectories(self):
        return [trajectory("Capital of France?", "Paris", ["Paris"]), trajectory("2+2?", "4", ["four", "4"])]


@pytest.mark.parametrize(
    ("completion", "reference", "options", "expected"),
    [
        ("Paris", "Paris", {}, 1),
        (" Paris\n", "Paris", {}, 1),
        ("paris", "Paris", {}, 0),
        ("Paris.", "Paris", {}, 0),
        ("It is Paris", "Paris", {}, 0),
        ("cafe\u0301", "caf\u00e9", {}, 1),
        ("ＰＡＲＩＳ", "PARIS", {}, 0),
        ("ＰＡＲＩＳ", "PARIS", {"ignore_width": True}, 1),
        ("STRASSE", "Straße", {"ignore_case": True}, 1),
        ("Paris!", "Paris", {"ignore_punctuation": True}, 1),
        ("«Paris»", "Paris", {"ignore_punctuation": True}, 1),
        ("-5", "5", {"ignore_punctuation": True}, 0),
        ("−5", "5", {"ignore_punctuation": True}, 0),
        ("3.5", "35", {"ignore_punctuation": True}, 0),
        (".5", "5", {"ignore_punctuation": True}, 0),
        ("1/2", "12", {"ignore_punctuation": True}, 0),
        ("42.", "42", {"ignore_punctuation": True}, 1),
        ("(42)", "42", {"ignore_punctuation": True}, 1),
        ("x-5", "x5", {"ignore_punctuation": True}, 1),
        ("the Seine", "Seine", {"ignore_articles": True}, 1),
        ("Athens", "thens", {"ignore_articles": True}, 0),
        ("New \n York", "New York", {}, 0),
        ("New \n York", "New York", {"ignore_whitespace": True}, 1),
        ("NewYork", "New York", {"ignore_whitespace": True}, 0),
        ("The Paris!", "paris", {"preset": "squad"}, 1),
        ("-5", "5", {"preset": "squad"}, 1),
    ],
)
def test_only_what_is_ignored_may_differ(completion, reference, options, expected):
    assert value(completion, reference, **options) == expected


@pytest.mark.parametrize(
    ("completion", "extract", "expected"),
    [
        ("thinking\n\n42\n \n", "last_line", 1),
        ("42\nno, 41", "last_line", 0),
        ("", "last_line", 0),
        ("<answer>42</answer> bye", "answer_tag", 1),
        ("<answer>41</answer><answer>42</answer>", "answer_tag", 1),
        ("<answer>42</answer><answer>41</answer>", "answer_tag", 0),
        ("<answer>42", "answer_tag", 0),
        ("</answer>42<answer>", "answer_tag", 0),
        ("42", "answer_tag", 0),
        ("so\n#### 42\nbye", "hashes", 1),
        ("#### 42\n#### 41", "hashes", 0),
        ("42", "hashes", 0),
    ],
)
def test_the_answer_is_taken_from_its_place(completion, extract, expected):
    assert value(completion, "42", extract=extract) == expected


def test_a_reference_with_the_same_place_is_read_in_the_same_way():
    assert value("#### 42", "40 and 2 make\n#### 42", extract="hashes") == 1


def test_any_reference_will_do_and_none_abstains():
    assert value("b", ["a", "b"]) == 1
    assert value("b", []) is None
    assert value("", ["", "  "]) is None


@pytest.mark.parametrize("completion", ["", "  ", "the", "...", "!?"])
def test_nothing_never_equals_nothing(completion):
    assert value(completion, ["a", "", "--"], preset="squad") == 0


def test_the_option_letter_a_is_no_article():
    assert value("A", "A", preset="squad") == 1
    assert value("(A)", "A", ignore_articles=True, ignore_punctuation=True) == 1
    assert value("B", "A", preset="squad") == 0


def test_gaming_by_listing_answers_fails():
    assert value("Paris, London or Berlin", "Paris", preset="squad") == 0
    assert value("Paris\nLondon\nBerlin", "Paris", extract="last_line") == 0
    assert value("<answer>Paris London</answer>", "Paris", extract="answer_tag") == 0


def test_an_explanation_says_what_was_found_and_expected():
    score = ExactMatch().score(trajectory("", "Lyon", ["Paris"]))
    assert score.explanation == "found 'Lyon', expected 'Paris'"
    assert score.metadata == {"answer": "Lyon"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"extract": "last_lin"}, "did you mean 'last_line'"),
        ({"ignore_case": "False"}, "ignore_case must be true or false, not 'False'"),
        ({"preset": "squad", "ignore_case": True}, "leave out ignore_case"),
    ],
)
def test_an_option_that_cannot_be_right_is_refused(options, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        ExactMatch(**options)


def test_search_r1_is_the_squad_preset_on_the_answer_tag(shared):
    for case in json.loads(shared("specs/vectors/verl_rules.json").read_text())["search_r1_qa_em"]:
        assert value(case["text"], case["gold"]["target"], extract="answer_tag", preset="squad") == case["reward"]


def test_hashes_agree_with_gsm8k_strict_but_for_commas_and_the_space(shared):
    different = {"#### 1,234": 0, "#### 7,2": 0, "####72": 1}  # theirs drops commas and wants the space
    for case in json.loads(shared("specs/vectors/verl_rules.json").read_text())["gsm8k_strict"]:
        expected = different.get(case["text"], case["reward"])
        assert value(case["text"], case["gold"], extract="hashes") == expected
