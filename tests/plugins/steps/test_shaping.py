"""shaping: PURE's and Clip/Delta's vectors, the identities that bound the sum, and padding with steps."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardkit.errors import ConfigError, RewardError
from rewardkit_plugins.steps.aggregation import AGGREGATORS
from rewardkit_plugins.steps.shaping import (
    SHAPES,
    clip,
    clip_delta,
    delta,
    min_form,
    return_to_go,
    rewards_of,
    running_minimum,
    shaper,
    strict_min,
    uniform,
)

SCORES = st.lists(st.floats(-1, 1), min_size=1, max_size=12)
OPTIONS = {"clip": {"eta": 0.5}, "clip_delta": {"eta": 0.5}}


def test_pures_cases_are_reproduced(vectors):
    for case in vectors("pure_min_form"):
        scores = case["process_reward"]
        shaped = min_form(scores, temperature=case["temperature"])
        assert shaped == pytest.approx(case["weighted"], abs=1e-12)
        assert sum(shaped) == pytest.approx(case["outcome"], abs=1e-12)
        assert uniform(scores) == pytest.approx(case["uniform"], abs=1e-12)
        assert sum(strict_min(scores)) == pytest.approx(case["min"], abs=1e-12)


def test_clip_and_delta_cases_are_reproduced(vectors):
    for case in vectors("clip_delta"):
        scores, eta = case["r_process"], case["eta"]
        assert clip(scores, eta=eta) == pytest.approx(case["clip"], abs=1e-12)
        assert delta(scores) == pytest.approx(case["delta"], abs=1e-12)
        assert clip_delta(scores, eta=eta) == pytest.approx(case["clip_delta"], abs=1e-12)
        assert return_to_go(delta(scores)) == pytest.approx(case["delta_return_to_go"], abs=1e-12)


def test_min_form_by_hand():
    # weights 1 : e^-5 : e^-7 for .2, .7, .9
    weights = [math.exp(-7), 1.0, math.exp(-5)]
    expected = [w * s / sum(weights) for w, s in zip(weights, (0.9, 0.2, 0.7), strict=True)]
    assert min_form([0.9, 0.2, 0.7]) == pytest.approx(expected)
    assert sum(min_form([0.9, 0.2, 0.7])) == pytest.approx(0.2039768685)


def test_the_other_shapes_by_hand():
    assert delta([0.9, 0.4, 0.7]) == pytest.approx([0.5, 0.4, 0.0])
    assert clip([0.9, 0.4, 0.7], eta=0.6) == pytest.approx([0.0, -0.2, 0.0])
    assert strict_min([0.9, 0.4, 0.7]) == pytest.approx([0.0, -0.3, 0.7])
    assert running_minimum([0.9, 0.4, 0.7]) == [0.4, 0.4, 0.7]
    assert delta([0.9]) == [0.0]


@given(SCORES, st.sampled_from([1e-6, 0.05, 0.1, 1.0, 1e6]))
def test_min_form_sums_to_between_the_lowest_and_the_mean(scores, temperature):
    total = sum(min_form(scores, temperature=temperature))
    assert min(scores) - 1e-9 <= total <= sum(uniform(scores)) + 1e-9


@given(SCORES)
def test_min_form_goes_from_the_lowest_to_the_mean_with_the_temperature(scores):
    assert min_form(scores, temperature=1e9) == pytest.approx(uniform(scores), abs=1e-6)
    distinct = [round(score, 3) for score in scores]
    assert sum(min_form(distinct, temperature=1e-6)) == pytest.approx(min(distinct), abs=1e-9)


@given(SCORES)
def test_return_to_go_of_strict_min_is_the_running_minimum(scores):
    assert return_to_go(strict_min(scores)) == pytest.approx([min(scores[i:]) for i in range(len(scores))], abs=1e-9)


@given(SCORES)
def test_return_to_go_of_delta_telescopes_to_the_steps_own_score(scores):
    assert return_to_go(delta(scores)) == pytest.approx([*scores[:-1], 0.0], abs=1e-9)


@given(SCORES)
def test_returns_and_rewards_are_inverse(scores):
    assert rewards_of(return_to_go(scores)) == pytest.approx(scores, abs=1e-9)
    assert return_to_go(scores) == pytest.approx([sum(scores[i:]) for i in range(len(scores))], abs=1e-9)


@given(SCORES, st.floats(-1, 1))
def test_clip_delta_is_delta_after_clip(scores, eta):
    clipped = [min(score - eta, 0) for score in scores]
    assert return_to_go(clip_delta(scores, eta=eta)) == pytest.approx([*clipped[:-1], 0.0], abs=1e-9)


@given(SCORES, st.floats(-1, 1), st.lists(st.floats(-1, 1), max_size=5))
def test_under_clip_no_step_gains_and_more_steps_never_help(scores, eta, more):
    shaped = clip(scores, eta=eta)
    assert all(reward <= 0 for reward in shaped)
    assert sum(clip([*scores, *more], eta=eta)) <= sum(shaped) + 1e-12


@given(st.floats(-1, 1), SCORES, st.lists(st.floats(-1, 1), max_size=30))
def test_under_delta_more_steps_gain_nothing(first, scores, more):
    assert sum(delta([first, *scores])) == pytest.approx(first, abs=1e-9)
    assert sum(delta([first, *scores, *more])) == pytest.approx(first, abs=1e-9)


@given(SCORES, st.integers(1, 20))
def test_repeating_good_steps_does_not_raise_what_strict_min_pays(scores, times):
    assert sum(strict_min([*scores, *[1.0] * times])) <= sum(strict_min(scores)) + 1e-9


def test_repeating_good_steps_pays_where_nothing_is_shaped_or_weights_are_uniform():
    for how in ("none", "uniform"):
        assert (
            AGGREGATORS["sum"](SHAPES[how]([0.9, 0.1, *[0.9] * 20])) > AGGREGATORS["sum"](SHAPES[how]([0.9, 0.1])) + 0.1
        )


def test_repeating_good_steps_pays_little_under_min_form():
    assert sum(min_form([0.9, -0.9, *[0.9] * 20])) == pytest.approx(-0.9, abs=1e-6)


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_pays_each_step_and_refuses_what_is_no_number(name):
    shape = shaper(name, **OPTIONS.get(name, {}))
    assert shape([]) == []
    for scores in ([0.5], [0.5, 0.2], [0.1, 0.2, -0.3]):
        assert len(shape(scores)) == len(scores)
    for wrong in (math.nan, math.inf, None):
        with pytest.raises(RewardError, match=f"step 1 is {wrong!r}"):
            shape([0.5, wrong])


def test_a_shaper_binds_its_options():
    assert shaper("clip", eta=0.4)([0.1]) == pytest.approx([-0.3])
    assert shaper("min_form", temperature=1.0)([0.9, 0.2]) == min_form([0.9, 0.2], temperature=1.0)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("clamp", {}, "'clamp'"),
        ("clip", {}, "eta=None"),
        ("clip_delta", {}, "eta=None"),
        ("delta", {"eta": 0.5}, "eta=0.5"),
        ("clip", {"eta": math.nan}, "eta must be a number, not nan"),
        ("min_form", {"temperature": 0.0}, "temperature must be at least 1e-06"),
        ("min_form", {"temperature": -1.0}, "temperature"),
    ],
)
def test_options_that_cannot_be_right_are_refused(name, options, said):
    with pytest.raises(ConfigError, match=said):
        shaper(name, **options)
