import math

import pytest
import torch

from rewardkit.errors import ConfigError
from rewardkit_plugins.training.pairs import parse_example
from rewardkit_plugins.training.votes import vote_columns, write_votes


def test_the_weakest_are_flipped_the_next_softened_the_strongest_given_a_margin():
    differences = torch.tensor([[-2.0, -4.0], [0.2, 0.4], [1.0, 1.0], [3.0, 5.0], [2.0, 2.0]])
    flipped, soft, kept, strong, second = vote_columns(differences, flip=0.2, soft=0.2, strong=0.4)
    assert flipped == {"vote_mean": -3.0, "vote_std": 1.0, "label": 0.0}
    assert soft["label"] == pytest.approx(1 / (1 + math.exp(-0.3)))
    assert kept == {"vote_mean": 1.0, "vote_std": 0.0}
    assert (strong["margin"], second["margin"]) == (4.0, 2.0)


def test_the_columns_are_what_train_rm_reads():
    flipped, *_ = vote_columns(torch.tensor([[-1.0], [1.0]]), flip=0.5, soft=0, strong=0.5)
    found = parse_example({"prompt": "p", "chosen": "x", "rejected": "y", **flipped})
    assert found.answers[0][0].content == "y"
    assert found.label == 1.0


def test_a_vote_needs_a_model(tmp_path):
    with pytest.raises(ConfigError, match="at least one model"):
        write_votes(tmp_path / "pairs.jsonl", [], tmp_path / "out.jsonl")
