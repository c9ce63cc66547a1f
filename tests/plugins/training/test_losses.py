"""Bradley–Terry, its options, PPO-M and PIT: the values written down, the gradient, and rewards that are far apart."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardkit.errors import ConfigError

torch = pytest.importorskip("torch", reason="torch is not installed: the training losses are not tested")

from rewardkit_plugins.training import losses  # noqa: E402

REWARDS = st.floats(-50, 50)


def t(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def softplus(x):
    return max(x, 0) + math.log1p(math.exp(-abs(x)))


def test_the_vectors_are_reproduced(shared):
    cases = json.loads(shared("specs/vectors/steps_tokens.json").read_text())["bradley_terry"]
    assert len(cases) == 4
    for case in cases:
        chosen, rejected = t(case["r_w"]), t(case["r_l"])
        loss = losses.bradley_terry(chosen, rejected)
        assert loss.item() == pytest.approx(case["bt_loss"], rel=1e-12)
        assert (loss.mean() + losses.armap_centre(chosen, rejected)).item() == pytest.approx(case["armap_loss"])


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, 0.3132616875), ({"margin": 0.5}, 0.4740769842), ({"label_smoothing": 0.1}, 0.4132616875)],
)
def test_the_options_change_the_loss_as_written_down(options, expected):
    assert losses.bradley_terry(t(1.5), t(0.5), **options).item() == pytest.approx(expected, abs=1e-10)


def test_the_centre_is_the_squared_sum_of_each_pair_and_armaps_the_mean_of_the_batch():
    chosen, rejected = t(1.5, -3.0), t(0.5, 1.0)
    assert losses.centre(chosen, rejected).tolist() == [4.0, 4.0]
    assert 0.01 * losses.centre(chosen, rejected)[0].item() == pytest.approx(0.04)
    assert losses.armap_centre(chosen, rejected).item() == 0.0  # (2 - 2) / 2
    assert losses.armap_centre(chosen, rejected + 1, weight=0.5).item() == 0.5


def test_a_margin_for_each_pair_is_taken_from_that_pair_and_keeps_the_dtype():
    chosen, rejected = torch.tensor([1.0, 1.0]), torch.tensor([0.0, 0.0])
    found = losses.bradley_terry(chosen, rejected, margin=torch.tensor([0, 2]))
    assert found.tolist() == pytest.approx([softplus(-1), softplus(1)])
    assert losses.bradley_terry(chosen, rejected, margin=t(0, 2)).dtype == torch.float32


@given(chosen=REWARDS, rejected=REWARDS, shift=REWARDS, smoothing=st.floats(0, 0.49))
def test_only_the_difference_of_the_rewards_matters_to_the_comparison(chosen, rejected, shift, smoothing):
    plain = losses.bradley_terry(t(chosen), t(rejected), label_smoothing=smoothing).item()
    shifted = losses.bradley_terry(t(chosen + shift), t(rejected + shift), label_smoothing=smoothing).item()
    d = chosen - rejected
    assert plain == pytest.approx((1 - smoothing) * softplus(-d) + smoothing * softplus(d), abs=1e-9)
    assert shifted == pytest.approx(plain, abs=1e-9)


def test_a_shift_of_all_rewards_does_change_the_centre():
    assert losses.centre(t(2.5), t(1.5)).item() != losses.centre(t(1.5), t(0.5)).item()
    assert losses.armap_centre(t(2.5), t(1.5)).item() != losses.armap_centre(t(1.5), t(0.5)).item()


@pytest.mark.parametrize("d", [-1000.0, -3.0, 0.0, 0.7, 1000.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_gradient_is_the_probability_of_being_wrong(d, smoothing):
    difference = t(d).requires_grad_()
    losses.bradley_terry(difference, t(0), label_smoothing=smoothing).sum().backward()
    wrong = torch.sigmoid(t(-d))
    assert difference.grad.item() == pytest.approx((smoothing - wrong).item(), abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("d", [-1024.0, 1024.0])
def test_rewards_far_apart_give_finite_losses_in_their_own_dtype(dtype, d):
    chosen = torch.tensor([d], dtype=dtype, requires_grad=True)
    loss = losses.bradley_terry(chosen, torch.zeros(1, dtype=dtype), margin=0.0, label_smoothing=0.25)
    loss.sum().backward()
    assert loss.dtype == dtype
    assert loss.item() == (768 if d < 0 else 256)  # exact in bfloat16, too
    assert torch.isfinite(chosen.grad).all()


def test_ppo_m_has_the_value_written_down():
    texts = {"chosen_high": t(0.5), "chosen_low": t(0.2), "rejected_high": t(0.1), "rejected_low": t(0.4)}
    two = losses.ppo_m(**texts).item()
    assert two == pytest.approx(1.1087104890, abs=1e-10)
    combined = losses.ppo_m(**texts, plain=(t(2.0), t(0.5))).item()
    assert combined - two == pytest.approx(softplus(-1.5))
    assert losses.ppo_m(**texts, across=True).item() - two == pytest.approx(softplus(-0.1))


def test_ppo_m_wants_confidence_up_in_chosen_answers_and_down_in_rejected_ones():
    names = ("chosen_high", "chosen_low", "rejected_high", "rejected_low")
    texts = {name: torch.zeros(1, requires_grad=True) for name in names}
    losses.ppo_m(**texts).sum().backward()
    assert [texts[name].grad.item() for name in names] == [-0.5, 0.5, 0.5, -0.5]


def pit_of_points(chosen, rejected):
    g = {"chosen_over_rejected": chosen - rejected, "rejected_over_chosen": rejected - chosen}
    return losses.pit(**g, chosen_over_chosen=torch.zeros_like(chosen), rejected_over_rejected=torch.zeros_like(chosen))


def test_pit_compares_five_times():
    # differences of g = r(y) - r(reference) with r = 1.5 and 0.5: once 2 and four times 1
    expected = softplus(-2) + 4 * softplus(-1)
    assert pit_of_points(t(1.5), t(0.5)).item() == pytest.approx(expected)


@pytest.mark.parametrize("name", ["chosen_over_chosen", "rejected_over_rejected"])
def test_pit_pulls_an_answer_over_itself_between_the_two(name):
    g = {"chosen_over_rejected": t(2), "chosen_over_chosen": t(0), "rejected_over_rejected": t(0)}
    g |= {"rejected_over_chosen": t(-2)}
    centred = losses.pit(**g).item()
    assert losses.pit(**g | {name: t(1)}).item() > centred
    assert losses.pit(**g | {name: t(-1)}).item() > centred


@given(chosen=REWARDS, rejected=REWARDS)
def test_pit_of_a_pointwise_reward_is_below_five_log_2_only_when_chosen_is_better(chosen, rejected):
    loss = pit_of_points(t(chosen), t(rejected)).item()
    if abs(chosen - rejected) > 1e-9:
        assert (loss < 5 * math.log(2)) == (chosen > rejected)


@pytest.mark.parametrize("smoothing", [-0.1, 0.5, 1.0, math.nan])
def test_label_smoothing_out_of_range_is_refused(smoothing):
    with pytest.raises(ConfigError, match="label_smoothing is"):
        losses.bradley_terry(t(1), t(0), label_smoothing=smoothing)


@pytest.mark.parametrize(
    "call",
    [
        lambda: losses.bradley_terry(t(1, 2), t(1, 2)[:, None]),
        lambda: losses.bradley_terry(t(1, 2), t(1, 2), margin=t(1)),
        lambda: losses.preference(t(1, 2), probability=t(1, 2)[:, None]),
        lambda: losses.centre(t(1, 2), t(1)),
        lambda: losses.armap_centre(t(1, 2), t(1)),
        lambda: losses.ppo_m(chosen_high=t(1), chosen_low=t(1), rejected_high=t(1, 2), rejected_low=t(1, 2)),
        lambda: losses.ppo_m(
            chosen_high=t(1), chosen_low=t(1), rejected_high=t(1), rejected_low=t(1), plain=(t(1, 2), t(1, 2))
        ),
    ],
)
def test_shapes_that_would_broadcast_are_refused(call):
    with pytest.raises(ConfigError, match=r"shapes differ: .*\(2,.*give tensors of one shape"):
        call()


def test_no_pairs_give_no_losses_and_no_mean():
    empty = t()
    assert losses.bradley_terry(empty, empty).tolist() == []
    with pytest.raises(ConfigError, match=r"chosen has shape \(0,\)"):
        losses.armap_centre(empty, empty)
