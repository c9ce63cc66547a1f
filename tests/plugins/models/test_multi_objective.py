"""Objectives made one: ArmoRM's arithmetic by hand, what must hold of penalties and gates, and how they are fitted."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from rewardkit.errors import ConfigError

torch = pytest.importorskip("torch", reason="torch is not installed: multi_objective is not tested")

from rewardkit_plugins.models.multi_objective import (  # noqa: E402
    ARMORM,
    PENALTIES,
    Gate,
    Objectives,
    spearman,
    transform_matrix,
    verbosity_penalties,
)
from rewardkit_plugins.models.objective_fitting import fit_gate, fit_heads, ridge  # noqa: E402


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ranks(values):
    """Mean ranks by counting: an independent formula."""
    return [sum(v < x for v in values) + (sum(v == x for v in values) + 1) / 2 for x in values]


def rank_correlation(one, other):
    a, b = ranks(one), ranks(other)
    ma, mb = sum(a) / len(a), sum(b) / len(b)
    top = sum((x - ma) * (y - mb) for x, y in zip(a, b, strict=True))
    return top / math.sqrt(sum((x - ma) ** 2 for x in a) * sum((y - mb) ** 2 for y in b))


def new_gate(*sizes, **options):
    return Gate(
        tuple((drawn(b, a, seed=i), drawn(b, seed=i + 9)) for i, (a, b) in enumerate(pairwise(sizes))), **options
    )


def test_the_transform_takes_verbosity_off_the_others():
    matrix = transform_matrix(torch.tensor([0.5, 0.25, 1.0], dtype=torch.float64), verbosity=2)
    assert matrix.tolist() == [[1, 0, 0], [0, 1, 0], [-0.5, -0.25, 0]]
    assert (torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64) @ matrix).tolist() == [-0.5, 1.25, 0]


def test_rank_correlation_shares_ranks_between_ties():
    one = [3.0, 1.0, 2.0, 2.0, 5.0, -1.0]
    other = [1.0, 1.0, 4.0, 0.0, 9.0, -2.0]
    expected = rank_correlation(one, other)
    assert spearman(torch.tensor(one), torch.tensor(other)) == pytest.approx(expected)
    assert spearman(torch.tensor(one), torch.exp(torch.tensor(one))) == pytest.approx(1)
    assert spearman(torch.tensor(one), -torch.tensor(one)) == pytest.approx(-1)
    assert spearman(torch.tensor(one), torch.ones(6)) == 0


def test_penalties_are_the_least_that_decorrelate():
    verbose = drawn(200)
    rewards = torch.stack(
        [verbose * 0.3 + drawn(200, seed=1), drawn(200, seed=2) - verbose, verbose, verbose * 3 + 1], dim=1
    )
    found = verbosity_penalties(rewards, verbosity=2).tolist()
    assert found[1:] == [0, 1, 1]  # against verbosity already; verbosity itself; nothing is enough
    assert found[0] in PENALTIES
    adjusted = rewards @ transform_matrix(torch.tensor(found, dtype=torch.float64), verbosity=2)
    assert rank_correlation(adjusted[:, 0].tolist(), verbose.tolist()) <= 0.03
    less = PENALTIES[PENALTIES.index(found[0]) - 1]
    assert rank_correlation((rewards[:, 0] - less * verbose).tolist(), verbose.tolist()) > 0.03
    assert rank_correlation(rewards[:, 0].tolist(), verbose.tolist()) > 0.2  # or there was nothing to take off


def test_candidates_are_those_of_the_paper():
    assert list(PENALTIES) == pytest.approx(
        [0, 0.01, 0.025, 0.05, 0.075, 0.1, 0.125, 0.15, *[n / 100 for n in range(20, 100, 5)]]
    )
    assert len(ARMORM) == len(set(ARMORM)) == 19
    assert ARMORM[4] == "helpsteer-verbosity"


def test_verbosity_must_be_an_objective():
    with pytest.raises(ConfigError, match="there are 3"):
        verbosity_penalties(drawn(5, 3), verbosity=3)


def test_a_gate_is_a_softmax_over_its_temperature_by_hand():
    layers = ((torch.tensor([[1.0], [-1.0]]), torch.tensor([0.0, 0.5])), (torch.eye(2) * 10, torch.zeros(2)))
    gate = Gate(layers, temperature=10, scale=3.0)
    first, second = gate(torch.tensor([[2.0]]))[0].tolist()  # relu (2, -1.5) = (2, 0); logits (20, 0) / 10
    assert (first, second) == pytest.approx((3 * math.exp(2) / (math.exp(2) + 1), 3 / (math.exp(2) + 1)))


def test_gate_rows_sum_to_the_scale_and_none_is_negative():
    rows = new_gate(6, 8, 8, 4, scale=2.5)(drawn(20, 6))
    assert rows.sum(-1).tolist() == pytest.approx([2.5] * 20)
    assert bool((rows > 0).all())


def test_the_score_is_the_sum_of_decorrelated_rewards_times_the_gate():
    objectives = Objectives(("a", "b", "c"), drawn(3, 6).float(), drawn(3, 3, seed=3).float(), None)
    states, weights = drawn(7, 6, seed=4).float(), drawn(7, 3, seed=5).float()
    rewards = objectives.rewards(states)
    expected = [
        sum(r[k] * sum(w[i] * objectives.transform[k, i] for i in range(3)) for k in range(3))
        for r, w in zip(rewards.tolist(), weights.tolist(), strict=True)
    ]
    assert objectives.score(rewards, weights).tolist() == pytest.approx([float(x) for x in expected], abs=1e-4)


def test_with_one_gate_for_all_prompts_the_score_is_a_linear_form():
    objectives = Objectives(("a", "b"), drawn(2, 6), transform_matrix(torch.tensor([1.0, 0.4]).double(), verbosity=0))
    weights = torch.tensor([0.25, 0.75], dtype=torch.float64)

    def score(states):
        return objectives.score(objectives.rewards(states), weights.expand(len(states), -1))

    one, other = drawn(5, 6, seed=1), drawn(5, 6, seed=2)
    assert torch.allclose(score(2 * one - 3 * other), 2 * score(one) - 3 * score(other))


def test_tensors_go_out_and_come_back_the_same():
    gate = new_gate(6, 8, 3, scale=1.5, temperature=5.0)
    made = Objectives(("a", "b", "c"), drawn(3, 6), drawn(3, 3), gate)
    back = Objectives.of(made.tensors(), names=made.names, temperature=float(made.metadata()["temperature"]))
    prompts = drawn(4, 6, seed=8)
    assert torch.allclose(back.gate(prompts.float()), gate(prompts).float(), atol=1e-5)
    assert torch.equal(back.transform, made.transform.float())
    assert (back.names, back.gate.temperature, back.gate.scale) == (("a", "b", "c"), 5.0, 1.5)


def test_what_does_not_fit_together_is_refused():
    heads = {"regression_layer.weight": drawn(3, 6)}
    assert Objectives.of(heads).transform.tolist() == torch.eye(3).tolist()
    assert Objectives.of(heads).names == ("objective_1", "objective_2", "objective_3")
    assert Objectives.of({"regression_layer.weight": drawn(19, 6)}).names == ARMORM
    for more, problem in [
        ({"reward_transform_matrix": drawn(2, 2)}, "for 3 objectives"),
        ({"gating.layers.0.weight": drawn(3, 5)}, "does not go from 6 numbers to 3"),
        ({"gating.layers.0.weight": drawn(2, 6)}, "does not go from 6 numbers to 3"),
        ({"reward_transform_matrix": torch.full((3, 3), math.nan)}, "not finite"),
    ]:
        with pytest.raises(ConfigError, match=problem):
            Objectives.of({**heads, **more})
    with pytest.raises(ConfigError, match="there is no matrix"):
        Objectives.of({"score.weight": drawn(3, 6)})
    with pytest.raises(ConfigError, match="names 1 objectives"):
        Objectives.of(heads, names=["a"])
    with pytest.raises(ConfigError, match="temperature"):
        Objectives.of({**heads, "gating.layers.0.weight": drawn(3, 6)}, temperature=0)


def test_ridge_is_exact_on_a_line_and_shrinks_by_hand():
    features = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    assert ridge(features, torch.tensor([3.0, 4.0]), alpha=0).tolist() == pytest.approx([3, 2])
    # w_i = x_i·y_i / (x_i² + alpha)
    assert ridge(features, torch.tensor([3.0, 4.0]), alpha=1).tolist() == pytest.approx([1.5, 1.6])


def test_rows_without_a_label_do_not_count():
    features, labels = drawn(30, 4), drawn(30, seed=1)
    masked = labels.clone()
    masked[::3] = math.nan
    kept = [i for i in range(30) if i % 3]
    assert torch.allclose(ridge(features, masked, alpha=0.5), ridge(features[kept], labels[kept], alpha=0.5))
    with pytest.raises(ConfigError, match="none of the 30 labels"):
        ridge(features, torch.full((30,), math.nan), alpha=1)


def test_heads_take_the_alpha_that_generalises():
    truth = drawn(2, 5, seed=1)
    features = drawn(300, 5)
    labels = features @ truth.T
    labels[:, 1] = drawn(300, seed=2)  # noise: the more is shrunk, the better
    labels[::2, 0] = math.nan
    found = fit_heads(features, labels)
    assert found.shape == (2, 5)
    assert torch.allclose(found[0], truth[0], atol=1e-5)
    assert found[1].norm() < 0.05
    assert torch.equal(found, fit_heads(features, labels))
    with pytest.raises(ConfigError, match="no label among the rows held out"):
        fit_heads(features, torch.full((300, 1), math.nan))


def test_a_fitted_gate_learns_which_objective_counts_for_which_prompt():
    prompts = drawn(400, 2).float()
    first = prompts[:, 0] > 0
    better = torch.where(first[:, None], torch.tensor([[1.0, -1.0]]), torch.tensor([[-1.0, 1.0]]))
    gate = fit_gate(
        prompts, better, torch.zeros(400, 2), hidden=16, depth=2, steps=150, batch=64, rate=3e-2, temperature=1
    )
    rows = gate(prompts)
    assert ((rows[:, 0] > rows[:, 1]) == first).float().mean() > 0.95
    assert rows.sum(-1).tolist() == pytest.approx([gate.scale] * 400, rel=1e-5)
    assert gate.scale > 1  # confidence pays where the gate is right


def test_fitting_leaves_the_callers_random_numbers_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit_gate(drawn(8, 2).float(), drawn(8, 2).float(), drawn(8, 2).float(), hidden=4, steps=3, batch=4)
    assert torch.equal(torch.rand(3), expected)
