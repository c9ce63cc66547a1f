"""The `math` reward as users call it: options, abstention, explanations, metadata."""

import pickle

import pytest

from rewardkit.errors import ConfigError
from rewardkit.types import Task, Trajectory
from rewardkit_plugins.math.reward import MathReward


def test_right_is_one_and_wrong_is_zero(score):
    assert score(r"So $\boxed{\frac{1}{2}}$.", "0.5").value == 1.0
    assert score(r"So $\boxed{\frac{1}{3}}$.", "0.5").value == 0.0


def test_without_a_reference_it_abstains(score):
    assert score("42").value is None
    assert score("42", "").value is None
    assert score("42", r"\boxed{}").value is None


def test_an_agent_that_said_nothing_is_wrong(score):
    judged = score("", "42")
    assert judged.value == 0.0
    assert judged.explanation == "no answer found"
    attempt = Trajectory(task=Task(references=("42",)))
    assert MathReward().score_batch([attempt])[0].value == 0.0


def test_any_reference_may_match(score):
    assert score("43", "42", "43").value == 1.0
    assert score("44", "42", "43").value == 0.0
    assert score("44", "", "44").value == 1.0


def test_it_says_what_it_found_and_what_it_expected(score):
    judged = score(r"\boxed{41}", "The sum is 42.\n#### 42")
    assert judged.metadata == {"answer": "41", "expected": "42"}
    assert judged.explanation == "found '41', expected '42'"
    assert score(r"\boxed{42}", "42").explanation == ""


def test_only_a_boxed_answer_counts_if_asked(score):
    assert score("The answer is 42.", "42", require_boxed=True).explanation == "no boxed answer found"
    assert score(r"\boxed{42}", "42", require_boxed=True).value == 1.0


@pytest.mark.parametrize("answer", ["17 + 25", r"\boxed{17+25}", "84/2", "42 = 17 + 25", r"17 + 25 = \frac{84}{2}"])
def test_what_is_not_worked_out_counts_unless_a_number_is_asked_for(score, answer):
    assert score(answer, "42").value == 1.0
    assert score(answer, "42", require_number=True).value == 0.0


@pytest.mark.parametrize("answer", ["42", r"\boxed{42}", "17+25=42", "The answer is $42$.", "42.0", "#### 42"])
def test_a_number_counts_where_one_is_asked_for(score, answer):
    assert score(answer, "42", require_number=True).value == 1.0
    assert score(answer, "41", require_number=True).value == 0.0


def test_percent_is_a_unit_where_percent_was_asked_for(score):
    assert score(r"\boxed{20\%}", "20").value == 0.0
    assert score(r"\boxed{20\%}", "20", question="What percentage of cars is red?").value == 1.0
    assert score(r"\boxed{20}", r"20\%", question="What percent is that?").value == 1.0
    assert score(r"\boxed{20\%}", "20", percent="lenient").value == 1.0
    assert score(r"\boxed{20\%}", "0.2", percent="strict").value == 1.0


def test_tolerance_accepts_rounding(score):
    assert score("3.14", r"$\pi$").value == 0.0
    assert score("3.14", r"$\pi$", tolerance=0.001).value == 1.0


@pytest.mark.parametrize(
    "options", [{"tolerance": -0.1}, {"tolerance": 1.0}, {"tolerance": float("nan")}, {"percent": "maybe"}]
)
def test_impossible_options_are_refused(options):
    with pytest.raises(ConfigError, match="math:"):
        MathReward(**options)


def test_it_pickles_before_setup_and_after():
    reward = pickle.loads(pickle.dumps(MathReward(tolerance=0.01)))
    reward.setup()
    assert pickle.loads(pickle.dumps(reward)).tolerance == 0.01


def test_an_empty_batch_gives_no_scores():
    assert MathReward().score_batch([]) == []
