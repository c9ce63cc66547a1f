"""The `abstention` reward: answer when there is an answer, decline when there is none.

It knows declines in English by their phrases, and right answers by the words of a reference.
"""

from __future__ import annotations

from rewardkit.types import Score, Trajectory
from rewardkit_plugins.rag.attempts import answer_of, is_answerable
from rewardkit_plugins.rag.declining import stance_of
from rewardkit_plugins.rag.words import says
from rewardkit_plugins.rules.rule import Rule, check_flag, check_number


class Abstention(Rule):
    """1.0 for doing what is right: a right answer, or a decline where `metadata["answerable"]` is false.

    `declined` is paid for a decline where there is an answer, `wrong` for an answer that is wrong or where there is
    none, and for both at once; silence earns the lower of the two. With `check` (the default) an answer must say a
    reference, word by word; without it, or without references, any answer to an answerable question will do. A task
    has an answer if `answerable` is true or a reference is there; if it says neither, the reward abstains.
    """

    def __init__(self, *, declined: float = 0.0, wrong: float = 0.0, check: bool = True) -> None:
        check_number("abstention: declined", declined, high=1.0)
        check_number("abstention: wrong", wrong, high=1.0)
        check_flag("abstention: check", check)
        self._declined, self._wrong, self._check = declined, wrong, check

    def score(self, trajectory: Trajectory, /) -> Score:
        """Return the score; `metadata["stance"]` is "silent", "answered", "declined" or "mixed"."""
        answerable, answer = is_answerable(trajectory.task), answer_of(trajectory)
        if answerable is None:
            return Score(value=None, explanation="the task has neither `answerable` nor references")
        stance = stance_of(answer)
        references = [text for text in trajectory.task.references if text.strip()] if self._check else []
        if stance == "silent":
            value = min(self._declined, self._wrong, 0.0)
        elif stance == "declined":
            value = self._declined if answerable else 1.0
        else:
            is_right = not references or any(says(answer, text) for text in references)
            value = 1.0 if answerable and stance == "answered" and is_right else self._wrong
        kind = "an answer" if answerable else "no answer"
        return Score(value=value, explanation=f"there is {kind}; it {stance}", metadata={"stance": stance})
