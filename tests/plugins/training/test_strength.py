"""Preference strength: annotated (HelpSteer2) and voted (Secrets of RLHF II), and what is done with it."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardkit.errors import ConfigError

torch = pytest.importorskip("torch", reason="torch is not installed: the training losses are not tested")

from rewardkit_plugins.training import strength  # noqa: E402

FORMS = {"regular": 0.3132616875, "margin": 1.3132616875, "scaled": 0.6265233750}


def t(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


@pytest.mark.parametrize(("form", "expected"), FORMS.items())
def test_annotated_strength_has_the_values_written_down_whichever_answer_is_preferred(form, expected):
    found = strength.annotated_strength(t(0.5, 1.5), t(1.5, 0.5), t(2, -2), form=form)
    assert found.tolist() == pytest.approx([expected, expected], abs=1e-10)


@pytest.mark.parametrize("form", FORMS)
def test_a_tie_has_neither_loss_nor_gradient(form):
    first = torch.tensor([3.0, 1.0], requires_grad=True)
    loss = strength.annotated_strength(first, torch.zeros(2), torch.tensor([0, -1]), form=form)
    loss.sum().backward()
    assert loss[0].item() == first.grad[0].item() == 0.0
    assert loss[1].item() > 0 > first.grad[1].item()
    assert loss.dtype == torch.float32


@pytest.mark.parametrize("form", FORMS)
def test_rewards_far_apart_give_finite_losses(form):
    first = t(-1000, 1000).requires_grad_()
    loss = strength.annotated_strength(first, t(0, 0), t(-3, -3), form=form)
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(first.grad).all()


def test_the_votes_of_five_models_have_the_strength_written_down():
    mean, spread = strength.vote_strength(t(-0.4, 0.1, 0.6, 0.2, -0.1)[None])
    assert mean.tolist() == pytest.approx([0.08])
    assert spread.tolist() == pytest.approx([0.3310589071], abs=1e-10)


@given(votes=st.lists(st.floats(-5, 5), min_size=1, max_size=9))
def test_the_strength_is_mean_and_population_deviation(votes):
    mean, spread = strength.vote_strength(t(*votes))
    assert mean.item() == pytest.approx(statistics.fmean(votes), abs=1e-9)
    assert spread.item() == pytest.approx(statistics.pstdev(votes), abs=1e-6)


def indices(plan):
    return [mask.nonzero().flatten().tolist() for mask in plan]


def test_the_plan_flips_the_weakest_softens_the_next_and_marks_the_strongest():
    votes = t(0.5, -0.9, 0.1, 2.0, -0.2, 0.3, 1.0, -0.1, 0.8, 3.0)
    assert indices(strength.label_plan(votes)) == [[1, 4], [2, 7], [0, 3, 5, 6, 8, 9]]
    assert indices(strength.label_plan(votes, flip=0.1, soft=0.2, strong=0.1)) == [[1], [4, 7], [9]]


def test_a_pair_that_the_ensemble_agrees_with_is_never_flipped():
    assert indices(strength.label_plan(t(0.1, 0.0, -0.1, 5.0, 6.0), flip=0.6, soft=0.0, strong=0.2)) == [
        [2],
        [0, 1],
        [4],
    ]


@given(
    votes=st.lists(st.floats(-5, 5), max_size=30),
    shares=st.tuples(*[st.floats(0, 1)] * 4).map(lambda s: [x / (sum(s) or 1) for x in s[:3]]),
)
def test_every_plan_keeps_its_shares_and_never_plans_a_pair_twice(votes, shares):
    flip, soft, strong = shares
    plan = strength.label_plan(t(*votes), flip=flip, soft=soft, strong=strong)
    assert all(count <= 1 for count in sum(mask.long() for mask in plan).tolist())
    n = len(votes)
    assert (plan.flip | plan.soft).sum().item() == round(n * (flip + soft))
    assert plan.strong.sum().item() == min(round(n * strong), n - round(n * (flip + soft)))
    assert all(votes[i] < 0 for i in indices(plan)[0])


def test_of_equal_strengths_the_earlier_pair_counts_as_weaker():
    assert indices(strength.label_plan(t(*[-1.0] * 5))) == [[0], [1], [2, 3, 4]]


def test_shares_that_both_round_up_do_not_overlap():
    assert indices(strength.label_plan(t(-3, -2, -1), flip=0.5, soft=0.0, strong=0.5)) == [[0, 1], [], [2]]


def test_flipping_twice_changes_nothing_and_once_swaps_the_masked_pairs():
    chosen, rejected, mask = t(1, 2), t(3, 4), torch.tensor([True, False])
    once = strength.flip_labels(chosen, rejected, mask)
    assert [x.tolist() for x in once] == [[3, 2], [1, 4]]
    assert [x.tolist() for x in strength.flip_labels(*once, mask)] == [[1, 2], [3, 4]]


def test_an_even_soft_label_is_cheapest_at_no_difference():
    d = torch.linspace(-2, 2, 41, dtype=torch.float64)
    loss = strength.soft_label(d, torch.zeros_like(d), torch.zeros_like(d))
    assert loss.argmin().item() == 20
    assert loss.min().item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("mean", [-1.0, 0.3, 2.5])
def test_a_soft_label_is_cheapest_where_the_difference_is_the_strength(mean):
    d = t(mean).requires_grad_()
    loss = strength.soft_label(d, t(0), t(mean))
    loss.sum().backward()
    p = 1 / (1 + math.exp(-mean))
    assert loss.item() == pytest.approx(-p * math.log(p) - (1 - p) * math.log(1 - p))
    assert d.grad.item() == pytest.approx(0.0, abs=1e-12)


def test_an_adaptive_margin_stands_inside_the_sigmoid_and_so_moves_the_gradient():
    d = t(1.0, 1.0).requires_grad_()
    loss = strength.adaptive_margin(d, t(0, 0), t(0.0, 3.0))
    loss.sum().backward()
    assert loss.tolist() == pytest.approx([math.log1p(math.exp(-1)), math.log1p(math.exp(2))])
    assert d.grad.tolist() == pytest.approx([-1 / (1 + math.exp(1)), -1 / (1 + math.exp(-2))])


@pytest.mark.parametrize(
    ("call", "culprit"),
    [
        (lambda: strength.annotated_strength(t(1), t(0), t(1), form="odd"), "form is 'odd'"),
        (lambda: strength.annotated_strength(t(1, 2), t(0, 1), t(1)), "shapes differ"),
        (lambda: strength.vote_strength(t()), r"differences has shape \(0,\)"),
        (lambda: strength.label_plan(t(1)[None]), r"strength has shape \(1, 1\)"),
        (lambda: strength.label_plan(t(1), flip=-0.1), "the shares are -0.1"),
        (lambda: strength.label_plan(t(1), flip=0.5, soft=0.5), "the shares are 0.5"),
        (lambda: strength.label_plan(t(1), strong=math.nan), "and nan"),
        (lambda: strength.flip_labels(t(1, 2), t(0, 1), torch.tensor([True])), "shapes differ"),
        (lambda: strength.soft_label(t(1, 2), t(0, 1), t(1)), "shapes differ"),
        (lambda: strength.adaptive_margin(t(1, 2), t(0, 1), t(1)), "shapes differ"),
    ],
)
def test_what_cannot_be_right_is_refused(call, culprit):
    with pytest.raises(ConfigError, match=culprit):
        call()
