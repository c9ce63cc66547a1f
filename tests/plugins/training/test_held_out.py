import math
import random

import pytest
import torch

from rewardkit.errors import ConfigError
from rewardkit_plugins.training.held_out import accuracy, fits, split, wilson
from rewardkit_plugins.training.pairs import parse_example


def examples(topics):
    return [parse_example({"prompt": t, "chosen": f"x{i}", "rejected": f"y{i}"}) for i, t in enumerate(topics)]


def test_the_interval_is_wilsons():
    # The ends p solve (p - 0.6)^2 = z^2 p(1 - p)/n.
    for bound in wilson(60, 100):
        assert (bound - 0.6) ** 2 == pytest.approx(1.959963984540054**2 * bound * (1 - bound) / 100)
    assert wilson(60, 100)[0] < 0.6 < wilson(60, 100)[1]


def test_the_interval_stays_between_0_and_1():
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 10)[0] == 0.0
    assert wilson(10, 10)[1] == 1.0
    with pytest.raises(ConfigError):
        wilson(3, 2)


def test_ties_count_as_wrong():
    found = accuracy(torch.tensor([1.0, 2.0, 3.0, 0.0]), torch.tensor([0.0, 2.0, 4.0, -1.0]))
    assert (found.pairs, found.right, found.ties, found.accuracy) == (4, 2, 1, 0.5)


def test_no_prompt_is_on_both_sides_and_the_order_does_not_matter():
    made = examples([f"topic {i % 40}" for i in range(100)])
    train, held = split(made, share=0.25, seed=3)
    assert not {one.topic for one in train} & {one.topic for one in held}
    assert len(train) + len(held) == 100
    assert 25 <= len(held) <= 27  # a topic has 2 or 3 examples
    shuffled = random.Random(0).sample(made, 100)
    assert {one.topic for one in split(shuffled, share=0.25, seed=3)[1]} == {one.topic for one in held}
    assert {one.topic for one in split(made, share=0.25, seed=4)[1]} != {one.topic for one in held}


def test_what_cannot_be_split_is_refused():
    assert split(examples("aab"), share=0)[1] == []
    with pytest.raises(ConfigError, match="too few"):
        split(examples("aaa"), share=0.1)
    with pytest.raises(ConfigError, match="eval_share is 1"):
        split(examples("ab"), share=1)


def test_errors_of_attributes_count_what_is_labelled():
    predicted = torch.tensor([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
    labels = torch.tensor([[1.0, math.nan], [4.0, math.nan], [math.nan, math.nan]])
    first, second = fits(predicted, labels, torch.tensor([2.0, math.nan]))
    assert (first.labels, first.error) == (2, pytest.approx(math.sqrt(2)))  # errors 0 and 2
    assert first.error_of_mean == pytest.approx(math.sqrt(2.5))  # errors 1 and 2
    assert (second.labels, second.error, second.error_of_mean) == (0, 0.0, 0.0)
