"""Regression on attributes: what is not labelled does not count; SteerLM 2's weights sum to nothing."""

from __future__ import annotations

import math

import pytest

from rewardkit.errors import ConfigError

torch = pytest.importorskip("torch", reason="torch is not installed: the training losses are not tested")

from rewardkit_plugins.training import attributes  # noqa: E402


def t(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def test_the_error_is_the_mean_over_what_is_labelled():
    labels = t([1.0, -100.0, 3.0], [math.nan, math.nan, 2.0], [0.0, 0.0, 0.0])
    assert attributes.attribute_loss(t(*[[0.0, 7.0, 1.0]] * 3), labels).tolist() == pytest.approx([2.5, 1.0, 50 / 3])
    assert attributes.attribute_loss(t([0.0, 7.0]), t([-1.0, 7.0]), missing=-1.0).tolist() == [0.0]


@pytest.mark.parametrize("missing", [-100.0, math.nan])
def test_a_row_without_labels_has_loss_0_and_no_gradient(missing):
    predicted = torch.tensor([[2.0, 3.0], [2.0, 3.0]], requires_grad=True)
    loss = attributes.attribute_loss(predicted, torch.tensor([[missing, missing], [missing, 1.0]]))
    loss.sum().backward()
    assert loss.tolist() == [0.0, 4.0]
    assert predicted.grad.tolist() == [[0.0, 0.0], [0.0, 4.0]]


def test_whole_numbers_as_labels_keep_the_dtype_of_the_prediction():
    loss = attributes.attribute_loss(torch.zeros(1, 2, dtype=torch.bfloat16), torch.tensor([[4, -100]]))
    assert loss.tolist() == [16.0]
    assert loss.dtype == torch.bfloat16


def test_the_scalar_is_the_mean_unless_weights_are_given():
    both = t([1.0, 2.0, 6.0], [0.0, 0.0, 3.0])
    assert attributes.attribute_score(both).tolist() == pytest.approx([3.0, 1.0])
    assert attributes.attribute_score(both, weights=[1.0, -0.5, 2.0]).tolist() == pytest.approx([12.0, 6.0])


def test_helpsteer2_has_the_last_five_of_nine_attributes():
    assert len(attributes.ATTRIBUTES) == 9
    assert attributes.ATTRIBUTES[-5:] == ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
    assert attributes.ATTRIBUTES[4] == "helpfulness"


def test_the_weights_of_steerlm2_sum_to_0_and_carry_no_gradient():
    policy = torch.randn(3, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()
    other = torch.linspace(-900, 0, 15, dtype=torch.float64).reshape(3, 5)
    weights = attributes.steerlm2_weights(attributes=other, prior=other / 2, proposal=other.flip(-1), policy=policy)
    assert weights.sum(-1).tolist() == pytest.approx([0.0] * 3, abs=1e-12)
    assert not weights.requires_grad


def test_the_weights_of_steerlm2_for_two_samples_are_as_by_hand():
    # w: proportional to 0.8 * 0.25 / 0.25 = 0.8 and 0.2 * 0.75 / 0.75 = 0.2; b: 0.5 / 0.25 = 2 and 0.5 / 0.75 = 2/3
    logs = {"attributes": t(0.8, 0.2), "prior": t(0.25, 0.75), "proposal": t(0.25, 0.75), "policy": t(0.5, 0.5)}
    found = attributes.steerlm2_weights(**{name: p.log() for name, p in logs.items()})
    assert found.tolist() == pytest.approx([0.8 - 0.75, 0.2 - 0.25])


def test_the_weights_of_steerlm2_are_0_once_the_policy_is_what_is_wanted():
    logs = t([-1.0, -2.0, -0.5])
    zero = torch.zeros_like(logs)
    found = attributes.steerlm2_weights(attributes=logs, prior=zero, proposal=zero, policy=logs + 7)
    assert found.flatten().tolist() == pytest.approx([0.0] * 3, abs=1e-12)


@pytest.mark.parametrize(
    ("call", "culprit"),
    [
        (lambda: attributes.attribute_loss(t([1.0, 2.0]), t([1.0])), "shapes differ"),
        (lambda: attributes.attribute_score(t([1.0, 2.0]), weights=[1.0]), r"shape \(1, 2\) with 1 weights"),
        (lambda: attributes.attribute_score(t([])), r"shape \(1, 0\) with no weights"),
        (lambda: attributes.steerlm2_weights(attributes=t(1), prior=t(1), proposal=t(1), policy=t(1, 2)), "shapes"),
    ],
)
def test_what_cannot_be_right_is_refused(call, culprit):
    with pytest.raises(ConfigError, match=culprit):
        call()
