"""baselines: PURE's advantages as recorded, by hand, and what leave-one-out cannot do."""

from __future__ import annotations

import json

import pytest

from rewardkit.errors import ConfigError, RewardError
from rewardkit_plugins.steps.baselines import step_advantages, token_advantages, verifiable_advantages
from rewardkit_plugins.steps.shaping import min_form


@pytest.fixture
def recorded(shared):
    return json.loads(shared("specs/vectors/pure_rloo.json").read_text())


def flat(rows):
    return [value for row in rows for value in row]


@pytest.mark.parametrize("form", ["sum", "min"])
def test_the_verl_branchs_advantages_are_reproduced(recorded, form):
    case = recorded[f"verl_{form}"]
    lengths = [int(sum(mask)) for mask in case["mask"]]
    for group in set(case["group"]):
        members = [i for i, one in enumerate(case["group"]) if one == group]
        rows = [case["rewards"][i][: lengths[i]] for i in members]
        found = token_advantages(rows, form=form, padded=len(case["mask"][0]))
        expected = [case["advantage"][i][: lengths[i]] for i in members]
        assert flat(found) == pytest.approx(flat(expected), abs=1e-12)
        assert [len(row) for row in found] == [len(row) for row in rows]


@pytest.mark.parametrize("baseline", ["token", "step"])
def test_the_main_branchs_advantages_are_reproduced(recorded, baseline):
    case = recorded["main"]
    found = step_advantages(case["weighted_process_reward"], tokens=case["tokens_per_step"], baseline=baseline)
    assert flat(found) == pytest.approx(flat(case[f"{baseline}_baseline"]), abs=1e-12)


def test_the_verifiable_reward_is_centred_as_recorded(recorded):
    case = recorded["main"]
    assert verifiable_advantages(case["solved"]) == pytest.approx(case["verifiable_centered"], abs=1e-12)


def test_both_baselines_by_hand():
    # the other attempt was paid .6 in 2 steps of 6 tokens: .1 a token, .3 a step
    rewards, tokens = [[0.5, 0.5], [0.2, 0.4]], [[1, 3], [2, 4]]
    assert step_advantages(rewards, tokens=tokens)[0] == pytest.approx([0.4, 0.2])
    assert step_advantages(rewards, tokens=tokens, baseline="step")[0] == pytest.approx([0.2, 0.2])


def test_equal_attempts_have_no_advantage_in_sum_under_the_token_baseline():
    rewards = [min_form([0.9, -0.2, 0.4])] * 3
    for row in step_advantages(rewards, tokens=[[4, 9, 2]] * 3):
        assert sum(row) == pytest.approx(0.0, abs=1e-12)


def test_prompts_without_an_answer_have_no_verifiable_advantage():
    assert verifiable_advantages([1, 1, 1]) == [0.0, 0.0, 0.0]


def test_padding_defaults_to_the_longest_attempt():
    # returns (1, 1) and (0,): the other's mean over 2 places
    assert token_advantages([[0.0, 1.0], [0.0]]) == [[1.0, 1.0], [-1.0]]
    assert token_advantages([[0.0, 1.0], [0.0]], padded=4) == [[1.0, 1.0], [-0.5]]


@pytest.mark.parametrize(
    "call",
    [
        lambda: step_advantages([[0.1]], tokens=[[3]]),
        lambda: step_advantages([], tokens=[]),
        lambda: step_advantages([[0.1], []], tokens=[[3], []]),
        lambda: step_advantages([[0.1], [0.2]], tokens=[[3], [1, 1]]),
        lambda: step_advantages([[0.1], [0.2]], tokens=[[3], [0]]),
        lambda: step_advantages([[0.1], [float("nan")]], tokens=[[3], [1]]),
        lambda: token_advantages([[0.1]]),
        lambda: token_advantages([]),
        lambda: token_advantages([[0.1, 0.2], [0.1]], padded=1),
        lambda: verifiable_advantages([1]),
        lambda: verifiable_advantages([1, 2]),
    ],
)
def test_groups_without_others_or_without_numbers_are_refused(call):
    with pytest.raises(RewardError):
        call()


def test_unknown_forms_are_refused():
    with pytest.raises(ConfigError, match="'tokens'"):
        step_advantages([[0.1], [0.2]], tokens=[[1], [1]], baseline="tokens")
    with pytest.raises(ConfigError, match="'mean'"):
        token_advantages([[0.1], [0.2]], form="mean")
