"""code_format: one fence or some, closed, not empty, and Python that parses; how it is gamed."""

from __future__ import annotations

import time

import pytest

from rewardkit.errors import ConfigError
from rewardkit.testing import RewardContract, trajectory
from rewardkit_plugins.code.code_format import CodeFormat

GOOD = "```python\ndef one():\n    return 1\n```"


def score(completion, **options):
    return CodeFormat(**options).score_batch([trajectory("Write it.", completion)])[0]


class TestContract(RewardContract):
    reward = "code_format"

    def trajectories(self):
        return [trajectory("Write it.", f"So:\n{GOOD}\nDone."), trajectory("Again.", "```py\nx = 1\n```")]


@pytest.mark.parametrize(
    ("completion", "options", "value"),
    [
        (GOOD, {}, 1),
        (f"<think>\n```python\n(\n```\n</think>\n{GOOD}", {}, 1),
        (f"<answer>{GOOD}</answer>", {}, 1),
        (f"{GOOD}\nIt prints:\n```\n1\n```", {}, 1),
        ("~~~py\nx = '\\d'\n~~~", {}, 1),
        (f"{GOOD}\n{GOOD}", {}, 0),
        (f"{GOOD}\n{GOOD}", {"blocks": "some"}, 1),
        (f"{GOOD}\n```python\nx = (\n```", {"blocks": "some"}, 0),
        ("```python\nx = 1", {}, 0),
        ("```python\n\n```", {}, 0),
        ("```python\n# later\n```", {}, 0),
        ("```python\nx = (\n```", {}, 0),
        ("```\nx = 1\n```", {}, 0),
        ("```js\nx = 1\n```", {}, 0),
        ("x = 1", {}, 0),
        ("", {}, 0),
        ("```js\nlet x = (\n```", {"language": "JavaScript"}, 1),
        ("```zig\nx\n```", {"language": "zig"}, 1),
    ],
)
def test_the_fence_its_label_and_its_syntax_count(completion, options, value):
    assert score(completion, **options).value == value


def test_it_says_what_is_wrong():
    found = score(f"{GOOD}\n```python\nx = (\n```")
    assert found.parts == {"blocks": 2, "parsed": 0}
    assert found.explanation == "2 blocks of python instead of one"
    assert score("```python\n\nx = (\n```").explanation == "SyntaxError: '(' was never closed (line 2)"
    assert score("prose").explanation == "no block of python found"


def test_gaming_it_with_code_that_does_nothing_pays():
    assert score("```python\npass\n```").value == 1


def test_hostile_code_costs_little_time():
    started = time.perf_counter()
    for code in ("(" * 10**6, "import " + "a." * 10**5 + "a", "-" * 10**5 + "1", "```python\n" * 10**4):
        assert score(f"```python\n{code}\n```").value == 0
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize(
    ("options", "message"),
    [({"blocks": "two"}, "blocks must be one of one, some"), ({"language": " "}, "language must be a name")],
)
def test_an_option_that_cannot_be_right_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        CodeFormat(**options)
