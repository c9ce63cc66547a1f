"""Results: the documented format, and back, as JSON lines and as Parquet."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardkit.errors import ConfigError, InvalidScoreError
from rewardkit.serialize import (
    Line,
    encode_line,
    read_results,
    result_from_json,
    result_to_json,
    trajectory_from_json,
    trajectory_hash,
    write_parquet,
)
from rewardkit.types import Failure, RewardResult, Score

TRAJECTORY = trajectory_from_json({"id": "t1", "prompt": "q", "completion": "a"})
LINE = Line(source="x.jsonl", number=1, content=TRAJECTORY)
FAILURE = Failure(reward="judge", kind="timeout", message="took 5 s", retryable=True)
FULL = RewardResult(
    total=0.75,
    scores={
        "bleu": Score(value=0.5, steps=(0.25, None), tokens=(0.0, 1.0), parts={"brevity": 1.0}, uncertainty=0.0),
        "style": Score(value=None, explanation="nothing to judge", metadata={"verdict": [1]}),
    },
    failures=(FAILURE,),
    signature="bleu|v:1+style|v:2",
)
BAD = Line(
    source="x.jsonl", number=2, content=Failure(reward="", kind="input", message="x.jsonl:2: not JSON", retryable=False)
)
BAD_RESULT = RewardResult(total=None, failures=(BAD.content,), signature="s")


def test_a_result_is_written_in_the_documented_format():
    assert json.loads(encode_line(LINE, FULL)) == {
        "id": "t1",
        "hash": trajectory_hash(TRAJECTORY),
        "total": 0.75,
        "scores": {
            "bleu": {
                "value": 0.5,
                "steps": [0.25, None],
                "tokens": [0.0, 1.0],
                "parts": {"brevity": 1.0},
                "uncertainty": 0.0,
            },
            "style": {"value": None, "explanation": "nothing to judge", "metadata": {"verdict": [1]}},
        },
        "failures": [{"reward": "judge", "kind": "timeout", "message": "took 5 s", "retryable": True}],
        "signature": "bleu|v:1+style|v:2",
    }
    assert encode_line(LINE, FULL).count(b"\n") == 1


def test_a_bad_input_line_is_written_as_a_failure_without_id():
    record = json.loads(encode_line(BAD, BAD_RESULT))
    assert (record["id"], record["hash"], record["total"], record["scores"]) == (None, None, None, {})
    assert record["failures"][0]["message"] == "x.jsonl:2: not JSON"


finite = st.floats(allow_nan=False, allow_infinity=False)
text = st.text(st.characters(codec="utf-8"), max_size=8)
scores = st.builds(
    Score,
    value=st.none() | finite,
    steps=st.none() | st.lists(st.none() | finite, max_size=3).map(tuple),
    tokens=st.none() | st.lists(finite, max_size=3).map(tuple),
    parts=st.dictionaries(text, finite, max_size=2),
    uncertainty=st.none() | finite,
    explanation=text,
    metadata=st.dictionaries(text, st.none() | st.integers() | text, max_size=2),
)
kinds = st.sampled_from(["error", "timeout", "unparsable", "sandbox", "killed", "input"])
failures = st.builds(Failure, reward=text, kind=kinds, message=text, retryable=st.booleans())
results = st.builds(
    RewardResult,
    total=st.none() | finite,
    scores=st.dictionaries(text, scores, max_size=2),
    failures=st.lists(failures, max_size=2).map(tuple),
    signature=text,
)


@given(results)
@settings(max_examples=150, deadline=None)
def test_a_result_reads_back_equal(scored):
    assert result_from_json(result_to_json("t", "h", scored)) == scored
    assert result_from_json(json.loads(encode_line(LINE, scored))) == scored


@given(st.lists(results, max_size=3))
@settings(max_examples=30, deadline=None)
def test_outputs_read_back_equal_from_lines_and_from_parquet(tmp_path_factory, many):
    pytest.importorskip("pyarrow")
    folder = tmp_path_factory.getbasetemp()
    lines = folder / "out.jsonl"
    lines.write_bytes(b"".join(encode_line(LINE, scored) for scored in many))
    expected = [(trajectory_hash(TRAJECTORY), scored) for scored in many]
    assert list(read_results(lines)) == expected
    write_parquet(lines, folder / "out.parquet")
    assert list(read_results(folder / "out.parquet")) == expected


def test_parquet_has_flat_columns_for_data_frames(tmp_path):
    pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    (tmp_path / "out.jsonl.gz").write_bytes(gzip.compress(encode_line(LINE, FULL) + encode_line(BAD, BAD_RESULT)))
    write_parquet(tmp_path / "out.jsonl.gz", tmp_path / "out.parquet")
    table = parquet.read_table(tmp_path / "out.parquet")
    assert table.column_names == [
        "id", "hash", "total", "score.bleu", "score.style", "scores", "failures", "signature",
    ]  # fmt: skip
    first, second = table.to_pylist()
    assert (first["id"], first["total"], first["score.bleu"], first["score.style"]) == ("t1", 0.75, 0.5, None)
    assert json.loads(first["failures"])[0]["kind"] == "timeout"
    assert json.loads(first["scores"])["bleu"]["parts"] == {"brevity": 1.0}
    assert (second["id"], second["total"], second["score.bleu"]) == (None, None, None)


def test_nothing_that_a_reward_returns_stops_the_writer():
    odd = RewardResult(
        total=1.0,
        scores={"\ud800": Score(value=1.0, explanation="\udcff", metadata={"o": object, "s": {"a"}, "l": ["\ud800"]})},
        failures=(Failure(reward="r", kind="error", message="\ud800"),),
    )
    record = json.loads(encode_line(LINE, odd))
    assert record["total"] == 1.0
    assert record["scores"]["?"]["explanation"] == "?"
    assert record["scores"]["?"]["metadata"]["l"] == ["?"]
    assert record["failures"][0]["message"] == "?"


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"total": "1"},
        {"total": 1.0, "scores": {"a": {"value": "x"}}},
        {"total": 1.0, "scores": {"a": {"value": float("nan")}}},
        {"total": 1.0, "failures": [{}]},
    ],
)
def test_what_is_no_result_is_refused(record):
    with pytest.raises(InvalidScoreError):
        result_from_json(record)


@pytest.mark.parametrize("bad", [b"{", b"[]", b'{"x": 1}', b'{"total": "x"}', b""])
def test_an_output_with_a_broken_line_is_refused_by_name(tmp_path, bad):
    path = tmp_path / "out.jsonl"
    path.write_bytes(encode_line(LINE, FULL) + bad + b"\n")
    with pytest.raises(ConfigError, match=r"out.jsonl:2 is not a result"):
        list(read_results(path))
    pytest.importorskip("pyarrow")
    with pytest.raises(ConfigError, match=r"out.jsonl:2 is not a result"):
        write_parquet(path, tmp_path / "out.parquet")
