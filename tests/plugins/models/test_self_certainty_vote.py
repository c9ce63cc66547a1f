"""self_certainty_vote: the votes of the vectors, what counts as the same answer, and how it is gamed."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from rewardkit.errors import ConfigError
from rewardkit.testing import RewardContract, trajectory

torch = pytest.importorskip("torch", reason="torch is not installed: self_certainty_vote is not tested")
pytest.importorskip("transformers", reason="transformers is not installed: self_certainty_vote is not tested")

from rewardkit_plugins.models import self_certainty_vote  # noqa: E402
from rewardkit_plugins.models.self_certainty import SelfCertainty  # noqa: E402
from rewardkit_plugins.models.self_certainty_vote import SelfCertaintyVote  # noqa: E402

_FILE = importlib.util.spec_from_file_location("couple", Path(__file__).parent / "couple.py")
couple = importlib.util.module_from_spec(_FILE)
_FILE.loader.exec_module(couple)

COLOUR = r"is (\w+)\."
SKY = "What colour is the sky?"
UNSURE = "I do not know that, and I would rather say nothing about it."


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return couple.make(tmp_path_factory.mktemp("models"))[0]


@pytest.fixture(scope="module")
def engine(model):
    made = SelfCertainty(model=model, self_test=False)
    yield made.engine
    made.close()


@pytest.fixture
def vote(model, engine):
    """`vote([answers], [certainties])` scores attempts; what the model says of them is made up where it is given."""

    def ask(completions, certainties=None, **options):
        reward = SelfCertaintyVote(model=model, **options)
        reward._engine = engine
        group = [trajectory(SKY, completion) for completion in completions]
        with pytest.MonkeyPatch.context() as patch:
            if certainties is not None:
                said = [torch.tensor([float(x)]) for x in certainties]
                patch.setattr(self_certainty_vote, "read_certainties", lambda *_: said)
            return reward.score_group(group)

    return ask


class TestContract(RewardContract):
    reward = "rewardkit_plugins.models.self_certainty_vote:SelfCertaintyVote"

    @pytest.fixture(autouse=True)
    def a_model(self, model):
        type(self).options = {"model": model, "self_test": False, "answer": COLOUR}

    def trajectories(self):
        return [trajectory(question, couple.ANSWERS[question]) for question in list(couple.ANSWERS)[:3]]


def test_votes_are_those_of_the_vectors(vote, shared):
    cases = json.loads(shared("specs/vectors/steps_tokens.json").read_text(encoding="utf-8"))["self_certainty_borda"]
    assert len(cases) == 20
    for case in cases:
        completions = ["none" if answer is None else f"<{answer}>" for answer in case["answers"]]
        found = vote(completions, case["conf"], answer="<(.)>", power=case["p"])
        votes = dict.fromkeys(case["answers"], 0.0)
        for answer in reversed(case["answers"]):
            votes[answer] = case["votes"][case["answers"].index(answer)]
        total = sum(case["votes"]) or 1.0
        wanted = [0.0 if answer is None else votes[answer] / total for answer in case["answers"]]
        assert [score.value for score in found] == pytest.approx(wanted, abs=1e-12)
        winners = [score.metadata["answer"] for score in found if score.parts["winner"]]
        assert set(winners) == ({case["answer"]} if case["answer"] else set())


def test_votes_by_hand(vote):
    found = vote(["<A>", "<B>", "<B>", "?"], [3, 2, 1, 0], answer="<(.)>")  # A has √4 votes, B √3 + √2
    assert [score.value for score in found] == pytest.approx([2 / 5.146264370, *[3.146264370 / 5.146264370] * 2, 0])
    majority = vote(["<A>", "<B>", "<B>", "?"], [3, 2, 1, 0], answer="<(.)>", power=0)
    assert [score.value for score in majority] == pytest.approx([1 / 3, 2 / 3, 2 / 3, 0])
    assert [score.parts["winner"] for score in majority] == [0, 1, 1, 0]


def test_the_certainties_are_those_of_self_certainty(vote, model):
    completions = ["The sky is blue.", "The sky is red.", "The sky, I think, is blue."]
    found = vote(completions, answer=COLOUR)
    alone = SelfCertainty(model=model, self_test=False).score_batch([trajectory(SKY, c) for c in completions])
    assert [s.parts["certainty"] for s in found] == pytest.approx([s.value for s in alone], abs=1e-5)
    assert found[0].value == found[2].value > found[1].value


def test_answers_of_maths_are_the_same_if_they_are_equal(vote):
    found = vote(["\\boxed{1/2}", "It is 0.5", "\\boxed{\\frac{3}{6}}", "The answer is 7", UNSURE], [1, 2, 3, 5, 4])
    total = 1 + 2**0.5 + 3**0.5 + 5**0.5
    assert [s.value for s in found] == pytest.approx([(total - 5**0.5) / total] * 3 + [5**0.5 / total, 0])
    assert [s.metadata["answer"] for s in found[:2]] == ["1/2", "0.5"]


def test_a_whole_completion_or_the_last_match_may_be_the_answer(vote):
    exact = vote(["blue", " blue\n", "Blue"], [1, 2, 3], answer="exact", power=0)
    assert [s.value for s in exact] == pytest.approx([2 / 3, 2 / 3, 1 / 3])
    last = vote(["A: red. A: blue", "A: blue", "A: "], [1, 2, 3], answer=r"A: (\w*)", power=0)
    assert [s.value for s in last] == [1, 1, 0]


def test_gaming_by_silence_earns_nothing_and_takes_no_rank(vote):
    found = vote(["", "<A>", "<B>"], [5, 1], answer="<(.)>")
    assert found[0].value == 0
    assert found[1].value == pytest.approx(2**0.5 / (2**0.5 + 1))
    assert [s.value for s in vote(["", " "], [])] == [0, 0]


def test_gaming_by_agreeing_pays_whether_or_not_it_is_true(vote):
    found = vote(["<wrong>"] * 3 + ["<right>"], [1, 2, 3, 4], answer="<(.+)>")
    assert found[0].value > found[3].value


def test_an_attempt_that_cannot_be_read_abstains_and_the_others_vote(vote):
    found = vote([f"<A>{couple.END}", "<A>", "<B>"], answer="<(.)>")
    assert found[0].value is None
    assert "control token" in found[0].explanation
    assert found[1].value + found[2].value == pytest.approx(1)


def test_a_lone_attempt_has_all_the_votes(vote):
    assert vote(["<A>"], answer="<(.)>")[0].value == 1
    assert vote(["?"], answer="<(.)>")[0].value == 0


def test_the_signature_says_how_votes_are_counted(model):
    fields = SelfCertaintyVote(model=model, power=0).signature_fields()
    assert (fields["answer"], fields["power"], fields["position"]) == ("math", "0", "definition")


def test_options_that_cannot_be_right_are_refused_when_it_is_built():
    with pytest.raises(ConfigError, match="a pattern with a group for the answer, not 'maths'"):
        SelfCertaintyVote(model="m", answer="maths")
    with pytest.raises(ConfigError, match="the pattern answer='\\(' is wrong"):
        SelfCertaintyVote(model="m", answer="(")
    with pytest.raises(ConfigError, match=r"power must be in \[0, 20\]"):
        SelfCertaintyVote(model="m", power=-1)
    with pytest.raises(ConfigError, match="which no server sends"):
        SelfCertaintyVote(model="m", server="http://localhost:8000")
    with pytest.raises(ConfigError, match="self_certainty_vote: position must be one of"):
        SelfCertaintyVote(model="m", position="first")
