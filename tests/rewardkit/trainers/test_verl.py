"""verl's compute_score: the numbers of `rewardkit score`, the same keys for all, and no silent 0."""

from __future__ import annotations

import asyncio
import inspect
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from rewardkit.errors import ConfigError, RewardError
from rewardkit.trainers.verl import compute_score, compute_score_async

FILE = Path(__file__).resolve().parents[1] / "rewards_for_tests.py"
REWARDS = ["math", "0.25*length:maximum=20", f"0.5*{FILE}:reads_number"]
KEYS = ["score", "rewards/math", "rewards/length", "rewards/reads_number", "reward_missing"]


def call_as_verl_does(raw_fn, extra_kwargs, **kwargs):
    """`_call_with_kwargs` of verl 0.9.1, verl/trainer/ppo/reward.py."""
    return raw_fn(**{**kwargs, **extra_kwargs})


def arguments_of(row):
    return {
        "data_source": "sums",
        "solution_str": row["completion"],
        "ground_truth": row["answer"],
        "extra_info": {
            "question": row["prompt"],
            "num_turns": np.int64(2),
            "rollout_reward_scores": {},
            "answer": "-5",
        },
    }


def test_the_score_is_that_of_rewardkit_score_and_the_keys_never_change(samples, totals, same):
    settings = {"rewards": REWARDS, "executor": "serial", "missing": "nan"}
    paid = [call_as_verl_does(compute_score, settings, **arguments_of(row)) for row in samples]
    same([one["score"] for one in paid], totals)
    assert {tuple(one) for one in paid} == {tuple(KEYS)}
    stacked = {key: np.array([one[key] for one in paid]) for key in paid[0]}  # agent_loop.py, _postprocess
    assert all(column.dtype == np.float64 for column in stacked.values())
    assert stacked["reward_missing"].sum() == totals.count(None)
    assert np.isnan(stacked["rewards/reads_number"]).sum() > totals.count(None)  # those that abstained, too


def test_the_coroutine_pays_the_same_side_by_side(samples, totals, same):
    settings = {"rewards": REWARDS, "executor": "process", "workers": 2, "missing": "nan"}
    score = partial(compute_score_async, **settings)
    assert inspect.iscoroutinefunction(score)

    async def all_at_once():
        return await asyncio.gather(*(score(**arguments_of(row)) for row in samples))

    same([one["score"] for one in asyncio.run(all_at_once())], totals)


def test_a_missing_reward_is_an_error_unless_the_user_says_what_it_becomes():
    score = partial(compute_score, "x", "banana", "1", rewards=REWARDS, executor="serial")
    with pytest.raises(RewardError, match=r"no reward for an attempt: reads_number failed \(error\).*missing='nan'"):
        score()
    assert math.isnan(score(missing="nan")["score"])
    assert score(missing=-0.5)["score"] == -0.5
    assert score(missing="-0.5")["reward_missing"] == 1.0
    with pytest.raises(ConfigError, match=r"missing='zero': choose 'raise', 'nan' or a number"):
        score(missing="zero")


def test_settings_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("REWARDKIT_REWARDS", '["math", "0.1*length:maximum=100"]')
    monkeypatch.setenv("REWARDKIT_EXECUTOR", "serial")
    assert compute_score("x", "42", "42")["score"] == 1.1
    assert compute_score("x", "42", "42", rewards="math")["score"] == 1.0


def test_without_rewards_and_with_typing_errors_it_says_so(monkeypatch):
    monkeypatch.delenv("REWARDKIT_REWARDS", raising=False)
    with pytest.raises(ConfigError, match=r"name the rewards: REWARDKIT_REWARDS='math'"):
        compute_score("x", "42", "42")
    with pytest.raises(ConfigError, match=r"no setting 'reward'"):
        compute_score("x", "42", "42", reward="math")
    assert compute_score("x", "4", "4", rewards="math", executor="serial", reward_router_address="host")["score"] == 1.0


def test_rewards_that_compare_attempts_are_refused():
    with pytest.raises(ConfigError, match=r"'Rank' compares attempts"):
        compute_score("x", "42", "42", rewards=f"{FILE}:Rank", executor="serial")


def test_extra_info_reaches_the_rewards_as_metadata(tmp_path):
    (tmp_path / "peek.py").write_text(
        "from rewardkit import reward\n\n\n@reward\ndef peek(t):\n    return float(t.task.metadata['level'])\n",
        encoding="utf-8",
    )
    paid = compute_score("x", "-", None, {"level": np.int64(7)}, rewards=f"{tmp_path}/peek.py:peek", executor="serial")
    assert paid["score"] == 7.0


def test_verls_own_reward_loop_calls_it(samples, totals, same):
    reward = pytest.importorskip("verl.trainer.ppo.reward", reason="verl is not installed: its own code is not tested")
    naive = pytest.importorskip("verl.experimental.reward_loop.reward_manager.naive")
    torch = pytest.importorskip("torch")
    from omegaconf import OmegaConf
    from tensordict import TensorDict

    class Letters:
        def decode(self, ids, skip_special_tokens):
            return "".join(map(chr, ids.tolist()))

    for name in ("compute_score", "compute_score_async"):
        config = OmegaConf.create(
            {
                "reward": {
                    "custom_reward_function": {
                        "path": "pkg://rewardkit.trainers.verl",
                        "name": name,
                        "reward_kwargs": {"rewards": REWARDS, "executor": "serial", "missing": "nan"},
                    }
                }
            }
        )

        async def run(config=config):
            manager = naive.NaiveRewardManager(config, Letters(), reward.get_custom_reward_fn(config))
            paid = []
            for row in samples:
                ids = torch.tensor([[ord(letter) for letter in row["completion"]]], dtype=torch.int64)
                batch = {"responses": ids, "attention_mask": torch.ones_like(ids)}
                arguments = arguments_of(row)
                others = {
                    "data_source": arguments["data_source"],
                    "reward_model": {"ground_truth": arguments["ground_truth"]},
                    "extra_info": arguments["extra_info"],
                }
                data = naive.DataProto(
                    batch=TensorDict(batch, batch_size=1),
                    non_tensor_batch={key: np.array([value], dtype=object) for key, value in others.items()},
                )
                paid.append(await manager.run_single(data))
            return paid

        paid = asyncio.run(run())
        same([one["reward_score"] for one in paid], totals)
        assert {tuple(one["reward_extra_info"]) for one in paid} == {tuple(KEYS)}


def test_the_estimator_leaves_samples_without_a_reward_out_of_their_group():
    algorithms = pytest.importorskip("verl.trainer.ppo.core_algos", reason="verl is not installed")
    torch = pytest.importorskip("torch")
    import rewardkit.trainers.verl_grpo  # noqa: F401  registers

    mask = torch.tensor([[1.0, 1.0], [1.0, 0.0], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0]])
    rewards = torch.zeros(5, 2)
    rewards[:, 0] = torch.tensor([1.0, 0.0, float("nan"), 0.5, float("nan")])
    index = np.array(["a", "a", "a", "b", "c"])
    advantages, returns = algorithms.get_adv_estimator_fn("rewardkit_grpo")(
        token_level_rewards=rewards, response_mask=mask, index=index, config=None
    )
    stock, _ = algorithms.compute_grpo_outcome_advantage(rewards[[0, 1, 3]], mask[[0, 1, 3]], index[[0, 1, 3]])
    assert torch.allclose(advantages[[0, 1, 3]], stock)
    assert advantages[2].tolist() == advantages[4].tolist() == [0.0, 0.0]
    assert advantages[1].tolist()[1] == 0.0
    assert torch.equal(advantages, returns)
