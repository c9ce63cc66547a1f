"""Tool calls in an agent's text: the forms that count, and the reasons for those that do not."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardkit_envs.calls import LONGEST, Call, Malformed, parse_call

NAMES = ("search", "python")


def parsed(text):
    return parse_call(text, NAMES)


def reason(text):
    call = parsed(text)
    assert isinstance(call, Malformed), call
    return call.reason


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "search", "arguments": {"query": "rain"}}',
        '  {"name": "search", "arguments": "{\\"query\\": \\"rain\\"}"}\n',
        '{"type": "function", "function": {"name": "search", "arguments": "{\\"query\\": \\"rain\\"}"}}',
        '{"tool_calls": [{"function": {"name": "search", "arguments": {"query": "rain"}}}]}',
        '[{"name": "search", "arguments": {"query": "rain"}}]',
        'I look it up.\n```json\n{"name": "search", "arguments": {"query": "rain"}}\n```\n',
        'I look it up. <tool_call>\n{"name": "search", "arguments": {"query": "rain"}}\n</tool_call>',
        '<think>Action: none\nAction: two</think>{"name": "search", "arguments": {"query": "rain"}}',
        'Thought: weather\nAction: search\nAction Input: {"query": "rain"}',
        'Action: search\nAction Input:\n```json\n{"query": "rain"}\n```',
    ],
)
def test_every_form_of_a_call_says_the_same(text):
    assert parsed(text) == Call(name="search", arguments={"query": "rain"})


def test_talk_of_thoughts_in_an_input_is_no_thought():
    call = parsed("<think>so</think>Action: search\nAction Input: <think> or </think>")
    assert call == Call(name="search", arguments="<think> or </think>")


def test_the_id_of_a_call_is_kept():
    text = '{"id": "call_7", "function": {"name": "search", "arguments": "{}"}}'
    assert parsed(text) == Call(name="search", arguments={}, id="call_7")


def test_a_plain_input_goes_to_the_end_of_the_text():
    assert parsed("Action: search\nAction Input: rain\nand snow\n").arguments == "rain\nand snow"
    assert parsed("Action: search\n\nAction Input:").arguments == ""


def test_a_fence_around_an_input_is_no_part_of_it():
    code = "for x in {1}:\n    print('Action: no')\nAction: no\n"
    assert parsed(f"Action: python\nAction Input:\n```python\n{code}```\n").arguments == code


def test_the_text_of_a_tool_with_one_argument_is_had_from_both_forms():
    assert Call(name="search", arguments="rain").text("query") == "rain"
    assert Call(name="search", arguments={"query": "rain"}).text("query") == "rain"
    for arguments in ({}, {"query": 3}, {"query": "rain", "more": 1}, {"q": "rain"}):
        assert '{"query": text}' in Call(name="search", arguments=arguments).text("query").reason


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The answer is 42.",
        "[1, 2]",
        '{"answer": 42}',
        '{"name": "Ada Lovelace"}',
        "{x | x > 2}",
        "```python\nprint('x')\nAction: search\n```",
        "<think>Action: search\nAction Input: rain</think>42",
        "<think>Action: search\nAction Input: rain",
        " <think>42",
        "My next Action: none",
        '```json\n{"a": 1}\n```',
        "[" * 100_000,
    ],
)
def test_what_tries_no_call_is_none(text):
    assert parsed(text) is None


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("Action: search\nAction Input: a\nAction: search\nAction Input: b", "Make one call"),
        ("Action: search", "Make one call"),
        ("Action Input: rain", "Make one call"),
        ("Action: search\nquickly\nAction Input: rain", "Make one call"),
        ("Action: search\nAction Input: rain\nObservation: it rains", "nothing behind"),
        ("Action: search\nAction Input: rain\nFinal Answer: wet", "nothing behind"),
        ("Action: python\nAction Input:\n```python\n1\n```\nThis prints 1.", "nothing behind"),
        ("Action: python\nAction Input:\n```python\n1\n", "never closed"),
        ('Action: search\nAction Input: {"query": "rain"', "no JSON"),
        ('Action: search\nAction Input: {"query": "rain"} please', "nothing behind"),
        ("Action: seach\nAction Input: rain", "no tool 'seach'; there are: python, search"),
        ("Action: \nAction Input: rain", "no tool ''"),
        ('{"name": "sing", "arguments": {}}', "no tool 'sing'"),
        ('{"name": "search"}', "must be a JSON object"),
        ('{"name": "search", "arguments": [1]}', "must be a JSON object"),
        ('{"name": "search", "arguments": "[1]"}', "must be a JSON object"),
        ('{"name": "search", "arguments": "{"}', "no JSON"),
        ('{"name": 3, "arguments": {}}', "name and id are text"),
        ('{"function": "search", "arguments": {}}', "name and id are text"),
        ('{"name": "search", "arguments": {"query": "rain"}', "no JSON"),
        ('{"name": "search", "arguments": {"query": "a", "query": "b"}}', "twice"),
        ('{"name": "search", "arguments": {"query": NaN}}', "NaN is no number"),
        ('{"name": "search", "arguments": {"query": "a"}} and then', "nothing behind"),
        ('{"name": "search", "arguments": {"n": ' + "9" * 5000 + "}}", "no JSON"),
        ('{"name": "search", "arguments": ' + "[" * 50_000, "nested too deeply"),
        ('{"name": "search", "arguments": {"a": ' + "[" * 150 + "]" * 150 + "}}", "nested too deeply"),
        ('[{"name": "search", "arguments": {}}, {"name": "search", "arguments": {}}]', "not 2"),
        ('{"tool_calls": [{"name": "search", "arguments": {}}, 7]}', "not 2"),
        ('<tool_call>{"name": "search", "arguments": {}}', "Make one call"),
        ("<tool_call>{}</tool_call><tool_call>{}</tool_call>", "Make one call"),
        ('<tool_call>{"name": "search", "arguments": {}}</tool_call> Done.', "nothing behind"),
        ('```json\n{"name": "search", "arguments": {}}\n```\nDone.', "nothing behind"),
        ("Action: search\nAction Input: " + "a" * LONGEST, f"{LONGEST} characters"),
    ],
)
def test_what_is_almost_a_call_is_answered_with_the_reason(text, part):
    assert part in reason(text)
    assert len(reason(text)) < 300


PIECES = [
    *'{}[]":,`<>/',
    "\n",
    "Action:",
    "Action Input:",
    "```",
    '"name":',
    '"function":',
    '"arguments":',
    "<tool_call>",
]


@given(st.lists(st.sampled_from(PIECES)).map("".join))
def test_no_text_raises(text):
    assert parsed(text) is None or isinstance(parsed(text), Call | Malformed)


def test_what_is_parsed_was_written():
    for arguments in ({}, {"query": "a\n```\nAction: x"}, {"deep": [{"x": [None, True, 1.5]}]}):
        assert parsed(json.dumps({"name": "search", "arguments": arguments})).arguments == arguments


MANY = [
    "Action: x\n",
    "Action Input: x\n",
    "```x\n",
    "```\n",
    "<tool_call>",
    "</think>",
    "{",
    " ",
    '{"a":',
    "\\",
    "Action:   ",
]


@pytest.mark.parametrize("piece", [*MANY, "```\nAction: x\n```\n"])
def test_a_megabyte_of_anything_is_read_at_once(piece):
    started = time.process_time()
    parsed(piece * (2**20 // len(piece)))
    assert time.process_time() - started < 10  # quadratic would be minutes
