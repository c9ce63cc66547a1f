"""What `rewardkit score` tells people: progress and a summary on standard error, a table on standard output."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from rewardkit.cli.tables import add_row, new_table, print_table
from rewardkit.offline import JobSummary, RewardSummary
from rewardkit.serialize import Line
from rewardkit.types import Failure, RewardResult

_PLAIN_EVERY = 10.0
_COUNT_LIMIT = 2**30
_SHOWN_FAILURES = 5


class Report:
    """Follows one job: a progress bar on a terminal, a plain line every ten seconds otherwise."""

    def __init__(self, files: Sequence[str], rewards: Sequence[str], *, table: bool, quiet: bool) -> None:
        self._console = Console(stderr=True)
        self._rewards = rewards
        self._quiet = quiet
        self._table = new_table(["id"], ["total", *rewards], ["failures"]) if table else None
        self._done = self._failed = 0
        self._first_failures: dict[tuple[str, str], str] = {}
        self._first_abstentions: dict[str, str] = {}
        self._started = self._last_line = time.monotonic()
        self._bar: Progress | None = None
        if not quiet and self._console.is_terminal:
            columns = (SpinnerColumn(), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
            self._bar = Progress(*columns, TimeRemainingColumn(), console=self._console, transient=True)
            self._task = self._bar.add_task("", total=_count_lines(files))

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def scored(self, line: Line, scored: RewardResult) -> None:
        """Take note of one finished line."""
        self._done += 1
        self._failed += bool(scored.failures)
        for failure in scored.failures:
            if len(self._first_failures) < _SHOWN_FAILURES:
                text = f"{_name(line)}: {failure.reward} {failure.message}" if failure.reward else failure.message
                self._first_failures.setdefault((failure.reward, failure.kind), text)
        for name, score in scored.scores.items():
            if score.value is None:
                self._first_abstentions.setdefault(name, score.explanation)
        if self._table is not None:
            add_row(self._table, *_score_row(line, scored, self._rewards))
        if self._bar:
            self._bar.update(self._task, completed=self._done, description=f"{self._failed} failed")
        elif not self._quiet and time.monotonic() - self._last_line > _PLAIN_EVERY:
            self._last_line = time.monotonic()
            rate = self._done / (self._last_line - self._started)
            print(f"{self._done} scored, {self._failed} failed, {rate:.0f} a second", file=sys.stderr, flush=True)

    def finish(self, summary: JobSummary, signature: str) -> None:
        """Print the table of scores if asked, and the summary."""
        if self._table is not None:
            print_table(self._table)
        if self._quiet:
            return
        print_table(_summary_table(summary), stderr=True)
        reused = f", {summary.reused} scores taken over" if summary.reused else ""
        bad = f" ({summary.bad_lines} unreadable)" if summary.bad_lines else ""
        for text in self._first_failures.values():
            print(f"first of its kind: {text}", file=sys.stderr)
        for name, counts in summary.rewards.items():
            if counts.abstained and not counts.values:
                why = self._first_abstentions.get(name) or "it does not say why"
                print(f"{name} abstained on all {counts.abstained} that it did not fail on: {why}", file=sys.stderr)
        print(
            f"{summary.lines} lines in {summary.seconds:.1f} s, {summary.failed_lines} with failures{bad}{reused}\n"
            f"signature: {signature}",
            file=sys.stderr,
        )


def _score_row(line: Line, scored: RewardResult, rewards: Sequence[str]) -> list[str]:
    cells = [scored.scores[name].value if name in scored.scores else None for name in rewards]
    failures = "; ".join(f"{f.reward} {f.kind}: {f.message}".lstrip() for f in scored.failures)
    return [_name(line), _number(scored.total), *map(_number, cells), failures]


def _name(line: Line) -> str:
    return f"{line.source}:{line.number}" if isinstance(line.content, Failure) else line.content.id


def _summary_table(summary: JobSummary) -> Table:
    table = new_table(["reward"], ["mean", "values", "abstained", "failed"])
    rows: list[tuple[str, RewardSummary]] = [*summary.rewards.items(), ("total", summary.total)]
    for name, counts in rows:
        failed = ", ".join(f"{n} {kind}" for kind, n in sorted(counts.failures.items())) or "0"
        if name == "total":
            failed = ""
        add_row(table, name, _number(counts.mean), str(counts.values), str(counts.abstained), failed)
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _count_lines(files: Sequence[str]) -> int | None:
    """Return how many lines there are if that is quick to find out, else None."""
    paths = [Path(name) for name in files]
    if not all(path.suffix == ".jsonl" and path.is_file() and os.access(path, os.R_OK) for path in paths):
        return None
    if sum(path.stat().st_size for path in paths) > _COUNT_LIMIT:
        return None
    count = 0
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(2**20):
                count += block.count(b"\n")
    return count
