"""The `answer_f1` reward: how far the answer has the words of a reference; what the words mean is beyond it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from rewardkit.types import Score, Task, Trajectory
from rewardkit_plugins.rag.attempts import answer_of, is_answerable
from rewardkit_plugins.rag.declining import stance_of
from rewardkit_plugins.rag.sentences import without_citations
from rewardkit_plugins.rag.words import says, squad_normalised, squad_tokens, token_f1
from rewardkit_plugins.rules.rule import Rule, check_choice

Metric = Literal["f1", "exact", "str_em", "str_em_released", "list_f1"]


class AnswerF1(Rule):
    """Compares the answer, without its citations, with `task.references`; the best reference counts.

    `metric`: "f1" of the words as SQuAD counts them; "exact" 1.0 if all words are equal in order; "str_em" the share of
    the questions in `metadata["qa_pairs"]` (`[{"short_answers": [..]}]`; without it all references are one question)
    of which the answer says a short answer, word by word; "str_em_released" the same as ALCE released it, by substring;
    "list_f1" takes the answer as a list with commas and compares it with `metadata["answers"]` (lists of aliases), as
    ALCE does for QAMPARI.

    Where the task says that there is no answer (`answerable` false), 1.0 for declining and 0.0 for anything else.
    Without references it abstains.
    """

    def __init__(self, *, metric: Metric = "f1") -> None:
        check_choice("answer_f1: metric", metric, get_args(Metric))
        self._metric = metric

    def score(self, trajectory: Trajectory, /) -> Score:
        """Return the score; `parts` explains it."""
        task, answer = trajectory.task, without_citations(answer_of(trajectory))
        if is_answerable(task) is False:
            stance = stance_of(answer_of(trajectory))
            return Score(value=float(stance == "declined"), explanation=f"there is no answer; it {stance}")
        if self._metric == "list_f1":
            return _list_f1(_aliases(task), answer)
        if self._metric.startswith("str_em"):
            return _str_em(_questions(task), answer, released=self._metric == "str_em_released")
        references = [reference for reference in task.references if reference.strip()]
        if not references:
            return Score(value=None, explanation="the task has no reference that is not empty")
        if self._metric == "exact":
            return Score(value=float(squad_tokens(answer) in [squad_tokens(text) for text in references if answer]))
        if not answer:
            return Score(value=0.0, explanation="there is no answer")
        f1, precision, recall = max(token_f1(reference, answer) for reference in references)
        return Score(value=f1, parts={"precision": precision, "recall": recall})


def remove_citations_released(text: str) -> str:
    """Return `text` as ALCE's released code takes citations out, with what that leaves of `[3, 4]`."""
    return re.sub(r"\[\d+", "", re.sub(r" \[\d+", "", text)).replace(" |", "").replace("]", "")


def list_scores(aliases: Sequence[Sequence[str]], answer: str) -> dict[str, float]:
    """Return ALCE's numbers for QAMPARI, in [0, 1]: `aliases` holds for each right item the names that it goes by.

    Names that stand twice in the answer count twice in precision, as in the released code. The recall of "top5" is full
    with five items.
    """
    given = [name for part in answer.rstrip().rstrip(".").rstrip(",").split(",") if (name := squad_normalised(part))]
    wanted = [[squad_normalised(name) for name in names] for names in aliases]
    known = {name for names in wanted for name in names}
    found = sum(any(name in given for name in names) for names in wanted)
    precision = sum(name in known for name in given) / len(given) if given else 0.0
    recall, top5 = found / len(wanted), min(5, found) / min(5, len(wanted))
    return {
        "precision": precision,
        "recall": recall,
        "recall_top5": top5,
        "f1": _harmonic(precision, recall),
        "f1_top5": _harmonic(precision, top5),
        "given": len(given),
    }


def _list_f1(aliases: Sequence[Sequence[str]], answer: str) -> Score:
    if not aliases:
        return Score(value=None, explanation="the task has no references and no `answers`")
    parts = list_scores(aliases, answer)
    return Score(value=parts["f1"], parts=parts)


def _str_em(questions: Sequence[Sequence[str]], answer: str, *, released: bool) -> Score:
    if not questions:
        return Score(value=None, explanation="the task has no references and no `qa_pairs`")
    whole = squad_normalised(answer)
    hits = [any(squad_normalised(s) in whole if released else says(answer, s) for s in short) for short in questions]
    return Score(value=sum(hits) / len(hits), parts={"hit": float(all(hits))})


def _questions(task: Task) -> list[list[str]]:
    pairs: Sequence[Mapping[str, Any]] = task.metadata.get("qa_pairs") or ()
    found = [list(pair["short_answers"]) for pair in pairs] or [list(task.references)]
    cleaned = [[text for text in short if text.strip()] for short in found]
    return [short for short in cleaned if short]


def _aliases(task: Task) -> list[list[str]]:
    answers: Sequence[Sequence[str]] = task.metadata.get("answers") or ()
    return [list(names) for names in answers] or [[reference] for reference in task.references if reference.strip()]


def _harmonic(a: float, b: float) -> float:
    return 2 * a * b / (a + b) if a + b else 0.0
