"""A reward model trained from random weights on 400 pairs of people's preferences, beside rules that know nothing.

Run: python benchmarks/bench_train_rm.py HH RMBENCH
HH is HH-RLHF's harmless-base/test.jsonl, or 800 lines of it; RMBENCH the safety-refuse subset of RM-Bench, in which the
better answer declines, in three styles. Half of each is trained on and half held out; the first user message decides.
The model sees the last question and the answer. For HH, two sizes and two rates were all about as good (0.59 to 0.61
by cross-validation in five folds of the training half); the smallest is used for both, and what is held out had no part
in it. Of RM-Bench all styles are trained on, and one pair a prompt (answers long, no Markdown) is held out, so that
the pairs are independent. Three seeds are trained on HH, and the mean of their rewards is a row of its own.
Texts of these sets are offensive: only numbers are printed.
"""

from __future__ import annotations

import gzip
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from rewardkit_plugins.engine.config import EngineConfig
from rewardkit_plugins.engine.loading import quiet
from rewardkit_plugins.training import scratch
from rewardkit_plugins.training.checkpoints import rewards
from rewardkit_plugins.training.encoding import Encoder
from rewardkit_plugins.training.held_out import Accuracy, accuracy, split
from rewardkit_plugins.training.pairs import Example, parse_example, read_examples
from rewardkit_plugins.training.recipe import Recipe, train

SIZE = scratch.Size(width=64, layers=1, heads=4, vocabulary=1000, window=4096)
SETTINGS = {"learning_rate": 1e-3, "epochs": 4, "batch_size": 32, "device": "cpu"}
SEEDS = (0, 1, 2)
LONG_PLAIN = 1  # the style of RM-Bench that is held out

Halves = tuple[Sequence[Example], Sequence[Example]]


def last_turns(examples: Sequence[Example]) -> list[Example]:
    """Return the pairs with the last message of the prompt and the last of each answer alone."""
    return [replace(e, prompt=e.prompt[-1:], answers=tuple(answer[-1:] for answer in e.answers)) for e in examples]


def write(path: Path, examples: Sequence[Example]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for one in examples:
            chosen, rejected = (answer[0].content for answer in one.answers)
            file.write(json.dumps({"prompt": one.prompt[0].content, "chosen": chosen, "rejected": rejected}) + "\n")


def baselines(held: Sequence[Example]) -> dict[str, Accuracy]:
    """Return the accuracy of rules: the longer answer, the shorter one, one drawn by lot."""
    lengths = torch.tensor([[len(answer[0].content) for answer in one.answers] for one in held])
    draw = random.Random(0)
    lots = torch.tensor([[draw.random(), draw.random()] for _ in held])
    rules = {"longer wins": lengths, "shorter wins": -lengths, "by lot": lots}
    return {name: accuracy(said[:, 0], said[:, 1]) for name, said in rules.items()}


def trained(folder: Path, seed: int, training: Sequence[Example], held: Sequence[Example]) -> torch.Tensor:
    """Train one model in `folder` and return its rewards of what was held out, [pairs, 2]."""
    base = folder / f"base-{seed}"
    texts = [m.content for one in training for some in (one.prompt, *one.answers) for m in some]
    with quiet():
        scratch.new_model(base, texts, SIZE, seed=seed)
    recipe = Recipe(model=str(base), seed=seed, eval_file=str(folder / "held.jsonl"), **SETTINGS)  # type: ignore[arg-type]
    done = train(folder / "train.jsonl", folder / f"rm-{seed}", recipe)
    assert not done.left_out, done.left_out[0].where
    config = EngineConfig(model=str(done.folder), device="cpu")
    encoded, left_out = Encoder(config).encode(held)
    assert not left_out
    said = rewards(config, encoded)[:, 0].view(-1, 2)
    assert accuracy(said[:, 0], said[:, 1]).right == done.record["held_out"]["right"]
    return said


def show(name: str, found: Accuracy) -> None:
    interval = f"[{found.low:.3f}, {found.high:.3f}]"
    print(f"{name:<28}{found.accuracy:8.3f}  {interval}  {found.right} of {found.pairs}, {found.ties} ties", flush=True)


def hh(path: str) -> Halves:
    training, held = split(read_examples(path).kept, share=0.5, seed=0)
    return last_turns(training), last_turns(held)


def rmbench(path: str) -> Halves:
    """Return pairs of one style each, all styles to train on and one to hold out."""
    pairs = []
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for record in map(json.loads, file):
            for style, (chosen, rejected) in enumerate(zip(record["chosen"], record["rejected"], strict=True)):
                both = {"prompt": record["prompt"], "chosen": chosen, "rejected": rejected}
                pairs.append(parse_example(both, where=str(style)))
    training, held = split(pairs, share=0.5, seed=0)
    return training, [one for one in held if one.where == str(LONG_PLAIN)]


def compare(title: str, halves: Halves, seeds: Sequence[int]) -> None:
    """Train on one half and print what the models and the rules make of the other."""
    training, held = halves
    print(f"{title}: {len(training)} pairs trained on, {len(held)} held out; accuracy with its 95 % interval")
    for name, found in baselines(held).items():
        show(name, found)
    said = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "train.jsonl", training)
        write(folder / "held.jsonl", held)
        for seed in seeds:
            said.append(trained(folder, seed, training, held))
            show(f"train-rm, seed {seed}", accuracy(said[-1][:, 0], said[-1][:, 1]))
    if len(seeds) > 1:
        mean = torch.stack(said).mean(0)
        show(f"mean of the {len(seeds)}", accuracy(mean[:, 0], mean[:, 1]))


def main(hh_file: str, rmbench_file: str) -> None:
    started = time.monotonic()
    compare("HH-RLHF, harmless", hh(hh_file), SEEDS)
    compare("RM-Bench, safety-refuse", rmbench(rmbench_file), SEEDS[:1])
    print(f"{time.monotonic() - started:.0f} s, torch {torch.__version__}, {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main(*sys.argv[1:])
