"""repetition: shares of n-grams, the released rule, and how it is gamed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from rewardkit.errors import ConfigError
from rewardkit.testing import RewardContract, trajectory
from rewardkit.types import Message, Step
from rewardkit_plugins.rules.repetition import Repetition


def value(completion, **options):
    return Repetition(**options).score_batch([trajectory("", completion)])[0].value


class TestContract(RewardContract):
    reward = "repetition"


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("", {}, 0),
        ("a b", {}, 0),
        ("a b c d e", {}, 0),
        ("a a a a", {}, -1 / 2),  # 2 trigrams, 1 distinct
        ("a b a b a b", {"n": 2}, -3 / 5),  # 5 bigrams, 2 distinct
        ("A b, a B. a-b!", {"n": 2}, -3 / 5),
        ("a a a a", {"max_penalty": -4}, -2),
        ("a a a a", {"max_penalty": 0}, 0),
        ("a b a b", {"n": 1}, -1 / 2),
        ("我爱你我爱你", {"n": 2}, -2 / 5),  # 5 bigrams, 3 distinct
    ],
)
def test_the_share_of_repeated_n_grams_is_charged(text, options, expected):
    assert value(text, **options) == pytest.approx(expected)


@pytest.mark.parametrize(("n", "max_penalty"), [(2, "-1.0"), (3, "-1.0"), (1, "-0.5"), (4, "-2.0")])
def test_the_released_rule_is_reproduced(shared, n, max_penalty):
    cases = json.loads(shared("specs/vectors/openr1_rules.json").read_text())[f"repetition_n{n}_max{max_penalty}"]
    for case in cases:
        found = value(case["text"], mode="open-r1", n=n, max_penalty=float(max_penalty))
        assert found == pytest.approx(case["reward"])


def test_the_published_examples_hold():
    assert value("a b c d", mode="open-r1", n=2) == 0
    assert value("a a a a a", mode="open-r1", n=2) == -0.75


def test_repetition_across_actions_counts_but_no_n_gram_spans_two():
    def attempt(*texts):
        steps = tuple(Step(action=Message(role="assistant", content=text)) for text in texts)
        return replace(trajectory("", ""), steps=steps)

    scores = Repetition(n=2).score_batch([attempt("go on", "go on"), attempt("go", "go", "go")])
    assert [score.value for score in scores] == [-1 / 2, 0]
    assert scores[0].parts == {"distinct": 0.5}


def test_gaming_by_punctuation_and_case_fails_here_and_works_as_released():
    text = "check it again. Check it; again! check, it again? CHECK it again: check it again"
    assert value(text) < -0.7
    assert value(text, mode="open-r1") == 0


def test_gaming_without_spaces_fails_here_and_works_as_released():
    for text in ("ha" * 5000, "no" * 5000, "哈" * 500):
        assert value(text) < -0.9
        assert value(text, mode="open-r1") == 0


def test_gaming_by_counting_is_seen_only_when_numbers_are_folded():
    text = " ".join(f"Step {i}: check {i + 1}." for i in range(50))
    assert value(text, n=2) == pytest.approx(0)
    assert value(text, n=2, fold_numbers=True) < -0.9


def test_gaming_by_fresh_filler_between_repeats_works():
    text = " ".join(f"yes w{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(200))
    assert value(text) == 0


@pytest.mark.parametrize("options", [{"n": 0}, {"n": 1.5}, {"max_penalty": 1}, {"mode": "trl"}, {"fold_numbers": 1}])
def test_an_option_that_cannot_be_right_is_refused(options):
    with pytest.raises(ConfigError, match="repetition: "):
        Repetition(**options)
