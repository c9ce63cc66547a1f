"""same_output and same_value: what counts as the expected output or value, and what never does."""

from __future__ import annotations

import json
import math
import time

import pytest

from rewardkit_plugins.code.compare import same_output, same_value


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        ("3\n", "3\n"),
        ("3", "3\n"),
        ("3 \t\n\n\n", "3"),
        ("1 2\r\n3\r\n", "1 2\n3"),
        ("1   2", "1 2"),
        ("  1", "1"),
        ("7.0", "7"),
        ("7", "7.0"),
        ("1e3", "1000"),
        ("-0.0", "0"),
        ("0.3333333333", "0.333333"),
        ("x 1.000001 y", "x 1.0 y"),
        ("1000000007.0", "1000000007"),
        (".5", "0.50"),
        ("", ""),
        ("\n \n", ""),
        ("naïve ✓", "naïve ✓"),
        ("100000000000000000001.0", "100000000000000000001"),
    ],
)
def test_outputs_that_agree(actual, expected):
    assert same_output(actual.encode(), expected)


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        ("4", "3"),
        ("", "3"),
        ("3\n4", "3"),
        ("3", "3\n4"),
        ("3\njunk", "3"),
        ("\n3", "3"),
        ("1\n\n2", "1\n2"),
        ("1\n2", "1 2"),
        ("12", "1 2"),
        ("07", "7"),
        ("+7", "7"),
        ("10000001", "10000000"),
        ("10000001.0", "10000000"),
        ("10000000.4", "10000000"),
        ("9007199254740993.0", "9007199254740992"),
        ("0.334", "0.333"),
        ("yes", "YES"),
        ("1,5", "1.5"),
        ("1_000.0", "1000"),
        ("٧.0", "7"),
        ("nan", "1.0"),
        ("inf", "1e999"),
        ("1e999", "1e998"),
        ("1.0e999999", "2.0"),
        ("0x10", "16"),
        ("True", "1"),
        ("a\x0bb\nc", "a\nb\nc"),
        ("a\u2028b", "a\nb"),
        ("3\x00", "3"),
    ],
)
def test_outputs_that_differ(actual, expected):
    assert not same_output(actual.encode(), expected)


def test_a_byte_that_is_no_text_is_a_difference_and_no_error():
    assert not same_output(b"\xff\xfe", "\ufffd\ufffd")
    assert not same_output(b"3 \xff", "3")
    assert same_output(b"\xff", b"\xff")


def test_spaces_inside_a_line_count_when_asked():
    assert not same_output("  *\n ***", "*\n***", spaces=True)
    assert same_output("  *  \n ***\n\n", "  *\n ***", spaces=True)
    assert same_output("a  1.0", "a  1", spaces=True)
    assert not same_output("a 1", "a  1", spaces=True)


def test_tolerance_is_what_was_asked_for():
    assert same_output("1.01", "1.0", rtol=0.02)
    assert same_output("0.01", "0.0", atol=0.02)
    assert not same_output("1.00000001", "1.0", rtol=0, atol=0)
    assert same_output("7.01", "7", atol=0.02)
    assert not same_output("8", "7", rtol=0.5, atol=5)


@pytest.mark.parametrize(
    ("actual", "expected"),
    [("1.0 " * 250_000, "1 " * 250_000), ("1.0\n" * 250_000, "1\n" * 250_000), ("9" * 10**6 + ".0", "9" * 10**6)],
)
def test_long_outputs_are_compared_in_linear_time(actual, expected):
    started = time.perf_counter()
    same_output(actual, expected)
    assert time.perf_counter() - started < 3


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (1, 1),
        (1.0, 1),
        (1, 1.0),
        ((1, (2, "a")), [1, [2, "a"]]),
        (0.1 + 0.2, 0.3),
        ([0.30000001], [0.3]),
        ({"a": [None, True]}, {"a": (None, True)}),
        (math.nan, math.nan),
        (math.inf, math.inf),
        (-0.0, 0),
        (10**400, 10**400),
        ("ß", "ß"),
        ([], ()),
    ],
)
def test_values_that_agree(actual, expected):
    assert same_value(actual, expected)


class AlwaysEqual(int):
    def __eq__(self, other):
        return True

    __hash__ = int.__hash__


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (2, 1),
        (True, 1),
        (1, True),
        (0, False),
        (None, 0),
        (None, False),
        ("1", 1),
        ([1, 2], [1]),
        ([1], [1, 2]),
        ([[]], [{}]),
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": 1, "b": 2}, {"a": 1}),
        (10**17 + 1, 10**17),
        (10**7 + 0.5, 10**7),
        (2.0**53, 2**53 + 1),
        (10**400, 1.5),
        (math.inf, 10**400),
        (math.inf, -math.inf),
        (math.nan, 0.0),
        (1e308, math.inf),
        (AlwaysEqual(3), 4),
        ([AlwaysEqual(3)], [3]),
        ({1, 2}, {1, 2}),
        (b"a", b"a"),
        ("e\u0301", "\u00e9"),
    ],
)
def test_values_that_differ(actual, expected):
    assert not same_value(actual, expected)


def test_deep_values_are_compared_without_recursion():
    def nest(leaf):
        for _ in range(50_000):
            leaf = [leaf]
        return leaf

    assert same_value(nest(1), nest(1))
    assert not same_value(nest(1), nest(2))


def test_values_read_from_json_agree_with_themselves():
    value = json.loads('{"a": [1, 2.5, -1e-9, "x", null, true, {"b": []}]}')
    assert same_value(value, json.loads(json.dumps(value)))


def test_tolerance_of_values_is_what_was_asked_for():
    assert same_value([1.01], [1.0], rtol=0.02)
    assert not same_value([1.00000001], [1.0], rtol=0, atol=0)
