"""regex: patterns, groups, bad patterns, and how it is gamed."""

from __future__ import annotations

from typing import ClassVar

import pytest

from rewardkit.errors import ConfigError
from rewardkit.testing import RewardContract, trajectory
from rewardkit_plugins.rules.regex import Regex


def value(completion, references=(), **options):
    return Regex(**options).score_batch([trajectory("", completion, references)])[0].value


class TestContract(RewardContract):
    reward = "regex"
    options: ClassVar = {"pattern": r"answer: (\d+)", "group": 1}

    def trajectories(self):
        return [trajectory("6*7?", "answer: 42", ["42"]), trajectory("2+2?", "Sum, answer: 4", ["4"])]


@pytest.mark.parametrize(
    ("completion", "options", "expected"),
    [
        ("call 555-1234 now", {"pattern": r"\d{3}-\d{4}"}, 1),
        ("call 555-1234 now", {"pattern": r"\d{3}-\d{4}", "mode": "fullmatch"}, 0),
        ("555-1234", {"pattern": r"\d{3}-\d{4}", "mode": "fullmatch"}, 1),
        ("YES", {"pattern": "^yes$"}, 0),
        ("YES", {"pattern": "^yes$", "flags": "i"}, 1),
        ("a\nyes", {"pattern": "^yes$"}, 0),
        ("a\nyes", {"pattern": "^yes$", "flags": "m"}, 1),
        ("a\nb", {"pattern": "a.b", "flags": "s"}, 1),
    ],
)
def test_the_pattern_decides(completion, options, expected):
    assert value(completion, **options) == expected


@pytest.mark.parametrize(
    ("completion", "expected"), [("x = 42", 1), ("x = 41", 0), ("x = 41, no: x = 42", 1), ("42", 0), ("x = ", 0)]
)
@pytest.mark.parametrize("group", [1, "n"])
def test_a_captured_group_must_equal_a_reference(completion, expected, group):
    assert value(completion, ["42", "42.0"], pattern=r"x = (?P<n>\d*)", group=group) == expected


def test_a_group_without_references_abstains():
    assert value("x = 42", [], pattern=r"x = (\d+)", group=1) is None
    assert value("x = 42", [""], pattern=r"x = (\d+)", group=1) is None


def test_a_group_that_took_no_part_is_no_match():
    assert value("b", ["a"], pattern="(a)|b", group=1) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pattern": "a("}, r"the pattern 'a\(' is wrong at position 1: missing \)"),
        ({"pattern": "a{99999999999}"}, "too large"),
        ({"pattern": "a", "flags": "q"}, "the letters aimsx, not 'q'"),
        ({"pattern": "a", "group": 1}, "has no group 1"),
        ({"pattern": "(?P<n>a)", "group": "m"}, "has no group 'm'"),
        ({"pattern": 42}, "must be text"),
        ({"pattern": "a", "mode": "match"}, "did you mean 'fullmatch'"),
    ],
)
def test_an_option_that_cannot_be_right_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Regex(**options)


def test_gaming_by_silence_fails_even_where_the_pattern_allows_it():
    assert value("", pattern="x*") == 0
    assert value(" \n", pattern="^(?!.*sorry)") == 0
    assert value("Done.", pattern="^(?!.*sorry)") == 1


def test_gaming_by_listing_every_answer_fails():
    listing = " ".join(f"answer: {n}" for n in range(100))
    assert value(listing, ["42"], pattern=r"answer: (\d+)", group=1) == 0


def test_gaming_works_on_a_pattern_without_an_end():
    assert value("The answer is 42. Or 43. Or 44.", pattern=r"answer is 42\b") == 1
    assert value("The answer is 42. Or 43. Or 44.", pattern=r".*answer is 42\.?", mode="fullmatch") == 0
