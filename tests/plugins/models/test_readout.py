"""What outputs mean and how models are combined: plain numbers, by hand."""

from __future__ import annotations

import math

import pytest

from rewardkit.errors import ConfigError, RewardError
from rewardkit_plugins.models.ensemble import Scale, combine
from rewardkit_plugins.models.readout import Readout, Verdict

VALUES = [Verdict(float(v)) for v in (1, 2, 3, 4, 10)]


def test_a_single_output_is_the_value():
    assert Readout.of(["reward"], weights=None).verdict([2.5]) == Verdict(2.5, None, {"reward": 2.5})


def test_outputs_are_weighed_by_place_or_by_name():
    assert Readout.of(["a", "b"], weights=[2, -1]).verdict([3.0, 4.0]).value == 2
    assert Readout.of(["a", "b"], weights={"b": 0.5}).verdict([3.0, 4.0]).value == 2


@pytest.mark.parametrize("weights", [None, [1.0], {"c": 1.0}, [0.0, 0.0], [1.0, math.inf], {}])
def test_weights_that_cannot_be_right_are_refused(weights):
    with pytest.raises(ConfigError):
        Readout.of(["a", "b"], weights=weights)


def test_a_gaussian_has_two_outputs_and_no_weights():
    assert Readout.of(["m", "s"], weights=None, gaussian="log_variance").verdict([1.0, math.log(9)]).uncertainty == (
        pytest.approx(3)
    )
    assert Readout.of(["m", "s"], weights=None, gaussian="variance").verdict([1.0, 9.0]).uncertainty == 3
    assert Readout.of(["m", "s"], weights=None, gaussian="std").verdict([1.0, 9.0]).uncertainty == 9
    with pytest.raises(ConfigError, match="reads two outputs"):
        Readout.of(["a", "b", "c"], weights=None, gaussian="std")
    with pytest.raises(ConfigError, match="leave out weights"):
        Readout.of(["a", "b"], weights=[1, 1], gaussian="std")


@pytest.mark.parametrize("outputs", [[math.nan, 1.0], [1.0, math.inf], [1.0]])
def test_outputs_that_are_no_numbers_fail(outputs):
    with pytest.raises(RewardError):
        Readout.of(["a", "b"], weights=[1, 1]).verdict(outputs)


def test_a_spread_beyond_all_numbers_fails():
    with pytest.raises(RewardError, match="log-variance"):
        Readout.of(["m", "s"], weights=None, gaussian="log_variance").verdict([1.0, 1e6])


def test_models_are_combined_as_the_literature_does():
    mean = combine(VALUES)
    assert (mean.value, mean.uncertainty) == (4, pytest.approx(math.sqrt(10)))
    assert mean.parts == {"model_1": 1, "model_2": 2, "model_3": 3, "model_4": 4, "model_5": 10}
    assert combine(VALUES, how="min").value == 1
    assert combine(VALUES, how="mean_minus_std").value == pytest.approx(0.8377223398)


@pytest.mark.parametrize("how", ["mean", "min", "mean_minus_std"])
def test_order_does_not_matter_and_shift_and_scale_go_through(how):
    value = combine(VALUES, how=how).value
    assert combine(VALUES[::-1], how=how).value == pytest.approx(value)
    moved = [Verdict(2 * one.value + 5) for one in VALUES]
    assert combine(moved, how=how).value == pytest.approx(2 * value + 5)
    assert combine([Verdict(3.0)] * 4, how=how).value == 3
    assert value <= combine(VALUES).value


def test_one_model_stays_as_it_is():
    one = Verdict(1.0, 0.5, {"a": 1.0})
    assert combine([one], how="mean_minus_std") is one


def test_uncertain_models_are_a_mixture():
    found = combine([Verdict(0.0, 1.0), Verdict(2.0, 3.0)])
    # E[x²] − E[x]² of the mixture: (1 + 0 + 9 + 4) / 2 − 1
    assert (found.value, found.uncertainty) == (1, pytest.approx(math.sqrt(6)))


def test_a_scale_is_one_for_all_or_one_for_each():
    assert Scale.each(2, mean=1, std=[2, 4]) == [Scale(1, 2), Scale(1, 4)]
    assert Scale(1, 2).apply(Verdict(5.0, 1.0, {"reward": 5.0})) == Verdict(2, 0.5, {"reward": 5.0})
    for wrong in ({"std": 0}, {"std": [1, -1]}, {"std": [1, 2, 3]}, {"mean": math.nan}):
        with pytest.raises(ConfigError):
            Scale.each(2, **{"mean": 0, "std": 1, **wrong})
