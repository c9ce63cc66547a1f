"""r3: the numbers of the released code, the branches, and how it is gamed."""

from __future__ import annotations

import json
import pickle

import pytest

from rewardkit.errors import ConfigError, RewardError
from rewardkit.testing import RewardContract, trajectory
from rewardkit_plugins.rag.r3 import R3, cleaned, length_incentive, lexical_relevance, repetition_penalty

GOOD = "Bees make honey from nectar: they carry nectar home, and in the hive honey ripens while bees fan it."
BRANCH = {"OPENENDED": "open", "CONSTRAINED": "constrained"}


def score(answer, question="How do bees make honey?", references=(), qtype=None, **options):
    metadata = {} if qtype is None else {"qtype": qtype}
    return R3(**options).score(trajectory(question, answer, references, metadata=metadata))


def stub(relevance):
    """An embedding in which every dot product is `relevance`: the stub of the vectors."""
    return lambda texts: [[relevance, 1.0] if text == "Q" else [1.0, 0.0] for text in texts]


class TestContract(RewardContract):
    reward = "r3"

    def trajectories(self):
        return [trajectory("How do bees make honey?", GOOD)]


class TestConstrainedContract(RewardContract):
    reward = "r3:branch=constrained"

    def trajectories(self):
        return [trajectory("How do bees make honey?", GOOD, [GOOD])]


def test_length_and_repetition_are_those_of_the_released_code(shared):
    cases = json.loads(shared("specs/vectors/r3.json").read_text(encoding="utf-8"))["text_scores"]
    assert len(cases) == 54
    for case in cases:
        text = cleaned(case["text"])
        assert length_incentive(text) == pytest.approx(case["length_incentive"], abs=1e-12)
        assert repetition_penalty(text) == pytest.approx(case["repetition"], abs=1e-12)


def test_the_combination_is_that_of_the_released_code(shared):
    for case in json.loads(shared("specs/vectors/r3.json").read_text(encoding="utf-8"))["combine"]:
        options = {"embedding": stub(case["relevance"]), "branch": "open"}
        found = score(case["response"], "Q", ["Q"], case["qtype"], **options)
        assert found.value == pytest.approx(case["reward"], abs=1e-12)
        assert found.parts["relevance"] == pytest.approx(case["relevance"])


def test_an_open_question_multiplies_length_relevance_and_variety_by_hand():
    found = score("honey honey honey honey", "honey")  # 4 tokens, cosine 1, one of two trigrams is new
    assert found.parts == {"length": 0.04, "relevance": 1.0, "repetition": 0.5}
    assert found.value == pytest.approx(0.02)


def test_a_constrained_question_asks_for_the_nearest_reference():
    found = score("wax", references=["bees", "wax"], branch="constrained")
    assert found.value == pytest.approx(1 / 3.5 * 5.12)
    assert score("wax", references=["bees"], branch="constrained").value == 0
    assert score("wax", references=[" "], qtype="CONSTRAINED").value is None
    assert score("wax", qtype="OPENENDED", branch="constrained").value is not None


def test_lexical_relevance_is_the_cosine_of_content_words():
    assert lexical_relevance("red red apple", "the red apple") == pytest.approx(3 / (5 * 2) ** 0.5)
    assert lexical_relevance("the of and", "the of and") == 0


def test_gaming_by_length_pays_in_open_questions_and_not_in_constrained_ones():
    longer = GOOD + " " + GOOD.replace("honey", "sweet honey").replace("nectar", "fine nectar")
    assert score(longer).value > score(GOOD).value
    assert score(longer, references=[GOOD], branch="constrained").value < (
        score(GOOD, references=[GOOD], branch="constrained").value
    )


def test_gaming_by_repetition_does_not_pay():
    assert score(GOOD * 5).value < score(GOOD).value * 1.05


def test_gaming_by_an_echo_of_the_question_pays_a_little():
    assert 0 < score("How do bees make honey?").value < score(GOOD).value


def test_a_role_header_ends_the_answer():
    assert score("### Response: " + GOOD).value == 0
    assert cleaned("a\n\n--b ### Instruction: c") == "a"


def test_negative_relevance_punishes_length():
    long, short = (score(text, "Q", embedding=stub(-0.2)).value for text in ("a b c d e f", "a"))
    assert long < short < 0


def test_an_embedding_may_be_a_class_named_by_its_address_and_is_built_by_setup(tmp_path, monkeypatch):
    (tmp_path / "my_vectors.py").write_text(
        "class Ones:\n    def __call__(self, texts):\n        return [[2.0] for _ in texts]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    reward = pickle.loads(pickle.dumps(R3(embedding="my_vectors:Ones")))
    reward.setup()
    assert reward.score(trajectory("Q", "a b")).value == pytest.approx(0.02 * 4)
    assert pickle.loads(pickle.dumps(reward)).score(trajectory("Q", "a b")).value == pytest.approx(0.02 * 4)
    assert reward.signature_fields() == {"embedding": "my_vectors:Ones", "branch": "open"}


def test_what_cannot_be_right_is_refused():
    with pytest.raises(ConfigError, match="embedding must be"):
        R3(embedding="contriever")
    with pytest.raises(ConfigError, match="branch"):
        R3(branch="closed")
    with pytest.raises(RewardError, match="gave 0 vectors for 2 texts"):
        score("a", "Q", embedding=lambda texts: [])
