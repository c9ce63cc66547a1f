"""Losses on hidden states: near what they should be near, and finite where a state is nothing."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardkit.errors import ConfigError

torch = pytest.importorskip("torch", reason="torch is not installed: the training losses are not tested")

from rewardkit_plugins.training import contrast  # noqa: E402


def t(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_simcse_of_two_rows_is_as_by_hand():
    # cosines: row 0 with 0 is 1, with 1 is 0.6; row 1 with 0 is 0, with 1 is 0.8
    found = contrast.simcse(t([2.0, 0.0], [0.0, 1.0]), t([5.0, 0.0], [3.0, 4.0]), temperature=0.5)
    assert found.tolist() == pytest.approx([math.log1p(math.exp(-0.4 / 0.5)), math.log1p(math.exp(-0.8 / 0.5))])


def test_simcse_does_not_depend_on_lengths_and_prefers_the_right_order():
    rows = torch.randn(6, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    right = contrast.simcse(rows, 7 * rows)
    assert right.tolist() == pytest.approx(contrast.simcse(rows, rows).tolist())
    assert right.mean() < contrast.simcse(rows, rows.roll(1, 0)).mean()
    assert contrast.simcse(rows[:1], -rows[:1]).tolist() == [0.0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_simcse_of_differences_is_finite_where_two_answers_have_equal_features(dtype):
    chosen = torch.tensor([[1.0, 2.0], [3.0, -1.0]], dtype=dtype, requires_grad=True)
    rejected = torch.tensor([[1.0, 2.0], [0.0, 1.0]], dtype=dtype)
    loss = contrast.simcse(chosen - rejected, (chosen - rejected).detach())
    loss.sum().backward()
    assert loss.dtype == dtype
    assert loss[0].item() == pytest.approx(math.log(2), rel=1e-2)  # zeros are like every row
    assert torch.isfinite(chosen.grad).all()


def test_goal_contrast_has_the_value_written_down():
    assert contrast.goal_contrast(t([1.0]), t([-1.0])).item() == pytest.approx(0.3132617, abs=1e-7)


def test_goal_contrast_takes_means_of_probabilities_not_of_logarithms():
    towards, away = [0.9, -0.2, 0.4], [0.1, 0.8]
    near = sum(map(sigmoid, towards)) / 3
    far = sum(map(sigmoid, away)) / 2
    found = contrast.goal_contrast(t(towards, towards), t(away, away), weight=2.0)
    assert found.tolist() == pytest.approx([-2 * (math.log(near) + math.log(1 - far))] * 2)


def test_goal_contrast_is_finite_for_similarities_that_are_no_cosines():
    towards = t([-1000.0, -1000.0]).requires_grad_()
    loss = contrast.goal_contrast(towards, t([1000.0]))
    loss.sum().backward()
    assert loss.item() == pytest.approx(1000.0)
    assert torch.isfinite(towards.grad).all()


def test_a_goal_that_no_step_can_miss_keeps_everything():
    goals = torch.randn(200, 5, generator=torch.Generator().manual_seed(5))
    for goal in goals:  # rounding takes some cosines below -1
        values = contrast.goal_values(torch.stack([goal, -goal, -3 * goal])[None], goal)
        assert values[0].tolist() == pytest.approx([1.0, -1.0, -1.0])
        assert contrast.keeps_to_goal(values, threshold=-1.0).tolist() == [True]


def test_one_step_away_from_the_goal_drops_the_answer():
    states = t([[1.0, 0.0], [1.0, 1.0]], [[1.0, 0.0], [-1.0, 0.1]])
    values = contrast.goal_values(states, t(2.0, 0.0))
    assert values[0].tolist() == pytest.approx([1.0, math.sqrt(0.5)])
    assert contrast.keeps_to_goal(values, threshold=0.0).tolist() == [True, False]


@given(rewards=st.lists(st.floats(-20, 20), min_size=1, max_size=7))
def test_the_difference_score_is_its_sum_and_at_least_that_of_equal_rewards(rewards):
    k = len(rewards)
    found = contrast.difference_score(t(*rewards)).item()
    pairs = itertools.combinations(rewards, 2)
    assert found == pytest.approx(2 / k**2 * sum(sigmoid(abs(a - b)) for a, b in pairs))
    assert found >= (k - 1) / (2 * k) - 1e-12


@pytest.mark.parametrize("k", [1, 2, 5])
def test_equal_rewards_have_the_least_difference_score(k):
    rewards = torch.full((3, k), 1000.0, dtype=torch.float64, requires_grad=True)
    score = contrast.difference_score(rewards)
    score.sum().backward()
    assert score.tolist() == pytest.approx([(k - 1) / (2 * k)] * 3)
    assert torch.isfinite(rewards.grad).all()


@pytest.mark.parametrize(
    ("call", "culprit"),
    [
        (lambda: contrast.simcse(t([1.0, 2.0]), t([1.0])), "shapes differ"),
        (lambda: contrast.simcse(t(1, 2), t(1, 2)), r"features has shape \(2,\)"),
        (lambda: contrast.simcse(t([1.0]), t([1.0]), temperature=0.0), "temperature is 0.0"),
        (lambda: contrast.goal_contrast(t([1.0], [2.0]), t([1.0])), r"\(2, 1\) and \(1, 1\)"),
        (lambda: contrast.goal_contrast(t([]), t([1.0])), r"\(1, 0\) and \(1, 1\)"),
        (lambda: contrast.goal_values(t([1.0, 2.0]), t(1, 2, 3)), r"\(1, 2\) and \(3,\)"),
        (lambda: contrast.difference_score(t()), r"rewards has shape \(0,\)"),
    ],
)
def test_what_cannot_be_right_is_refused(call, culprit):
    with pytest.raises(ConfigError, match=culprit):
        call()
