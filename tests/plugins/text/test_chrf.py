"""chrf: sacrebleu's numbers, and how it is gamed."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardkit.errors import ConfigError
from rewardkit.testing import RewardContract, trajectory
from rewardkit_plugins.text.chrf import Chrf, _prepare

TEXTS = st.lists(st.sampled_from(["the", "a", "Cat", "sat,", "on-mat", "42", "é", "我"]), max_size=12).map(" ".join)
REFERENCE = "The cat sat on the mat and looked out of the window at the falling rain."


def score(completion, references, **options):
    return Chrf(**options).score_batch([trajectory("", completion, references)])[0]


class TestContract(RewardContract):
    reward = "chrf"


@pytest.mark.parametrize(("key", "word_order"), [("chrf", 0), ("chrfpp", 2)])
def test_the_librarys_values_are_reproduced_on_real_sentences(shared, key, word_order):
    with gzip.open(shared("data/text/text_metric_golden.jsonl.gz"), "rt") as lines:
        for case in map(json.loads, lines):
            found = score(case["hypothesis"], case["references"], word_order=word_order)
            assert found.value == pytest.approx(case[key] / 100, abs=1e-12)


def test_a_case_worked_out_by_hand():
    # letters: a, b of abc and of abd; pairs: ab of ab, bc and of ab, bd
    by_letters_and_pairs = (2 / 3 + 1 / 2) / 2  # precision and recall are equal, so F is too
    assert score("abc", ["a b d"], char_order=2).value == pytest.approx(by_letters_and_pairs)


@pytest.mark.parametrize(("beta", "expected"), [(1, 2 / 3), (2, 5 / 9)])
def test_beta_weighs_recall(beta, expected):
    # precision 1, recall 1/2: (1 + b^2) / 2 / (b^2 + 1/2)
    assert score("a", ["ab"], char_order=1, beta=beta).value == pytest.approx(expected)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(TEXTS, st.lists(TEXTS, max_size=3)), max_size=4))
def test_a_batch_scores_as_its_members_do_alone(cases):
    reward = Chrf()
    batch = [trajectory("", completion, references) for completion, references in cases]
    assert reward.score_batch(batch) == [reward.score_batch([one])[0] for one in batch]


def test_attempts_at_one_task_prepare_its_references_once_across_calls():
    reward, before = Chrf(), _prepare.cache_info().misses
    for attempt in range(8):
        reward.score_batch([trajectory("", f"attempt {attempt}", ["a reference that no other test has"])])
    assert _prepare.cache_info().misses == before + 1


@pytest.mark.parametrize("text", ["我爱你", "Ça va où, Zoë ?", "👩‍🔬 e\u0301 \ud800"])
def test_any_script_equals_itself(text):
    assert score(text, ["other", text, ""]).value == 1.0


@pytest.mark.parametrize("completion", ["", " \n"])
def test_an_empty_answer_scores_zero(completion):
    assert score(completion, [REFERENCE]).value == 0.0


@pytest.mark.parametrize("references", [[], ["", " \n"]])
def test_without_a_reference_the_reward_abstains(references):
    assert score("anything", references).value is None


def test_case_counts_unless_told():
    assert score(REFERENCE.upper(), [REFERENCE]).value < 0.2
    assert score(REFERENCE.upper(), [REFERENCE], lowercase=True).value == 1.0


@pytest.mark.parametrize("options", [{"char_order": 0}, {"word_order": -1}, {"beta": 0}])
def test_an_option_that_cannot_be_right_is_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        Chrf(**options)


def test_the_signature_says_how_the_number_was_made():
    fields = Chrf(word_order=2).signature_fields()
    assert fields.pop("sacrebleu")
    assert fields == {"case": "mixed", "eff": "yes", "nc": "6", "nw": "2", "space": "no", "beta": "2"}


# How it is gamed.


def test_letters_pay_for_unrelated_text_of_the_same_language():
    assert score("When she was there, many other things were said about that.", [REFERENCE]).value > 0.15


def test_padding_is_cheap_because_recall_weighs_more():
    padded = REFERENCE + " And on it goes, and on, for as long again as that was."
    assert score(padded, [REFERENCE]).value > 0.8
    assert score(padded, [REFERENCE], beta=1).value < 0.75


def test_runaway_repetition_is_clipped():
    assert score(REFERENCE * 50, [REFERENCE]).value < 0.15
