"""bleu: HF evaluate's and sacrebleu's numbers, references prepared once, and how it is gamed."""

from __future__ import annotations

import gzip
import json
import math
from collections import Counter
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardkit.errors import ConfigError
from rewardkit.testing import RewardContract, trajectory
from rewardkit_plugins.text.bleu import Bleu, _prepare, sentence_bleu
from rewardkit_plugins.text.tokenizer import tokenize_13a

TEXTS = st.lists(st.sampled_from(["the", "a", "cat", "sat", "on", "mat", ",", ".", "zzz"]), max_size=12).map(" ".join)
REFERENCE = "The cat sat on the mat and looked out of the window at the falling rain."


def score(completion, references, **options):
    return Bleu(**options).score_batch([trajectory("", completion, references)])[0]


def by_the_paper(hypothesis, references, max_order):
    """Add-one smoothed BLEU, written as the formula stands."""
    tokens, others = tokenize_13a(hypothesis), [tokenize_13a(one) for one in references]
    logs = 0.0
    for order in range(1, max_order + 1):

        def count(text, order=order):
            return Counter(tuple(text[i : i + order]) for i in range(len(text) - order + 1))

        mine, theirs = count(tokens), [count(other) for other in others]
        matched = sum(min(n, max(c[gram] for c in theirs)) for gram, n in mine.items())
        logs += math.log((matched + 1) / (mine.total() + 1))
    shortest = min(map(len, others))
    penalty = 1.0 if len(tokens) > shortest else math.exp(1 - shortest / len(tokens))
    return penalty * math.exp(logs / max_order)


class TestContract(RewardContract):
    reward = "bleu"


class TestSacrebleuContract(RewardContract):
    reward = "bleu"
    options: ClassVar = {"variant": "sacrebleu"}


def test_every_recorded_case_of_hf_evaluate_is_reproduced(shared):
    lines = shared("specs/vectors/bleu_cases.jsonl").read_text().splitlines()
    for case in map(json.loads, lines):
        assert tokenize_13a(case["pred"]) == case["tokens"]
        if case["bleu"] is None:  # HF evaluate divides by zero
            continue
        found = sentence_bleu(case["pred"], case["refs"], max_order=case["max_order"], smooth=case["smooth"])
        assert found.bleu == pytest.approx(case["bleu"], abs=1e-9)
        assert found.precisions == pytest.approx(case["precisions"], abs=1e-9)
        assert found.brevity_penalty == pytest.approx(case["brevity_penalty"], abs=1e-9)
        assert found.hypothesis_length == case["translation_length"]
        assert found.reference_length == case["reference_length"]


@pytest.mark.parametrize(
    ("key", "scale", "options"),
    [
        ("hf_bleu_smooth", 1, {}),
        ("hf_bleu", 1, {"smooth": False}),
        ("sacrebleu_sentence", 100, {"variant": "sacrebleu"}),
        ("sacrebleu_none", 100, {"variant": "sacrebleu", "smooth": False}),
        ("sacrebleu_lowercase", 100, {"variant": "sacrebleu", "lowercase": True}),
    ],
)
def test_the_libraries_values_are_reproduced_on_real_sentences(shared, key, scale, options):
    with gzip.open(shared("data/text/text_metric_golden.jsonl.gz"), "rt") as lines:
        for case in map(json.loads, lines):
            found = score(case["hypothesis"], case["references"], min_reference_tokens=0, **options)
            assert found.value == pytest.approx(case[key] / scale, abs=1e-9)


def test_a_case_worked_out_by_hand():
    # 1 word of 3 too many, against 5 words; matches 2 of 3, 1 of 2, 0 of 1, 0 of 0; add one to all
    found = sentence_bleu("the cat flew", ["the cat sat on mats"])
    assert found.precisions == pytest.approx((3 / 4, 2 / 3, 1 / 2, 1 / 1))
    assert found.brevity_penalty == pytest.approx(math.exp(1 - 5 / 3))
    assert found.bleu == pytest.approx(math.exp(1 - 5 / 3) * (3 / 4 * 2 / 3 * 1 / 2) ** (1 / 4))


def test_counts_are_clipped_at_the_reference_that_has_most():
    found = sentence_bleu("to to to to", ["to be to", "to to to go"], max_order=1, smooth=False)
    assert found.precisions == (3 / 4,)


@settings(deadline=None)
@given(TEXTS.filter(bool), st.lists(TEXTS.filter(bool), min_size=1, max_size=4), st.sampled_from([1, 2, 4, 30]))
def test_the_score_is_the_papers_formula(hypothesis, references, max_order):
    # with 30 orders n-grams outgrow 64 bits
    found = sentence_bleu(hypothesis, references, max_order=max_order)
    assert found.bleu == pytest.approx(by_the_paper(hypothesis, references, max_order), abs=1e-12)


@pytest.mark.parametrize("variant", ["bleuberi", "sacrebleu"])
@settings(deadline=None)
@given(st.lists(st.tuples(TEXTS, st.lists(TEXTS, max_size=3)), max_size=6))
def test_a_batch_scores_as_its_members_do_alone(variant, cases):
    reward = Bleu(variant=variant)
    batch = [trajectory("", completion, references) for completion, references in cases]
    assert reward.score_batch(batch) == [reward.score_batch([one])[0] for one in batch]


def test_attempts_at_one_task_prepare_its_references_once_across_calls():
    reference = "a reference that no other test has, of more than four words"
    reward, before = Bleu(), _prepare.cache_info().misses
    for attempt in range(8):
        reward.score_batch([trajectory("", f"attempt {attempt}", [reference])])
    assert _prepare.cache_info().misses == before + 1


