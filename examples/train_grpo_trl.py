"""Teach a tiny language model single-digit sums with TRL's GRPOTrainer inside `rewardkit/Math-v0`, on a CPU.

The model (about 330,000 weights; its tokens are digits and what is between them) starts from nothing. First it sees
answers of which most are wrong, so that it learns to answer at all (`warm_up`, supervised); from then on the reward is
all it gets. Needs torch, transformers, datasets and trl. Not covered: tasks held out; all of the 100 that there are are
played.
"""

from __future__ import annotations

import argparse
import random
import re
import string
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from curves import Run, draw, summary
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from trl import GRPOConfig, GRPOTrainer

from rewardkit.trainers.trl import Spec, episode_reward
from rewardkit_envs.arithmetic import ArithmeticTasks

PAD, END = "<pad>", "<end>"
TEMPLATE = (
    "{% for message in messages %}{{ message.content }}"
    "{% if message.role == 'user' %}\n{% else %}<end>{% endif %}{% endfor %}"
)
WORD = r"\d|\D+"  # a digit, or all that is between two
KNOWN = 0.25  # share of right answers in the warm-up


def new_tokenizer(rows: Sequence[dict[str, Any]]) -> Any:
    """Return a tokenizer of what there is in the questions, each of which ends with a line break."""
    found = {word for row in rows for word in re.findall(WORD, row["prompt"][0]["content"] + "\n")}
    words = [PAD, END, *string.digits, *sorted(found - set(string.digits))]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=PAD))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(WORD), "isolated")
    inner.decoder = decoders.Fuse()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token=PAD, eos_token=END, chat_template=TEMPLATE, padding_side="left"
    )


def new_model(tokenizer: Any) -> Any:
    """Return a small Qwen2 with random weights."""
    return transformers.Qwen2ForCausalLM(
        transformers.Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=96,
            intermediate_size=256,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=64,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def warm_up(model: Any, tokenizer: Any, rows: Sequence[dict[str, Any]], *, steps: int, seed: int) -> None:
    """Show the model questions with answers, of which only `KNOWN` are right and the others are drawn by lot."""
    chance = random.Random(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(steps):
        chats = []
        for row in chance.choices(rows, k=64):
            left, right = row["task_id"].split("+")
            value = int(left) + int(right) if chance.random() < KNOWN else chance.randint(0, 18)
            chats.append([*row["prompt"], {"role": "assistant", "content": str(value)}])
        texts = tokenizer.apply_chat_template(chats, tokenize=False)
        batch = tokenizer(texts, return_tensors="pt", padding=True, return_token_type_ids=False)
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        loss = model(**batch, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def train(seed: int, *, steps: int, warm_steps: int, batch: int) -> Run:
    """Train one model from a seed: the warm-up, then so many steps of GRPO on `batch` completions each."""
    began = time.process_time()
    transformers.set_seed(seed)
    spec = Spec(
        "rewardkit/Math-v0",
        count=512,
        seed=1000 * seed,
        executor="serial",
        tasks=ArithmeticTasks(0, 9, "+"),
    )
    tokenizer = new_tokenizer(spec.rows)
    model = new_model(tokenizer)
    warm_up(model, tokenizer, spec.rows, steps=warm_steps, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        trainer = GRPOTrainer(
            model=model,
            processing_class=tokenizer,
            train_dataset=spec.train_dataset,
            rollout_func=spec.rollout_func(),
            reward_funcs=spec.reward_funcs,
            args=GRPOConfig(
                output_dir=folder,
                seed=seed,
                max_steps=steps,
                per_device_train_batch_size=batch,
                num_generations=8,
                max_completion_length=4,
                learning_rate=5e-4,
                lr_scheduler_type="constant",
                logging_steps=1,
                use_cpu=True,
                bf16=False,
                report_to=[],
                save_strategy="no",
                disable_tqdm=True,
            ),
        )
        trainer.remove_callback(transformers.PrinterCallback)
        start = measure(trainer, spec)
        trainer.train()
        end = measure(trainer, spec)
    curve = [row["reward"] for row in trainer.state.log_history if "reward" in row]
    spec.close()
    return Run(seed=seed, rewards=curve, start=start, end=end, seconds=time.process_time() - began)


def measure(trainer: Any, spec: Spec, *, rounds: int = 4) -> float:
    """Return the mean reward of so many episodes of each row, sampled as in training."""
    prompts = [row["prompt"] for row in spec.rows] * rounds
    with torch.no_grad():
        paid = [pay for pay in episode_reward(**spec.rollout_func()(prompts, trainer)) if pay is not None]
    return sum(paid) / len(paid)


def main() -> None:
    """Train from each seed, print how it went, and draw the curves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--warm-steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=128, help="completions of each step, eight to a question")
    parser.add_argument("--plot", type=Path, default=Path("train-grpo.svg"))
    options = parser.parse_args()
    runs = []
    for seed in options.seeds:
        runs.append(train(seed, steps=options.steps, warm_steps=options.warm_steps, batch=options.batch))
        print(runs[-1], flush=True)
    print(summary(runs))
    draw(options.plot, runs, title="GRPO with TRL: mean reward, single-digit sums")


if __name__ == "__main__":
    main()
