"""groundedness: sentences against what was shown, and how it is gamed."""

from __future__ import annotations

import pytest

from rewardkit.errors import ConfigError
from rewardkit.testing import RewardContract, trajectory
from rewardkit.types import Message, Step, Task, Trajectory
from rewardkit_plugins.rag.groundedness import Groundedness

PASSAGES = ["The sky is blue.", "The sea is green.", "Turner painted the sea."]


def value(answer, passages=PASSAGES, **options):
    return Groundedness(**options).score(trajectory("q", answer, metadata={"passages": passages})).value


class TestContract(RewardContract):
    reward = "groundedness"

    def trajectories(self):
        return [trajectory("Which colour?", "The sky is blue. The sea is green.", metadata={"passages": PASSAGES})]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("The sky is blue.", 1),
        ("The sky is blue [2].", 1),  # citations play no part
        ("The sky is blue. The sea is red.", 1 / 2),
        ("The sky is blue. The sea is red. I don't know the rest.", 1 / 2),
        ("Grass is green.", 0),
        ("", 0),
        ("I don't know.", None),
    ],
)
def test_the_share_of_sentences_that_were_shown(answer, expected):
    assert value(answer) == expected


def test_a_sentence_may_draw_on_two_passages_if_asked():
    assert value("The sky is blue and the sea is green.") == 0
    assert value("The sky is blue and the sea is green.", premise="joined") == 1


def test_without_passages_it_abstains_and_an_agent_that_read_none_gets_nothing():
    assert Groundedness().score(trajectory("q", "The sky is blue.")).value is None
    step = Step(action=Message(role="assistant"), metadata={"action": "answer", "answer": "The sky is blue."})
    assert Groundedness().score(Trajectory(task=Task(), steps=(step,))).value == 0
    assert Groundedness(premise="joined").score(Trajectory(task=Task(), steps=(step,))).value == 0


def test_gaming_by_padding_with_quotations_pays_hence_a_reward_for_the_answer_beside_it():
    assert value("The sea is red.") < value("The sea is red. The sky is blue. The sea is green.")


def test_gaming_by_recombining_words_pays_across_passages_only_when_they_are_joined():
    assert value("Turner painted the sky blue.") == 0
    assert value("Turner painted the sky blue.", premise="joined") == 1


def test_another_judge_can_be_named():
    assert value("Anything at all.", entailment=lambda pairs: [1.0] * len(pairs)) == 1
    with pytest.raises(ConfigError):
        Groundedness(premise="some")
