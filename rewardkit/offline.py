"""Score files: stream trajectories in, write results out in input order, survive being killed.

While a job runs, `OUT.partial` holds the finished scores (see `store`) and `OUT.writing` the output so far; at the end
the output is moved into place in one step and the store is deleted. Reading and writing lines is `serialize`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from rewardkit.errors import ConfigError
from rewardkit.output import Output, beside, checked_path, is_special
from rewardkit.scorer import PendingBatch, Scorer
from rewardkit.serialize import Line, encode_line, read_results, read_trajectories, trajectory_hash
from rewardkit.serialize.sources import check_source
from rewardkit.store import ScoreStore, key_of
from rewardkit.terms import name_in_total
from rewardkit.types import Failure, Outcome, RewardResult, Trajectory

_SMALLEST_CHUNK, _LARGEST_CHUNK = 8, 512
_CHUNK_SECONDS = 0.5
_LINES_AHEAD = 1024  # a line that hangs holds up the output, but not the scoring of the lines after it
_PATIENCE = 0.05  # seconds between two looks at the chunks that others may finish first


@dataclass(slots=True)
class RewardSummary:
    """Running counts of one reward (or of the total): how many values, their sum, abstentions and failures."""

    values: int = 0
    sum: float = 0.0
    abstained: int = 0
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def mean(self) -> float | None:
        """The mean of the values, None when there is none."""
        return self.sum / self.values if self.values else None

    def count(self, value: float | None) -> None:
        """Add one value; None counts as an abstention."""
        if value is None:
            self.abstained += 1
        else:
            self.values += 1
            self.sum += value


@dataclass(slots=True)
class JobSummary:
    """What a job did: lines read, bad lines, outcomes taken over from an earlier run, and counts by reward."""

    lines: int = 0
    bad_lines: int = 0
    reused: int = 0
    failed_lines: int = 0
    seconds: float = 0.0
    total: RewardSummary = field(default_factory=RewardSummary)
    rewards: dict[str, RewardSummary] = field(default_factory=dict)

    def count(self, line: Line, scored: RewardResult) -> None:
        """Add one finished line."""
        self.lines += 1
        self.failed_lines += bool(scored.failures)
        if isinstance(line.content, Failure):
            self.bad_lines += 1
            return
        self.total.count(scored.total)
        for name, score in scored.scores.items():
            self.rewards[name].count(score.value)
        for failure in scored.failures:
            self.rewards.setdefault(failure.reward, RewardSummary()).failures[failure.kind] += 1


Observer = Callable[[Line, RewardResult], None]


def score_files(
    scorer: Scorer,
    sources: Sequence[str],
    *,
    output: Path | None = None,
    to_stdout: bool = False,
    resume: bool = False,
    retry_failures: bool = False,
    on_scored: Observer | None = None,
) -> JobSummary:
    """Score the trajectories in `sources` ("-": standard input) and write one result a line, in input order.

    `output` may end in `.jsonl`, `.jsonl.gz`, `.jsonl.zst` or `.parquet`; without it JSON lines go to standard output
    if `to_stdout` is set. `on_scored` sees every line with its result as it is written.
    With `resume`, scores that an earlier run finished (same trajectory, same signature) are taken over, with
    `retry_failures` only its scores and not its failures. Raises ConfigError before anything is scored when the
    arguments cannot be right; a bad line becomes a result with a Failure.
    """
    started = time.monotonic()
    summary = JobSummary(rewards={term.name: RewardSummary() for term in scorer.terms})
    _check_sources(sources, scorer)
    output = None if output is None else checked_path(output, sources)
    with ExitStack() as stack:
        store = _open_store(stack, output, scorer, resume=resume, retry_failures=retry_failures)
        write = stack.enter_context(Output(output, to_stdout=to_stdout))
        job = _Job(scorer, store, summary)
        for line, scored in job.run(_chunks(scorer, sources, job)):
            write.line(encode_line(line, scored))
            summary.count(line, scored)
            if on_scored is not None:
                on_scored(line, scored)
        write.finish()
    if output is not None:
        _store_path(output).unlink(missing_ok=True)
    summary.seconds = time.monotonic() - started
    return summary


class _Job:
    """Keeps a few chunks under way and gives their results back in input order."""

    def __init__(self, scorer: Scorer, store: ScoreStore | None, summary: JobSummary) -> None:
        self._scorer = scorer
        self._store = store
        self._summary = summary
        self._signatures = [str(term.signature()) for term in scorer.terms]
        self._started = time.monotonic()
        self._done = 0
        self.chunk_size = _SMALLEST_CHUNK

    def run(self, chunks: Iterable[list[tuple[int, Line]]]) -> Iterator[tuple[Line, RewardResult]]:
        """Yield every line with its result, in order of the index."""
        under_way: list[_Chunk] = []
        finished: dict[int, tuple[Line, RewardResult]] = {}
        expected = 0
        for lines in chain(chunks, [[]]):
            if lines:
                under_way.append(self._start(lines))
            while under_way:
                for chunk in [chunk for chunk in under_way if chunk.pending.done]:
                    under_way.remove(chunk)
                    finished.update(self._finish(chunk))
                while expected in finished:
                    yield finished.pop(expected)
                    expected += 1
                if lines and len(finished) + sum(len(chunk.lines) for chunk in under_way) <= _LINES_AHEAD:
                    break
                if under_way:
                    under_way[0].pending.wait(_PATIENCE)

    def _start(self, lines: list[tuple[int, Line]]) -> _Chunk:
        batch = [line.content for _, line in lines if isinstance(line.content, Trajectory)]
        if self._store is None:
            return _Chunk(lines, self._scorer.submit(batch), [])
        hashes = [trajectory_hash(trajectory) for trajectory in batch]
        keys = [self._keys(index, batch, hashes) for index in range(len(self._scorer.terms))]
        stored = self._store.get([key for column in keys for key in column])
        known = [{i: stored[key] for i, key in enumerate(column) if key in stored} for column in keys]
        self._summary.reused += sum(map(len, known))
        return _Chunk(lines, self._scorer.submit(batch, known=known), keys)

    def _finish(self, chunk: _Chunk) -> Iterator[tuple[int, tuple[Line, RewardResult]]]:
        columns = chunk.pending.outcomes()
        if self._store is not None:
            fresh: dict[bytes, Outcome] = {}
            for keys, outcomes, (known, _) in zip(chunk.keys, columns, chunk.pending.columns, strict=True):
                fresh.update((key, o) for i, (key, o) in enumerate(zip(keys, outcomes, strict=True)) if i not in known)
            if fresh:
                self._store.put(fresh)
        self._adapt(len(chunk.lines))
        results = iter(chunk.pending.results())
        for index, line in chunk.lines:
            if isinstance(line.content, Failure):
                failed = RewardResult(total=None, failures=(line.content,), signature=self._scorer.signature)
                yield index, (line, failed)
            else:
                yield index, (line, next(results))

    def _keys(self, term_index: int, batch: Sequence[Trajectory], hashes: Sequence[str]) -> list[bytes]:
        signature = self._signatures[term_index]
        if "group" not in self._scorer.terms[term_index].spec.needs:
            return [key_of(signature, own) for own in hashes]
        members: dict[str, list[str]] = {}
        for trajectory, own in zip(batch, hashes, strict=True):
            members.setdefault(trajectory.group, []).append(own)
        return [key_of(signature, own, members[t.group]) for t, own in zip(batch, hashes, strict=True)]

    def _adapt(self, size: int) -> None:
        """Aim the next chunks at half a second of work, so that little is lost when the job is killed."""
        self._done += size
        pace = self._done / max(time.monotonic() - self._started, 1e-6)
        self.chunk_size = max(_SMALLEST_CHUNK, min(int(pace * _CHUNK_SECONDS), 2 * self.chunk_size, _LARGEST_CHUNK))


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Lines with their place in the input, what the scorer does with them, and the keys of each term's outcomes."""

    lines: list[tuple[int, Line]]
    pending: PendingBatch
    keys: list[list[bytes]]


