"""TRL's reward functions: the numbers of `rewardkit score`, None that masks, pickles, logs, chats and groups."""

from __future__ import annotations

import asyncio
import inspect
import logging
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from rewardkit.errors import ConfigError, InvalidTrajectoryError, UnknownNameError
from rewardkit.trainers.trl import reward_func, reward_funcs

FILE = Path(__file__).resolve().parents[1] / "rewards_for_tests.py"
REWARDS = ["math", "0.25*length:maximum=20", f"0.5*{FILE}:reads_number"]
GATED = {"math": {"weight": 2.0, "gate": 0.0}, "length": "0.25*length:maximum=20"}


def columns_of(samples):
    return {
        "prompts": [row["prompt"] for row in samples],
        "completions": [row["completion"] for row in samples],
        "completion_ids": [[1]] * len(samples),
        "answer": [row["answer"] for row in samples],
    }


@pytest.mark.parametrize("executor", ["serial", "process"])
def test_the_total_is_that_of_rewardkit_score(samples, totals, executor, same):
    func = reward_func(REWARDS, executor=executor, workers=2)
    try:
        same(func(**columns_of(samples), trainer_state=object()), totals)
    finally:
        func.close()


def test_the_coroutine_pays_the_same(samples, totals, same):
    func = reward_func(REWARDS, executor="serial", asynchronous=True)
    assert inspect.iscoroutinefunction(func.__call__)
    same(asyncio.run(func(**columns_of(samples))), totals)


def test_chats_are_scored_as_text_is(samples, totals, same):
    columns = columns_of(samples)
    columns["prompts"] = [[{"role": "user", "content": text}] for text in columns["prompts"]]
    columns["completions"] = [[{"role": "assistant", "content": text}] for text in columns["completions"]]
    same(reward_func(REWARDS, executor="serial")(**columns), totals)


def test_the_last_words_after_tool_calls_are_the_answer():
    call = {"type": "function", "function": {"name": "add", "arguments": {"x": 1}}}
    chat = [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "name": "add", "content": "41"},
        {"role": "assistant", "content": "42"},
    ]
    assert reward_func("math", executor="serial")(["6*7?"], [chat], answer=["42"]) == [1.0]


def test_the_weighted_sum_of_the_single_functions_is_the_total(samples, totals, same):
    funcs = reward_funcs(REWARDS, executor="serial")
    assert [(func.__name__, func.weight) for func in funcs] == [("math", 1.0), ("length", 0.25), ("reads_number", 0.5)]
    columns = columns_of(samples)
    paid = [func(**columns) for func in funcs]
    sums = []
    for row in zip(*paid, strict=True):  # TRL: nansum, and NaN where all are
        known = [func.weight * value for func, value in zip(funcs, row, strict=True) if value is not None]
        sums.append(sum(known) if known else None)
    same(sums, totals)


def test_one_failed_reward_masks_the_sample_in_every_function():
    funcs = reward_funcs(REWARDS, executor="serial")
    prompts, completions = ["1+1?"] * 2, ["2", "banana"]
    paid = [func(prompts, completions, answer=["2", "2"]) for func in funcs]
    assert [row[1] for row in paid] == [None, None, None]
    assert None not in [row[0] for row in paid]


def test_single_functions_leave_out_what_a_closed_gate_leaves_out():
    judged, length = reward_funcs(GATED, executor="serial")
    prompts, completions = ["1+1?"] * 2, ["2", "3"]
    assert judged(prompts, completions, answer=["2", "2"]) == [1.0, 0.0]
    assert length(prompts, completions, answer=["2", "2"]) == [1.0, None]


