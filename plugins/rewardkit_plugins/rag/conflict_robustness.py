"""The `conflict_robustness` reward: the right answer and not what misleading passages say; matched by words."""

from __future__ import annotations

from collections.abc import Sequence

from rewardkit.errors import RewardError
from rewardkit.types import Score, Task, Trajectory
from rewardkit_plugins.rag.attempts import answer_of
from rewardkit_plugins.rag.sentences import without_citations
from rewardkit_plugins.rag.words import places_of, words_of
from rewardkit_plugins.rules.rule import Rule, check_number


class ConflictRobustness(Rule):
    """1.0 for an answer that says a reference and none of `metadata["wrong_answers"]`, `both` for one that says both.

    Everything else earns 0.0. A wrong answer within a right one ("York" in "New York") does not count. Without
    references or without wrong answers it abstains: the task has no conflict.
    """

    def __init__(self, *, both: float = 0.5) -> None:
        check_number("conflict_robustness: both", both, low=0.0, high=1.0)
        self._both = both

    def score(self, trajectory: Trajectory, /) -> Score:
        """Return the score; `parts` says whether a right and a wrong answer were found."""
        task = trajectory.task
        right, wrong = _phrases(task.references), _phrases(_wrong_answers(task))
        if not right or not wrong:
            return Score(value=None, explanation="the task has no references, or no `wrong_answers`")
        words = words_of(without_citations(answer_of(trajectory)))
        says_right = any(places_of(phrase, words) for phrase in right)
        rest = _masked(words, right)
        says_wrong = any(places_of(phrase, rest) for phrase in wrong)
        value = 0.0 if not says_right else self._both if says_wrong else 1.0
        return Score(value=value, parts={"right": says_right, "wrong": says_wrong})


def _wrong_answers(task: Task) -> list[str]:
    given = task.metadata.get("wrong_answers") or []
    texts = [given] if isinstance(given, str) else list(given)
    if not all(isinstance(text, str) for text in texts):
        raise RewardError(f"wrong_answers={given!r} must be a list of texts")
    return texts


def _phrases(texts: Sequence[str]) -> list[list[str]]:
    return [words for text in texts if (words := words_of(text))]


def _masked(words: list[str], phrases: Sequence[list[str]]) -> list[str]:
    """Return `words` with blanks where one of `phrases` stands."""
    masked = list(words)
    for phrase in phrases:
        for place in places_of(phrase, words):
            masked[place : place + len(phrase)] = [""] * len(phrase)
    return masked
