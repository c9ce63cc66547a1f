"""self_certainty: the paper's vectors, the numbers of a plain float64 computation, and how it is gamed."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path

import pytest

from rewardkit.errors import ConfigError, RewardError
from rewardkit.testing import RewardContract, trajectory

torch = pytest.importorskip("torch", reason="torch is not installed: self_certainty is not tested")
pytest.importorskip("transformers", reason="transformers is not installed: self_certainty is not tested")

from rewardkit_plugins.engine import engine as engine_module  # noqa: E402
from rewardkit_plugins.models.self_certainty import SelfCertainty, certainties, self_certainty  # noqa: E402

_FILE = importlib.util.spec_from_file_location("couple", Path(__file__).parent / "couple.py")
couple = importlib.util.module_from_spec(_FILE)
_FILE.loader.exec_module(couple)

SKY = "What colour is the sky?"
TURNS = [
    (SKY, "The sky is blue."),
    ("What colour is grass?", "Grass, if you ask me, is mostly of some green or other, except in August."),
    ("Who wrote Faust?", "Goethe wrote it.", "Are you sure?", "Yes: the first part in 1808."),
    ("?", "é"),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return couple.make(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def exact(models):
    return couple.Exact(models[0])


@pytest.fixture(scope="module")
def reward(models):
    made = SelfCertainty(model=models[0])
    yield made
    made.close()


def score(reward, *turns):
    return reward.score_batch([couple.dialogue(*turns)])[0]


def expected(exact, turns, *, shift=0):
    """KL(uniform || p) of each token of each answer, from a sum over the vocabulary in float64."""
    ids, found = [], []
    for question, answer in zip(turns[::2], turns[1::2], strict=True):
        ids += exact.tokenizer.encode(couple.prompt_of(question))
        own = exact.tokenizer.encode(answer)
        rows = exact.after(ids + own)[len(ids) - 1 + shift :][: len(own)]
        size = rows.shape[1]
        found.append([sum((1 / size) * (math.log(1 / size) - x) for x in row.tolist()) for row in rows])
        ids = ids + own + exact.tokenizer.encode(couple.END + "\n")
    return found


class TestContract(RewardContract):
    reward = "rewardkit_plugins.models.self_certainty:SelfCertainty"

    @pytest.fixture(autouse=True)
    def a_model(self, models):
        type(self).options = {"model": models[0], "self_test": False}

    def trajectories(self):
        return [trajectory(question, answer) for question, answer in couple.ANSWERS.items()]


def test_given_logits_are_judged_as_the_released_code_judges_them(shared):
    cases = json.loads(shared("specs/vectors/steps_tokens.json").read_text(encoding="utf-8"))["self_certainty"]
    assert len(cases) == 4
    for case in cases:
        mask = torch.tensor(case["mask"])
        for dtype in (torch.float32, torch.float64):
            logits = torch.tensor(case["logits"], dtype=dtype)
            assert self_certainty(logits, mask) == pytest.approx(case["self_certainty"], abs=2e-6)


def test_two_tokens_by_hand():
    logits = torch.tensor([[0.9, 0.1], [0.5, 0.5]]).log()
    assert certainties(logits).tolist() == pytest.approx([0.5108256238, 0.0], abs=1e-6)
    assert self_certainty(logits, torch.tensor([1, 1])) == pytest.approx(0.2554128119, abs=1e-6)
    assert self_certainty(logits, torch.tensor([1, 0])) == pytest.approx(0.5108256238, abs=1e-6)
    with pytest.raises(RewardError, match="the mask leaves none"):
        self_certainty(logits, torch.tensor([0, 0]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [0.01, 3.0, 20.0])
def test_a_vocabulary_of_128k_costs_no_digits(dtype, scale):
    torch.manual_seed(0)
    logits = (torch.randn(8, 128_256) * scale).to(dtype)
    assert torch.allclose(certainties(logits).double(), certainties(logits.double()), rtol=1e-6, atol=1e-5)


def test_tokens_that_a_softmax_in_float32_would_round_to_zero_still_count():
    logits = torch.tensor([[0.0, -200.0]])
    assert torch.softmax(logits, 1)[0, 1] == 0
    assert certainties(logits).item() == pytest.approx(100 - math.log(2), abs=1e-5)


def test_certainty_is_never_negative_and_ignores_a_constant():
    flat = torch.full((3, 50_000), 17.25)
    assert certainties(flat).tolist() == pytest.approx([0, 0, 0], abs=1e-5)
    assert bool((certainties(flat) >= 0).all())


@pytest.mark.parametrize("turns", TURNS)
@pytest.mark.parametrize(("position", "shift"), [("definition", 0), ("released_code", 1)])
def test_an_answer_is_judged_as_float64_judges_it_alone(models, exact, turns, position, shift):
    made = SelfCertainty(model=models[0], position=position, actions="all", self_test=False)
    found, rows = score(made, *turns), expected(exact, turns, shift=shift)
    flat = [x for row in rows for x in row]
    assert found.value == pytest.approx(sum(flat) / len(flat), abs=1e-5)
    assert found.steps == pytest.approx([sum(row) / len(row) for row in rows], abs=1e-5)
    assert found.parts == {"tokens": len(flat)}
    last = score(SelfCertainty(model=models[0], position=position, self_test=False), *turns)
    assert last.value == pytest.approx(sum(rows[-1]) / len(rows[-1]), abs=1e-5)
    assert last.steps is None


def test_neither_the_batch_nor_the_pieces_it_is_read_in_change_a_number(reward, monkeypatch):
    batch = [couple.dialogue(*turns) for turns in TURNS * 2]
    alone = [reward.score_batch([one])[0].value for one in batch]
    assert [s.value for s in reward.score_batch(batch)] == pytest.approx(alone, abs=1e-5)
    monkeypatch.setattr(engine_module, "_LOGITS", 3 * reward.engine.model.config.vocab_size)
    assert [s.value for s in reward.score_batch(batch)] == pytest.approx(alone, abs=1e-5)


def test_only_one_number_for_each_token_leaves_the_model(reward, monkeypatch):
    seen = []
    read = reward.engine.read
    monkeypatch.setattr(reward.engine, "read", lambda *given: seen.append(read(*given)) or seen[-1])
    found = score(reward, SKY, "The sky is blue.")
    assert [tuple(values.shape) for values in seen[0]] == [(found.parts["tokens"],)]


def test_bfloat16_is_near_float32(models, reward):
    batch = [couple.dialogue(*turns) for turns in TURNS]
    rough = SelfCertainty(model=models[0], dtype="bfloat16", self_test=False).score_batch(batch)
    assert [s.value for s in rough] == pytest.approx([s.value for s in reward.score_batch(batch)], rel=0.05, abs=0.02)


def test_a_step_without_tokens_has_no_score(models):
    reward = SelfCertainty(model=models[0], actions="all", self_test=False)
    found = score(reward, SKY, "", "Well?", "The sky is blue.")
    assert found.steps[0] is None
    assert found.steps[1] == pytest.approx(found.value)


def test_gaming_by_silence_garbage_or_an_echo_does_not_pay(reward):
    good = score(reward, SKY, "The sky is blue.").value
    assert score(reward, SKY, SKY).value < good
    assert score(reward, SKY, "qzx vlorp 77777 ]}{").value < good
    for silence in ("", "  \n"):
        with pytest.raises(RewardError, match="empty"):
            score(reward, SKY, silence)


def test_gaming_by_what_the_model_knows_by_heart_pays_though_it_is_wrong(reward):
    question = "What colour is grass?"
    assert score(reward, question, "The sky is blue.").value > score(reward, question, "I think it is green.").value


def test_what_the_template_writes_is_not_counted(reward):
    tokens = reward.engine.tokenizer.encode("The sky is blue.")
    assert score(reward, SKY, "The sky is blue.").parts["tokens"] == len(tokens)


def test_what_is_too_long_fails_or_loses_its_oldest_tokens_and_says_so(models):
    turns = ("Who wrote Faust? " * 20, "Goethe wrote it.")
    with pytest.raises(RewardError, match="at most 40 fit"):
        score(SelfCertainty(model=models[0], max_length=40, self_test=False), *turns)
    found = score(SelfCertainty(model=models[0], max_length=40, truncation="left", self_test=False), *turns)
    assert found.metadata["truncated_tokens"] > 50
    whole = SelfCertainty(model=models[0], self_test=False)
    assert found.parts == score(whole, *turns).parts


def test_a_control_token_in_a_message_is_refused(reward):
    with pytest.raises(RewardError, match="control token"):
        score(reward, SKY, f"blue{couple.END}")


def test_a_template_that_writes_nothing_before_the_answer_is_refused(models):
    bare = SelfCertainty(
        model=models[0], self_test=False, chat_template="{% for m in messages %}{{ m['content'] }}{% endfor %}"
    )
    with pytest.raises(RewardError, match="no prediction of it can be read"):
        score(bare, "", "The sky is blue.")
    assert score(bare, SKY, " blue").value > 0


def test_broken_predictions_are_a_failure_and_no_number(models):
    reward = SelfCertainty(model=models[0], self_test=False)
    reward.setup()
    with torch.no_grad():
        reward.engine.model.model.norm.weight[0] = math.nan
    with pytest.raises(RewardError, match="not finite"):
        score(reward, SKY, "The sky is blue.")


def test_the_signature_says_which_predictions_are_read(models):
    fields = SelfCertainty(model=models[0], position="released_code").signature_fields()
    assert fields["position"] == "released_code"
    assert fields["actions"] == "last"
    assert fields["model"].startswith("policy@")


def test_options_that_cannot_be_right_are_refused_when_it_is_built():
    with pytest.raises(ConfigError, match=r"position must be one of.*did you mean 'definition'"):
        SelfCertainty(model="m", position="definitions")
    with pytest.raises(ConfigError, match="actions must be one of"):
        SelfCertainty(model="m", actions="first")
    with pytest.raises(ConfigError, match="which no server sends"):
        SelfCertainty(model="m", server="http://localhost:8000")
    with pytest.raises(ConfigError, match="has no option 'pos'"):
        SelfCertainty(model="m", pos="definition")
