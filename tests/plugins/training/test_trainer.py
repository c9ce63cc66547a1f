import math

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2Model, LlamaConfig, LlamaModel

from rewardkit.errors import ConfigError
from rewardkit_plugins.engine.config import EngineConfig
from rewardkit_plugins.training.encoding import Encoded
from rewardkit_plugins.training.heads import ScoredModel, with_fresh_head
from rewardkit_plugins.training.losses import bradley_terry, centre
from rewardkit_plugins.training.pairs import parse_example
from rewardkit_plugins.training.strength import annotated_strength
from rewardkit_plugins.training.trainer import collate, pair_loss, pair_targets, rating_loss, rating_targets

CHOSEN, REJECTED = [1.0, -2.0, 0.5], [0.0, 3.0, 0.5]
LLAMA = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "pad_token_id": 3,
}


def encoded(**fields):
    example = parse_example({"prompt": "p", "chosen": "x", "rejected": "y", **fields})
    return Encoded(example, ([1, 2, 3], [1, 4]), 0)


def loss_of(examples, *, form="regular", **options):
    targets = pair_targets(form)
    batch = collate(examples, targets)
    rewards = torch.tensor([*CHOSEN[: len(examples)], *REJECTED[: len(examples)]])[:, None]
    return float(pair_loss(**options)(rewards, batch))


def test_a_batch_holds_first_answers_then_second_ones_padded_on_the_right():
    batch = collate([encoded(), encoded()], pair_targets("regular"))
    assert batch["input_ids"].tolist() == [[1, 2, 3], [1, 2, 3], [1, 4, 0], [1, 4, 0]]
    assert batch["attention_mask"].sum(1).tolist() == [3, 3, 2, 2]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_plain_pairs_have_the_loss_of_bradley_and_terry(smoothing):
    expected = bradley_terry(torch.tensor(CHOSEN), torch.tensor(REJECTED), margin=0.3, label_smoothing=smoothing)
    found = loss_of([encoded(margin=0.3)] * 3, label_smoothing=smoothing)
    assert found == pytest.approx(float(expected.mean()), rel=1e-6)


@pytest.mark.parametrize("form", ["regular", "margin", "scaled"])
def test_strengths_do_what_they_do_in_the_functions(form):
    strengths = [1, 2, 3]
    expected = annotated_strength(
        torch.tensor(CHOSEN), torch.tensor(REJECTED), -torch.tensor(strengths, dtype=torch.float), form=form
    )
    found = loss_of([encoded(strength=s) for s in strengths], form=form)
    assert found == pytest.approx(float(expected.mean()), rel=1e-6)


def test_a_pair_without_a_strength_counts_once_in_every_form():
    assert loss_of([encoded()], form="margin") == loss_of([encoded()], form="scaled") == loss_of([encoded()])


def test_soft_labels_are_a_cross_entropy_and_centring_is_added():
    soft = -0.75 * math.log(1 / (1 + math.exp(-1))) - 0.25 * math.log(1 / (1 + math.exp(1)))
    assert loss_of([encoded(label=0.75)]) == pytest.approx(soft)
    added = float(centre(torch.tensor(CHOSEN), torch.tensor(REJECTED)).mean())
    assert loss_of([encoded()] * 3, centre_weight=0.1) == pytest.approx(loss_of([encoded()] * 3) + 0.1 * added)
    with pytest.raises(ConfigError, match="label_smoothing"):
        pair_loss(label_smoothing=0.5)


def test_attributes_that_are_not_labelled_cost_nothing():
    rated = {"prompt": "p", "completion": "x"}
    examples = [
        Encoded(parse_example({**rated, "attributes": a}, "attributes"), ([1],), 0)
        for a in ({"a": 1, "b": 2}, {"b": 5})
    ]
    batch = collate(examples, rating_targets(["a", "b"]))
    predicted = torch.tensor([[2.0, 4.0], [9.0, 2.0]], requires_grad=True)
    loss = rating_loss(predicted, batch)
    assert float(loss.detach()) == pytest.approx(((1 + 4) / 2 + 9) / 2)
    loss.backward()
    assert predicted.grad[1, 0] == 0


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert"])
def test_a_padded_batch_says_what_single_sequences_say(kind, tmp_path):
    small = {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 40, "pad_token_id": 3}
    bert = {**LLAMA, "hidden_dropout_prob": 0.1}
    {
        "llama": lambda: LlamaModel(LlamaConfig(**LLAMA, attention_dropout=0.5)),
        "gpt2": lambda: GPT2Model(GPT2Config(**small)),
        "bert": lambda: BertForSequenceClassification(BertConfig(**bert, num_labels=5)),  # whose head does not fit
    }[kind]().save_pretrained(tmp_path)
    torch.manual_seed(0)
    model = with_fresh_head(EngineConfig(model=str(tmp_path)), ["fun", "truth"])
    assert model.config.id2label == {0: "fun", 1: "truth"}
    scored = ScoredModel(model.train())  # in which dropout, had it been left on, would show
    sequences = [[5, 6, 7, 3], [8, 9], [3]]  # the padding token is a token like others
    ids, mask = torch.full((3, 4), 3), torch.zeros(3, 4, dtype=torch.long)
    for row, tokens in enumerate(sequences):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        mask[row, : len(tokens)] = 1
    with torch.no_grad():
        found = scored(ids, mask)
        for row, tokens in enumerate(sequences):
            alone = scored(torch.tensor([tokens]), torch.ones(1, len(tokens), dtype=torch.long))
            assert torch.allclose(found[row], alone[0], atol=1e-5)
    assert found.shape == (3, 2)
    assert float(found.std()) > 0.01
