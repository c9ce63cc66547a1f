"""Reading trajectories of about 5 KB: files in, validated Trajectory objects out, beside bare JSON parsers.

Every row reads the same file line by line in the same process, in turns, and processor time is counted, so that a
noisy machine harms little and all alike. The parsers beside ours check nothing and build dictionaries; pydantic
validates. Writing and hashing follow below.

Run: python benchmarks/bench_readers.py
"""

from __future__ import annotations

import gzip
import importlib.metadata
import json
import platform
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from rewardkit.serialize import (
    Line,
    encode_line,
    parse_trajectory,
    read_trajectories,
    trajectory_hash,
    trajectory_to_json,
)
from rewardkit.types import RewardResult, Score, Trajectory

COUNT = 2_000
REPETITIONS = 9
FLOOR_MB_S = 100.0
MOST_HASH_US = 20.0
TEXT = 'the agent looks at a table and finds 42 rows; it "joins" them, then answers: total is 3.14 (see above)'


def text(rng: random.Random, length: int) -> str:
    """Return words in lines of about 80 characters."""
    line, lines = "", []
    while sum(map(len, lines)) < length:
        line += rng.choice(TEXT.split()) + " "
        if len(line) > 80:
            lines.append(line)
            line = ""
    return "\n".join(lines)[:length]


def chat(number: int, *, tools: bool) -> dict[str, Any]:
    """Return a dialogue of 10 messages: a question, then four turns of the agent with an observation each."""
    rng = random.Random(number)
    messages = [{"role": "system", "content": text(rng, 400)}, {"role": "user", "content": text(rng, 500)}]
    for i in range(4):
        call = {"id": f"call_{i}", "type": "function", "function": {"name": "search", "arguments": '{"query": "x"}'}}
        messages.append({"role": "assistant", "content": text(rng, 450)} | ({"tool_calls": [call]} if tools else {}))
        messages.append({"role": "tool", "content": text(rng, 450)} | ({"tool_call_id": call["id"]} if tools else {}))
    messages[-1] = {"role": "assistant", "content": text(rng, 450)}
    return {"id": f"t{number}", "messages": messages, "references": ["42"], "level": number % 5}


def read_with(parse: Callable[[bytes], object]) -> Callable[[Path], None]:
    """Return a reader that parses every line of a file and keeps nothing."""

    def read(path: Path) -> None:
        with path.open("rb") as file:
            for line in file:
                parse(line)

    return read


def readers() -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Yield what is installed, ours first."""
    yield "rewardkit: file to Trajectory", lambda path: [None for _ in read_trajectories(path)] and None
    yield "json.loads: to dict", read_with(json.loads)
    yield "msgspec: to dict", read_with(msgspec.json.Decoder().decode)
    with suppress(ImportError):
        import orjson

        yield "orjson: to dict", read_with(orjson.loads)
    with suppress(ImportError):
        import pydantic

        message = pydantic.create_model("Message", role=str, content=str, __config__={"extra": "allow"})
        dialogue = pydantic.create_model("Dialogue", messages=(list[message], []), __config__={"extra": "allow"})
        yield "pydantic: messages to models", read_with(dialogue.model_validate_json)


def compare(name: str, records: list[dict[str, Any]], folder: Path) -> None:
    """Print one table of readers for one kind of file."""
    path = folder / "lines.jsonl"
    path.write_bytes(b"".join(json.dumps(record).encode() + b"\n" for record in records))
    size = path.stat().st_size
    table = dict(readers())
    times: dict[str, list[float]] = {reader: [] for reader in table}
    for _ in range(REPETITIONS):
        for reader, read in table.items():
            times[reader].append(seconds(lambda read=read: read(path)))
    print(f"\n{name}: {len(records)} lines of {size / len(records):.0f} bytes")
    for reader, measured in times.items():
        speed = size / statistics.median(measured) / 1e6
        print(f"  {reader:<38}{speed:8.0f} MB/s{verdict(reader, speed)}")


def verdict(reader: str, speed: float) -> str:
    """Return PASS or FAIL for our own reader."""
    if not reader.startswith("rewardkit"):
        return ""
    return f"  at least {FLOOR_MB_S:.0f}: {'PASS' if speed >= FLOOR_MB_S else 'FAIL'}"


def seconds(work: Callable[[], object]) -> float:
    """Return the processor time that `work` takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


def other_work(trajectories: list[Trajectory]) -> None:
    """Print what hashing and writing cost."""
    scored = RewardResult(total=0.5, scores={"a": Score(value=0.5, parts={"p": 1.0}), "b": Score(value=None)})
    lines = [Line(source="x", number=1, content=t) for t in trajectories]
    rows = {
        "trajectory_hash": lambda: [trajectory_hash(t) for t in trajectories],
        "trajectory_to_json and msgspec": lambda: [msgspec.json.encode(trajectory_to_json(t)) for t in trajectories],
        "encode_line (with the hash)": lambda: [encode_line(line, scored) for line in lines],
    }
    print("\nmicroseconds each")
    for name, work in rows.items():
        cost = statistics.median(seconds(work) for _ in range(REPETITIONS)) / len(trajectories) * 1e6
        limit = f"  at most {MOST_HASH_US:.0f}: {'PASS' if cost <= MOST_HASH_US else 'FAIL'}"
        print(f"  {name:<38}{cost:8.1f} us{limit if name == 'trajectory_hash' else ''}")


def constant_memory(record: dict[str, Any], folder: Path) -> None:
    """Print how far the peak memory grows between 10,000 and 100,000 trajectories."""
    path = folder / "many.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(100):
            file.write((json.dumps(record).encode() + b"\n") * 1_000)
    marks = (line for line in read_trajectories(path) if line.number in (10_000, 100_000))
    first, last = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 for _ in marks)
    growth = last - first
    print(f"\n100,000 trajectories from gzip: peak memory grows by {growth:.1f} MiB after the first 10,000", end="")
    print(f"  at most 1: {'PASS' if growth <= 1 else 'FAIL'}")


def main() -> None:
    """Print all tables."""
    versions = []
    for package in ("msgspec", "orjson", "pydantic"):
        with suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{package} {importlib.metadata.version(package)}")
    print(f"{platform.python_implementation()} {platform.python_version()}, {', '.join(versions)}, ", end="")
    print(f"median of {REPETITIONS}")
    plain = [chat(number, tools=False) for number in range(COUNT)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        compare("chat", plain, folder)
        compare("chat with tool calls", [chat(number, tools=True) for number in range(COUNT)], folder)
        trajectories = [parse_trajectory(json.dumps(record).encode()) for record in plain]
        compare("native", [trajectory_to_json(t) for t in trajectories], folder)
        other_work(trajectories)
        constant_memory(plain[0], folder)


if __name__ == "__main__":
    main()
