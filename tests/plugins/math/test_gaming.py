"""How one might try to be paid without knowing the answer, and why it does not pay."""

import pytest


@pytest.mark.parametrize(
    "response",
    [
        r"\boxed{42} or \boxed{43}",
        r"\boxed{42}, \boxed{43}",
        r"\boxed{42} \boxed{43}",
        r"\boxed{42, 43}",
        r"\boxed{42 \text{ or } 43}",
        r"\boxed{\{42, 43\}}",
        r"\boxed{[0, 100]}",
        r"\boxed{42 \le x \le 43}",
        r"\boxed{x \ge 0}",
        r"\boxed{42 \pm 1}",
        r"\boxed{x = x}",
        r"\boxed{x}",
        r"\boxed{0 = 0}",
        r"\boxed{}",
        r"\boxed{?}",
        r"\boxed{\text{the answer}}",
        r"\boxed{101010_2}",
        r"\boxed{42x}",
        r"\boxed{42 43}",
        r"\boxed{42.}\boxed{}",
        r"\boxed{\frac{42}{0}}",
        r"\boxed{42 = 43}",
        r"\boxed{\mathbb{R}}",
        r"\boxed{n}",
        "What is 6 times 7?",
        "42 or 43",
        "The answer is 42 or 43",
        "The answer is 40, 41, 42, 43, 44",
        "Between 41 and 43, I would say",
        "Perhaps 42. On the other hand perhaps 43.",
        "1 2 3 4 5 6 7 8 9 10 11 12 42 13",
        " ".join(str(n) for n in range(100)),
        " ".join(rf"\boxed{{{n}}}" for n in range(100)),
        r"\boxed{" + ",".join(str(n) for n in range(100)) + "}",
    ],
)
def test_hedging_and_empty_talk_earn_nothing(score, response):
    assert score(response, "42").value == 0.0


def test_an_unevaluated_expression_counts_as_its_value(score):
    """The hole that the field leaves open: nothing says how far a value must be worked out."""
    assert score(r"\boxed{6 \cdot 7}", "42").value == 1.0


def test_the_last_box_counts(score):
    assert score(r"\boxed{1} \boxed{42}", "42").value == 1.0
    assert score(r"\boxed{42} \boxed{1}", "42").value == 0.0


def test_a_set_or_interval_around_the_answer_is_another_answer(score):
    for hedge in (r"\boxed{[1,2]}", r"\boxed{\{1,2,3\}}", r"\boxed{(1,2),(2,1)}", r"\boxed{(2,1)}"):
        assert score(hedge, "(1,2)").value == 0.0


def test_a_variable_of_any_value_is_no_answer(score):
    assert score(r"\boxed{a}", r"\frac{c}{a}").value == 0.0
    assert score(r"\boxed{y}", "2k").value == 0.0


def test_talk_of_percent_turns_no_wrong_number_right(score):
    assert score(r"In percent: \boxed{20\%}", "20").value == 1.0
    assert score(r"In percent: \boxed{20\%}", "0.3").value == 0.0
    assert score(r"\boxed{20\%}", "20", percent="strict").value == 0.0
