"""Scoring texts with a reward model: the engine beside a transformers pipeline and one text at a time.

Run: python benchmarks/bench_engine.py
A Llama with random weights (4 layers, width 512, 32,000 tokens, one output) scores texts of log-normal length, 50 to
2,000 tokens. All count the same tokens, those of the texts, and tokenize within the time that is measured; every number
is compared. The share of useful tokens is that of the texts among all that went through the model. The overhead is what
the engine needs beside the model's own layers and head.
"""

from __future__ import annotations

import math
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
import transformers
from small_models import CONTROLS
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForSequenceClassification, PreTrainedTokenizerFast

from rewardkit_plugins.engine.config import EngineConfig
from rewardkit_plugins.engine.engine import Engine, Reading

TEXTS, REPETITIONS = 64, 5
PIPELINE_TIMES, ALONE_TIMES, USEFUL, OVERHEAD = 5.0, 1.0, 0.95, 0.03
TOLERANCE = 1e-5


def checkpoint(folder: str) -> str:
    """Write the model and a tokenizer of 32,000 words to `folder`."""
    words = {word: i for i, word in enumerate([*CONTROLS, *(f"w{i}" for i in range(32_000 - len(CONTROLS)))])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=CONTROLS[2], pad_token=CONTROLS[0])
    fast.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32_000,
        hidden_size=512,
        intermediate_size=1408,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        num_labels=1,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=2,
    )
    LlamaForSequenceClassification(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def texts(seed: int = 0) -> list[str]:
    """Return texts of log-normal length, of which 95 in 100 have 50 to 2,000 tokens; the others are cut to that."""
    draw = random.Random(seed)
    middle, spread = (math.log(2000) + math.log(50)) / 2, (math.log(2000) - math.log(50)) / 4
    lengths = [min(2000, max(50, round(draw.lognormvariate(middle, spread)))) for _ in range(TEXTS)]
    return [" ".join(f"w{draw.randrange(1, 31_000)}" for _ in range(length)) for length in lengths]


class Stopwatch:
    """Adds up the seconds that a model's layers and its head take."""

    def __init__(self, model: Any) -> None:
        self.seconds = 0.0
        for module in (model.base_model, model.score):
            module.register_forward_pre_hook(self._start)
            module.register_forward_hook(self._stop)

    def _start(self, *_: Any) -> None:
        self._at = time.perf_counter()

    def _stop(self, *_: Any) -> None:
        self.seconds += time.perf_counter() - self._at


def ours(engine: Engine, some: list[str]) -> list[float]:
    """Score with the engine."""
    readings = [Reading(ids, [len(ids) - 1]) for ids, _ in engine.renderer.tokenize(some)]
    return [float(one) for one in engine.classes(readings)]


def with_pipeline(pipe: Any, some: list[str], batch_size: int) -> list[float]:
    """Score with transformers' pipeline, which pads in the order given."""
    return [row["score"] for row in pipe(some, batch_size=batch_size, function_to_apply="none")]


def one_by_one(model: Any, tokenizer: Any, some: list[str]) -> list[float]:
    """Score with plain transformers, one text at a time."""
    with torch.inference_mode():
        return [float(model(**tokenizer(text, return_tensors="pt")).logits[0, 0]) for text in some]


def padded_tokens(lengths: list[int], batch: int) -> int:
    """Return how many tokens go through the model in padded batches."""
    return sum(max(some) * len(some) for some in (lengths[i : i + batch] for i in range(0, len(lengths), batch)))


def main() -> int:
    """Print the table; return 1 when a limit is missed."""
    print(
        f"Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}, "
        f"{torch.get_num_threads()} threads"
    )
    some = texts()
    lengths = [len(text.split()) for text in some]
    total = sum(lengths)
    with tempfile.TemporaryDirectory() as folder:
        path = checkpoint(folder)
        config = EngineConfig(model=path)
        packed, padded = Engine(config, "sequence"), Engine(EngineConfig(model=path, attention="sdpa"), "sequence")
        model = LlamaForSequenceClassification.from_pretrained(path).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(path)
        pipe = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
        runs: dict[str, Callable[[], list[float]]] = {
            "ours": lambda: ours(packed, some),
            "ours, attention=sdpa (padded)": lambda: ours(padded, some),
            "one by one": lambda: one_by_one(model, tokenizer, some),
            "transformers pipeline, batch 16": lambda: with_pipeline(pipe, some, 16),
        }
        expected = runs["one by one"]()
        clock = Stopwatch(packed.model)
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        inside = []
        for _ in range(REPETITIONS):
            for name, run in runs.items():
                clock.seconds, started = 0.0, time.perf_counter()
                found = run()
                seconds[name].append(time.perf_counter() - started)
                assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) < TOLERANCE, name
                if name == "ours":
                    inside.append(seconds[name][-1] / clock.seconds - 1)
    speed = {name: total / statistics.median(times) for name, times in seconds.items()}
    share = {
        "ours": packed.usage.useful / packed.usage.tokens,
        "ours, attention=sdpa (padded)": padded.usage.useful / padded.usage.tokens,
        "one by one": 1.0,
        "transformers pipeline, batch 16": total / padded_tokens(lengths, 16),
    }
    print(f"{TEXTS} texts, {total} tokens, longest {max(lengths)}; median of {REPETITIONS}\n")
    print(f"{'':34}{'useful tokens/s':>16}{'useful':>9}{'ours over it':>14}")
    for name in runs:
        print(f"{name:34}{speed[name]:16,.0f}{share[name]:9.1%}{speed['ours'] / speed[name]:14.2f}")
    rows = [
        ("over the pipeline", speed["ours"] / speed["transformers pipeline, batch 16"], PIPELINE_TIMES, True),
        ("over one by one", speed["ours"] / speed["one by one"], ALONE_TIMES, True),
        ("share of useful tokens", share["ours"], USEFUL, True),
        ("overhead beside the model", statistics.median(inside), OVERHEAD, False),
    ]
    missed = 0
    print()
    for name, value, limit, at_least in rows:
        good = value >= limit if at_least else value <= limit
        missed += not good
        print(f"{name:34}{value:10.3f}   limit {'>=' if at_least else '<='} {limit:<6g} {'' if good else 'MISSED'}")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
