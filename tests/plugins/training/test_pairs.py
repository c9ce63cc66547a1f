import gzip
import hashlib
import json

import pytest

from rewardkit.errors import ConfigError, InvalidTrajectoryError
from rewardkit.types import Message
from rewardkit_plugins.training.pairs import parse_example, read_examples

QUESTION = Message(role="user", content="Who?")


def said(*turns):
    return [{"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(turns)]


def pair(record):
    found = parse_example(record)
    return found.prompt, *(answer[-1].content for answer in found.answers)


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "Who?", "chosen": "Ada", "rejected": "Bob"},
        {"question": "Who?", "chosen": "Ada", "rejected": "Bob"},
        {"prompt": said("Who?"), "chosen": [{"role": "assistant", "content": "Ada"}], "rejected": "Bob"},
        {"prompt": "Who?", "chosen": said("Who?", "Ada"), "rejected": said("Who?", "Bob")},
        {"chosen": said("Who?", "Ada"), "rejected": said("Who?", "Bob")},
        {"chosen": "\n\nHuman: Who?\n\nAssistant: Ada", "rejected": "\n\nHuman: Who?\n\nAssistant: Bob "},
        {"prompt": "\n\nHuman: Who?\n\nAssistant:", "chosen": "Ada", "rejected": "Bob"},
        {"prompt": "Who?", "chosen": "Bob", "rejected": "Ada", "label": 0},
        {"prompt": "Who?", "chosen": "Bob", "rejected": "Ada", "strength": -2},
        {"prompt": "Who?", "response_1": "Ada", "response_2": "Bob", "preference_strength": -2},
        {"prompt": "Who?", "response_1": "Bob", "response_2": "Ada", "preference_strength": 1},
    ],
)
def test_all_forms_of_a_pair_are_one(record):
    assert pair(record) == ((QUESTION,), "Ada", "Bob")


def test_the_prompt_of_two_dialogues_is_what_they_share():
    found = parse_example({"chosen": said("a", "b", "c", "good"), "rejected": said("a", "b", "other", "bad")})
    assert [m.content for m in found.prompt] == ["a", "b"]
    assert [[m.content for m in answer] for answer in found.answers] == [["c", "good"], ["other", "bad"]]
    assert found.topic == "a"


def test_answers_that_begin_alike_keep_their_last_message_apart():
    found = parse_example({"chosen": said("a", "b"), "rejected": said("a", "b", "c", "d")})
    assert [len(answer) for answer in found.answers] == [1, 3]


def test_labels_margins_and_strengths_are_kept():
    given = {"prompt": "p", "chosen": "x", "rejected": "y"}
    found = parse_example({**given, "label": 0.3, "margin": 0.5})
    assert (found.label, found.margin, found.strength) == (0.7, 0.5, None)
    assert found.answers[0][0].content == "y"
    assert parse_example({**given, "strength": 0}).strength == 0
    assert parse_example({**given, "strength": -3}).strength == 3


def test_ratings_leave_out_what_is_not_labelled():
    found = parse_example({"prompt": "p", "completion": "x", "attributes": {"fun": 3, "truth": None}}, "attributes")
    assert found.attributes == {"fun": 3.0}
    found = parse_example({"prompt": "p", "response": "x", "helpfulness": 4, "verbosity": 1}, "attributes")
    assert found.attributes == {"helpfulness": 4.0, "verbosity": 1.0}


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ([1], "expected an object"),
        ({"prompt": "p", "chosen": "x"}, "rejected is missing"),
        ({"prompt": "p", "completion": "x", "attributes": {"fun": 1}}, "objective 'attributes'"),
        ({"chosen": "x", "rejected": "y"}, "chosen is text without a prompt"),
        ({"chosen": said("a", "x"), "rejected": said("b", "y")}, "do not begin alike"),
        ({"prompt": "p", "chosen": " ", "rejected": "y"}, "chosen is empty"),
        ({"prompt": "p", "chosen": "x", "rejected": said("p")}, "rejected does not end with the assistant"),
        ({"prompt": [], "chosen": "x", "rejected": "y"}, "prompt is"),
        ({"prompt": "p", "chosen": 3, "rejected": "y"}, "chosen is 3"),
        ({"prompt": "p", "chosen": "x", "rejected": "y", "label": 1.5}, "label is 1.5"),
        ({"prompt": "p", "chosen": "x", "rejected": "y", "strength": 4}, "strength is 4"),
        ({"prompt": "p", "chosen": "x", "rejected": "y", "strength": -1, "label": 1}, "say only once"),
        ({"prompt": "p", "chosen": "x", "rejected": "y", "margin": "big"}, "margin is 'big'"),
        ({"prompt": "p", "response_1": "x", "response_2": "y"}, "preference_strength is missing"),
    ],
)
def test_a_bad_pair_is_refused_with_its_reason(record, reason):
    with pytest.raises(InvalidTrajectoryError, match=reason):
        parse_example(record)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"prompt": "p", "completion": "x", "attributes": {"fun": None}}, "no attribute has a number"),
        ({"prompt": "p", "completion": "x", "attributes": {"fun": "3"}}, "attributes.fun is '3'"),
        ({"prompt": "p", "attributes": {"fun": 3}}, "a rated answer has"),
    ],
)
def test_a_bad_rating_is_refused_with_its_reason(record, reason):
    with pytest.raises(InvalidTrajectoryError, match=reason):
        parse_example(record, "attributes")


def test_bad_lines_are_counted_and_named_and_stop_nothing(tmp_path):
    good = json.dumps({"prompt": "p", "chosen": "x", "rejected": "y"})
    text = f"{good}\n\n{{oops\n{good}\n[1]\n".encode()
    path = tmp_path / "pairs.jsonl.gz"
    path.write_bytes(gzip.compress(text))
    read = read_examples(path)
    assert [example.where for example in read.kept] == ["pairs.jsonl.gz:1", "pairs.jsonl.gz:4"]
    assert [line.where for line in read.left_out] == ["pairs.jsonl.gz:3", "pairs.jsonl.gz:5"]
    assert str(read.left_out[1]).startswith("pairs.jsonl.gz:5: ")
    assert read.sha256 == hashlib.sha256(text).hexdigest()
    path.write_bytes(gzip.compress(text)[:-12])
    assert "ends early" in read_examples(path).left_out[-1].reason


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        read_examples(tmp_path / "absent.jsonl")
