"""A wrong answer made from the right one by a small change is wrong."""

import re
from collections.abc import Iterator

import pytest

from rewardkit_plugins.math.answers import Expected, compare
from rewardkit_plugins.math.extract import extract

NUMBER = re.compile(r"(?<![\w.,{}!\\])\d+(?:\.\d+)?(?![\w.,{}!])|(?<=[{(\[ -])\d+(?=[})\] ,])")
FLIPPED = {"(": "[", "[": "(", ")": "]", "]": ")"}


def perturbed(answer: str) -> Iterator[tuple[str, str]]:
    """Yield kinds of change and changed answers; every one differs in value from `answer`."""
    yield from other_numbers(answer)
    yield from other_expressions(answer)
    yield from other_signs(answer)
    yield from other_ends(answer)
    yield from other_items(answer)


def other_numbers(answer: str) -> Iterator[tuple[str, str]]:
    found = list(NUMBER.finditer(answer))
    if "mbox" in answer:
        found = found[:1]  # the exponent of a unit is not judged
    for match in found[:4]:
        number = match[0]
        before, after = answer[: match.start()], answer[match.end() :]
        if "." not in number:
            yield "one more", f"{before}{int(number) + 1}{after}"
            yield "a digit more", f"{before}{number}7{after}"
            if int(number) > 1:
                yield "one less", f"{before}{int(number) - 1}{after}"
            if number != number[::-1] and number[-1] != "0":
                yield "digits reversed", f"{before}{number[::-1]}{after}"


def other_expressions(answer: str) -> Iterator[tuple[str, str]]:
    if re.search(r"text|mbox|circ|%|,|pm|=|begin|[\[\]\\]\{|infty|:|_", answer) or not answer.strip("0. "):
        return
    yield "sign", f"-({answer})"
    yield "times pi", f"({answer}) \\cdot \\pi"
    yield "doubled", f"2({answer})"
    yield "plus a little", f"{answer} + 10^{{-9}}"
    yield "with a symbol", f"({answer})z"
    yield "hedged", f"{answer} \\text{{ or }} 77/13"
    if answer.strip() not in ("1", "-1"):
        yield "inverse", f"\\frac{{1}}{{{answer}}}"


def other_signs(answer: str) -> Iterator[tuple[str, str]]:
    fraction = re.search(r"\\[dt]?frac\{(\d+)\}\{(\d+)\}", answer)
    if fraction and fraction[1] != fraction[2]:
        yield "upside down", answer.replace(fraction[0], f"\\frac{{{fraction[2]}}}{{{fraction[1]}}}", 1)
    root = re.search(r"\\sqrt\{(\d+)\}", answer)
    if root and root[1] not in ("0", "1"):
        yield "root dropped", answer.replace(root[0], root[1], 1)
    for kind, old, new in (
        ("exponent", "x^2", "x^3"),
        ("minus for plus", " + ", " - "),
        ("plus for minus", " - ", " + "),
        ("one sign only", "\\pm", "+"),
    ):
        if old in answer:
            yield kind, answer.replace(old, new, 1)


def other_ends(answer: str) -> Iterator[tuple[str, str]]:
    bracketed = re.fullmatch(r"(?:\\left)?([(\[])([^,()\[\]]+),([^,()\[\]]+?)(?:\\right)?([)\]])", answer.strip())
    if bracketed is None:
        return
    left, a, b, right = bracketed.groups()
    yield "as a set", f"\\{{{a},{b}\\}}"
    if "infty" not in a:
        yield "left end", f"{FLIPPED[left]}{a},{b}{right}"
    if "infty" not in b:
        yield "right end", f"{left}{a},{b}{FLIPPED[right]}"
    if a.strip() != b.strip():
        yield "ends swapped", f"{left}{b},{a}{right}"


def other_items(answer: str) -> Iterator[tuple[str, str]]:
    items = re.fullmatch(r"[^()\[\]{}\\a-z]+(?:,[^()\[\]{}\\a-z]+)+", answer)
    if items and not re.fullmatch(r"\d{1,3}(?:,\d{3})+", answer) and len(set(answer.split(","))) > 1:
        yield "item removed", answer.rsplit(",", 1)[0]
        yield "item added", f"{answer}, 991"
    if "%" in answer:
        yield "percent of percent", f"\\frac{{{answer}}}{{100}}"


def wrongly_right(answers: list[str]) -> list[tuple[str, str, str]]:
    accepted, tried = [], 0
    for answer in answers:
        expected = Expected.read(answer)
        assert expected is not None
        for kind, wrong in perturbed(answer):
            tried += 1
            if compare(expected, wrong).right or compare(Expected(wrong), answer).right:
                accepted.append((kind, answer, wrong))
    assert tried > 1000
    return accepted


def test_no_perturbed_answer_of_math_is_right(rows):
    answers = sorted({extract(row["solution"]) or "" for row in rows("math_test")} - {""})
    assert wrongly_right(answers) == []


def test_no_perturbed_answer_of_gsm8k_is_right(rows):
    answers = sorted({row["answer"].rsplit("#### ", 1)[1] for row in rows("gsm8k_train")})
    assert wrongly_right(answers) == []


@pytest.mark.parametrize(
    "answer", ["42", r"\frac{3}{4}", r"2\sqrt{13}", "(1, 2]", r"3 \pm 2\sqrt{2}", "1, -2", "x^2 + 3x - 1"]
)
def test_perturbations_of_typical_answers_are_wrong(answer):
    expected = Expected(answer)
    wrong = list(perturbed(answer))
    assert len(wrong) >= 3
    assert [kind for kind, changed in wrong if compare(expected, changed).right] == []
