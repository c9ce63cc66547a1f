"""BLEU, ROUGE-L and chrF beside the libraries that compute the same numbers; equality is asserted in the same run.

Run: python benchmarks/bench_text.py [FOLDER]
FOLDER is a copy of HF evaluate's BLEU script for machines without the hub. Texts are made up: words drawn by Zipf's
law, answers and references as altered copies of one text. HF evaluate and sacrebleu keep the tokens of texts that they
have seen, so their figures are the better for the repetitions; our prepared references are forgotten before each.
The factors are over the first peer of each metric.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from rewardkit.testing import trajectory
from rewardkit.types import Trajectory
from rewardkit_plugins.text import bleu, chrf, rouge

TASKS, GROUP, REFERENCES, WORDS = 24, 8, 4, 241  # about 300 tokens of 13a a text
REPETITIONS = 7
SHARED = f"ours, {GROUP} answers share them"
LIMITS = {
    ("bleu", "ours, references of its own"): 8,
    ("bleu", SHARED): 30,
    ("rougeL", "ours, references of its own"): 20,
}
TOLERANCE = 1e-9


def groups(seed: int = 0) -> list[list[Trajectory]]:
    """Return `TASKS` groups of `GROUP` answers to one task; the answers of a group share their references."""
    draw = random.Random(seed)
    vocabulary = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 9))) for _ in range(5000)]
    weights = list(itertools.accumulate(1 / rank for rank in range(1, 5001)))

    def words() -> list[str]:
        drawn = draw.choices(vocabulary, cum_weights=weights, k=WORDS)
        return [word + draw.choice((",", ".", "", "", "", "", "", "")) for word in drawn]

    made = []
    for number in range(TASKS):
        subject = words()
        texts = [" ".join(map(draw.choice, zip(subject, words(), strict=True))) for _ in range(REFERENCES + GROUP)]
        references = texts[:REFERENCES]
        made.append([trajectory("", text, references, id=str(number)) for text in texts[REFERENCES:]])
    return made


def compare(
    title: str, reward: Any, forget: Callable[[], object], peers: dict[str, Callable[[Trajectory], float]]
) -> None:
    """Print the rows of one metric: ours with references of its own for each answer, ours shared, and the peers."""
    made = groups()
    alone = [group[0] for group in made]
    everything = [one for group in made for one in group]
    for name, peer in peers.items():
        if "same numbers" in name:
            ours = [score.value for score in reward.score_batch(alone)]
            worst = max(abs(value - peer(one)) for value, one in zip(ours, alone, strict=True))
            assert worst < TOLERANCE, f"{title}: {name} differs by {worst}"

    def score(answers: Sequence[Trajectory]) -> None:
        forget()
        for one in answers:
            reward.score_batch([one])

    work: dict[str, Callable[[], object]] = {name: lambda p=p: [p(one) for one in alone] for name, p in peers.items()}
    work["ours, references of its own"] = lambda: score(alone)
    work[SHARED] = lambda: score(everything)
    cost = {name: time / (TASKS * GROUP if name == SHARED else TASKS) for name, time in medians(work).items()}
    first = cost[next(iter(peers))]
    for name, one in cost.items():
        line = f"{f'{title}, {name}':<52}{one * 1e6:10.0f} us{1 / one:9.0f}/s{first / one:8.1f}x"
        if (limit := LIMITS.get((title, name))) is not None:
            line += f"   limit {limit:.0f}x  {'PASS' if first / one >= limit else 'FAIL'}"
        print(line)


def medians(work: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the median seconds of each; they take turns, so that what else the machine does hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(REPETITIONS):
        for name, one in work.items():
            start = time.perf_counter()
            one()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in times.items()}


def bleu_peers(folder: str) -> dict[str, Callable[[Trajectory], float]]:
    """Return HF evaluate's BLEU where it can be loaded, sacrebleu's, and nltk's with the tokens given to it."""
    import evaluate
    import sacrebleu
    from nltk.translate import bleu_score

    peers: dict[str, Callable[[Trajectory], float]] = {}
    try:
        metric = evaluate.load(folder)
    except OSError as error:
        print(f"HF evaluate's BLEU cannot be loaded, so no limit can be checked: {error}")
    else:
        peers["HF evaluate, same numbers"] = lambda one: metric.compute(
            predictions=[one.completion], references=[list(one.task.references)], smooth=True
        )["bleu"]
    peers["sacrebleu.sentence_bleu"] = lambda one: sacrebleu.sentence_bleu(one.completion, one.task.references).score
    smoothing = bleu_score.SmoothingFunction().method2
    peers["nltk, split at spaces"] = lambda one: bleu_score.sentence_bleu(
        [text.split() for text in one.task.references], one.completion.split(), smoothing_function=smoothing
    )
    return peers


def rouge_peers() -> dict[str, Callable[[Trajectory], float]]:
    """Return rouge-score's ROUGE-L."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"])
    return {
        "rouge-score, same numbers": lambda one: (
            scorer.score_multi(one.task.references, one.completion)["rougeL"].fmeasure
        )
    }


def chrf_peers() -> dict[str, Callable[[Trajectory], float]]:
    """Return sacrebleu's chrF."""
    import sacrebleu

    return {
        "sacrebleu, same numbers": lambda one: sacrebleu.sentence_chrf(one.completion, one.task.references).score / 100
    }


def main(arguments: Sequence[str]) -> None:
    """Print the table."""
    libraries = ("numpy", "rapidfuzz", "evaluate", "sacrebleu", "nltk", "rouge-score")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in libraries)
    print(f"{platform.python_implementation()} {platform.python_version()}, {versions}")
    print(f"one answer a call, {REFERENCES} references, about 300 tokens each; median of {REPETITIONS}")
    compare("bleu", bleu.Bleu(), bleu._prepare.cache_clear, bleu_peers(arguments[0] if arguments else "bleu"))
    compare("rougeL", rouge.Rouge(), rouge._prepare.cache_clear, rouge_peers())
    compare("chrf", chrf.Chrf(), chrf._prepare.cache_clear, chrf_peers())


if __name__ == "__main__":
    main(sys.argv[1:])
