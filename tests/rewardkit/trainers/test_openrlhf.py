"""OpenRLHF's reward function and agents: the numbers of `rewardkit score`, constant keys, and no silent 0."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import math
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from rewardkit.errors import ConfigError, RewardError
from rewardkit.trainers import openrlhf

FILE = Path(__file__).resolve().parents[1] / "rewards_for_tests.py"
REWARDS = ["math", "0.25*length:maximum=20", f"0.5*{FILE}:reads_number"]


class Numbers(list):
    """Enough of a tensor where there is no torch: OpenRLHF calls `item` and `flatten`."""

    def item(self):
        (number,) = self
        return number

    def tolist(self):
        return list(self)

    def flatten(self):
        return self


@pytest.fixture(autouse=True)
def torch(monkeypatch):
    """The real torch, or a stand-in for `torch.tensor`."""
    try:
        import torch
    except ImportError:
        torch = ModuleType("torch")
        torch.tensor = lambda value: Numbers(value if isinstance(value, list) else [value])
        monkeypatch.setitem(sys.modules, "torch", torch)
    return torch


@pytest.fixture
def agent(monkeypatch):
    """OpenRLHF's own `utils/agent.py`, without what the package around it imports (deepspeed and so on)."""
    pytest.importorskip("aiohttp")
    found = importlib.util.find_spec("openrlhf")
    if found is None:
        pytest.skip("OpenRLHF is not installed: its own code does not call the adapter here")
    utils = ModuleType("openrlhf.utils")
    utils.__path__ = [str(Path(found.submodule_search_locations[0]) / "utils")]
    monkeypatch.setitem(sys.modules, "openrlhf.utils", utils)
    return importlib.import_module("openrlhf.utils.agent")


@pytest.fixture
def reward_file(tmp_path, monkeypatch):
    monkeypatch.setenv("REWARDKIT_REWARDS", json.dumps(REWARDS))
    monkeypatch.setenv("REWARDKIT_EXECUTOR", "serial")
    monkeypatch.setenv("REWARDKIT_MISSING", "nan")
    path = tmp_path / "reward.py"
    path.write_text("from rewardkit.trainers.openrlhf import reward_func\n", encoding="utf-8")
    return path


def query_of(row):
    return f"<|im_start|>user\n{row['prompt']}<|im_end|>\n<|im_start|>assistant\n"


def test_the_reward_is_that_of_rewardkit_score_and_the_keys_never_change(samples, totals, reward_file, same):
    paid = [openrlhf.reward_func([query_of(r) + r["completion"]], [query_of(r)], [r["answer"]]) for r in samples]
    same([one["rewards"].tolist()[0] for one in paid], totals)
    same([one["scores"].tolist()[0] for one in paid], totals)
    keys = ("rewards/math", "rewards/length", "rewards/reads_number", "reward_missing")
    assert {tuple(one["extra_logs"]) for one in paid} == {keys}
    assert sum(one["extra_logs"]["reward_missing"].item() for one in paid) == totals.count(None)


def test_tokens_that_end_a_turn_are_no_part_of_the_answer(reward_file):
    for ending in ("<|im_end|>", "</s>", "<|im_end|>\n<|endoftext|>"):
        paid = openrlhf.reward_func(["<s>1+1?2" + ending], ["1+1?"], ["2"])
        assert paid["extra_logs"]["rewards/reads_number"].item() == 2.0


def test_a_label_may_hold_columns(reward_file):
    label = json.dumps({"answer": "2", "level": 3})
    assert openrlhf.reward_func(["1+1?2"], ["1+1?"], [label])["extra_logs"]["rewards/math"].item() == 1.0
    assert (
        openrlhf.reward_func(['say it{"a": 1}'], ["say it"], ['{"a": 1}'], rewards="exact_match")["rewards"].item()
        == 1.0
    )


def test_an_empty_call_is_answered(reward_file):
    assert openrlhf.reward_func([], [], [])["rewards"].tolist() == []


