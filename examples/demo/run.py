"""Score the five demo files, each with its own rewards, and print how each kind of attempt fared.

Programs are scored where there is a sandbox to run them in, and nowhere else. The scores themselves go to
demo-scores-NAME.jsonl in the current folder.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path
from statistics import mean

from rewardkit import RewardResult, Scorer, Trajectory
from rewardkit.errors import SandboxUnavailableError
from rewardkit.executors import open_executor
from rewardkit.offline import score_files
from rewardkit.serialize import Line

HERE = Path(os.path.relpath(Path(__file__).parent))
NAMES = ("math", "open", "tags", "json", "code")
KINDS = ("good", "bad", "adversarial")


def main() -> None:
    """Print a row for each file: the mean total of each kind of attempt, and what has no score."""
    print(f"{'file':12}{'lines':>6}  " + "".join(f"{kind:>13}" for kind in KINDS) + f"{'failed':>9}")
    failures: list[str] = []
    for name in NAMES:
        try:
            lines, totals, failed = score(name)
        except SandboxUnavailableError as error:
            print(f"{name + '.jsonl':12}     -  not scored, for there is no sandbox: {error}")
            continue
        means = "".join(f"{mean(totals[kind]):13.2f}" for kind in KINDS)
        print(f"{name + '.jsonl':12}{lines:6}  {means}{len(failed):9}")
        failures += failed
    print("\nWhat failed has no score, and everything else was scored all the same:")
    for failure in failures:
        print(f"  {failure}")


def score(name: str) -> tuple[int, dict[str, list[float]], list[str]]:
    """Score one file; return its number of lines, the totals by kind of attempt, and what failed."""
    totals: dict[str, list[float]] = defaultdict(list)
    failed: list[str] = []

    def note(line: Line, scored: RewardResult) -> None:
        if isinstance(line.content, Trajectory) and scored.total is not None:
            totals[line.content.metadata["attempt"]].append(scored.total)
        for failure in scored.failures:
            where = f"{line.source}:{line.number}: {failure.reward}: " if failure.reward else ""
            failed.append(where + failure.message)

    with Scorer.from_toml(HERE / f"{name}.toml", executor=open_executor("process")) as scorer:
        source, output = str(HERE / f"{name}.jsonl"), Path(f"demo-scores-{name}.jsonl")
        summary = score_files(scorer, [source], output=output, on_scored=note)
    return summary.lines, totals, failed


if __name__ == "__main__":
    main()
