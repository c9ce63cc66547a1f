"""Reading files: every line is accounted for, and nothing in a file can stop the reader or exhaust the memory."""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
import tracemalloc

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardkit.errors import ConfigError
from rewardkit.serialize import Line, read_trajectories, trajectory_to_json
from rewardkit.types import Failure, Trajectory

GOOD = b'{"id": "a", "prompt": "2+2?", "completion": "4", "answer": "4"}'
CHAT = (
    b'{"messages": [{"role": "user", "content": "hi \\ud83d\\ude00"}, {"role": "assistant", "content": "ho",'
    b' "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {"a": [1]}}}]},'
    b' {"role": "tool", "content": [{"type": "text", "text": "x"}]}, {"role": "assistant"}], "level": 1.5}'
)
NATIVE = (
    b'{"task": {"prompt": "q", "references": ["4"]}, "steps": [{"action": {"role": "assistant", "content": "a"},'
    b' "reward": 1, "tokens": {"ids": [1, 2], "logprobs": [-0.1, -1e-3]}}], "terminated": true, "metadata": {"g": {}}}'
)
ENCODERS = {
    "plain": lambda raw: raw,
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "gzip members": lambda raw: b"".join(gzip.compress(raw[i : i + 50]) for i in range(0, len(raw), 50)) + bytes(512),
    "zstd frames": lambda raw: b"".join(zstandard.compress(raw[i : i + 50]) for i in range(0, len(raw), 50)),
}


@pytest.fixture
def read(tmp_path):
    """`read(raw)` writes the bytes to a file and reads its lines."""

    def read(raw: bytes, **options: int) -> list[Line]:
        path = tmp_path / "x"
        path.write_bytes(raw)
        return list(read_trajectories(path, **options))

    return read


def reason(line: Line) -> str:
    assert isinstance(line.content, Failure)
    assert line.content.kind == "input"
    assert line.content.message.startswith(f"{line.source}:{line.number}: ")
    assert "\n" not in line.content.message
    return line.content.message.removeprefix(f"{line.source}:{line.number}: ")


@pytest.mark.parametrize("encode", ENCODERS.values(), ids=ENCODERS)
def test_lines_are_read_in_order_whatever_the_compression(read, encode):
    lines = read(encode(b"\n".join([GOOD, CHAT, NATIVE] * 50) + b"\n"))
    assert [line.number for line in lines] == list(range(1, 151))
    assert all(isinstance(line.content, Trajectory) for line in lines)
    assert [line.content for line in lines[:3]] * 50 == [line.content for line in lines]


def test_bom_crlf_blank_lines_and_a_missing_last_newline_are_tolerated(read):
    lines = read(b"\xef\xbb\xbf" + GOOD + b"\r\n\r\n  \n\n" + GOOD + b"\n\xef\xbb\xbf" + GOOD)
    assert [(line.number, line.content.id) for line in lines] == [(1, "a"), (5, "a"), (6, "a")]


def test_an_empty_file_has_no_lines(read):
    assert [read(raw) for raw in (b"", b"\n", gzip.compress(b""), zstandard.compress(b""))] == [[], [], [], []]


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (b"{", "one value over many lines"),
        (b"[", "one value over many lines"),
        (b"[" + GOOD + b"]", "expected a JSON object, not a list: write one object a line"),
        (b'"text"', "not text"),
        (b"null", "not null"),
        (b"3", "not a number"),
        (GOOD + b" x", "not JSON: JSON is malformed: trailing characters"),
        (GOOD[:-1], "not JSON: "),
        (GOOD.replace(b"4", b"\xff"), "not UTF-8 text (byte 45): convert the file with iconv -t UTF-8"),
        (GOOD.decode().encode("utf-16-le"), "not UTF-8 text (it looks like UTF-16 or binary)"),
        (b'{"prompt": "a", "completion": "b", "x": NaN}', "NaN and Infinity are no JSON numbers"),
        (b'{"prompt": "a", "completion": "b", "x": [1,-Infinity]}', "NaN and Infinity are no JSON numbers"),
        (b'{"prompt": "a", "completion": "b", "x": 1e999}', "Number out of range"),
        (b'{"prompt": "a", "completion": "b", "x": ' + b"9" * 5000 + b"}", "out of range"),
        (b'{"prompt": "a", "completion": "b \\ud800 c"}', "a lone surrogate"),
        (b'{"prompt": "a", "completion": "b", "x": ' + b"[" * 100_000, "nested deeper than 100 levels"),
        (b'{"prompt": "a", "completion": "b", "x": ' + b"[" * 101 + b"]" * 101 + b"}", "nested deeper than 100"),
        (b'{"messages": ' + b"[" * 900 + b"]" * 900 + b"}", "messages[0] is [[[["),
        (b'{"prompt": "a", "completion": "b", "x": ' + b'{"a":' * 100_000, "nested deeper than 100 levels"),
        (b'{"a\\nb": 1}', "found ['a\\nb']"),
    ],
)
def test_a_bad_line_is_a_failure_with_its_cause_and_stops_nothing(read, bad, why):
    lines = read(GOOD + b"\n" + bad + b"\n" + GOOD + b"\n")
    assert [line.number for line in lines] == [1, 2, 3]
    assert why in reason(lines[1])
    assert lines[0].content == lines[2].content


