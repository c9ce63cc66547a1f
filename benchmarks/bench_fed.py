"""Does follow-up likelihood agree with people? FED's ratings against a small language model trained here from scratch.

Run: python benchmarks/bench_fed.py [EPOCHS]     (needs ../shared/data; some minutes)
The model (3.4 million parameters) is trained on the dialogues of MTBench-101 and on the chosen ones of hh-harmless; it
never sees FED or a rating. For each rated answer (turn level) and each rated dialogue (dialog level) of FED the rewards
are computed, and Spearman's correlation with the mean rating of people is printed for every question that they were
asked, with a 95 % interval from resampling conversations. `matching` is the dimension of the reward nearest to the
question. The length of the answers in words is the baseline that knows nothing. A dialogue counts up to the last thing
that the system said. No row is left out, and nothing was chosen by its outcome.
"""

from __future__ import annotations

import gzip
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from small_models import llama, save, tokenizer
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from rewardkit.types import Message, Role, Step, Task, Trajectory
from rewardkit_plugins.models.follow_up_likelihood import FollowUpLikelihood
from rewardkit_plugins.models.response_likelihood import ResponseLikelihood

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
VOCABULARY, WINDOW, BATCH, EPOCHS, RATE = 4096, 256, 8, 3, 2e-3
SIZES = {
    "hidden_size": 256,
    "intermediate_size": 688,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}
RESAMPLES = 1000
MATCHING = {  # what FED asks, and which dimension of the reward is nearest
    "Understandable": "understanding",
    "Understanding": "understanding",
    "Relevant": "relevance",
    "Semantically appropriate": "relevance",
    "Coherent": "relevance",
    "Correct": "correctness",
    "Consistent": "correctness",
    "Interesting": "engagingness",
    "Engaging": "engagingness",
    "Likeable": "engagingness",
    "Specific": "informativeness",
    "Informative": "informativeness",
    "Depth": "informativeness",
}
ROLES = {"User": "user", "System": "assistant", "Human": "user", "Assistant": "assistant"}

Dialogue = list[dict[str, str]]


