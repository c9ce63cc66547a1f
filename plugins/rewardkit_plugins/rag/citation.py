"""The `citation` reward: whether what a sentence cites supports it (recall), and all of it is needed (precision).

Whether a passage supports a sentence is for `entailment` to say; whether that answers the question, for `answer_f1`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from rewardkit.types import Score, Trajectory
from rewardkit_plugins.rag.answer_f1 import remove_citations_released
from rewardkit_plugins.rag.attempts import answer_of, is_answerable, passages_of
from rewardkit_plugins.rag.declining import declines
from rewardkit_plugins.rag.entailment import Entailment, Pair
from rewardkit_plugins.rag.sentences import RELEASED_CITATION, citations_of, sentences_of, without_citations
from rewardkit_plugins.rules.rule import Rule, check_choice, check_whole, quoted

Value = Literal["f1", "recall", "precision"]
Rules = Literal["strict", "released"]


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence without its citations, the premises that it cites, and how many more citations its precision has."""

    text: str
    premises: tuple[str, ...]
    invalid: bool = False
    extra: int = 0

    def questions(self) -> list[Pair]:
        """Return what there is to ask: whether all premises entail it, then each alone, then all but that one."""
        if self.invalid or not self.premises:
            return []
        chosen = [self.premises]
        if len(self.premises) > 1:
            chosen += [(premise,) for premise in self.premises]
            chosen += [_without(self.premises, premise) for premise in self.premises]
        return [("\n".join(premises), self.text) for premises in chosen]


class Citation(Rule):
    """ALCE's citation recall and precision over the sentences of the answer, and their harmonic mean.

    Recall: the share of sentences that all their cited passages together entail; a sentence without a citation, or with
    one that names no passage, counts 0. Precision: the share of citations that count; none does in a sentence without
    recall, and else one counts unless it entails nothing alone and the others entail the sentence without it.

    `rules="strict"` (the default) takes numbers from 1 upwards, each once in a sentence, counts numbers without a
    passage in the precision, and reads the whole answer. Sentences that decline are left out where the task says
    `answerable` false; nothing but such sentences earns 1.0 there. "released" gives the numbers of ALCE's code: `[0]`
    is the last passage, repetitions count, only the first line is read, and an empty answer abstains. `at_most` cuts
    the citations of a sentence to so many (ALCE: 3; 0: no limit).

    `entailment`: see `entailment.Entailment`. Without passages it abstains.
    """

    def __init__(
        self, *, entailment: Any = "lexical", rules: Rules = "strict", value: Value = "f1", at_most: int = 0
    ) -> None:
        check_choice("citation: rules", rules, get_args(Rules))
        check_choice("citation: value", value, get_args(Value))
        check_whole("citation: at_most", at_most)
        self._entailment = Entailment(entailment)
        self._rules, self._value, self._at_most = rules, value, at_most

    def signature_fields(self) -> Mapping[str, str]:
        """Return the options, the judge of entailment by its name."""
        return {
            "entailment": self._entailment.name,
            "rules": self._rules,
            "value": self._value,
            "at_most": str(self._at_most),
        }

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
        claims = [claim for one in read if not isinstance(one, Score) for claim in one]
        answers = iter(self._entailment.of_each(claim.questions() for claim in claims))
        return [
            one if isinstance(one, Score) else self._judged([(claim, next(answers)) for claim in one]) for one in read
        ]

    def _read(self, trajectory: Trajectory) -> list[Claim] | Score:
        """Return the claims of an answer, or its Score where there are none."""
        passages = passages_of(trajectory)
        if passages is None:
            return Score(value=None, explanation="no passages are known: neither the steps nor the task have any")
        answer = answer_of(trajectory)
        if self._rules == "released":
            shown = [f"Title: {passages[n].title}\n{passages[n].text}" for n in sorted(passages)]
            return self._released(answer, shown) or Score(value=None, explanation="there is no answer")
        sentences = sentences_of(answer)
        if not sentences:
            return Score(value=0.0, explanation="there is no answer")
        if is_answerable(trajectory.task) is False:
            sentences = [sentence for sentence in sentences if not declines(sentence)]
            if not sentences:
                return Score(value=1.0, explanation="it declines, as it should, and claims nothing")
        premises = {n: passage.premise for n, passage in passages.items()}
        return [self._claim(sentence, premises) for sentence in sentences]

    def _claim(self, sentence: str, premises: Mapping[int, str]) -> Claim:
        numbers = citations_of(sentence)[: self._at_most or None]
        valid = tuple(premises[n] for n in numbers if n in premises)
        missing = len(numbers) - len(valid)
        return Claim(without_citations(sentence), valid, missing > 0, missing)

    def _released(self, answer: str, shown: Sequence[str]) -> list[Claim]:
        claims = []
        for sentence in sentences_of(answer.strip().partition("\n")[0]):
            numbers = [int(n) - 1 for n in RELEASED_CITATION.findall(sentence)]
            text = remove_citations_released(sentence).strip()
            if not shown or any(n >= len(shown) for n in numbers):
                claims.append(Claim(text, (), True))
            else:
                claims.append(Claim(text, tuple(shown[n] for n in numbers[: self._at_most or None])))
        return claims

    def _judged(self, claims: Sequence[tuple[Claim, list[bool]]]) -> Score:
        supported = counted = citations = 0
        doubted = ""
        for claim, good in claims:
            citations += len(claim.premises) + claim.extra
            if not good or not good[0]:
                doubted = doubted or claim.text
                continue
            supported += 1
            alone, others = good[1 : 1 + len(claim.premises)], good[1 + len(claim.premises) :]
            counted += sum(a or not rest for a, rest in zip(alone, others, strict=True)) if alone else 1
        recall = supported / len(claims)
        precision = counted / citations if citations else 0.0
        f1 = 2 * recall * precision / (recall + precision) if recall + precision else 0.0
        parts = {"recall": recall, "precision": precision, "f1": f1}
        counts = {"sentences": len(claims), "citations": citations}
        explanation = f"not supported by what it cites: {quoted(doubted)}" if doubted else ""
        return Score(value=parts[self._value], parts={**parts, **counts}, explanation=explanation)


def _without(premises: tuple[str, ...], one: str) -> tuple[str, ...]:
    """Return all but the first occurrence of `one`, as the released code takes it away."""
    at = premises.index(one)
    return premises[:at] + premises[at + 1 :]
