"""DPO, GenARM, D3PO and Selfie: the vectors, the values written down, and the moving threshold."""

from __future__ import annotations

import json
import math

import pytest

from rewardkit.errors import ConfigError, RewardError

torch = pytest.importorskip("torch", reason="torch is not installed: the training losses are not tested")

from rewardkit_plugins.training import implicit  # noqa: E402

FOUR = ("policy_chosen", "policy_rejected", "reference_chosen", "reference_rejected")


def t(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


@pytest.fixture
def vectors(shared):
    return json.loads(shared("specs/vectors/preference.json").read_text())


def test_the_vectors_of_dpo_are_reproduced(vectors):
    for case in vectors["dpo_implicit"]:
        numbers = [t(case[name]) for name in ("policy_w", "policy_l", "ref_w", "ref_l")]
        options = dict(zip(FOUR, numbers, strict=True)) | {"beta": case["beta"]}
        for side in "wl":
            reward = implicit.implicit_reward(t(case[f"policy_{side}"]), t(case[f"ref_{side}"]), beta=case["beta"])
            assert reward.item() == pytest.approx(case[f"reward_{side}"])
        margin = implicit.implicit_margin(**options)
        assert margin.sigmoid().item() == pytest.approx(case["p_pref"])
        assert implicit.dpo(**options).item() == pytest.approx(case["loss"])


def test_smoothed_dpo_is_the_mean_of_both_orders_by_their_shares():
    numbers = dict(zip(FOUR, map(t, (-10.0, -12.0, -11.0, -11.0)), strict=True))
    turned = dict(zip(FOUR, map(t, (-12.0, -10.0, -11.0, -11.0)), strict=True))
    mixed = 0.8 * implicit.dpo(**numbers) + 0.2 * implicit.dpo(**turned)
    assert implicit.dpo(**numbers, label_smoothing=0.2).item() == pytest.approx(mixed.item())


def test_the_vectors_of_genarm_are_reproduced(vectors):
    for case in vectors["genarm_loss"]:
        loss = implicit.genarm(t(case["lw"]), t(case["ll"]), beta=case["beta"])
        assert loss.item() == pytest.approx(case["loss"])
    default = implicit.genarm(t(-20), t(-30))
    assert default.item() == implicit.genarm(t(-20), t(-30), beta=0.05).item()


@pytest.mark.parametrize("loss", [implicit.dpo, implicit.d3po])
def test_log_probabilities_far_apart_give_finite_losses_and_gradients(loss):
    numbers = {name: torch.tensor([-1000.0, 0.0, 1000.0], requires_grad=True) for name in FOUR[:2]}
    numbers |= {name: torch.tensor([9000.0, 0.0, -9000.0]) for name in FOUR[2:]}
    found = loss(**numbers, beta=1.0)
    found.sum().backward()
    assert torch.isfinite(found).all()
    assert all(torch.isfinite(numbers[name].grad).all() for name in FOUR[:2])


def d3po(chosen, rejected, **options):
    numbers = (t(chosen).log(), t(rejected).log(), t(1).log(), t(1).log())
    return implicit.d3po(**dict(zip(FOUR, numbers, strict=True)), **options).item()


def test_d3po_has_the_value_written_down_and_clips_the_ratio():
    assert d3po(1.1, 0.9) == pytest.approx(0.6831639809, abs=1e-10)
    assert d3po(7.0, 0.01) == pytest.approx(0.6831639809, abs=1e-10)
    assert d3po(1.05, 1.02) == pytest.approx(math.log1p((1.05 / 1.02) ** -0.1))
    assert d3po(1.3, 0.8, clip=0.5, beta=1.0) == pytest.approx(math.log1p(0.8 / 1.3))


def test_d3po_has_a_gradient_inside_the_clip_only():
    ratio = t(0.5, 1.0).log().requires_grad_()
    zero = t(0, 0)
    implicit.d3po(
        policy_chosen=ratio, policy_rejected=zero, reference_chosen=zero, reference_rejected=zero
    ).sum().backward()
    assert ratio.grad.tolist() == pytest.approx([0.0, -0.05])


def test_the_vectors_of_selfie_are_reproduced(vectors):
    for case in vectors["spa_distill_loss"]:
        loss = implicit.selfie(
            case["beta"] * t(case["margin"]),
            case["beta"] * t(case["mix_margin"]),
            threshold=case["tau"],
            progress=case["step"] / case["max_steps"],
            alpha=case["alpha"],
        )
        assert loss.item() == pytest.approx(case["loss"], rel=1e-12)


def test_selfie_has_the_values_written_down_and_doubts_what_is_not_above_the_threshold():
    margin, mixed = t(0.2, 0.2, 0.2), t(0.11, 0.1, 0.09)
    found = implicit.selfie(margin, mixed, threshold=0.1, progress=0.2).tolist()
    assert found == pytest.approx([0.5981388694, 0.6181388694, 0.6181388694], abs=1e-10)


@pytest.mark.parametrize(("threshold", "progress"), [(0.1, 0.199), (None, 0.9)])
def test_selfie_doubts_nothing_in_the_warm_up_or_without_a_threshold(threshold, progress):
    found = implicit.selfie(t(0.2), t(-5.0), threshold=threshold, progress=progress)
    assert found.item() == pytest.approx(0.5981388694, abs=1e-10)


def test_the_mixed_margin_only_decides():
    margin, mixed = t(0.2, -0.3).requires_grad_(), t(-1.0, 1.0).requires_grad_()
    implicit.selfie(margin, mixed, threshold=0.0, progress=1.0).sum().backward()
    assert mixed.grad is None
    assert margin.grad.tolist() == pytest.approx([0.1 - 1 / (1 + math.exp(0.2)), -1 / (1 + math.exp(-0.3))])


def test_the_threshold_of_the_vectors_is_reproduced_in_any_order(vectors):
    case = vectors["spa_tau"]
    for margins in (case["margins"], case["margins"][::-1]):
        quantile = implicit.MarginQuantile(share=case["threshold"])
        for margin in margins:
            quantile.update(t(margin))
        assert quantile.threshold == pytest.approx(case["tau"])


def test_a_window_that_is_not_full_uses_what_is_there():
    quantile = implicit.MarginQuantile()
    assert quantile.threshold is None
    quantile.update(t(1.0, 3.0))  # the mean of the step: 2
    assert quantile.threshold == 2.0
    quantile.update(t(5.0))
    assert quantile.threshold == 3.5  # the lowest two of two


def test_the_window_forgets_the_oldest():
    quantile = implicit.MarginQuantile(share=0.0, window=2)
    for margin in (-9.0, 1.0, 2.0):
        quantile.update(t(margin))
    assert quantile.threshold == 1.5


def test_the_threshold_survives_a_checkpoint_in_json():
    quantile, restored = implicit.MarginQuantile(), implicit.MarginQuantile()
    for margin in range(60):
        quantile.update(t(margin).float())
    restored.load_state_dict(json.loads(json.dumps(quantile.state_dict())))
    for each in (quantile, restored):
        each.update(t(-1.0))
    assert restored.threshold == quantile.threshold == (15 + 16) / 2  # kept: -1 and 11 to 59
    shorter = implicit.MarginQuantile(window=3)
    shorter.load_state_dict(quantile.state_dict())
    assert shorter.state_dict() == {"margins": [58.0, 59.0, -1.0]}


@pytest.mark.parametrize("margins", [[], [math.nan], [1.0, math.inf]])
def test_margins_without_a_finite_mean_are_refused(margins):
    quantile = implicit.MarginQuantile()
    with pytest.raises(RewardError, match="the mean of the margins is"):
        quantile.update(t(*margins))
    assert quantile.threshold is None


@pytest.mark.parametrize("options", [{"share": 1.0}, {"share": -0.1}, {"window": 0}, {"share": math.nan}])
def test_a_window_that_cannot_be_is_refused(options):
    with pytest.raises(ConfigError, match="0 <= share < 1 and window >= 1"):
        implicit.MarginQuantile(**options)


@pytest.mark.parametrize(
    ("call", "culprit"),
    [
        (lambda: implicit.genarm(t(1), t(0), beta=0.0), "beta is 0.0"),
        (lambda: implicit.genarm(t(1, 2), t(0)), "shapes differ"),
        (lambda: implicit.implicit_reward(t(1), t(0), beta=-1.0), "beta is -1.0"),
        (lambda: implicit.implicit_reward(t(1, 2), t(0)), "shapes differ"),
        (lambda: implicit.implicit_margin(**dict(zip(FOUR, (t(1, 2), t(1), t(1, 2), t(1)), strict=True))), "shapes"),
        (lambda: implicit.dpo(**dict(zip(FOUR, (t(1, 2), t(1), t(1, 2), t(1)), strict=True))), "shapes differ"),
        (lambda: d3po(1, 1, clip=1.0), "clip is 1.0"),
        (lambda: d3po(1, 1, beta=0.0), "beta is 0.0"),
        (lambda: implicit.selfie(t(1), t(1), threshold=0.0, progress=0.5, alpha=0.5), "alpha is 0.5"),
        (lambda: implicit.selfie(t(1), t(1), threshold=0.0, progress=50), "progress is 50"),
        (lambda: implicit.selfie(t(1), t(1, 2), threshold=0.0, progress=0.5), "margin .*mixed"),
    ],
)
def test_what_cannot_be_right_is_refused(call, culprit):
    with pytest.raises(ConfigError, match=culprit):
        call()
