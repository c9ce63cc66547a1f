"""parse: hostile Python costs neither the process nor much time."""

from __future__ import annotations

import time

import pytest

from rewardkit_plugins.code.syntax import parse, parses

LONG = 30_000


def test_python_is_told_from_what_is_none():
    assert parses("def f():\n    return '\\d'\n")
    assert not parses("def f(:")
    assert parses("")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = (", r"SyntaxError: '\(' was never closed \(line 1\)"),
        ("a\n b", r"IndentationError: unexpected indent \(line 2\)"),
        ("a\0", "null bytes"),
        ("'\ud800'", "lone surrogate"),
        ("#" * 200_001, "200,001 characters are too many"),
        ("(" * LONG, "too many nested parentheses"),
        ("-" * LONG + "1", "nested too deeply"),
        ("a" + ".a" * LONG, "nested too deeply"),
        ("if 1:pass\n" + "elif 1:pass\n" * 10_000, "nested too deeply"),
        ("import " + "a." * LONG + "a", "too many dots"),
        ("import a" + ".\\\na" * LONG, "too many dots"),
    ],
)
def test_what_cannot_be_parsed_says_why_in_one_line(code, message):
    started = time.perf_counter()
    with pytest.raises(ValueError, match=message) as caught:
        parse(code)
    assert "\n" not in str(caught.value)
    assert time.perf_counter() - started < 3
