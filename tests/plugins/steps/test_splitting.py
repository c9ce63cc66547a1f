"""splitting: spans that cover every word once, blocks left whole, and what hides steps."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardkit.errors import ConfigError
from rewardkit_plugins.steps.splitting import (
    SPLITTERS,
    by_blank_line,
    by_delimiter,
    by_newline,
    by_pattern,
    by_step_header,
    splitter,
    whole,
)

OPTIONS = {"delimiter": {"delimiter": "ки"}, "pattern": {"pattern": r"\n(?=\d+\.)"}}
PIECES = ["x = 1", " ", "\n", "\n\n", "\t\n", "\r\n", "```\n", "~~~~", "$$", r"\[", r"\]", "Step 1:", "ки", "2. y", "é"]
TEXTS = st.lists(st.sampled_from([*PIECES, r"\begin{align}", r"\end{align}"]), max_size=20).map("".join)


def cut(text, spans):
    return [text[start:end] for start, end in spans]


@pytest.mark.parametrize("name", SPLITTERS)
@pytest.mark.parametrize("keep_blocks", [True, False])
@given(TEXTS)
def test_steps_are_trimmed_in_order_and_leave_out_space_and_separators_only(name, keep_blocks, text):
    spans = splitter(name, keep_blocks=keep_blocks, **OPTIONS.get(name, {}))(text)
    at, between = 0, ""
    for start, end in spans:
        assert at <= start < end
        assert text[start:end] == text[start:end].strip()
        between, at = between + text[at:start], end
    left_out = between + text[at:]
    assert not (left_out.replace("ки", "") if name == "delimiter" else left_out).strip()


@pytest.mark.parametrize("name", SPLITTERS)
@pytest.mark.parametrize("text", ["", " ", "\n\n \t\n", "\r\n\r\n"])
def test_a_text_without_words_has_no_steps(name, text):
    assert splitter(name, **OPTIONS.get(name, {}))(text) == []


def test_spans_point_into_the_original_text():
    assert by_blank_line("\n  ab\n\n\ncd \n") == [(3, 5), (8, 10)]


@pytest.mark.parametrize("gap", ["\n\n", "\n \t \n", "\r\n\r\n", "\n\n\n\n", "\n\n   "])
def test_lines_of_nothing_but_space_are_blank(gap):
    text = f"a\nb{gap}c"
    assert cut(text, by_blank_line(text)) == ["a\nb", "c"]


def test_newlines_give_a_step_to_each_line_with_words():
    assert cut("a\n\n b\r\nc", by_newline("a\n\n b\r\nc")) == ["a", "b", "c"]


def test_the_whole_text_is_one_step():
    assert whole("  a\n\nb ") == [(2, 6)]


@pytest.mark.parametrize(
    "header",
    ["Step 1:", "step 12.", "STEP 3 :", "**Step 1:**", "**Step 2**:", "### Step 4", "  Step 5 - go", "Step 6)"],
)
def test_a_step_begins_at_its_header(header):
    text = f"Let us see.\n{header} one\nmore\nStep 99: two".replace("### Step 4 one", "### Step 4\none")
    steps = cut(text, by_step_header(text))
    assert [step.partition("\n")[0][:4] for step in steps] == ["Let ", header.strip()[:4], "Step"]
    assert len(steps) == 3


@pytest.mark.parametrize("line", ["Step 2 is wrong.", "In Step 2: no", "Steps 1:", "Step one:", "Step2:"])
def test_a_line_that_only_speaks_of_a_step_is_no_header(line):
    assert len(by_step_header(f"Step 1: a\n{line}")) == 1


def test_math_shepherds_solutions_split_at_its_tag():
    text = "Step 1: 2 + 3 = 5 ки\nStep 2: 5 * 2 = 10 ки"
    assert cut(text, by_delimiter(text, delimiter="ки")) == ["Step 1: 2 + 3 = 5", "Step 2: 5 * 2 = 10"]
    assert by_delimiter("a.*b", delimiter=".*") == [(0, 1), (3, 4)]


def test_a_pattern_may_match_nothing_where_it_cuts():
    text = "1. a\n2. b\n10. c"
    assert cut(text, by_pattern(text, pattern=r"^(?=\d+\.)")) == ["1. a", "2. b", "10. c"]


def test_a_cut_may_lie_at_the_start_of_a_block():
    text = "a\n$$x\n$$\nb"
    assert cut(text, by_pattern(text, pattern=r"^(?=\$\$x|b)")) == ["a", "$$x\n$$", "b"]


@pytest.mark.parametrize(
    "block",
    [
        "```python\nx = 1\n\ny = 2\n```",
        "````\n```\n\n```\n````",
        "```\nx\n\n```y\n\nz\n```",
        "  ~~~\n```\n\n~~~~",
        "$$\nx = 1\n\ny = 2\n$$",
        "\\[\nx\n\n\\\\[2pt] y\n\\]",
        "\\begin{align*}\nx\n\ny\n\\end{align*}",
        "$$\\begin{align}\n\n\\end{align}\n\n$$",
    ],
)
def test_a_block_is_not_cut_in_two(block):
    text = f"a\n\n{block}\n\nb"
    assert cut(text, by_blank_line(text)) == ["a", block.strip(), "b"]
    assert cut(text, by_newline(text)) == ["a", block.strip(), "b"]
    assert len(by_blank_line(text, keep_blocks=False)) > 3


@pytest.mark.parametrize(
    "opener",
    ["```python", "~~~", "$$", "\\[", "\\begin{align}", "```\n\n``", "````\n\n```", "\\begin{align}\\end{alig}"],
)
def test_a_block_that_never_ends_hides_no_steps(opener):
    text = f"{opener}\n\na\n\nb"
    assert cut(text, by_blank_line(text)) == cut(text, by_blank_line(text, keep_blocks=False))


@pytest.mark.parametrize(
    "line", ["```this``` now\n\nb\n```", "x \\\\[2pt] y\n\nz \\]", "\\begin{center}\n\n\\end{center}"]
)
def test_what_only_looks_like_a_block_is_cut(line):
    assert len(by_blank_line(line)) == 2


@pytest.mark.parametrize(
    "piece", ["\\[", "\\begin{align}", "$$ ", "```\n", "~~~ x\n", "\n   ", "\n" + " " * 999, "Step ", "  #", "\\begin{"]
)
def test_hostile_texts_take_linear_time(piece):
    text = piece * (200_000 // len(piece))
    start = time.process_time()
    for split in (by_blank_line, by_newline, by_step_header):
        split(text)
    assert time.process_time() - start < 3


def test_fences_of_every_length_take_little_time():
    text = "".join("`" * length + "x\n" for length in range(600, 2, -1))
    start = time.process_time()
    assert len(by_newline(text)) == 598
    assert time.process_time() - start < 3


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("sentence", {}, "'sentence'"),
        ("delimiter", {}, "needs delimiter="),
        ("delimiter", {"delimiter": ""}, "needs delimiter="),
        ("newline", {"delimiter": "x"}, "takes no delimiter, but got 'x'"),
        ("pattern", {}, "needs pattern="),
        ("pattern", {"pattern": "("}, "'\\('"),
        ("blank_line", {"pattern": "x"}, "takes no pattern, but got 'x'"),
    ],
)
def test_options_that_cannot_be_right_are_refused(name, options, said):
    with pytest.raises(ConfigError, match=said):
        splitter(name, **options)
