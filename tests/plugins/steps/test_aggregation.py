"""aggregation and first errors: RewardMATH's tables, ProcessBench's cases, the edges, and padding with good steps."""

from __future__ import annotations

import gzip
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardkit.errors import ConfigError, RewardError
from rewardkit_plugins.steps.aggregation import AGGREGATORS, EDGE, aggregator, mean_logit, mean_odd
from rewardkit_plugins.steps.first_error import first_below, processbench_f1

# Math-Shepherd on RewardMATH: accuracy and reciprocal rank in percent, for the two that the golden file leaves out.
LOGIT_AND_ODD = {"mean_logit": (14.7, 31.923), "mean_odd": (9.317, 26.356)}
OF_PROBABILITIES = ["prod", "geometric_mean", "mean_logit", "mean_odd"]
PROBABILITIES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def lines():
    def of(path):
        with gzip.open(path, "rt") as file:
            return [json.loads(line) for line in file]

    return of


def table(groups):
    """Return strict accuracy, accuracy where a tie wins and mean reciprocal rank in percent; the first is the right."""
    strict = tied = ranks = 0.0
    for right, *wrong in groups:
        strict += all(right > score for score in wrong)
        tied += all(right >= score for score in wrong)
        ranks += 1 / (1 + sum(score >= right for score in wrong))
    return tuple(100 * found / len(groups) for found in (strict, tied, ranks))


def test_rewardmaths_tables_are_reproduced(shared, lines):
    scores = {}
    for row in lines(shared("data/preference/rewardmath_scores.jsonl.gz")):
        scores.setdefault(row["model"], []).append(row)
    golden = lines(shared("data/preference/rewardmath_golden_metrics.jsonl.gz"))
    assert {row["aggregation"] for row in golden} >= {"min", "max", "prod", "geometric_mean", "mean", "last"}
    for row in golden:
        rows, how = scores[row["model"]], row["aggregation"]
        assert len(rows) == row["n"]
        if how == "pairwise":  # a lost comparison stands above the right solution
            groups = [
                [0, *(-1 if a == b else 1 for a, b in zip(r["score"], r["chosen_position"], strict=True))] for r in rows
            ]
        else:
            assert all(r["solution_reference"][0] == "human_to_GPT-4" for r in rows)
            groups = [r["score"] if how == "normal" else list(map(AGGREGATORS[how], r["score"])) for r in rows]
        assert table(groups) == pytest.approx((row["acc_strict"], row["acc_tie_wins"], row["mrr"]), abs=0.0006), row


@pytest.mark.parametrize("how", LOGIT_AND_ODD)
def test_rewardmaths_rows_of_log_odds_and_odds_are_reproduced(shared, lines, how):
    rows = lines(shared("data/preference/rewardmath_scores.jsonl.gz"))
    steps = [row["score"] for row in rows if row["model"] == "Math_Shepherd_reward"]
    assert all(EDGE < p < 1 - EDGE for solutions in steps for solution in solutions for p in solution)
    strict, _, reciprocal = table([list(map(AGGREGATORS[how], solutions)) for solutions in steps])
    assert (strict, reciprocal) == pytest.approx(LOGIT_AND_ODD[how], abs=0.0006)


def test_recorded_cases_are_reproduced(vectors):
    for case in vectors("prm_aggregate"):
        for how in ("min", "prod", "last", "mean"):
            assert AGGREGATORS[how](case["step_probs"]) == pytest.approx(case[how], abs=1e-12)
        assert first_below(case["step_probs"]) == case["first_below_half"]


def test_every_aggregate_of_one_case_by_hand():
    # odds 4 and 1/4, log-odds ln 4 and -ln 4
    values = {"min": 0.2, "prod": 0.16, "last": 0.2, "mean": 0.5, "geometric_mean": 0.4, "max": 0.8, "sum": 1.0}
    values |= {"mean_logit": 0.5, "mean_odd": 2.125}
    assert {how: of([0.8, 0.2]) for how, of in AGGREGATORS.items()} == pytest.approx(values)


