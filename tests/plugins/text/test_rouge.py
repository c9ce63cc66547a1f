"""rouge: rouge-score's numbers, and how it is gamed."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardkit.errors import ConfigError
from rewardkit.testing import RewardContract, trajectory
from rewardkit_plugins.text.rouge import Rouge, _prepare, rouge

VARIANTS = ["rouge1", "rouge2", "rougeL"]
TEXTS = st.lists(st.sampled_from(["the", "a", "Cat", "sat,", "on-mat", "42", "é", "我"]), max_size=12).map(" ".join)
REFERENCE = "The cat sat on the mat and looked out of the window at the falling rain."


def score(completion, references, **options):
    return Rouge(**options).score_batch([trajectory("", completion, references)])[0]


class TestContract(RewardContract):
    reward = "rouge"


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_librarys_values_are_reproduced_on_real_sentences(shared, variant):
    with gzip.open(shared("data/text/text_metric_golden.jsonl.gz"), "rt") as lines:
        for case in map(json.loads, lines):
            assert score(case["hypothesis"], case["references"], variant=variant).value == case[variant]


@pytest.mark.parametrize("variant", VARIANTS)
@settings(deadline=None)
@given(TEXTS, st.lists(TEXTS.filter(lambda text: text.strip("é我 ")), min_size=1, max_size=3))
def test_any_text_scores_as_rouge_score_says(variant, hypothesis, references):
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer([variant])
    assert tuple(rouge(hypothesis, references, variant=variant)) == tuple(
        scorer.score_multi(references, hypothesis)[variant]
    )


@pytest.mark.parametrize(
    ("variant", "precision", "recall"),
    [
        ("rouge1", 3 / 4, 3 / 5),  # the, cat, sat
        ("rouge2", 1 / 3, 1 / 4),  # the cat
        ("rougeL", 2 / 4, 2 / 5),  # the cat
    ],
)
def test_a_case_worked_out_by_hand(variant, precision, recall):
    found = score("sat the cat here", ["the cat, he said, sat"], variant=variant)
    assert found.value == pytest.approx(2 * precision * recall / (precision + recall))
    assert found.parts == pytest.approx({"precision": precision, "recall": recall})


@pytest.mark.parametrize("variant", VARIANTS)
@settings(deadline=None)
@given(st.lists(st.tuples(TEXTS, st.lists(TEXTS, max_size=3)), max_size=6))
def test_a_batch_scores_as_its_members_do_alone(variant, cases):
    reward = Rouge(variant=variant)
    batch = [trajectory("", completion, references) for completion, references in cases]
    assert reward.score_batch(batch) == [reward.score_batch([one])[0] for one in batch]


def test_attempts_at_one_task_prepare_its_references_once_across_calls():
    reward, before = Rouge(), _prepare.cache_info().misses
    for attempt in range(8):
        reward.score_batch([trajectory("", f"attempt {attempt}", ["a reference that no other test has"])])
    assert _prepare.cache_info().misses == before + 1


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_nearest_reference_counts(variant):
    near, far = "the cat sat on a mat", "dogs ran under that bridge"
    assert score(near, [far, near, ""], variant=variant).value == 1.0


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("completion", ["", " ?! ", "我爱你"])
def test_an_answer_without_a_word_scores_zero(variant, completion):
    assert score(completion, [REFERENCE], variant=variant).value == 0.0


@pytest.mark.parametrize("references", [[], ["", " "], ["?!"], ["我爱你"]])
def test_without_a_reference_with_words_the_reward_abstains(references):
    assert score("anything", references).value is None


def test_the_function_refuses_references_without_a_word():
    with pytest.raises(ValueError, match="none of the 1 references"):
        rouge("a", ["?"])


def test_an_unknown_variant_is_refused():
    with pytest.raises(ConfigError, match="rougeLsum"):
        Rouge(variant="rougeLsum")


# How it is gamed.


def test_runaway_repetition_loses_precision():
    assert score("the cat sat on the mat " * 50, [REFERENCE]).value < 0.1


def test_length_alone_pays_up_to_the_references_length():
    # F1 has no brevity penalty: half of the reference earns two thirds
    half = " ".join(REFERENCE.split()[:8])
    assert score(half, [REFERENCE]).value == pytest.approx(2 / 3)


def test_one_short_reference_makes_one_word_a_full_score():
    assert score("Yes.", ["yes", REFERENCE]).value == 1.0


def test_word_salad_fools_rouge1_and_not_rouge_l():
    salad = " ".join(sorted(REFERENCE.lower().strip(".").split()))
    assert score(salad, [REFERENCE], variant="rouge1").value == 1.0
    assert score(salad, [REFERENCE], variant="rougeL").value < 0.5
    assert score(salad, [REFERENCE], variant="rouge2").value < 0.2


def test_a_negation_costs_almost_nothing():
    assert score(REFERENCE.replace("sat", "never sat"), [REFERENCE]).value > 0.95


def test_a_hostile_answer_of_a_million_characters_is_scored_in_seconds():
    assert score("a b " * 250_000, [REFERENCE]).value < 0.01
