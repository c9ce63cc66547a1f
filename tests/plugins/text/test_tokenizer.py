"""The 13a tokenizer: sacrebleu's tokens for any text."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardkit_plugins.text.tokenizer import tokenize_13a


def theirs(text):
    tokenizer = pytest.importorskip("sacrebleu.tokenizers.tokenizer_13a")
    return tokenizer.Tokenizer13a()(text).split()


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", []),
        (" \n\t ", []),
        ("Hello, world.", ["Hello", ",", "world", "."]),
        ("it's well-known", ["it's", "well-known"]),
        ("pi is 3.14, not 3.", ["pi", "is", "3.14", ",", "not", "3", "."]),
        ("1,000.5 or .5", ["1,000.5", "or", ".", "5"]),
        ("1990-95", ["1990", "-", "95"]),
        ("(a/b)=[c]", ["(", "a", "/", "b", ")", "=", "[", "c", "]"]),
        ("hyphen-\nated", ["hyphenated"]),
        ("&lt;b&gt; &amp;quot; &quot;", ["<", "b", ">", "&", "quot", ";", '"']),
        ("<skipped>word", ["word"]),
        ("a..5", ["a", ".", ".5"]),  # mteval reads marks in pairs: the second is left with the digit
        ("a...5", ["a", ".", ".", ".", "5"]),
        ("3。14 ٣.١٤", ["3。14", "٣", ".", "١٤"]),  # only ASCII digits are digits
        ("我爱你。好", ["我爱你。好"]),
        ("a\u00a0b\u2028c", ["a", "b", "c"]),
    ],
)
def test_tokens_are_those_of_mteval(text, tokens):
    assert tokenize_13a(text) == tokens


@settings(deadline=None)
@given(st.text(alphabet="aé1.,-' \n&;<>\"!/%$٣我", max_size=20))
def test_marks_and_digits_in_any_order_give_sacrebleus_tokens(text):
    assert tokenize_13a(text) == theirs(text)


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_gives_sacrebleus_tokens(text):
    assert tokenize_13a(text) == theirs(text)


def test_real_answers_give_sacrebleus_tokens(shared):
    with gzip.open(shared("data/text/alpaca_eval_multi_reference.jsonl.gz"), "rt") as lines:
        texts = [text for line in lines for text in json.loads(line)["references"].values()]
    assert all(tokenize_13a(text) == theirs(text) for text in texts)
