"""The `citation` reward: whether what a sentence cites supports it (recall), and all of it is needed (precision).

Whether a passage supports a sentence is for `entailment` to say; whether that answers the question, for `answer_f1`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
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
    """A sentence without its citations, the premises that it cites, and how many of its citations name none."""

    text: str
    premises: tuple[str, ...]
    missing: int = 0

    def support(self) -> list[Pair]:
        """Return what recall asks: whether all premises together entail it; nothing where that cannot help."""
        return [] if self.missing or not self.premises else [("\n".join(self.premises), self.text)]

    def need(self) -> list[Pair]:
        """Return what precision asks of several premises: for each, whether it suffices, and whether the others do."""
        if len(self.premises) < 2:
            return []
        chosen = [choice for one in self.premises for choice in ((one,), _without(self.premises, one))]
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
        supported = [any(answers) for answers in self._entailment.of_each(claim.support() for claim in claims)]
        asked = (claim.need() if good else [] for claim, good in zip(claims, supported, strict=True))
        counted = [_counted(answers) for answers in self._entailment.of_each(asked)]
        verdicts = iter(zip(claims, supported, counted, strict=True))
        return [one if isinstance(one, Score) else self._judged(list(islice(verdicts, len(one)))) for one in read]

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
        return Claim(without_citations(sentence), valid, len(numbers) - len(valid))

    def _released(self, answer: str, shown: Sequence[str]) -> list[Claim]:
        claims = []
        for sentence in sentences_of(answer.strip().partition("\n")[0]):
            numbers = [int(n) - 1 for n in RELEASED_CITATION.findall(sentence)]
            text = remove_citations_released(sentence).strip()
            if not shown or any(n >= len(shown) for n in numbers):
                numbers = []
            claims.append(Claim(text, tuple(shown[n] for n in numbers[: self._at_most or None])))
        return claims

    def _judged(self, verdicts: Sequence[tuple[Claim, bool, int]]) -> Score:
        """Return the Score of claims, with whether each is supported and how many of its citations count then."""
        citations = sum(len(claim.premises) + claim.missing for claim, _, _ in verdicts)
        counted = sum(count for _, supported, count in verdicts if supported)
        doubted = [claim.text for claim, supported, _ in verdicts if not supported]
        recall = 1 - len(doubted) / len(verdicts)
        precision = counted / citations if citations else 0.0
        f1 = 2 * recall * precision / (recall + precision) if recall + precision else 0.0
        parts = {"recall": recall, "precision": precision, "f1": f1}
        counts = {"sentences": len(verdicts), "citations": citations}
        explanation = f"not supported by what it cites: {quoted(doubted[0])}" if doubted else ""
        return Score(value=parts[self._value], parts={**parts, **counts}, explanation=explanation)


def _counted(answers: Sequence[bool]) -> int:
    """Return how many premises suffice alone, or are not made up for by the others; a single one counts."""
    if not answers:
        return 1
    return sum(alone or not others for alone, others in zip(answers[::2], answers[1::2], strict=True))


def _without(premises: tuple[str, ...], one: str) -> tuple[str, ...]:
    """Return all but the first occurrence of `one`, as the released code takes it away."""
    at = premises.index(one)
    return premises[:at] + premises[at + 1 :]