def test_odd_but_valid_json_is_read(read):
    odd = b'{"prompt": "x", "prompt": "a", "completion": "b", "big": 123456789012345678901234567890, "e": "\\u0000"}'
    (line,) = read(odd)
    assert line.content.task.question == "a"  # the last of two equal keys counts, as in most parsers
    assert line.content.task.metadata == {"big": 123456789012345678901234567890, "e": "\x00"}


def test_equal_ids_are_allowed(read):
    assert [line.content.id for line in read(GOOD + b"\n" + GOOD)] == ["a", "a"]


@pytest.mark.parametrize("encode", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
@pytest.mark.parametrize("harm", ["cut", "garbage"])
def test_a_damaged_file_keeps_its_good_lines_and_ends_with_a_failure(read, encode, harm):
    raw = b"".join(b'{"prompt": "%d", "completion": "%s"}\n' % (i, os.urandom(40).hex().encode()) for i in range(9999))
    packed = encode(raw)
    lines = read(packed[: len(packed) // 2] if harm == "cut" else packed + b"garbage")
    *good, last = lines
    assert [line.content.task.question for line in good] == [str(i) for i in range(len(good))]
    assert len(good) == 9999 if harm == "garbage" else len(good) > 2000
    assert last.number == len(good) + 1
    assert "fetch it again" in reason(last)


@pytest.mark.parametrize(
    ("name", "size", "most"), [("plain", 30_000_000, 9e6), ("gzip", 30_000_000, 9e6), ("zstd", 200_000_000, 64e6)]
)
def test_a_line_over_the_limit_is_a_failure_and_never_in_memory(read, name, size, most):
    packed = ENCODERS[name](GOOD + b"\n" + b" " * size + GOOD + b"\n" + GOOD + b"\n" + b"x" * 3_000_000)
    tracemalloc.start()
    lines = read(packed, longest_line=1_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [type(line.content).__name__ for line in lines] == ["Trajectory", "Failure", "Trajectory", "Failure"]
    assert "longer than 1000000 bytes" in reason(lines[1])
    assert peak < most


def test_the_limit_is_exact(read):
    assert isinstance(read(GOOD + b"\n", longest_line=len(GOOD))[0].content, Trajectory)
    assert isinstance(read(GOOD, longest_line=len(GOOD))[0].content, Trajectory)
    assert isinstance(read(GOOD, longest_line=len(GOOD) - 1)[0].content, Failure)
    assert isinstance(read(GOOD + b"\n", longest_line=len(GOOD) - 1)[0].content, Failure)


def test_memory_does_not_grow_with_the_file(tmp_path):
    path = tmp_path / "many.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for i in range(20_000):
            file.write(b'{"id": "%d", "prompt": "q", "completion": "%s"}\n' % (i, b"word " * 100))
    peaks = []
    tracemalloc.start()
    for number, _ in enumerate(read_trajectories(path)):
        if number in (2_000, 19_000):
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.reset_peak()
    tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] < 3_000_000


@pytest.mark.parametrize("encode", ENCODERS.values(), ids=ENCODERS)
def test_standard_input_is_read_and_left_open(monkeypatch, encode):
    stdin = io.TextIOWrapper(io.BufferedReader(io.BytesIO(encode(GOOD + b"\n" + GOOD))))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert [(line.source, line.content.id) for line in read_trajectories("-")] == [("stdin", "a")] * 2
    assert not stdin.closed


def test_a_pipe_gives_its_lines_before_it_is_closed():
    receive, send = os.pipe()
    lines = read_trajectories(f"/dev/fd/{receive}")
    os.write(send, GOOD + b"\n" + GOOD)
    first = next(lines)
    os.write(send, b"\n")
    assert (first.number, next(lines).number) == (1, 2)
    os.close(send)
    assert list(lines) == []
    os.close(receive)


def test_files_that_cannot_be_read_are_refused_at_once(tmp_path):
    with pytest.raises(ConfigError, match="there is no such file"):
        read_trajectories(tmp_path / "absent.jsonl")
    with pytest.raises(ConfigError, match="it is a folder"):
        read_trajectories(tmp_path)
    secret = tmp_path / "secret"
    secret.write_bytes(GOOD)
    secret.chmod(0)
    if not os.access(secret, os.R_OK):  # root reads everything
        with pytest.raises(ConfigError, match="permission denied"):
            read_trajectories(secret)


def test_parquet_rows_read_like_lines(tmp_path):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    calls = [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "content": "x", "tool_call_id": "c"},
        {"role": "assistant", "content": "ho"},
    ]
    rows = [{"messages": messages, "answer": ["a", "b"], "metadata": {"seed": i}, "level": i / 2} for i in range(600)]
    plain = tmp_path / "plain"
    plain.write_text("\n".join(map(json.dumps, rows)))
    expected = [line.content for line in read_trajectories(plain)]
    assert expected[1].steps[0].action.tool_calls
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "nested", row_group_size=70)
    assert [line.content for line in read_trajectories(tmp_path / "nested")] == expected
    texts = [row | {key: json.dumps(row[key]) for key in ("messages", "metadata")} for row in rows]
    parquet.write_table(pa.Table.from_pylist(texts), tmp_path / "text")
    assert [line.content for line in read_trajectories(tmp_path / "text")] == expected
    assert [line.number for line in read_trajectories(tmp_path / "text")] == list(range(1, 601))


def test_odd_parquet_values_are_failures_or_text(tmp_path):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "x.parquet"
    columns = {
        "prompt": ["a"] * 5,
        "completion": ["[1]", "b", "c", "d", "e"],
        "reward": [0.5, float("nan"), None, 1.0, float("inf")],
        "metadata": [None, None, "no JSON", '1, "completion": "x"', "[" * 5000],
        "raw": [b"\xff", b"x", None, None, None],
    }
    parquet.write_table(pa.table(columns), path)
    lines = list(read_trajectories(path))
    assert lines[0].content.completion == "[1]"  # what an agent wrote is never read as JSON
    assert lines[0].content.task.metadata == {"reward": 0.5, "raw": "�"}
    assert "NaN and Infinity" in reason(lines[1])
    assert "metadata is 'no JSON': expected an object" in reason(lines[2])
    assert "metadata is" in reason(lines[3])
    assert len(lines) == 5
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ConfigError, match="damaged Parquet"):
        list(read_trajectories(path))


