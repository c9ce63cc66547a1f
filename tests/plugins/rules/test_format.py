"""format: tags as asked, the released rules, and how they are gamed."""

from __future__ import annotations

import json
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardkit.errors import ConfigError
from rewardkit.testing import RewardContract, trajectory
from rewardkit_plugins.rules.format import Format

GOOD = "<think>\nwork\n</think>\n<answer>\n42\n</answer>"


def score(completion, **options):
    return Format(**options).score_batch([trajectory("", completion)])[0]


class TestContract(RewardContract):
    reward = "format"

    def trajectories(self):
        return [trajectory("6*7?", GOOD, ["42"])]


@pytest.mark.parametrize("text", [GOOD, "<think>r</think><answer>a</answer>", f"\n {GOOD}\n\n"])
def test_line_breaks_around_tags_do_not_matter(text):
    assert score(text).value == 1


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "<think> occurs 0 times, expected once"),
        ("42", "<think> occurs 0 times, expected once"),
        (GOOD + "\nextra", "'extra' stands after </answer>"),
        ("Sure! " + GOOD, "'Sure!' stands before <think>"),
        ("<think>r</think> so <answer>a</answer>", "'so' stands before <answer>"),
        ("<answer>a</answer><think>r</think>", "'<answer>a</answer>' stands before <think>"),
        ("</think>r<think><answer>a</answer>", "<think> is out of order"),
        ("<think>r<answer>a</answer></think>", "<answer> is out of order"),
        ("<think>\n\n</think><answer>a</answer>", "<think> is blank"),
        ("<think>r</think><answer> </answer>", "<answer> is blank"),
        ("<think>r</think><answer>a", "</answer> occurs 0 times, expected once"),
        (GOOD + "\n" + GOOD, "<think> occurs 2 times, expected once"),
        (GOOD.upper(), "<think> occurs 0 times, expected once"),
    ],
)
def test_a_fault_is_named_and_scores_nothing(text, fault):
    found = score(text)
    assert found.value == 0
    assert found.explanation.startswith(fault) or fault in found.explanation


def test_gaming_by_text_after_the_answer_on_a_new_line_fails_here_and_passes_as_released():
    text = GOOD + "\nand now whatever I like"
    assert score(text).value == 0
    assert score(text, mode="open-r1").value == 1


def test_gaming_by_tag_spam_fails_here_and_passes_as_released():
    assert score(GOOD + "\n" + GOOD).value == 0
    assert score(GOOD + "\n" + GOOD, mode="open-r1").value == 1


def test_gaming_by_tags_in_a_heap_fails_here_and_passes_tag_count():
    heap = "\n</answer>\n</think>\n<answer>\n...<think>\n"
    assert score(heap, mode="tag-count").value == 1
    assert score(heap).value == 0


def test_an_opening_tag_written_by_the_template_counts():
    rest = GOOD.removeprefix("<think>\n")
    assert score(rest).value == 0
    for mode in ("strict", "open-r1", "tag-count", "trl-think"):
        assert score(rest, prefilled=True, mode=mode).value == 1
    assert score(GOOD, prefilled=True).value == 0


def test_thinking_may_be_followed_by_a_free_answer():
    options = {"tags": ["think"], "text_after": True}
    assert score("<think>r</think>\n42", **options).value == 1
    assert score("<think>r</think>\n", **options).explanation == "no text follows </think>"
    assert score("<think>r</think>\n42").value == 0
    assert score("<think>a</think>x<think>b</think>42", **options).value == 0


def test_tags_can_be_named():
    assert score("<plan>p</plan><act>a</act><say>s</say>", tags=["plan", "act", "say"]).value == 1
    assert score("<act>a</act><plan>p</plan><say>s</say>", tags=["plan", "act", "say"]).value == 0


def test_trl_think_matches_its_published_examples():
    assert score("<think>\nThis is my reasoning.\n</think>\nThis is my answer.", mode="trl-think").value == 1
    assert score("<think>\nThis is my reasoning.\nThis is my answer.", mode="trl-think").value == 0
    assert score("<think>a</think><think>b</think>", mode="trl-think").value == 0


@pytest.mark.parametrize(("mode", "group"), [("open-r1", "format"), ("tag-count", "tag_count")])
def test_released_rules_are_reproduced(shared, mode, group):
    for case in json.loads(shared("specs/vectors/openr1_rules.json").read_text())[group]:
        assert score(case["text"], mode=mode).value == case["reward"], case["text"]


PIECES = [
    "<think>",
    "</think>",
    "<answer>",
    "</answer>",
    "\n",
    "a",
    "<think>\n",
    "\n</think>\n<answer>\n",
    "\n</answer>",
]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), st.booleans())
def test_released_rules_are_their_patterns(text, opened):
    text = "<think>\n" * opened + text
    for mode, pattern in {
        "open-r1": r"^<think>\n.*?\n</think>\n<answer>\n.*?\n</answer>$",
        "trl-think": r"^<think>(?!.*<think>)(.*?)</think>.*$",
    }.items():
        assert score(text, mode=mode).value == bool(re.match(pattern, text, re.DOTALL | re.MULTILINE))


@given(st.lists(st.sampled_from([*PIECES, " ", "b"]), max_size=12).map("".join))
def test_strict_is_its_pattern_and_each_tag_once(text):
    form = re.fullmatch(r"\s*<think>(.*)</think>\s*<answer>(.*)</answer>\s*", text, re.DOTALL)
    tags = ("<think>", "</think>", "<answer>", "</answer>")
    expected = form and form[1].strip() and form[2].strip() and all(text.count(tag) == 1 for tag in tags)
    assert score(text).value == bool(expected)


@pytest.mark.parametrize("mode", ["strict", "open-r1", "tag-count", "trl-think"])
@pytest.mark.parametrize("unit", ["<think>\n", "\n</think>\n<answer>\n", "<think>\n\n</think>\n<answer>\nx\n</answer>"])
def test_time_is_linear_in_a_hostile_completion(mode, unit):
    start = time.perf_counter()
    score("<think>\n" + unit * 20_000, mode=mode)
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "loose"},
        {"mode": "open-r1", "tags": ["a"]},
        {"tags": "think"},
        {"tags": []},
        {"tags": ["a", "a"]},
        {"tags": ["<a>"]},
    ],
)
def test_an_option_that_cannot_be_right_is_refused(options):
    with pytest.raises(ConfigError, match="format: "):
        Format(**options)
