"""The `repetition` reward: a penalty for n-grams that occur again, 0.0 for none down to `max_penalty`.

It sees surface repetition only: the same thought in other words costs nothing.
"""

from __future__ import annotations

import re
from typing import Literal, get_args

from rewardkit.types import Score, Trajectory
from rewardkit_plugins.rules.rule import Rule, check_choice, check_flag, check_number, check_whole

Mode = Literal["words", "open-r1"]
# Numbers whole, each ideograph or kana by itself, other letters in pieces, so that "hahaha..." is many equal words.
_WORD = re.compile(r"\d+|[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]|[^\W\d]{1,16}")
_DIGITS = re.compile(r"\d+")


class Repetition(Rule):
    """Charges `max_penalty * (1 - distinct / all)` over the word n-grams of everything the agent wrote.

    N-grams do not reach across actions, but count as repeated when they come back in a later one. A text with fewer
    than `n` words costs nothing. `mode="words"` compares words without case and punctuation, takes a word of more than
    16 letters in pieces and Chinese and Japanese by the character; `fold_numbers` makes all numbers equal, for loops
    that count ("Step 1: check. Step 2: check."), but then charges columns of figures too. `mode="open-r1"` is the
    released rule: lower-cased words between whitespace, punctuation included.

    The share of repeated n-grams grows with the length of honest text as well: see the page of this reward.
    Raises ConfigError for an option that cannot be right.
    """

    def __init__(
        self, *, n: int = 3, max_penalty: float = -1.0, mode: Mode = "words", fold_numbers: bool = False
    ) -> None:
        check_whole("repetition: n", n, low=1)
        check_number("repetition: max_penalty", max_penalty, high=0.0)
        check_choice("repetition: mode", mode, get_args(Mode))
        check_flag("repetition: fold_numbers", fold_numbers)
        self._n = n
        self._max_penalty = max_penalty
        self._mode: Mode = mode
        self._fold_numbers = fold_numbers

    def score(self, trajectory: Trajectory, /) -> Score:
        """Return a value in [max_penalty, 0]; the part `distinct` is the share of n-grams that are new."""
        distinct: set[tuple[str, ...]] = set()
        total = 0
        for step in trajectory.steps:
            words = self._words(step.action.content)
            total += max(len(words) - self._n + 1, 0)
            distinct.update(zip(*(words[i:] for i in range(self._n)), strict=False))
        share = len(distinct) / total if total else 1.0
        return Score(value=0.0 if share == 1 else self._max_penalty * (1 - share), parts={"distinct": share})

    def _words(self, text: str) -> list[str]:
        if self._mode == "open-r1":
            return text.lower().split()
        text = _DIGITS.sub("0", text) if self._fold_numbers else text
        return _WORD.findall(text.casefold())
