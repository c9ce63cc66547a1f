"""The `groundedness` reward: the share of the answer's sentences that follow from what the agent was shown.

Citations play no part (`citation` judges them), and neither does the question.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from rewardkit.types import Score, Trajectory
from rewardkit_plugins.rag.attempts import answer_of, passages_of
from rewardkit_plugins.rag.declining import declines
from rewardkit_plugins.rag.entailment import Entailment
from rewardkit_plugins.rag.sentences import sentences_of, without_citations
from rewardkit_plugins.rules.rule import Rule, check_choice, quoted

Premise = Literal["each", "joined"]


class Groundedness(Rule):
    """The share of sentences that are entailed, among those that do not decline.

    `premise="each"`: by one of the passages that were shown; "joined": by all of them as one text, so that a sentence
    may draw on two, and words that stand far apart support each other. Silence earns 0.0; an answer that only declines
    claims nothing, and the reward abstains. So it does where no passages are known; an agent that looked at none gets
    0.0. `entailment`: see `entailment.Entailment`.
    """

    def __init__(self, *, entailment: Any = "lexical", premise: Premise = "each") -> None:
        check_choice("groundedness: premise", premise, get_args(Premise))
        self._entailment = Entailment(entailment)
        self._premise = premise

    def signature_fields(self) -> Mapping[str, str]:
        """Return the options, the judge of entailment by its name."""
        return {"entailment": self._entailment.name, "premise": self._premise}

    def setup(self) -> None:
        """Load the judge of entailment."""
        self._entailment.setup()

    def close(self) -> None:
        """Let go of it."""
        self._entailment.close()

    def score(self, trajectory: Trajectory, /) -> Score:
        """Return the Score of one trajectory."""
        return self.score_batch([trajectory])[0]

    def score_batch(self, batch: Sequence[Trajectory], /) -> list[Score]:
        """Return one Score each; the pairs of up to 64 sentences are asked in one call."""
        read = [self._read(trajectory) for trajectory in batch]
        asked = (
            [(premise, claim) for premise in one[0]] for one in read if not isinstance(one, Score) for claim in one[1]
        )
        answers = iter(self._entailment.of_each(asked))
        return [
            one if isinstance(one, Score) else _judged([(claim, any(next(answers))) for claim in one[1]])
            for one in read
        ]

    def _read(self, trajectory: Trajectory) -> tuple[list[str], list[str]] | Score:
        """Return the premises and the claims, or the Score where there is nothing to ask."""
        passages = passages_of(trajectory)
        if passages is None:
            return Score(value=None, explanation="no passages are known: neither the steps nor the task have any")
        sentences = sentences_of(answer_of(trajectory))
        if not sentences:
            return Score(value=0.0, explanation="there is no answer")
        claims = [without_citations(sentence) for sentence in sentences if not declines(sentence)]
        if not claims:
            return Score(value=None, explanation="it only declines")
        premises = [passage.premise for passage in passages.values()]
        return (["\n".join(premises)] if self._premise == "joined" and premises else premises), claims


def _judged(claims: Sequence[tuple[str, bool]]) -> Score:
    doubted = [claim for claim, is_shown in claims if not is_shown]
    explanation = f"not in what was shown: {quoted(doubted[0])}" if doubted else ""
    return Score(value=1 - len(doubted) / len(claims), parts={"sentences": len(claims)}, explanation=explanation)
