"""length and length_group: shapes, units, released rules, and how they are gamed."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import replace
from typing import ClassVar

import pytest

from rewardkit.errors import ConfigError, RewardError, UnknownNameError
from rewardkit.testing import RewardContract, trajectory
from rewardkit.types import Message, Step, Tokens
from rewardkit_plugins.rules.length import Length
from rewardkit_plugins.rules.length_group import LengthGroup


def score(completion, references=(), **options):
    reward = Length(**options)
    reward.setup()
    return reward.score_batch([trajectory("", completion, references)])[0]


def value(length, **options):
    return score(" ".join(["w"] * length), **options).value


class TestBandContract(RewardContract):
    reward = "length"
    options: ClassVar = {"maximum": 60, "slope": 20}


class TestCosineContract(RewardContract):
    reward = "length"
    options: ClassVar = {"maximum": 100, "mode": "cosine", "correct": "exact_match:extract=last_line"}

    def trajectories(self):
        return [trajectory("6*7?", "6 times 7\n42", ["42"])]


class TestGroupContract(RewardContract):
    reward = "length_group"
    options: ClassVar = {"correct": "exact_match"}

    def trajectories(self):
        return [trajectory("6*7?", "42", ["42"])]


@pytest.mark.parametrize(
    ("length", "expected"), [(0, 0), (5, 0.5), (9, 0.9), (10, 1), (20, 1), (21, 0.9), (25, 0.5), (30, 0), (99, 0)]
)
def test_a_band_falls_in_a_line_on_both_sides(length, expected):
    assert value(length, minimum=10, maximum=20, slope=10) == pytest.approx(expected)


@pytest.mark.parametrize(("length", "expected"), [(0, 0), (1, 1), (20, 1), (21, 0)])
def test_a_band_without_a_slope_falls_at_once(length, expected):
    assert value(length, maximum=20) == expected


@pytest.mark.parametrize(("length", "expected"), [(80, 0), (81, -0.05), (90, -0.5), (100, -1), (101, -1), (500, -1)])
def test_overlong_is_the_published_penalty(length, expected):
    assert value(length, mode="overlong", maximum=100, slope=20) == pytest.approx(expected)


@pytest.mark.parametrize(("length", "expected"), [(99, 0), (100, 0), (101, -1)])
def test_overlong_without_a_slope_falls_at_once(length, expected):
    assert value(length, mode="overlong", maximum=100) == expected


@pytest.mark.parametrize(("group", "maximum", "slope"), [("100_20", 100, 20), ("16384_4096", 16384, 4096)])
def test_soft_overlong_is_reproduced(shared, group, maximum, slope):
    for case in json.loads(shared("specs/vectors/openr1_rules.json").read_text())[f"soft_overlong_{group}"]:
        assert value(case["length"], mode="overlong", maximum=maximum, slope=slope) == pytest.approx(case["reward"])


@pytest.mark.parametrize(
    ("answer", "words", "expected"),
    [("yes", 0, 1), ("yes", 50, 0.75), ("yes", 100, 0.5), ("yes", 150, 0.5), ("no", 0, -1), ("no", 100, -0.5)],
)
def test_cosine_shortens_what_is_right_and_lengthens_what_is_wrong(answer, words, expected):
    text = "\n".join(["w"] * (words - 1) + [answer])
    options: ClassVar = {"mode": "cosine", "maximum": 100, "correct": "exact_match:extract=last_line"}
    found = score(text, ["yes"], **options)
    assert found.value == pytest.approx(expected, abs=1e-3)
    assert found.parts["correct"] == (answer == "yes")


def test_cosine_takes_its_ends_from_options():
    ends = {"right": [2, 1], "wrong": [-10, 0]}
    options: ClassVar = {"mode": "cosine", "maximum": 3, "unit": "characters", "correct": "exact_match", **ends}
    assert score("yes", ["yes"], **options).value == 1
    assert score("y", ["yes"], **options).value == pytest.approx(-10 * (1 + math.cos(math.pi / 3)) / 2)


def test_cosine_abstains_where_nobody_knows_what_is_right():
    assert score("yes", [], mode="cosine", maximum=10, correct="exact_match").value is None


def test_released_cosine_is_reproduced_and_ours_differs_beyond_the_maximum(shared):
    pytest.importorskip("mpmath")
    cases = json.loads(shared("specs/vectors/openr1_rules.json").read_text())["cosine_scaled_max100_openr1"]
    for case in cases:
        for mode in ("cosine-open-r1", "cosine"):
            options: ClassVar = {"mode": mode, "maximum": 100, "unit": "characters"}
            found = score(case["text"], [case["solution"]], **options).value
            beyond = mode == "cosine" and case["text_len"] > 100
            expected = math.copysign(0.5, case["reward"]) if beyond else case["reward"]
            assert found == pytest.approx(expected)


def two_steps(**changes):
    first = Step(action=Message(role="assistant", content="one two three"), tokens=Tokens(ids=(1, 2, 3, 4)))
    second = Step(action=Message(role="assistant", content="four"), tokens=Tokens(ids=(5,)))
    return replace(trajectory("", ""), steps=(replace(first, **changes), second))


@pytest.mark.parametrize(("unit", "expected"), [("words", 4), ("characters", 17), ("tokens", 5)])
def test_every_action_counts_in_each_unit(unit, expected):
    assert Length(maximum=9, unit=unit).score_batch([two_steps()])[0].parts == {"length": expected}


def test_tokens_that_are_missing_are_an_error_and_no_number():
    with pytest.raises(RewardError, match="a step without tokens"):
        Length(maximum=9, unit="tokens").score_batch([two_steps(tokens=None)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"maximum": 0}, "maximum must be at least 1"),
        ({"maximum": 1.5}, "maximum must be a whole number"),
        ({"maximum": 5, "minimum": 6}, "minimum=6 is more than maximum=5"),
        ({"maximum": 5, "mode": "overlong", "slope": 6}, "slope=6 is more"),
        ({"maximum": 5, "unit": "token"}, "did you mean 'tokens'"),
        ({"maximum": 5, "right": 1}, "right must be two numbers"),
        ({"maximum": 5, "wrong": [1, "x"]}, "wrong must be a number"),
        ({"maximum": 5, "mode": "cosine", "correct": ""}, "correct must name a reward"),
    ],
)
def test_an_option_that_cannot_be_right_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Length(**options)


def test_an_unknown_judge_is_named():
    with pytest.raises(UnknownNameError, match="did you mean 'math'"):
        Length(maximum=5, mode="cosine", correct="maths").setup()


def test_the_signature_holds_what_decides_the_number():
    assert Length(maximum=5, right=[9, 9]).signature_fields() == {
        "mode": "band", "unit": "words", "maximum": 5, "minimum": 1, "slope": 0,
    }  # fmt: skip
    cosine = Length(maximum=5, mode="cosine", correct="exact_match:preset=squad", slope=3).signature_fields()
    assert "slope" not in cosine
    assert cosine["correct"].startswith("exact_match|extract:whole|ignore:case")


def test_a_reward_that_is_set_up_still_pickles():
    reward = Length(maximum=5, mode="cosine", correct="exact_match")
    reward.setup()
    copy = pickle.loads(pickle.dumps(reward))
    copy.setup()
    attempt = trajectory("", "yes", ["yes"])
    assert copy.score_batch([attempt]) == reward.score_batch([attempt])


def test_gaming_by_words_without_spaces_is_seen_by_characters_only():
    glued = "-".join(["word"] * 1000)
    assert score(glued, maximum=20).value == 1
    assert score(glued, maximum=100, unit="characters").value == 0


def test_gaming_by_moving_words_into_earlier_turns_fails():
    assert Length(maximum=3).score_batch([two_steps()])[0].value == 0


def test_gaming_by_doubling_the_maximum_fails_here_and_works_as_released():
    options: ClassVar = {"maximum": 50, "unit": "characters", "correct": "exact_match:extract=last_line"}
    text = "x" * 96 + "\nyes"
    assert score(text, ["yes"], mode="cosine", **options).value == pytest.approx(0.5)
    assert score(text, ["yes"], mode="cosine-open-r1", **options).value == pytest.approx(1, abs=1e-3)


def test_gaming_by_silence_earns_nothing_from_a_band():
    assert score("", maximum=20).value == 0
    assert score("", maximum=20, minimum=5, slope=10).value == 0
    assert score("a b c", maximum=20, minimum=5, slope=10).value == 0.6
    assert score("", maximum=20, minimum=0, slope=10).value == 1


def group(attempts, references, **options):
    reward = LengthGroup(unit="characters", **options)
    reward.setup()
    return [one.value for one in reward.score_group([trajectory("", text, references) for text in attempts])]


def test_the_shortest_right_attempt_gains_and_a_wrong_one_never_does():
    attempts = ["a\nyes", "aaaaaa\nyes", "aaaaaaaaaaa\nyes", "aaa\nno!"]
    values = group(attempts, ["yes"], correct="exact_match:extract=last_line")
    assert values == pytest.approx([0.5, 0.0, -0.5, 0.0])
    assert group(["yes", "no!"], ["yes"], correct="exact_match") == [0, 0]
    assert group(["yes", "no"], [], correct="exact_match") == [None, None]


def test_kimi_is_reproduced(shared):
    pytest.importorskip("mpmath")
    for case in json.loads(shared("specs/vectors/openr1_rules.json").read_text())["len"]:
        assert group(case["texts"], case["solutions"][:1]) == pytest.approx(case["rewards"])


def test_gaming_a_group_with_one_runaway_lifts_the_others_only_to_one_half():
    values = group(["yes", "no " * 10_000], ["yes"], correct="exact_match")
    assert values == [0.5, -0.5]
