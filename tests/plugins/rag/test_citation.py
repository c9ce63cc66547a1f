"""citation: ALCE's numbers with the table they were made with, the stricter rules, and how it is gamed."""

from __future__ import annotations

import re

import pytest

from rewardkit.errors import ConfigError
from rewardkit.testing import RewardContract, trajectory
from rewardkit.types import Message, Step, Task, Trajectory
from rewardkit_plugins.rag.citation import Citation

DOCS = [
    {"title": "Sky", "text": "The sky is blue."},
    {"title": "Sea", "text": "The sea is green."},
    {"title": "Snow", "text": "Snow is white. The sky is blue above it."},
]


def table(pairs):
    """Entailed if every k-word of the claim stands in the premise: the rule of the vectors."""
    return [set(re.findall(r"\bk\d+\b", claim)) <= set(re.findall(r"\bk\d+\b", premise)) for premise, claim in pairs]


def scored(answer, docs=DOCS, references=(), answerable=None, **options):
    metadata = {"docs": docs} | ({} if answerable is None else {"answerable": answerable})
    return Citation(**options).score(trajectory("q", answer, references, metadata=metadata))


def both(answer, docs=DOCS, **options):
    score = scored(answer, docs, **options)
    return score.parts["recall"], score.parts["precision"]


class TestContract(RewardContract):
    reward = "citation"

    def trajectories(self):
        return [trajectory("Which colour?", "The sky is blue [1]. The sea is green [2].", metadata={"docs": DOCS})]


def test_the_released_rules_give_alces_numbers(alce):
    for case in alce["citation"]:
        options = {"rules": "released", "at_most": case["at_most_citations"] or 0, "entailment": table}
        score = scored(case["output"], case["docs"], **options)
        if case["citation_rec"] is None:
            assert score.value is None
            continue
        assert score.parts["recall"] * 100 == pytest.approx(case["citation_rec"], abs=1e-9), case["name"]
        assert score.parts["precision"] * 100 == pytest.approx(case["citation_prec"], abs=1e-9), case["name"]


def test_the_strict_rules_differ_where_alces_are_odd(alce):
    different = {
        "zero_cite_negative_index": (0, 0),  # [0] is no passage
        "comma": (1, 1),  # [1,2] are two citations
        "at_most_1": (1, 0.5),  # no limit was asked for
        "at_most_3": (1, 0.25),
    }
    for case in alce["citation"]:
        if case["citation_rec"] is not None:
            expected = different.get(case["name"], (case["citation_rec"] / 100, case["citation_prec"] / 100))
            assert both(case["output"], case["docs"], entailment=table) == pytest.approx(expected), case["name"]


@pytest.mark.parametrize(
    ("answer", "recall", "precision"),
    [
        ("The sky is blue [1].", 1, 1),
        ("The sky is blue. [1]", 1, 1),
        ("The sky is blue [1][2].", 1, 1 / 2),
        ("The sky is blue [1][3].", 1, 1),
        ("The sky is blue [2].", 0, 0),
        ("The sky is blue.", 0, 0),
        ("The sky is blue [1]. The sea is green.", 1 / 2, 1),
        ("The sky is blue [1] and the sea is green [2].", 1, 1),
        ("The sky is blue [1][4].", 0, 0),
        ("The sky is blue [0].", 0, 0),
        ("The sky is blue [1]. The sea is green [2][4].", 1 / 2, 1 / 3),
        ("The sky is blue [1][1][1][2].", 1, 1 / 2),
        ("The sky is not blue [1].", 0, 0),
        ("It is so [1].", 0, 0),
    ],
)
def test_recall_and_precision_by_hand(answer, recall, precision):
    assert both(answer) == pytest.approx((recall, precision))


def test_citations_of_which_each_can_be_spared_do_not_count():
    docs = ["k1 k2", "k2 k3", "k1 k3"]  # any two entail it, none alone
    assert both("A k1 k2 k3 [1][2][3].", docs, entailment=table) == (1, 0)
    assert both("A k1 k2 k3 [1][2].", docs, entailment=table) == (1, 1)


def test_the_value_is_f1_unless_asked_otherwise():
    answer = "The sky is blue [1]. The sea is green [2][4]."  # recall 1/2, precision 1/3
    assert scored(answer).value == pytest.approx(0.4)
    assert scored(answer, value="recall").value == 0.5
    assert scored(answer, value="precision").value == pytest.approx(1 / 3)


def test_gaming_the_index_fails():
    docs = DOCS[:2]
    assert scored("The sea is green [0].", docs, rules="released").value == 1
    assert scored("The sea is green [0].", docs).value == 0
    assert scored("The sea is green [-1].", docs).value == 0
    assert scored("The sea is green [00002].", docs).value == 1  # it is 2 all the same


def test_gaming_precision_by_repeating_the_good_citation_fails():
    stuffed = "The sky is blue [1][1][1][2]."
    assert both(stuffed, rules="released")[1] == 3 / 4
    assert both(stuffed)[1] == 1 / 2


def test_gaming_by_citing_everything_costs_precision():
    assert scored("The sky is blue [1][2][3].").value < scored("The sky is blue [1].").value


def test_gaming_by_hiding_lines_fails():
    answer = "The sky is blue [1].\nThe sea is red."
    assert both(answer, rules="released")[0] == 1
    assert both(answer)[0] == 1 / 2


def test_gaming_by_quoting_what_was_not_asked_pays_here():
    assert scored("Snow is white [3].").value == 1  # hence a reward for the answer beside it


def test_a_decline_claims_nothing_where_there_is_no_answer_and_is_uncited_elsewhere():
    decline = "The passages do not say."
    assert scored(decline, answerable=False).value == 1
    assert scored(f"{decline} The sky is blue [1].", answerable=False).value == 1
    assert scored(f"{decline} The sky is red [1].", answerable=False).value == 0
    assert scored(decline).value == scored(decline, references=["blue"]).value == 0
    assert scored("", answerable=False).value == 0


def test_without_passages_it_abstains_and_with_none_seen_it_does_not():
    assert Citation().score(trajectory("q", "Blue [1].")).value is None
    step = Step(action=Message(role="assistant"), metadata={"action": "answer", "answer": "The sky is blue [1]."})
    assert Citation().score(Trajectory(task=Task(), steps=(step,))).value == 0
    assert scored("Blue [1].", []).value == scored("Blue [0].", [], rules="released").value == 0


def test_a_small_batch_asks_for_recall_then_for_precision_and_each_pair_once():
    calls = []

    def judge(pairs):
        calls.append(list(pairs))
        return table(pairs)

    attempt = trajectory("q", "A k1 [1][2]. A k1 [1][2].", metadata={"docs": ["k1", "k2"]})
    Citation(entailment=judge).score_batch([attempt, attempt])
    assert calls == [[("k1\nk2", "A k1.")], [("k1", "A k1."), ("k2", "A k1.")]]


def test_the_signature_names_the_judge_and_the_rules():
    assert Citation().signature_fields() == {
        "entailment": "lexical",
        "rules": "strict",
        "value": "f1",
        "at_most": "0",
    }
    assert Citation(entailment=table).signature_fields()["entailment"] == "table"


def test_an_explanation_names_the_sentence_that_is_not_supported():
    assert scored("The sky is blue [1]. The sea is red [2].").explanation.endswith("'The sea is red.'")


@pytest.mark.parametrize(
    "options", [{"rules": "lax"}, {"value": "f2"}, {"at_most": -1}, {"at_most": 1.5}, {"entailment": "nli"}]
)
def test_an_option_that_cannot_be_right_is_refused(options):
    with pytest.raises(ConfigError):
        Citation(**options)
