"""TRL's own `GRPOTrainer` calls the adapters: needs trl, torch and transformers, and skips loudly without them."""

from __future__ import annotations

import asyncio
import json
import math
import pickle
import string
from pathlib import Path
from types import SimpleNamespace

import pytest

from rewardkit.trainers.trl import Spec, reward_func, reward_funcs

trl = pytest.importorskip("trl", reason="trl is not installed: its trainer does not call the adapters here")
torch = pytest.importorskip("torch")
datasets = pytest.importorskip("datasets")
transformers = pytest.importorskip("transformers")

FILE = Path(__file__).resolve().parents[1] / "rewards_for_tests.py"
REWARDS = ["math", "0.25*length:maximum=20", f"0.5*{FILE}:reads_number"]
CALL = '<tool_call>\n{"name": "count", "arguments": {"by": 3}}\n</tool_call>'

pytestmark = pytest.mark.filterwarnings("default")  # those of other people's packages


@pytest.fixture(scope="module")
def tokenizer():
    """Qwen's special tokens and chat template over single characters."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    words = [*special, "<tool_call>", "</tool_call>", "<think>", "</think>", *string.printable]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="?"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    inner.decoder = decoders.Fuse()
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=special[1:2],
    )
    made.add_tokens(["<tool_call>", "</tool_call>", "<think>", "</think>"])
    template = Path(trl.__file__).parent / "chat_templates" / "qwen3.jinja"
    made.chat_template = template.read_text(encoding="utf-8")
    return made


@pytest.fixture
def model(tokenizer):
    torch.manual_seed(0)
    return transformers.Qwen2ForCausalLM(
        transformers.Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=4096,
        )
    )


def config(path, **more):
    settings = {
        "per_device_train_batch_size": 4,
        "num_generations": 4,
        "max_completion_length": 8,
        "max_steps": 1,
        "use_cpu": True,
        "report_to": [],
        "logging_steps": 1,
        "save_strategy": "no",
        "disable_tqdm": True,
        "bf16": False,
    }
    return trl.GRPOConfig(output_dir=str(path), **{**settings, **more})


def trainer_of(model, tokenizer, path, **more):
    settings = more.pop("config", {})
    return trl.GRPOTrainer(model=model, processing_class=tokenizer, args=config(path, **settings), **more)


def logged(trainer):
    """What the first step logged."""
    return next(row for row in trainer.state.log_history if "reward" in row)


def speaks(trainer, tokenizer, *replies):
    """Let the model say these, one round after the other, for every sample that is asked."""
    left = [[tokenizer(text, add_special_tokens=False)["input_ids"] for text in one] for one in replies]

    def generate(prompt_ids, *_, **__):
        return left.pop(0), None

    trainer._generate_single_turn = generate


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sync", "async", "single"])
def test_the_trainer_gets_the_numbers_of_rewardkit_score(kind, samples, totals, model, tokenizer, tmp_path, same):
    if kind == "single":
        funcs = reward_funcs(REWARDS, executor="serial")
    else:
        funcs = [reward_func(REWARDS, executor="serial", asynchronous=kind == "async")]
    weights = [func.weight for func in funcs] if kind == "single" else [1.0]
    rows = datasets.Dataset.from_list(samples)
    trainer = trainer_of(
        model, tokenizer, tmp_path, reward_funcs=funcs, train_dataset=rows, config={"reward_weights": weights}
    )
    prompts = [row["prompt"] for row in samples]
    completions = [row["completion"] for row in samples]
    paid = trainer._calculate_rewards(samples, prompts, completions, [[1]] * len(samples))
    sums = (paid * torch.tensor(weights)).nansum(dim=1)  # as `_generate_and_score_completions` adds them up
    sums[paid.isnan().all(dim=1)] = torch.nan
    same(sums.tolist(), totals)


@pytest.mark.slow
def test_a_step_of_training_leaves_out_what_has_no_reward(model, tokenizer, tmp_path):
    rows = datasets.Dataset.from_list([{"prompt": "1+1=", "answer": "2"}] * 4)
    func = reward_func(["math", f"{FILE}:reads_number"], executor="serial", name="sums")
    trainer = trainer_of(model, tokenizer, tmp_path, reward_funcs=func, train_dataset=rows)
    speaks(trainer, tokenizer, ["2", "4", "x", "2"])
    trainer.train()
    log = logged(trainer)
    assert log["rewards/sums/mean"] == pytest.approx((3 + 4 + 3) / 3)
    assert log["sums/reward_missing"] == 0.25
    assert log["sums/math"] == pytest.approx(2 / 4)
    advantages = list(trainer._logs["advantages"])
    assert advantages[2] == 0.0
    assert sum(advantages) == pytest.approx(0.0, abs=1e-5)
    assert advantages[1] > 0 > advantages[0]


@pytest.mark.slow
def test_the_trainer_plays_an_environment_by_its_tools(model, tokenizer, tmp_path):
    spec = Spec("trainers_test/Counter-v0", executor="serial", max_turns=9)
    trainer = trainer_of(
        model,
        tokenizer,
        tmp_path,
        train_dataset=spec.train_dataset,
        environment_factory=spec.environment_factory,
        reward_funcs=spec.reward_funcs,
        config={"max_completion_length": 400, "shuffle_dataset": False},
    )
    end = "<|im_end|>"
    speaks(trainer, tokenizer, [CALL + end] * 4, ["0" + end, "0" + end, "1" + end, "0" + end])
    trainer.train()
    assert logged(trainer)["rewards/episode_reward/mean"] == 0.75
    assert logged(trainer)["tools/call_frequency"] == 1.0
    assert logged(trainer)["tools/failure_frequency"] == 0.0
    assert [env._player.env.unwrapped.episode.memory for env in trainer.environments] == [3] * 4


@pytest.mark.slow
def test_the_trainer_asks_an_environment_for_its_reward(model, tokenizer, tmp_path):
    spec = Spec("trainers_test/Sum-v0", executor="serial", get_reward=True)
    trainer = trainer_of(
        model,
        tokenizer,
        tmp_path,
        train_dataset=spec.train_dataset,
        environment_factory=spec.environment_factory,
        reward_funcs=spec.reward_funcs,
        config={"max_completion_length": 400, "shuffle_dataset": False},
    )
    call = '<tool_call>\n{"name": "act", "arguments": {"action": "%s"}}\n</tool_call><|im_end|>'
    speaks(trainer, tokenizer, [call % n for n in ("0", "1", "0", "0")], ["done<|im_end|>"] * 4)
    trainer.train()
    assert logged(trainer)["rewards/Sum/mean"] == 0.75


@pytest.mark.slow
def test_the_trainer_plays_rollouts_with_its_own_generation(model, tokenizer, tmp_path):
    spec = Spec("trainers_test/Counter-v0", executor="serial", max_turns=3)
    trainer = trainer_of(
        model,
        tokenizer,
        tmp_path,
        train_dataset=spec.train_dataset,
        rollout_func=spec.rollout_func(),
        reward_funcs=spec.reward_funcs,
    )
    trainer.train()
    assert math.isfinite(logged(trainer)["rewards/episode_reward/mean"])
    assert json.dumps(spec.rows[0]["prompt"])


@pytest.mark.slow
def test_the_asynchronous_trainer_scores_a_group(samples, totals):
    worker = pytest.importorskip("trl.experimental.async_grpo.async_rollout_worker")
    funcs = pickle.loads(pickle.dumps([reward_func(REWARDS, executor="serial", asynchronous=True)]))  # to its process
    rows = samples[:10]
    token = worker.TrainingSequence(input_ids=[1], completion_mask=[1], old_log_probs=[0.0], rollout_id="0")
    group = worker.RolloutGroup(
        prompts=[[{"role": "user", "content": row["prompt"]}] for row in rows],
        reward_kwargs={"answer": [row["answer"] for row in rows]},
        completions=[[{"role": "assistant", "content": row["completion"]}] for row in rows],
        completions_ids=[[1]] * len(rows),
        completions_sequences=[[token]] * len(rows),
        tool_call_counts=[0] * len(rows),
        tool_failure_counts=[0] * len(rows),
        model_version=0,
        group_id=0,
        env_rewards=[],
        rollout_rewards=[],
    )
    loop = SimpleNamespace(
        reward_funcs=funcs, reward_func_names=["rewardkit"], _env_reward_types=[], _provides_rollout_reward=False
    )
    scored = asyncio.run(worker._AsyncRolloutLoop._score_group(loop, group))
    missing = [i for i, total in enumerate(totals[:10]) if total is None]
    assert missing
    assert [i for i, one in enumerate(scored) if math.isnan(one.metrics["reward"])] == missing
    assert all(scored[i].advantage == 0.0 for i in missing)
    assert scored[0].metrics["reward"] == totals[0]
