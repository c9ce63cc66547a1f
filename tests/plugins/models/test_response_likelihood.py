"""response_likelihood: a plain computation in float64, which tokens count, and how it is gamed."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import pytest

from rewardkit.errors import ConfigError, RewardError
from rewardkit.testing import RewardContract, trajectory

torch = pytest.importorskip("torch", reason="torch is not installed: response_likelihood is not tested")
pytest.importorskip("transformers", reason="transformers is not installed: response_likelihood is not tested")

from rewardkit_plugins.models.response_likelihood import ResponseLikelihood  # noqa: E402

_FILE = importlib.util.spec_from_file_location("reactions", Path(__file__).parent / "reactions.py")
reactions = importlib.util.module_from_spec(_FILE)
_FILE.loader.exec_module(reactions)

QUESTION, ANSWER = "What colour is the sky?", "The sky is blue."
TURNS = [
    (QUESTION, ANSWER),
    ("Who wrote Faust?", "Goethe wrote it.", "Are you sure?", "Yes: the first part in 1808, naïve as I am."),
    ("?", "é"),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return reactions.make(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def exact(model):
    return reactions.Exact(model)


def build(model, **options):
    return ResponseLikelihood(model=model, **{"self_test": False, **options})


def score(reward, *turns):
    return reward.score_batch([reactions.dialogue(*turns)])[0]


def answers(exact, turns, *, end="", last=None):
    """The log-probabilities of each answer, in float64."""
    found = []
    for n in range(1, len(turns), 2):
        before = reactions.rendered(exact.tokenizer, reactions.chat(*turns[:n])) + "<|im_start|>assistant\n"
        found.append(exact.logprobs(before, turns[n] + end, last=last))
    return found


class TestContract(RewardContract):
    reward = "rewardkit_plugins.models.response_likelihood:ResponseLikelihood"

    @pytest.fixture(autouse=True)
    def a_model(self, model):
        type(self).options = {"model": model, "end_of_turn": True}

    def trajectories(self):
        return [trajectory(QUESTION, ANSWER)]


@pytest.mark.parametrize(
    "options",
    [{"attention": "packed", "self_test": True}, {"attention": "sdpa"}, {"attention": "eager", "batch_tokens": 40}],
    ids=["packed", "padded", "small passes"],
)
def test_every_layout_gives_the_numbers_of_float64(model, exact, options):
    reward = build(model, **options)
    for turns, found in zip(TURNS, reward.score_batch([reactions.dialogue(*t) for t in TURNS]), strict=True):
        logprobs = answers(exact, turns)[-1]
        assert found.value == pytest.approx(sum(logprobs) / len(logprobs), abs=1e-5)
        assert found.parts["logprob"] == pytest.approx(sum(logprobs), abs=1e-4)
        assert found.parts["tokens"] == len(logprobs)
        assert found.parts["perplexity"] == pytest.approx(math.exp(-sum(logprobs) / len(logprobs)), rel=1e-4)
        assert found.steps == (*[None] * (len(turns) // 2 - 1), found.value)
    reward.close()


@pytest.mark.parametrize("aggregate", ["mean", "sum"])
def test_all_actions_have_a_step_each_and_count_together(model, exact, aggregate):
    found = score(build(model, actions="all", aggregate=aggregate), *TURNS[1])
    rows = answers(exact, TURNS[1])
    both = [*rows[0], *rows[1]]
    divide = [len(row) if aggregate == "mean" else 1 for row in (*rows, both)]
    assert found.steps == pytest.approx([sum(row) / n for row, n in zip(rows, divide, strict=False)], abs=1e-4)
    assert found.value == pytest.approx(sum(both) / divide[-1], abs=1e-4)
    assert found.parts["tokens"] == len(both)


def test_the_token_that_closes_the_turn_counts_if_asked_for(model, exact):
    found = score(build(model, end_of_turn=True, aggregate="sum"), QUESTION, ANSWER)
    (row,) = answers(exact, (QUESTION, ANSWER), end="<|im_end|>")
    assert found.value == pytest.approx(sum(row), abs=1e-4)
    assert found.parts["tokens"] == len(row) == len(exact.ids(ANSWER)) + 1


def test_the_oldest_tokens_are_cut_and_the_answer_never(model, exact):
    turns = ("What colour is the sky? " * 20, ANSWER)
    judged = len(exact.ids(ANSWER))
    closing = len(exact.ids("<|im_end|>\n"))
    found = score(build(model, max_length=40, truncation="left"), *turns)
    (row,) = answers(exact, turns, last=40 - closing)
    assert found.value == pytest.approx(sum(row) / judged, abs=1e-5)
    whole = len(exact.ids(reactions.rendered(exact.tokenizer, reactions.chat(*turns))))
    assert dict(found.metadata) == {"truncated_tokens": whole - 40}
    with pytest.raises(RewardError, match="at most 40 fit"):
        score(build(model, max_length=40), *turns)
    with pytest.raises(RewardError, match="at most 5 fit"):
        score(build(model, max_length=5, truncation="left"), *turns)


def test_a_perplexity_that_no_float_holds_is_left_out(model, monkeypatch):
    reward = build(model)
    monkeypatch.setattr(
        reward.engine, "logprobs", lambda readings: [torch.tensor([-1000.0] * len(r.positions)) for r in readings]
    )
    found = score(reward, "?", "é")
    assert found.value == -1000.0
    assert set(found.parts) == {"logprob", "tokens"}


def test_what_the_model_has_learned_is_likelier_than_nonsense_and_letters(model):
    reward = build(model)
    learned = score(reward, QUESTION, ANSWER).value
    assert learned > score(reward, QUESTION, "Sky blue the is.").value
    assert learned > score(reward, QUESTION, "zzqj x kkw").value


def test_a_sum_pays_for_stopping_early_and_the_mean_with_its_end_does_not(model):
    longer, shorter = ANSWER, ANSWER.rsplit(" ", 1)[0]
    total = build(model, aggregate="sum")
    assert score(total, QUESTION, shorter).value > score(total, QUESTION, longer).value
    whole = build(model, end_of_turn=True)
    assert score(whole, QUESTION, shorter).value < score(whole, QUESTION, longer).value


@pytest.mark.parametrize(
    ("answer", "reason"), [(" ", "silence"), ("Yes.<|im_end|>", "control token")], ids=["silence", "control token"]
)
def test_silence_and_control_tokens_are_refused(model, answer, reason):
    with pytest.raises(RewardError, match=reason):
        score(build(model), QUESTION, answer)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"aggregate": "median"}, "aggregate must be one of mean, sum"),
        ({"actions": "first"}, "actions must be one of last, all"),
        ({"end_of_turn": "no"}, "end_of_turn must be true or false"),
        ({"modle": "x"}, "did you mean 'model'"),
    ],
)
def test_options_that_cannot_be_right_are_refused_before_a_model_is_loaded(options, reason):
    with pytest.raises(ConfigError, match=reason):
        ResponseLikelihood(model="/nowhere", **options)


def test_its_own_options_are_in_the_signature(model):
    fields = build(model, aggregate="sum", actions="all", end_of_turn=True).signature_fields()
    assert {name: fields[name] for name in ("aggregate", "actions", "end_of_turn")} == {
        "aggregate": "sum",
        "actions": "all",
        "end_of_turn": "true",
    }
