"""values: ReST-MCTS*'s chain and GenPRM's relative progress, as recorded and by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardkit.errors import ConfigError, RewardError
from rewardkit_plugins.steps.values import relative_progress, rest_mcts_value, rpe_labels


def test_rest_mcts_values_are_reproduced(vectors):
    for case in vectors("rest_mcts_value"):
        found = rest_mcts_value(case["v_parent"], right=case["r"] == 1, missing=case["m"])
        assert found == pytest.approx(case["v"], abs=1e-12)


def test_five_right_steps_climb_to_1_in_equal_parts(vectors):
    chain, value = [], 0.0
    for missing in (5, 4, 3, 2, 1):
        value = rest_mcts_value(value, right=True, missing=missing)
        chain.append(value)
    assert chain == pytest.approx(vectors("rest_mcts_chain5"), abs=1e-12)


@given(st.floats(0, 1), st.booleans(), st.integers(1, 50))
def test_a_value_stays_between_0_and_1_and_a_wrong_step_never_adds(parent, right, missing):
    value = rest_mcts_value(parent, right=right, missing=missing)
    assert 0 <= value <= 1 + 1e-12
    assert value >= parent if right else value <= parent


@pytest.mark.parametrize(("parent", "missing"), [(0.5, 0), (1.5, 1), (-0.1, 1), (float("nan"), 1)])
def test_values_that_cannot_be_are_refused(parent, missing):
    with pytest.raises(RewardError):
        rest_mcts_value(parent, right=True, missing=missing)


def test_relative_progress_is_reproduced(vectors):
    for case in vectors("rpe"):
        found = relative_progress(case["mc"])
        for kept, step in zip(found, case["steps"], strict=True):
            assert kept is step["P"] is None or kept == pytest.approx(step["P"], abs=1e-12)
        assert rpe_labels(case["mc"], epsilon=case["eps"]) == [step["label"] for step in case["steps"]]


def test_nothing_is_right_after_an_estimate_of_0():
    assert rpe_labels([0.5, 0.0, 0.3, 0.3, 0.9]) == [0, 0, 0, 0]
    assert rpe_labels([0.0, 0.3, 0.3]) == [0, 0]


def test_a_ratio_at_the_threshold_is_right_whatever_its_rounding():
    assert 0.72 / 0.9 < 0.8
    assert rpe_labels([0.9, 0.72]) == [1]
    assert rpe_labels([0.9, 0.7199]) == [0]


def test_a_question_alone_has_no_steps():
    assert rpe_labels([0.5]) == rpe_labels([]) == []


def test_numbers_that_cannot_be_right_are_refused():
    with pytest.raises(RewardError):
        rpe_labels([0.5, 1.5])
    with pytest.raises(ConfigError):
        rpe_labels([0.5, 0.5], epsilon=-1.0)