def records(name: str) -> list[Any]:
    """Return the lines of a file of ../shared/data."""
    with gzip.open(SHARED / name, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def dialogues() -> list[Dialogue]:
    """Return what the model is trained on."""
    found = [
        [
            {"role": role, "content": turn[side]}
            for turn in one["history"]
            for side, role in (("user", "user"), ("bot", "assistant"))
        ]
        for one in records("dialogue/mtbench101.jsonl.gz")
    ]
    return found + [turns(one["chosen"].strip(), "\n\n") for one in records("preference/hh_harmless_test.jsonl.gz")]


def turns(text: str, between: str) -> Dialogue:
    """Return the turns of a dialogue written as `User: ...` and `System: ...`."""
    found: Dialogue = []
    for piece in text.split(between):
        name, colon, rest = piece.partition(":")
        if colon and name in ROLES:
            found.append({"role": ROLES[name], "content": rest.strip()})
        else:
            found[-1]["content"] += between + piece
    return found


def train(model: LlamaForCausalLM, ids: torch.Tensor, epochs: int) -> None:
    """Train on windows of the tokens `ids` [n], in another order and with other edges in each epoch."""
    draw = random.Random(0)
    windows = len(ids) // WINDOW - 1
    steps = epochs * (windows // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, betas=(0.9, 0.98), weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.1)
    model.train()
    start = time.perf_counter()
    for epoch in range(epochs):
        shift, losses = draw.randrange(WINDOW), []
        order = draw.sample(range(windows), windows)
        for at in range(0, windows - BATCH + 1, BATCH):
            batch = torch.stack([ids[shift + i * WINDOW :][:WINDOW] for i in order[at : at + BATCH]])
            loss = model(input_ids=batch, labels=batch, use_cache=False).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            losses.append(loss.item())
        seconds = time.perf_counter() - start
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.3f} nats a token, {seconds:.0f} s", flush=True)
    model.eval()


def trained(folder: str, epochs: int) -> str:
    """Train tokenizer and model, and return the path of the checkpoint."""
    made = dialogues()
    random.Random(0).shuffle(made)
    words: PreTrainedTokenizerFast = tokenizer((m["content"] for d in made for m in d), vocabulary=VOCABULARY)
    text = "".join(words.apply_chat_template(d, tokenize=False) for d in made)
    ids = torch.tensor(words(text, add_special_tokens=False, verbose=False)["input_ids"])
    model = llama(len(words), **SIZES)
    size = sum(p.numel() for p in model.parameters())
    print(f"{len(made)} dialogues, {len(ids)} tokens, {size / 1e6:.1f} million parameters")
    train(model, ids, epochs)
    return save(model, words, folder)


def attempt(one: Mapping[str, Any]) -> Trajectory:
    """Return what FED shows to people: the last answer of a conversation, or all answers in a dialogue."""
    said = [Message(role=cast("Role", t["role"]), content=t["content"]) for t in turns(one["context"], "\n")]
    if one["level"] == "turn":
        answer = Message(role="assistant", content=one["response"].removeprefix("System: "))
        return Trajectory(task=Task(prompt=tuple(said)), steps=(Step(action=answer),))
    return Trajectory(task=Task(prompt=(said[0],)), steps=tuple(_steps(said[1:])))


def _steps(messages: Sequence[Message]) -> Iterator[Step]:
    heard: list[Message] = []
    for message in messages:
        if message.role == "assistant":
            yield Step(observation=tuple(heard), action=message)
            heard = []
        else:
            heard.append(message)


def scores(model: str, attempts: Sequence[Trajectory]) -> dict[str, list[float]]:
    """Return the numbers of each reward, of the dimensions of follow-up likelihood, and the length in words."""
    found: dict[str, list[float]] = {}
    for name, mode in (("FLR", "mean_logprob"), ("FLR released", "released_code")):
        reward = FollowUpLikelihood(model=model, mode=mode)  # type: ignore[arg-type]
        rated = reward.score_batch(attempts)
        reward.close()
        found[name] = [float(score.value or 0.0) for score in rated]
        if mode == "mean_logprob":
            for part in rated[0].parts:
                found[part] = [score.parts[part] for score in rated]
    likelihood = ResponseLikelihood(model=model, actions="all")
    found["response likelihood"] = [float(score.value or 0.0) for score in likelihood.score_batch(attempts)]
    likelihood.close()
    found["length"] = [float(sum(len(s.action.content.split()) for s in one.steps)) for one in attempts]
    return found


def ranks(numbers: np.ndarray) -> np.ndarray:
    """Return the rank of each number, from 0; equal numbers share the mean of their ranks."""
    _, which, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[which]


def spearman(one: np.ndarray, other: np.ndarray) -> float:
    """Return Spearman's correlation; 0.0 where one of them is constant."""
    a, b = ranks(one), ranks(other)
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm else 0.0


def interval(scored: np.ndarray, rated: np.ndarray, conversations: np.ndarray) -> tuple[float, float, float]:
    """Return the correlation and its 95 % interval, from drawing whole conversations with replacement."""
    draw = np.random.default_rng(0)
    members = [np.flatnonzero(conversations == one) for one in np.unique(conversations)]
    drawn = []
    for _ in range(RESAMPLES):
        rows = np.concatenate([members[i] for i in draw.integers(len(members), size=len(members))])
        drawn.append(spearman(scored[rows], rated[rows]))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return spearman(scored, rated), float(low), float(high)


def report(model: str, level: str) -> None:
    """Print a row for each question that people were asked at this level."""
    rows = [one for one in records("dialogue/fed.jsonl.gz") if one["level"] == level]
    start = time.perf_counter()
    found = scores(model, [attempt(one) for one in rows])
    columns = ("FLR", "matching", "FLR released", "response likelihood", "length")
    print(f"\n{len(rows)} ratings, {level} level; {time.perf_counter() - start:.0f} s for the rewards")
    print(f"{'':26}" + "".join(f"{name:>23}" for name in columns))
    for question in rows[0]["annotations"]:
        means = [[n for n in one["annotations"][question] if not isinstance(n, str)] for one in rows]
        usable = np.array([i for i, numbers in enumerate(means) if numbers])
        rated = np.array([np.mean(means[i]) for i in usable])
        conversations = np.array([rows[i]["conversation"] for i in usable])
        line = f"{question:<26}"
        for name in columns:
            source = MATCHING.get(question, "") if name == "matching" else name
            if not source:
                line += f"{'-':>23}"
                continue
            value, low, high = interval(np.array(found[source])[usable], rated, conversations)
            line += f"{value:+7.2f} [{low:+.2f}, {high:+.2f}]".rjust(23)
        print(line)


def main(arguments: Sequence[str]) -> None:
    """Train, and print both tables; without the data say so."""
    if not SHARED.is_dir():
        print("not run: ../shared/data is absent")
        return
    with tempfile.TemporaryDirectory() as folder:
        model = trained(folder, int(arguments[0]) if arguments else EPOCHS)
        for level in ("turn", "dialog"):
            report(model, level)


if __name__ == "__main__":
    main(sys.argv[1:])