def test_parts_explain_the_value():
    found = score(REFERENCE[:30], [REFERENCE])
    orders = [found.parts[f"p{order}"] for order in (1, 2, 3, 4)]
    assert found.value == pytest.approx(found.parts["brevity_penalty"] * math.prod(orders) ** 0.25)
    assert found.parts["hypothesis_length"] == len(tokenize_13a(REFERENCE[:30]))
    assert found.parts["reference_length"] == len(tokenize_13a(REFERENCE))


@pytest.mark.parametrize("variant", ["bleuberi", "sacrebleu"])
@pytest.mark.parametrize("completion", ["", "  \n"])
def test_an_answer_without_a_token_scores_zero(variant, completion):
    assert score(completion, [REFERENCE], variant=variant).value == 0.0


@pytest.mark.parametrize("variant", ["bleuberi", "sacrebleu"])
@pytest.mark.parametrize("references", [[], [""], [" \n", ""]])
def test_without_a_reference_the_reward_abstains(variant, references):
    assert score("anything", references, variant=variant, min_reference_tokens=0).value is None


def test_the_function_refuses_references_without_a_token():
    with pytest.raises(ValueError, match="none of the 2 references"):
        sentence_bleu("a", ["", " "])


@pytest.mark.parametrize("variant", ["bleuberi", "sacrebleu"])
def test_empty_references_beside_others_change_nothing(variant):
    alone = score("the cat sat on a mat", [REFERENCE], variant=variant)
    assert score("the cat sat on a mat", ["", REFERENCE, " "], variant=variant) == alone


@pytest.mark.parametrize(
    "text", ["我爱你 我爱你 吗 好的 呢", "Ça va où, Zoë? Très bien !", "👩‍🔬 🇩🇪 e\u0301 ☃ \ud800 x y"]
)
def test_any_script_equals_itself(text):
    assert score(text, [text]).value == 1.0


def test_case_counts_unless_told():
    assert score(REFERENCE.upper(), [REFERENCE]).value < 0.1
    assert score(REFERENCE.upper(), [REFERENCE], lowercase=True).value == 1.0


@pytest.mark.parametrize("options", [{"variant": "nltk"}, {"max_order": 0}, {"min_reference_tokens": -1}])
def test_an_option_that_cannot_be_right_is_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        Bleu(**options)


def test_the_signature_says_how_the_number_was_made():
    ours = {"order": "4", "smooth": "add-1", "tok": "13a", "case": "mixed", "bp": "shortest", "minref": "4"}
    assert Bleu().signature_fields() == ours
    theirs = Bleu(variant="sacrebleu", lowercase=True, smooth=False, min_reference_tokens=0).signature_fields()
    assert theirs["case"] == "lc"
    assert theirs["smooth"] == "none"
    assert theirs["bp"] == "closest"
    assert theirs["minref"] == "1"
    assert theirs["sacrebleu"]


# How it is gamed.


@pytest.mark.parametrize(("length", "paid"), [(1, 0.8409), (2, 0.6389), (3, 0.4518), (4, 0.3021)])
def test_smoothing_pays_wrong_short_answers_and_the_guard_takes_it_back(length, paid):
    wrong, right = " ".join("abcd"[:length]), " ".join("efgh"[:length])
    assert score(wrong, [right], min_reference_tokens=0).value == pytest.approx(paid, abs=1e-4)
    guarded = score(wrong, [right])
    assert guarded.value is None if length < 4 else guarded.value == pytest.approx(paid, abs=1e-4)


def test_an_abstention_says_what_was_missing():
    assert score("4", ["42"]).explanation == "the task has no reference of 4 or more tokens"


def test_a_short_reference_beside_a_long_one_opens_no_trap():
    assert score("no", ["yes", REFERENCE], min_reference_tokens=0).value > 0.8
    assert score("no", ["yes", REFERENCE]).value < 0.01


def test_runaway_repetition_is_clipped():
    assert score("the cat sat on the mat " * 50, [REFERENCE]).value < 0.05
    assert score("the " * 300, [REFERENCE]).value < 0.01


def test_padding_a_right_answer_pays_less_than_the_answer():
    assert score(REFERENCE + " And so on." * 10, [REFERENCE]).value < 0.5


def test_a_prefix_pays_little_because_of_the_brevity_penalty():
    assert score("The cat sat on", [REFERENCE]).value < 0.1


def test_one_short_reference_lifts_the_brevity_penalty_of_all():
    # a weakness of the rule, kept because BLEUBERI has it: sacrebleu compares with the closest reference instead
    prefix = " ".join(REFERENCE.split()[:8])
    with_short = [REFERENCE, "It rained all the day."]
    assert score(prefix, [REFERENCE]).parts["brevity_penalty"] < 0.5
    assert score(prefix, with_short).parts["brevity_penalty"] == 1.0


def test_copying_any_one_reference_scores_one():
    references = [REFERENCE, "It was raining, so the cat stayed inside and watched."]
    assert [score(one, references).value for one in references] == [1.0, 1.0]


def test_mixing_references_scores_below_copying_one():
    other = "A dog ran under this bridge while we walked into that quiet town after dark"
    mixed = " ".join(word for pair in zip(REFERENCE.split(), other.split(), strict=False) for word in pair)
    assert score(mixed, [REFERENCE, other]).value < 0.5


def test_a_hostile_answer_of_a_million_characters_is_scored_in_seconds():
    assert score("., " * 333_333, [REFERENCE]).value < 0.01
    assert score("..5" * 100_000, [REFERENCE]).value < 0.01
