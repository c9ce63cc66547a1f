"""The `exact_match` reward: 1.0 if the answer is one of the references, character by character, else 0.0.

What may differ is chosen by options. Not covered: that 1/2 is 0.5 (`math` knows), that two sentences mean the same.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal, get_args

from rewardkit.errors import ConfigError
from rewardkit.types import Score, Trajectory
from rewardkit_plugins.rules.rule import Rule, check_choice, check_flag, quoted

Extract = Literal["whole", "last_line", "answer_tag", "hashes"]
Preset = Literal["none", "squad"]


class ExactMatch(Rule):
    """Compares the answer in the last action with `task.references`, any of which is right.

    Surrounding whitespace never counts, and neither does how Unicode composes a character (NFC). `extract` says where
    the answer stands: the "whole" completion, its "last_line" that is not blank, the last `<answer>` ("answer_tag"), or
    what follows the last `####` on its line ("hashes", as in GSM8K). A completion without such a place scores 0.0. A
    reference that has such a place too is read in the same way.

    `ignore_case`, `ignore_punctuation` (outside numbers: -5 is not 5), `ignore_articles` (a, an, the),
    `ignore_whitespace` (runs of it count as one space) and `ignore_width` (NFKC: full-width letters, ligatures, x²)
    apply to both sides. `preset="squad"` is the normalisation of SQuAD's evaluation script as released, which deletes
    every ASCII punctuation mark and so takes -5 for 5.

    Nothing is ignored of which nothing would be left: the option letter "A" is no article, and nothing ever equals
    nothing. Empty references are left out; without any other the reward abstains.
    Raises ConfigError for an option that cannot be right.
    """

    def __init__(
        self,
        *,
        extract: Extract = "whole",
        preset: Preset = "none",
        ignore_case: bool = False,
        ignore_punctuation: bool = False,
        ignore_articles: bool = False,
        ignore_whitespace: bool = False,
        ignore_width: bool = False,
    ) -> None:
        check_choice("exact_match: extract", extract, get_args(Extract))
        check_choice("exact_match: preset", preset, get_args(Preset))
        flags = {
            "width": ignore_width,
            "case": ignore_case,
            "punctuation": ignore_punctuation,
            "articles": ignore_articles,
            "whitespace": ignore_whitespace,
        }
        for name, flag in flags.items():
            check_flag(f"exact_match: ignore_{name}", flag)
        self._ignored = tuple(name for name, flag in flags.items() if flag)
        if preset == "squad":
            if self._ignored:
                raise ConfigError(f"exact_match: preset=squad is complete: leave out ignore_{self._ignored[0]}")
            self._ignored = ("case", "ascii_punctuation", "articles")
        self._extract: Extract = extract

    def signature_fields(self) -> Mapping[str, str]:
        """Return where the answer stands and what is ignored."""
        return {"extract": self._extract, "ignore": ",".join(self._ignored) or "none"}

    def score(self, trajectory: Trajectory, /) -> Score:
        """Return 1.0 or 0.0, or None without a reference; `metadata` holds the answer found."""
        expected = _expected(trajectory.task.references, self._extract, self._ignored)
        if not expected:
            return Score(value=None, explanation="the task has no reference that is not empty")
        answer = _answer(trajectory.completion, self._extract)
        if answer is None:
            return Score(value=0.0, explanation=f"no answer found ({self._extract})", metadata={"answer": None})
        right = normalise(answer, self._ignored) in expected
        wanted = next(ref.strip() for ref in trajectory.task.references if ref.strip())
        return Score(
            value=float(right),
            explanation="" if right else f"found {quoted(answer)}, expected {quoted(wanted)}",
            metadata={"answer": answer},
        )


def normalise(text: str, ignored: tuple[str, ...]) -> str:
    """Return `text` without what is `ignored`, as far as something is left of it."""
    text = unicodedata.normalize("NFC", text).strip()
    for name in ignored:
        text = _IGNORE[name](text).strip() or text
    return text


_ARTICLES = re.compile(r"\b(?:a|an|the)\b", re.IGNORECASE)
_ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)
# A mark that belongs to a number (a sign, a decimal point), or else any mark.
_MARK = re.compile(r"((?<=\d)[.,:/](?=\d)|(?<![\w)])[-+\u2212.](?=\.?\d))|[^\w\s]|_")


def _without_punctuation(text: str) -> str:
    return _MARK.sub(lambda mark: mark[0] if mark[1] or unicodedata.category(mark[0])[0] != "P" else "", text)


def _squeezed(text: str) -> str:
    return " ".join(text.split())


_IGNORE = {
    "width": lambda text: unicodedata.normalize("NFKC", text),
    "case": str.casefold,
    "punctuation": _without_punctuation,
    "ascii_punctuation": lambda text: text.translate(_ASCII_PUNCTUATION),
    "articles": lambda text: _squeezed(_ARTICLES.sub(" ", text)),
    "whitespace": _squeezed,
}


def _answer(text: str, extract: Extract) -> str | None:
    """Return the place of `text` that holds the answer, stripped; None if there is none or nothing in it."""
    found = text
    if extract == "last_line":
        found = (text.strip().splitlines() or [""])[-1]
    elif extract == "hashes":
        found = text.rpartition("####")[2].partition("\n")[0] if "####" in text else ""
    elif extract == "answer_tag":
        end = text.rfind("</answer>")
        start = text.rfind("<answer>", 0, max(end, 0))
        found = text[start + len("<answer>") : end] if start >= 0 else ""
    return found.strip() or None


@lru_cache(maxsize=4096)
def _expected(references: tuple[str, ...], extract: Extract, ignored: tuple[str, ...]) -> frozenset[str]:
    stripped = (reference.strip() for reference in references)
    return frozenset(normalise(_answer(text, extract) or text, ignored) for text in stripped if text)