mutations = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.sampled_from(
            [b"", b"\x00", b"\xff", b"\\", b'"', b"[", b"]", b"{", b"}", b",", b":", b"null", b"1e999", b"-", b"NaN",
             b"[]", b"{}", b'"x"', b"true", b"\\ud800", b"\n", b"\r", b"[" * 2000, b'{"a":' * 150, b"9" * 30]
        ),
        st.integers(0, 12),
    ),
    min_size=1,
    max_size=4,
)  # fmt: skip


@given(st.sampled_from([GOOD, CHAT, NATIVE]), mutations)
@settings(max_examples=600, deadline=None)
def test_no_mutation_of_a_line_stops_the_reader(tmp_path_factory, line, changes):
    for at, put, over in changes:
        i = int(at * len(line))
        line = line[:i] + put + line[i + over :]
    path = tmp_path_factory.getbasetemp() / "mutated"
    path.write_bytes(b"\n".join([GOOD, line, GOOD]))
    lines = list(read_trajectories(path))
    written = [number for number, text in enumerate([GOOD, *line.split(b"\n"), GOOD], start=1) if text.strip()]
    assert [line.number for line in lines] == written
    assert lines[0].content == lines[-1].content
    for read in lines:
        if isinstance(read.content, Trajectory):
            json.dumps(trajectory_to_json(read.content), allow_nan=False).encode()
        else:
            assert reason(read)


@given(st.binary(max_size=300), st.sampled_from([b"", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"]))
@settings(max_examples=300, deadline=None)
def test_no_bytes_stop_the_reader(tmp_path_factory, raw, magic):
    path = tmp_path_factory.getbasetemp() / "bytes"
    path.write_bytes(magic + raw)
    try:
        lines = list(read_trajectories(path))
    except ConfigError as error:
        assert ((magic + raw)[:4], "damaged Parquet" in str(error)) == (b"PAR1", True)  # noqa: PT017
    else:
        assert all(isinstance(line.content, Failure) for line in lines)


@given(st.sampled_from([gzip.compress, zstandard.compress]), st.integers(0, 200), st.integers(0, 255))
@settings(max_examples=200, deadline=None)
def test_no_flipped_byte_of_a_compressed_file_stops_the_reader(tmp_path_factory, encode, at, byte):
    packed = bytearray(encode(b"\n".join([GOOD, CHAT, NATIVE])))
    packed[at % len(packed)] = byte
    path = tmp_path_factory.getbasetemp() / "flipped"
    path.write_bytes(packed)
    for line in read_trajectories(path):
        assert isinstance(line.content, Trajectory) or reason(line)
