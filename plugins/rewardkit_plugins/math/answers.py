"""Compares an answer with a reference: plain numbers at once, everything else through the syntax tree.

The answer is a text somebody wrote, perhaps to break the grader: nothing here evaluates it with Python, and what is
beyond the limits is a wrong answer with an explanation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple

from rewardkit_plugins.math.equivalence import equal, words
from rewardkit_plugins.math.evaluation import Evaluator, UndecidedError, positive_point
from rewardkit_plugins.math.extract import extract_reference
from rewardkit_plugins.math.syntax import MAX_LENGTH, parse
from rewardkit_plugins.math.tree import Node, UnreadableError, symbols


class Verdict(NamedTuple):
    """Whether an answer is right, and why it is not."""

    right: bool
    reason: str = ""


@dataclass(frozen=True)
class Expected:
    """The answer that a reference holds, read once."""

    text: str

    @classmethod
    def read(cls, reference: str) -> Expected | None:
        """Return the answer in `reference`, or None if it holds none."""
        answer = extract_reference(reference)
        return None if answer is None else cls(answer)

    @cached_property
    def number(self) -> int | Fraction | None:
        """The value, if the answer is a plain number."""
        return plain_number(self.text)

    @cached_property
    def compact(self) -> str:
        """The text without spaces."""
        return _compact(self.text)

    @cached_property
    def node(self) -> Node | None:
        """The tree, or None if the answer can only be compared as text."""
        return _parsed(self.text)

    @cached_property
    def time(self) -> str | None:
        """The time of day, if the answer is one."""
        return _time(self.text)


def compare(expected: Expected, answer: str, *, tolerance: float = 0.0, percent_is_unit: bool = False) -> Verdict:
    """Judge `answer` against what is expected.

    `tolerance` is relative and holds for numbers only. With `percent_is_unit` 10 and 10% pass for each other.
    """
    if answer == expected.text:
        return Verdict(True)
    number = plain_number(answer)
    if number is not None and expected.number is not None and not tolerance:
        if number == expected.number:
            return Verdict(True)
        if not _may_be_rounded(answer, expected.text):
            return Verdict(False)
    try:
        verdict = _compare_trees(expected, answer, tolerance)
    except UndecidedError as limit:
        verdict = Verdict(False, f"cannot be decided: {limit}")
    if verdict.right or not percent_is_unit or not _PERCENT.search(answer + expected.text):
        return verdict
    bare = Expected(_without_percent(expected.text))
    return compare(bare, _without_percent(answer), tolerance=tolerance)


def plain_number(text: str) -> int | Fraction | None:
    """Return the value of an integer, a decimal or a fraction of integers, or None for anything else.

    Knows thousands separators, currency signs and `$...$`; percentages and units are left to the parser.
    """
    if len(text) > 300:
        return None
    match = _PLAIN.fullmatch(text)
    if match is None:
        return None
    sign, digits, decimals, top, bottom = match.groups()
    if top is not None:
        if not int(bottom):
            return None
        fraction = Fraction(int(top), int(bottom))
        return -fraction if sign else fraction
    whole = digits if digits.isdigit() else re.sub(r"\D", "", digits)
    if not decimals or not decimals.strip("0"):
        return -int(whole or "0") if sign else int(whole or "0")
    return Fraction(f"{sign}{whole or '0'}.{decimals}")


_PLAIN = re.compile(
    r"\$?(?:\\\$\s?)?(-?)\$?(?:([0-9]+|[1-9][0-9]{0,2}(?:(?:[, ]|\{,\}|,\\!)[0-9]{3})+|(?=\.[0-9]))(?:\.([0-9]*))?"
    r"|(?:\\[dt]?frac\{)?([0-9]+)(?:\}\{|/)([0-9]+)\}?)\$?"
)
_DECIMAL_COMMA = re.compile(r"-?(?:\d{1,3}(?: \d{3})+,\d{1,2}|\d+,\d{2}|\d{4,},\d+|0,\d+|\d+,\d{1,2}|\d+,\d{4,})")
_SPACES = re.compile(r"(?<!\d)\s+|\s+(?!\d)")
_EUROPEAN = re.compile(r"(?:[$€£]\s?)?-?\d{1,3}(?:(?:\.\d{3})+,\d+|(?:\.\d{3}){2,})")
_TIME = re.compile(r"(\d{1,2})(?::(\d\d))?([ap]m)")
_PERCENT = re.compile(r"\\?%|\b(?:percent|pct)\b")
_STYLE = re.compile(r"\\(?:text|mbox|mathrm)|[\s{}$~.\\]")
_OPTION = re.compile(
    r"\$?(?:\\(?:text(?:bf|rm)?|mathrm|mathbf)\s?\{)?\(?([A-J])(?:\)|[.:])(?:[}\s~]|\\(?:[ ,;]|quad))+"
    r"(?=[\w$]|-\d|\\(?:[dt]?frac|text|sqrt|\$|\())"
)
_PHRASES = {phrase: Node("sym", ("R",)) for phrase in ("all real numbers", "all reals", "real numbers")} | {
    phrase: Node("sym", ("emptyset",)) for phrase in ("empty set", "no solution", "no solutions", "no real solutions")
}
_PHRASE = re.compile(r"real|solution|empty")


def _may_be_rounded(a: str, b: str) -> bool:
    """Tell whether one is a decimal and the other a fraction, so that rounding matters."""
    return ("." in a) != ("." in b) and ("frac" in a + b or "/" in a + b)


def _compare_trees(expected: Expected, answer: str, tolerance: float) -> Verdict:
    if len(answer) > MAX_LENGTH:
        return Verdict(False, f"the answer is longer than {MAX_LENGTH} characters")
    if _compact(answer) == expected.compact:
        return Verdict(True)
    if expected.time is not None or _time(answer) is not None:
        return Verdict(_same_time(expected.text, answer))
    if _EUROPEAN.fullmatch(answer):
        return compare(expected, answer.lstrip("$€£ ").replace(".", "").replace(",", "."), tolerance=tolerance)
    is_decimal = expected.node is not None and expected.node.kind in ("num", "neg") and "." in expected.text
    if is_decimal and _DECIMAL_COMMA.fullmatch(answer):
        return compare(expected, answer.replace(",", "."), tolerance=tolerance)
    node = _parsed(answer)
    if node is None or expected.node is None:
        same = words(expected.text) == words(answer) != ""
        right = same or _same_option(expected.text, answer)
        return Verdict(right, "" if node else "the answer cannot be read as mathematics")
    if "text" in (node.kind, expected.node.kind) and words(expected.text) == words(answer) != "":
        return Verdict(True)
    if _same_option(expected.text, answer) or equal(expected.node, node):
        return Verdict(True)
    if _DECIMAL_COMMA.fullmatch(expected.text) and len(expected.text.split(",")[1]) > 1 and node.kind in ("num", "neg"):
        return compare(Expected(expected.text.replace(",", ".")), answer, tolerance=tolerance)
    return Verdict(bool(tolerance) and _is_near(expected.node, node, tolerance))


def _compact(text: str) -> str:
    """Return an answer without the spaces that mean nothing; those between digits do."""
    return _SPACES.sub("", text).replace("dfrac", "frac")


def _parsed(text: str) -> Node | None:
    if _PHRASE.search(text) and (phrase := words(text)) in _PHRASES:
        return _PHRASES[phrase]
    try:
        return parse(text)
    except UnreadableError:
        return None


def _is_near(expected: Node, node: Node, tolerance: float) -> bool:
    """Tell whether two numbers, or two vectors entry by entry, differ by at most the relative tolerance."""
    if expected.kind == node.kind and node.kind in ("matrix", "seq", "list") and len(node.args) == len(expected.args):
        pairs = zip(_entries(expected), _entries(node), strict=False)
        return len(_entries(expected)) == len(_entries(node)) and all(_is_near(x, y, tolerance) for x, y in pairs)
    if symbols(expected) or symbols(node):
        return equal(expected, node)
    evaluator = Evaluator(positive_point(0))
    target, value = (evaluator.inexact(evaluator.value(n)) for n in (expected, node))
    return bool(abs(target - value) <= abs(target) * tolerance)


def _entries(node: Node) -> list[Node]:
    if node.kind == "matrix":
        return [entry for row in node.args for entry in row]
    return [part for part in node.args if isinstance(part, Node)]


def _time(text: str) -> str | None:
    """Return a time of day with its half (`4:30pm`), or None."""
    if len(text) > 60 or not any(mark in text.lower() for mark in ("am", "pm", "a.m", "p.m")):
        return None
    match = _TIME.fullmatch(_STYLE.sub("", text).lower())
    return None if match is None else f"{int(match[1])}:{match[2] or '00'}{match[3]}"


def _same_time(a: str, b: str) -> bool:
    """Compare times; a missing "a.m." or "p.m." is no difference."""
    first, second = (_time(text) or re.sub(r"^0(?=\d)", "", _STYLE.sub("", text)) for text in (a, b))
    return first == second or second in (first[:-2], first[:-2] + ":00") or first in (second[:-2], second[:-2] + ":00")


def _same_option(a: str, b: str) -> bool:
    """Tell whether `(B) 42` stands beside what it offers or beside its letter."""
    for option, other in ((a, b), (b, a)):
        found = _OPTION.match(option)
        if found is None or _OPTION.match(other) or _OPTION.match(option, found.end()):
            continue
        letter = re.sub(r"\\(?:text|mathrm|mathbf|textbf)|[\s(){}$.]", "", other)
        if len(letter) == 1:
            return letter == found[1]
        return compare(Expected(option[found.end() :]), other).right
    return False


def _without_percent(text: str) -> str:
    return _PERCENT.sub("", text).strip()
