"""The follow-up likelihood of one answer beside the loop that everybody writes first: one pass for each utterance.

Run: python benchmarks/bench_follow_up.py
A Llama of random weights (4 layers, width 512, vocabulary 32,000), float32, and a conversation of about 500 tokens. The
loop runs the whole conversation with all its logits for each utterance. Equality of every likelihood is asserted in the
same run. The overhead is what of our time is not spent in the engine's passes: rendering, tokenizing, planning.
"""

from __future__ import annotations

import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
import transformers
from small_models import llama, save, tokenizer

from rewardkit.testing import trajectory
from rewardkit.types import Trajectory
from rewardkit_plugins.engine.engine import Engine
from rewardkit_plugins.models.follow_up_likelihood import FollowUpLikelihood, fit_alike, mean_logprobs
from rewardkit_plugins.models.followups import probes_of, utterances

CONTEXT, VOCABULARY = 500, 32_000
SIZES = {
    "hidden_size": 512,
    "intermediate_size": 1376,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 1024,
}
LIMITS = {10: 12.0, 120: 25.0}
REPETITIONS = {10: 5, 120: 5}
OVERHEAD, TOLERANCE = 0.03, 1e-5

Made = TypeVar("Made")


def checkpoint(folder: str) -> str:
    """Write the model, with a tokenizer trained on made-up words and the utterances, to `folder`."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(3, 10))) for _ in range(30_000)]
    texts = [" ".join(words[i : i + 100] * 2) for i in range(0, len(words), 100)]
    spoken = tokenizer(texts + utterances(probes_of(None, None)) * 20, vocabulary=VOCABULARY)
    return save(llama(VOCABULARY, **SIZES), spoken, folder)


def answer(reward: FollowUpLikelihood) -> Trajectory:
    """Return an attempt whose conversation has `CONTEXT` tokens, control tokens included."""
    draw = random.Random(1)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [draw.choice(letters) for _ in range(CONTEXT)]
    for length in range(CONTEXT, 0, -1):
        made = trajectory(" ".join(words[: length // 2]), " ".join(words[length // 2 : length]))
        if len(reward.engine.renderer.render(made.messages).ids) <= CONTEXT:
            return made
    raise AssertionError("one word has more than 500 tokens")


def loop(reward: FollowUpLikelihood, one: Trajectory, texts: Sequence[str]) -> list[float]:
    """Return the mean log-probability of each utterance, each from a whole pass with all logits."""
    engine = reward.engine
    assert isinstance(engine, Engine)
    found = []
    messages = [{"role": m.role, "content": m.content} for m in one.messages]
    for text in texts:
        whole = engine.tokenizer.apply_chat_template([*messages, {"role": "user", "content": text}], tokenize=False)
        encoded = engine.tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
        start = whole.rindex(text)
        spoken = [i for i, (a, b) in enumerate(encoded["offset_mapping"]) if b > start and a < start + len(text)]
        ids = torch.tensor([encoded["input_ids"]])
        with torch.inference_mode():
            logprobs = engine.model(ids).logits[0].log_softmax(dim=-1)
        found.append(float(logprobs[[i - 1 for i in spoken], ids[0, spoken]].mean()))
    return found


def ours(reward: FollowUpLikelihood, one: Trajectory, texts: Sequence[str]) -> list[float]:
    """Return the same as the reward computes it."""
    distinct = list(dict.fromkeys(texts))
    spoken, _ = fit_alike(reward.engine, reward.engine.renderer.continuations(one.messages, distinct))
    of = dict(zip(distinct, mean_logprobs(reward.engine, spoken), strict=True))
    return [of[text] for text in texts]


def timed(work: Callable[[], Made]) -> tuple[float, Made]:
    """Return the wall seconds of one call, and what it made."""
    start = time.perf_counter()
    made = work()
    return time.perf_counter() - start, made


def compare(reward: FollowUpLikelihood, one: Trajectory, count: int) -> bool:
    """Print the row of `count` utterances, and return whether the limit is kept."""
    probes = probes_of(None, None)
    texts = [text for sides in probes.values() for side in sides.values() for text in side][:count]
    engine = reward.engine
    assert isinstance(engine, Engine)
    times: list[tuple[float, float]] = []
    worst = 0.0
    for _ in range(REPETITIONS[count]):
        with engine.replicas[0].unpacked():  # the loop computes as transformers does
            slow, theirs = timed(lambda: loop(reward, one, texts))
        fast, found = timed(lambda: ours(reward, one, texts))
        times.append((slow, fast))
        worst = max(worst, *(abs(a - b) for a, b in zip(found, theirs, strict=True)))
    assert worst < TOLERANCE, f"{count} utterances differ by {worst}"
    slow, fast = (statistics.median(column) for column in zip(*times, strict=True))
    kept = slow / fast >= LIMITS[count]
    print(
        f"{count:4d} utterances: loop {slow:7.3f} s   ours {fast:6.3f} s   {slow / fast:5.1f}x   largest difference "
        f"{worst:.1e}   limit {LIMITS[count]:.0f}x  {'PASS' if kept else 'FAIL'}"
    )
    return kept


def overhead(reward: FollowUpLikelihood, one: Trajectory) -> bool:
    """Print what share of `score_batch` is spent outside the engine's passes, and return whether the limit is kept."""
    engine = reward.engine
    assert isinstance(engine, Engine)
    shares = []
    for _ in range(7):
        before = engine.usage.seconds
        whole, _ = timed(lambda: reward.score_batch([one]))
        shares.append((whole, 1 - (engine.usage.seconds - before) / whole))
    whole, share = (statistics.median(column) for column in zip(*shares, strict=True))
    print(
        f"score_batch of one answer {whole:.3f} s, outside the passes {share:.1%}   limit {OVERHEAD:.0%}  "
        f"{'PASS' if share < OVERHEAD else 'FAIL'}"
    )
    return share < OVERHEAD


def main() -> int:
    """Print the table; 1 when a limit is missed."""
    print(f"Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        reward = FollowUpLikelihood(model=checkpoint(folder))
        reward.setup()
        one = answer(reward)
        length = len(reward.engine.renderer.render(one.messages).ids)
        print(f"a conversation of {length} tokens, {torch.get_num_threads()} threads; medians")
        kept = [compare(reward, one, count) for count in LIMITS]
        kept.append(overhead(reward, one))
        reward.close()
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
