"""json_format: documents, schemas, and how it is gamed."""

from __future__ import annotations

import sys
from typing import ClassVar

import pytest

from rewardkit.errors import ConfigError, MissingExtraError, RewardError
from rewardkit.testing import RewardContract, trajectory
from rewardkit_plugins.rules.json_format import JsonFormat

pytest.importorskip("jsonschema")

SCHEMA = {
    "type": "object",
    "required": ["name", "age"],
    "properties": {"name": {"type": "string", "minLength": 1}, "age": {"type": "integer", "minimum": 0}},
    "additionalProperties": False,
}
GOOD = '{"name": "Ada", "age": 36}'


def score(completion, *, task_schema=None, **options):
    reward = JsonFormat(**options)
    reward.setup()
    metadata = {} if task_schema is None else {"schema": task_schema}
    return reward.score_batch([trajectory("", completion, metadata=metadata)])[0]


class TestContract(RewardContract):
    reward = "json_format"
    options: ClassVar = {"schema": SCHEMA}

    def trajectories(self):
        return [trajectory("Who?", GOOD, [GOOD])]


@pytest.mark.parametrize(
    ("text", "parsed", "explanation"),
    [
        ('{"name": "Ada"}', 1, "$: \"'age' is a required property\""),
        ('{"name": "Ada", "age": -1}', 1, "$.age: '-1 is less than the minimum of 0'"),
        ('{"name": "Ada", "age": "36"}', 1, "$.age: "),
        ('{"name": "Ada", "age": NaN}', 0, "not JSON: 'NaN is no JSON number'"),
        ('{"name": "Ada", "age": 36, "age": 37}', 0, "not JSON: 'an object has a key twice'"),
        ("", 0, "not JSON: "),
        ("{'name': 'Ada', 'age': 36}", 0, "not JSON: "),
        ("[" * 100_000, 0, "not JSON: "),
        ('{"name": "Ada", "age": ' + "9" * 5000 + "}", 0, "not JSON: "),
    ],
)
def test_a_fault_is_named_and_scores_nothing(text, parsed, explanation):
    found = score(text, schema=SCHEMA)
    assert (found.value, found.parts) == (0, {"parsed": parsed, "valid": 0})
    assert found.explanation.startswith(explanation)


def test_a_document_that_fits_scores_one():
    assert score(GOOD, schema=SCHEMA).value == 1
    assert score(f"\n {GOOD}\n", schema=SCHEMA).parts == {"parsed": 1, "valid": 1}


@pytest.mark.parametrize(
    ("text", "fence", "expected"),
    [
        (GOOD, "forbidden", 1),
        (GOOD, "allowed", 1),
        (GOOD, "required", 0),
        (f"```json\n{GOOD}\n```", "forbidden", 0),
        (f"```json\n{GOOD}\n```", "allowed", 1),
        (f"```\n{GOOD}\n```\n", "required", 1),
        (f"Here you are:\n```json\n{GOOD}\n```", "allowed", 0),
        (f"```json\n{GOOD}\n```\n```json\n{GOOD}\n```", "allowed", 0),
    ],
)
def test_fences(text, fence, expected):
    assert score(text, schema=SCHEMA, fence=fence).value == expected


def test_the_task_may_bring_the_schema():
    assert score("3", task_schema={"type": "integer"}).value == 1
    assert score('"3"', task_schema={"type": "integer"}).value == 0
    assert score("3").value is None


def test_a_task_whose_schema_is_none_fails():
    with pytest.raises(RewardError, match="the schema is no JSON Schema"):
        score("3", task_schema={"type": "whole number"})


def test_other_documents_are_not_followed():
    with pytest.raises(RewardError, match=r"refers to 'http://127\.0\.0\.1:9/x'"):
        score("3", task_schema={"$ref": "http://127.0.0.1:9/x"})


def test_gaming_by_text_around_the_document_or_a_second_one_fails():
    for text in (f"Sure: {GOOD}", f"{GOOD} I hope this helps!", f"{GOOD}\n{GOOD}", f"// note\n{GOOD}"):
        assert score(text, schema=SCHEMA).value == 0


def test_gaming_by_numbers_that_break_the_validator_scores_nothing():
    found = score("1" + "0" * 4000, schema={"type": "integer", "multipleOf": 0.5})
    assert found.value == 0


def test_gaming_works_on_a_schema_that_asks_for_little():
    assert score('{"name": "?", "age": 0}', schema=SCHEMA).value == 1


@pytest.mark.parametrize("options", [{"schema": {"type": 3}}, {"schema": "object"}, {"fence": "no"}])
def test_an_option_that_cannot_be_right_is_refused(options):
    with pytest.raises(ConfigError, match="json_format: "):
        JsonFormat(**options).setup()


def test_a_missing_extra_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    with pytest.raises(MissingExtraError, match=r"needs 'jsonschema': pip install 'agentic-rewardkit\[json\]'"):
        JsonFormat(schema={"title": "not seen before"}).setup()
