"""The contract that every reward keeps, then what this one is for."""

from rewardkit.testing import RewardContract, trajectory


class TestContract(RewardContract):
    reward = "shout"

    def trajectories(self):
        return [trajectory("Say hello, loudly.", "HELLO THERE!"), trajectory("Say yes.", "YES")]


def test_the_value_is_the_share_of_capitals(score):
    assert score("shout", trajectory("Say yes.", "Yes!")).total == 1 / 3


def test_one_capital_letter_does_not_pay_where_more_are_asked_for(score):
    assert score("shout:least=3", trajectory("Say yes.", "Y")).total == 0.0