@pytest.mark.parametrize("how", AGGREGATORS)
@given(PROBABILITIES)
def test_aggregates_are_finite_wherever_probabilities_may_lie(how, scores):
    assert math.isfinite(AGGREGATORS[how](scores))


@given(PROBABILITIES)
def test_the_means_lie_between_the_lowest_and_the_highest(scores):
    low, high = min(scores) - 1e-12, max(scores) + 1e-12
    geometric, arithmetic = AGGREGATORS["geometric_mean"](scores), AGGREGATORS["mean"](scores)
    assert low <= geometric <= arithmetic + 1e-12
    assert arithmetic <= high
    assert low - EDGE <= mean_logit(scores) <= high + EDGE


def test_certainty_is_a_large_number_and_not_an_infinite_one():
    assert mean_logit([0.0, 1.0]) == pytest.approx(0.5)
    assert mean_logit([0.0]) == pytest.approx(EDGE)
    assert mean_odd([1.0]) == pytest.approx(2**25 - 1)
    assert mean_odd([1.0]) > mean_odd([1 - 2**-24])  # the float32 before 1
    assert mean_logit([1.0]) > mean_logit([1 - 2**-24])


def test_long_solutions_keep_their_geometric_mean():
    assert AGGREGATORS["geometric_mean"]([0.1] * 1000) == pytest.approx(0.1)
    assert AGGREGATORS["geometric_mean"]([0.9, 0.0]) == 0.0


@pytest.mark.parametrize("how", AGGREGATORS)
@pytest.mark.parametrize("scores", [[], [math.nan], [0.5, math.inf], [0.5, None]])
def test_what_is_no_list_of_numbers_is_refused(how, scores):
    with pytest.raises(RewardError):
        aggregator(how)(scores)


@pytest.mark.parametrize("how", OF_PROBABILITIES)
@pytest.mark.parametrize("score", [-0.1, 1.1])
def test_probabilities_lie_between_0_and_1(how, score):
    with pytest.raises(RewardError, match=rf"step 1 is {score}.*from 0 to 1"):
        aggregator(how)([0.5, score])


def test_scores_of_any_range_have_a_lowest_and_a_sum():
    assert (AGGREGATORS["min"]([0.5, -0.9]), AGGREGATORS["sum"]([0.5, -0.9])) == (-0.9, pytest.approx(-0.4))


def test_an_unknown_name_is_refused_with_a_hint():
    with pytest.raises(ConfigError, match=r"'geometric_maen'.*geometric_mean"):
        aggregator("geometric_maen")


@pytest.mark.parametrize("how", ["min", "prod"])
@given(PROBABILITIES, st.lists(st.floats(0, 1), max_size=5), st.randoms())
def test_more_steps_never_raise_min_or_prod(how, scores, more, random):
    padded = [*scores, *more, *scores]
    random.shuffle(padded)
    assert AGGREGATORS[how](padded) <= AGGREGATORS[how](scores) * (1 + 1e-12) + 5e-324  # the order of multiplying


@pytest.mark.parametrize("how", ["mean", "last", "max", "sum", "geometric_mean", "mean_logit", "mean_odd"])
def test_padding_with_good_steps_games_the_others(how):
    assert AGGREGATORS[how]([0.9, 0.1, *[0.99] * 20]) > AGGREGATORS[how]([0.9, 0.1])


def test_a_step_at_the_threshold_is_good():
    assert [first_below(scores, 0.8) for scores in ([0.8], [0.9, 0.79, 0.1], [])] == [-1, 1, -1]


def test_processbenchs_f1_is_reproduced(vectors):
    for case in vectors("processbench"):
        assert processbench_f1(case["acc_err"], case["acc_cor"]) == pytest.approx(case["f1"], abs=1e-12)


def test_processbenchs_f1_by_hand():
    assert processbench_f1(0.4, 0.8) == pytest.approx(8 / 15)
    assert processbench_f1(1.0, 0.0) == processbench_f1(0.0, 0.0) == 0.0