def _chunks(scorer: Scorer, sources: Sequence[str], job: _Job) -> Iterator[list[tuple[int, Line]]]:
    """Yield the input in chunks; for group rewards a chunk holds whole groups, wherever their members stand."""
    sizes: Counter[str] = Counter()
    if scorer.needs_groups:
        sizes.update(line.content.group for line in _read(sources) if isinstance(line.content, Trajectory))
    waiting: dict[str, list[tuple[int, Line]]] = {}
    chunk: list[tuple[int, Line]] = []
    for index, line in enumerate(_read(sources)):
        if scorer.needs_groups and isinstance(line.content, Trajectory):
            group = line.content.group
            members = waiting.setdefault(group, [])
            members.append((index, line))
            if len(members) == sizes[group]:
                chunk.extend(waiting.pop(group))
        else:
            chunk.append((index, line))
        if len(chunk) >= job.chunk_size:
            yield chunk
            chunk = []
    chunk.extend(pair for members in waiting.values() for pair in members)  # a file that grew between the passes
    if chunk:
        yield chunk


def _read(sources: Sequence[str]) -> Iterator[Line]:
    for source in sources:
        yield from read_trajectories(source)


def _check_sources(sources: Sequence[str], scorer: Scorer) -> None:
    for source in sources:
        check_source(source)
        if scorer.needs_groups and (source == "-" or not Path(source).is_file()):
            raise ConfigError(f"a reward compares whole groups, which needs two passes over {source!r}: give a file")


def _open_store(
    stack: ExitStack, output: Path | None, scorer: Scorer, *, resume: bool, retry_failures: bool
) -> ScoreStore | None:
    """Open the store of `output`, filled with what an earlier run left when `resume` is set."""
    if output is None or is_special(output):
        if resume:
            raise ConfigError("resuming needs an output file: add -o OUT")
        return None
    if resume and (vague := [t.name for t in scorer.terms if not t.signed]):
        raise ConfigError(
            f"cannot resume with {vague[0]!r}, an object whose options nobody knows: give it `signature_fields()`"
        )
    path = _store_path(output)
    store = stack.enter_context(ScoreStore(path))
    stored = len(store)
    if stored and not resume:
        raise ConfigError(f"{str(path)!r} holds {stored} scores of an unfinished run: resume it, or delete the file")
    if resume and not stored and output.exists():
        _take_over(store, output, scorer)
    if retry_failures:
        store.drop_failures()
    return store


def _take_over(store: ScoreStore, output: Path, scorer: Scorer) -> None:
    """Fill the store from a finished output; scores of group rewards are left out, their rivals are not on record."""
    alone = [str(t.signature()) for t in scorer.terms if "group" not in t.spec.needs]
    found: dict[bytes, Outcome] = {}
    for trajectory_hash_, scored in read_results(output):
        outcomes: dict[str, Outcome] = {**scored.scores, **{f.reward: f for f in scored.failures}}
        for made_by in scored.signature.split("+"):
            signature = next((s for s in alone if f"{made_by}|".startswith(f"{s}|")), None)
            if signature and (name := name_in_total(made_by)) in outcomes:
                found[key_of(signature, trajectory_hash_)] = outcomes[name]
        if len(found) >= _LARGEST_CHUNK:
            store.put(found)
            found = {}
    store.put(found)


def _store_path(output: Path) -> Path:
    return beside(output, ".partial")