def test_a_missing_reward_raises_unless_the_user_says_what_it_becomes(reward_file, monkeypatch, caplog):
    assert math.isnan(openrlhf.reward_func(["?banana"], ["?"], ["1"])["rewards"].item())
    monkeypatch.delenv("REWARDKIT_MISSING")
    with pytest.raises(RewardError, match="reads_number failed"):
        openrlhf.reward_func(["?banana"], ["?"], ["1"])
    assert "OpenRLHF goes on without a reward" in caplog.text
    assert openrlhf.reward_func(["?banana"], ["?"], ["1"], missing=-1)["rewards"].item() == -1.0


def test_a_query_that_lost_its_prompt_is_no_attempt(reward_file):
    paid = openrlhf.reward_func(["uestion? 2"], ["question? "], ["2"])
    assert paid["extra_logs"]["reward_missing"].item() == 1.0


def test_rewards_that_compare_attempts_are_refused(reward_file):
    with pytest.raises(ConfigError, match="one attempt at a time"):
        openrlhf.reward_func(["a"], [""], ["1"], rewards=f"{FILE}:Rank")


class Letters:
    """A tokenizer of characters."""

    def __call__(self, text, add_special_tokens, return_tensors):
        import torch

        return {"input_ids": torch.tensor([[ord(letter) for letter in text]])}

    def decode(self, ids, skip_special_tokens):
        return "".join(map(chr, ids))


class Engine:
    """Says what it is told to say."""

    def __init__(self, *replies):
        self.replies = list(replies)

    async def generate(self, tokens, params, multi_modal_data=None):
        text = self.replies.pop(0)
        one = SimpleNamespace(token_ids=[ord(c) for c in text], text=text, finish_reason="stop", logprobs=None)
        return SimpleNamespace(outputs=[one])


def params():
    return SimpleNamespace(max_tokens=50, logprobs=None)


def test_openrlhfs_own_executor_calls_the_reward_file(agent, samples, totals, reward_file, same):
    executor = agent.SingleTurnAgentExecutor(str(reward_file))

    async def run():
        done = []
        for row in samples:
            engine = Engine(row["completion"] + "<|im_end|>")
            done.append(await executor.execute(query_of(row), row["answer"], params(), 500, Letters(), engine))
        return done

    done = asyncio.run(run())
    same([one["reward"].item() for one in done], totals)
    assert {len(one["extra_logs"]) for one in done} == {4}


def play(agent_classes, label, *replies, max_length=500, prompt="Count."):
    executor = agent_classes[1]()
    return asyncio.run(executor.execute(prompt, label, params(), max_length, Letters(), Engine(*replies)))


def test_openrlhfs_own_executor_plays_episodes(agent):
    classes = openrlhf.agent_classes(
        "trainers_test/Counter-v0", max_turns=5, executor="serial", feedback="[{observation}]"
    )
    call = json.dumps({"name": "count", "arguments": {"by": 4}})
    done = play(classes, json.dumps({"task_id": "2+2"}), call, "4<|im_end|>")
    assert done["reward"] == 1.0
    assert "[at 4]" in "".join(map(chr, done["observation_tokens"]))
    assert len(done["action_ranges"]) == 2
    assert float(play(classes, "5", "5")["reward"]) == 1.0  # the label is the reference
    assert float(play(classes, "5", "6")["reward"]) == 0.0


def test_an_episode_whose_tokens_ran_out_is_scored_as_it_stands(agent):
    classes = openrlhf.agent_classes(
        "trainers_test/Counter-v0",
        max_turns=5,
        executor="serial",
        feedback="\n\n\n\n{observation}\n\n",
        reward={"length": "length:maximum=1000"},
    )
    call = json.dumps({"name": "count", "arguments": {"by": 4}})
    assert play(classes, json.dumps({"task_id": "2+2"}), call, max_length=56)["reward"] == 1.0


def test_a_sandbox_that_fails_is_no_zero(agent):
    label = json.dumps({"task_id": "2+2"})
    with pytest.raises(RewardError, match="no reward for an episode"):
        play(openrlhf.agent_classes("trainers_test/Broken-v0", executor="serial"), label, "4")
    done = play(openrlhf.agent_classes("trainers_test/Broken-v0", executor="serial", missing="nan"), label, "4")
    assert math.isnan(done["reward"])