def test_single_functions_score_a_batch_once_and_a_new_one_anew(tmp_path):
    (tmp_path / "counting.py").write_text(
        "from rewardkit import reward\n"
        "def _log(name):\n    open('calls.txt', 'a').write(name)\n"
        "@reward\ndef one(t):\n    _log('1')\n    return 1.0\n"
        "@reward\ndef two(t):\n    _log('2')\n    return float(t.completion)\n",
        encoding="utf-8",
    )
    code = (
        "from rewardkit.trainers.trl import reward_funcs\n"
        "one, two = reward_funcs(['counting.py:one', 'counting.py:two'], executor='serial')\n"
        "p, c = ['a'], ['3']\nprint(one(p, c), two(p, c))\nprint(two(p, ['4']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "[1.0] [3.0]\n[4.0]\n"
    assert sorted((tmp_path / "calls.txt").read_text()) == ["1", "1", "2", "2"]


def test_functions_pickle_with_their_names(samples, totals, same):
    func = reward_func(REWARDS, executor="serial", name="mine")
    func(**columns_of(samples[:5]))
    same(pickle.loads(pickle.dumps(func))(**columns_of(samples)), totals)
    assert pickle.loads(pickle.dumps(func)).__name__ == "mine"
    again = pickle.loads(pickle.dumps(reward_funcs(REWARDS, executor="serial")))
    assert [one.__name__ for one in again] == ["math", "length", "reads_number"]
    assert again[0]._batch is again[1]._batch


def test_what_each_reward_paid_is_logged():
    metrics, extra = {}, {}
    reward_func(REWARDS, executor="serial")(
        ["1+1?"] * 2,
        ["2", "banana"],
        answer=["2", "2"],
        log_metric=metrics.__setitem__,
        log_extra=extra.__setitem__,
    )
    assert metrics["rewardkit/math"] == 0.5
    assert metrics["rewardkit/reads_number"] == 2.0
    assert metrics["rewardkit/reward_missing"] == 0.5
    assert extra["math"] == [1.0, 0.0]
    assert extra["reads_number"] == [2.0, None]
    assert extra["reward_missing"][0] == ""
    assert extra["reward_missing"][1].startswith("reads_number failed (error): ValueError")


def test_columns_reach_the_rewards_as_metadata_and_what_is_no_json_is_left_out():
    func = reward_func("math", executor="serial")
    paid = func(["1+1?"], ["2"], answer=["2"], image=[object()], score=[float("nan")], environments=[object()])
    assert paid == [1.0]


def test_group_rewards_see_whole_groups(caplog):
    func = reward_func(f"{FILE}:Rank", executor="serial")
    prompts = ["a", "a", "a", "b", "b", "b"]
    assert func(prompts, ["1", "22", "333", "55555", "1", "22"]) == [0.0, 0.5, 1.0, 1.0, 0.0, 0.5]
    assert not caplog.records
    func(prompts[:5], ["1", "22", "333", "55555", "1"])
    assert "groups of different sizes" in caplog.text


def test_a_missing_reward_is_logged_with_its_reason(caplog):
    with caplog.at_level(logging.WARNING, "rewardkit.trainers"):
        reward_func(f"{FILE}:reads_number", executor="serial")(["?"] * 2, ["one", "1"])
    assert "1 of 2 rewards are missing, the first: reads_number failed (error)" in caplog.text


def test_an_attempt_that_cannot_be_read_is_masked_and_a_dataset_that_cannot_is_an_error():
    func = reward_func("math", executor="serial")
    assert func(["1+1?"] * 2, ["2", "\ud800"], answer=["2", "2"]) == [1.0, None]
    with pytest.raises(InvalidTrajectoryError, match=r"not one sample.*metadata"):
        func(["1+1?"] * 2, ["2", "2"], answer=["2", "2"], metadata=[3, 4])


def test_wrong_rewards_and_lengths_are_said_at_once():
    with pytest.raises(UnknownNameError, match="mathh"):
        reward_func("mathh")
    with pytest.raises(ConfigError, match=r"'answer' has 1 values for 2 prompts"):
        reward_func("math", executor="serial")(["a", "a"], ["1", "2"], answer=["1"])


def test_rewards_may_come_from_a_toml_file(tmp_path):
    (tmp_path / "rewards.toml").write_text("[rewards.math]\nweight = 3.0\n", encoding="utf-8")
    func = reward_func(tmp_path / "rewards.toml", executor="serial")
    assert func(["1+1?"], ["2"], answer=["2"]) == [3.0]


def test_a_reward_that_hangs_costs_its_sample_alone(tmp_path):
    (tmp_path / "sleepy.py").write_text(
        "import time\nfrom rewardkit import reward\n\n\n@reward\ndef sleepy(t):\n"
        "    time.sleep(60 if t.completion == 'wait' else 0)\n    return 1.0\n",
        encoding="utf-8",
    )
    func = reward_func(f"{tmp_path}/sleepy.py:sleepy", workers=1, timeout=0.5)
    try:
        assert func(["a"] * 3, ["go", "wait", "go"]) == [1.0, None, 1.0]
    finally:
        func.close()


def test_importing_the_adapters_imports_no_trainer_and_no_torch():
    code = (
        "import sys\nimport rewardkit.trainers.trl, rewardkit.trainers.verl, rewardkit.trainers.openrlhf\n"
        "print([m for m in ('trl', 'verl', 'openrlhf', 'torch', 'datasets', 'ray') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
