"""Training a tiny model: what comes out loads, ranks, and says what was done; what cannot be trained is refused."""

import json
import random

import pytest
import torch
from click.testing import CliRunner
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rewardkit.cli import cli
from rewardkit.errors import ConfigError
from rewardkit.testing import trajectory
from rewardkit_plugins.models.reward_model import RewardModel
from rewardkit_plugins.training import scratch
from rewardkit_plugins.training.recipe import Recipe, train
from rewardkit_plugins.training.votes import write_votes

WORDS = ["apple", "river", "stone", "cloud", "paper", "garden", "quiet", "table", "winter", "music"]
RECIPE = {"from_scratch": "tiny", "epochs": 4, "device": "cpu", "eval_share": 0.2}
RATINGS = {**RECIPE, "objective": "attributes", "epochs": 10, "batch_size": 16, "learning_rate": 3e-3}


def pairs(count=160, *, seed=0, wrong=0):
    """Return pairs in four forms, of which `wrong` prefer the other answer."""
    draw, made = random.Random(seed), []
    for i in range(count):
        question = f"Say something about {draw.choice(WORDS)} and {draw.choice(WORDS)}, number {seed}.{i}"
        good, bad = f"A lovely {draw.choice(WORDS)} it is.", f"A horrible {draw.choice(WORDS)} it is."
        if i < wrong:
            good, bad = bad, good
        both = {"chosen": good, "rejected": bad}
        turns = {
            name: [{"role": "user", "content": question}, {"role": "assistant", "content": text}]
            for name, text in both.items()
        }
        texts = {name: f"\n\nHuman: {question}\n\nAssistant: {text}" for name, text in both.items()}
        made.append([{"prompt": question, **both}, turns, texts, {"prompt": turns["chosen"][:1], **both}][i % 4])
    return made


def write(path, records):
    path.write_text("".join(f"{r if isinstance(r, str) else json.dumps(r)}\n" for r in records))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rm")
    steps = []
    path = write(folder / "pairs.jsonl", pairs())
    done = train(path, folder / "out", Recipe(**RECIPE), on_step=lambda *step: steps.append(step))
    assert [step[:2] for step in steps] == [(i + 1, 16) for i in range(16)]  # 128 examples, 32 a step, 4 epochs
    return done


def test_the_checkpoint_ranks_what_was_held_out(trained):
    held = trained.record["held_out"]
    assert held["pairs"] == 32
    assert held["prompts_seen_in_training"] == 0
    assert held["accuracy"] > 0.9
    assert held["low"] < held["accuracy"] <= held["high"]
    assert trained.left_out == []


def test_the_reward_loads_it_and_says_what_was_measured(trained):
    reward = RewardModel(model=str(trained.folder), device="cpu")
    reward.setup()
    scores = [
        [reward.score_batch([trajectory(p["prompt"], p[side])])[0].value for side in ("chosen", "rejected")]
        for p in pairs(40, seed=1)[::4]
    ]
    assert sum(good > bad for good, bad in scores) == 10
    reward.close()


def test_transformers_loads_it_and_agrees_with_the_reward(trained):
    model, loaded = AutoModelForSequenceClassification.from_pretrained(trained.folder, output_loading_info=True)
    assert not loaded["missing_keys"]
    assert model.config.id2label == {0: "reward"}
    tokenizer = AutoTokenizer.from_pretrained(trained.folder)
    dialogue = [{"role": "user", "content": "Well?"}, {"role": "assistant", "content": "A lovely day."}]
    ids = tokenizer.apply_chat_template(dialogue, return_tensors="pt", return_dict=False)
    with torch.no_grad():
        expected = float(model.eval()(ids).logits[0, 0])
    reward = RewardModel(model=str(trained.folder), device="cpu")
    (score,) = reward.score_batch([trajectory("Well?", "A lovely day.")])
    assert score.value == pytest.approx(expected, abs=1e-4)
    reward.close()


def test_the_record_says_what_was_done(trained):
    record = json.loads((trained.folder / "rewardkit.json").read_text())
    assert record == trained.record
    assert record["base"] == "scratch:tiny"
    assert record["options"]["epochs"] == 4
    assert len(record["input"]["sha256"]) == 64
    assert set(record["versions"]) >= {"rewardkit", "torch", "transformers"}


def test_the_same_call_makes_the_same_weights(tmp_path):
    path = write(tmp_path / "pairs.jsonl", pairs(40))
    short = {**RECIPE, "epochs": 1, "eval_share": 0}
    for name in ("one", "two"):
        train(path, tmp_path / name, Recipe(**short))
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two
    train(path, tmp_path / "three", Recipe(**{**short, "seed": 1}))
    assert (tmp_path / "three" / "model.safetensors").read_bytes() != one


def test_a_model_can_be_trained_further_with_a_fresh_head(trained, tmp_path):
    path = write(tmp_path / "pairs.jsonl", pairs(40, seed=2))
    recipe = Recipe(model=str(trained.folder), device="cpu", learning_rate=1e-9, eval_share=0.5)
    done = train(path, tmp_path / "out", recipe)
    old, new = (
        AutoModelForSequenceClassification.from_pretrained(folder).state_dict()
        for folder in (trained.folder, done.folder)
    )
    assert torch.allclose(old["model.embed_tokens.weight"], new["model.embed_tokens.weight"], atol=1e-6)
    assert not torch.allclose(old["score.weight"], new["score.weight"], atol=1e-3)


def test_labels_that_say_no_turn_the_preference_round(tmp_path):
    turned = [{**p, "label": 0} for p in pairs()]
    done = train(write(tmp_path / "turned.jsonl", turned), tmp_path / "out", Recipe(**RECIPE))
    assert done.record["held_out"]["accuracy"] > 0.9
    reward = RewardModel(model=str(done.folder), device="cpu")
    nice, nasty = reward.score_batch([trajectory("Well?", f"A {word} stone it is.") for word in ("lovely", "horrible")])
    assert nice.value < nasty.value
    reward.close()


def test_attributes_are_learned_and_named(tmp_path):
    rated = [
        {
            "prompt": f"Say something, number {i}.",
            "completion": f"A {'lovely' if i % 2 else 'horrible'} {random.Random(i).choice(WORDS)}.",
            "attributes": {"kind": 4 * (i % 2), "short": 1 if i % 4 else None},
        }
        for i in range(160)
    ]
    path = write(tmp_path / "rated.jsonl", [*rated, {"prompt": "p", "chosen": "x", "rejected": "y"}])
    done = train(path, tmp_path / "out", Recipe(**RATINGS))
    kind = done.record["held_out"]["attributes"]["kind"]
    assert kind["error"] < 1 < 1.9 < kind["error_of_mean"]
    assert [line.where for line in done.left_out] == ["rated.jsonl:161"]
    reward = RewardModel(model=str(done.folder), device="cpu", weights={"kind": 1.0})
    nice, nasty = reward.score_batch([trajectory("Well?", f"A {word} stone.") for word in ("lovely", "horrible")])
    assert nice.parts["kind"] > nasty.parts["kind"] + 2
    assert set(nice.parts) == {"kind", "short"}
    reward.close()


def test_examples_that_the_model_cannot_see_are_left_out_with_their_reason(tmp_path):
    bad = [
        {"prompt": "p", "chosen": "x" * 40, "rejected": "no<|im_end|>"},
        {"prompt": "p", "chosen": "same", "rejected": "same  "},
        {"prompt": "p", "chosen": "long " * 400, "rejected": "y"},
    ]
    path = write(tmp_path / "pairs.jsonl", [*pairs(40), *bad])
    done = train(path, tmp_path / "out", Recipe(**{**RECIPE, "epochs": 1, "eval_share": 0, "max_length": 200}))
    reasons = {line.where: line.reason for line in done.left_out}
    assert set(reasons) == {f"pairs.jsonl:{number}" for number in (41, 42, 43)}
    assert "control token" in reasons["pairs.jsonl:41"]
    assert "the same" in reasons["pairs.jsonl:42"]
    assert "at most 200 fit" in reasons["pairs.jsonl:43"]
    assert done.record["held_out"] is None
    assert done.record["input"]["left_out"] == 3


def test_ties_are_counted_and_not_used(tmp_path):
    records = [{**p, "strength": i % 4} for i, p in enumerate(pairs(40))]
    path = write(tmp_path / "pairs.jsonl", records)
    done = train(path, tmp_path / "out", Recipe(**{**RECIPE, "epochs": 1, "strength": "scaled"}))
    assert done.record["input"]["ties"] == 10
    assert done.record["train"]["examples"] + done.record["held_out"]["pairs"] == 30


def test_wrong_labels_are_found_by_vote(trained, tmp_path):
    path = write(tmp_path / "noisy.jsonl", pairs(20, seed=5, wrong=4))
    assert write_votes(path, [str(trained.folder)], tmp_path / "voted.jsonl") == []
    voted = [json.loads(line) for line in (tmp_path / "voted.jsonl").read_text().splitlines()]
    assert [i for i, record in enumerate(voted) if record.get("label") == 0] == [0, 1, 2, 3]
    assert sum("margin" in record for record in voted) == 12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "of model and from_scratch is given"),
        ({"from_scratch": "tiny", "model": "x"}, "of model and from_scratch is given"),
        ({"from_scratch": "tiny", "batch_size": 8, "pass_size": 3}, "divisor"),
        ({"from_scratch": "tiny", "epochs": 0}, "epochs is 0"),
    ],
)
def test_a_recipe_that_cannot_be_right_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Recipe(**options)


def test_nothing_is_overwritten_and_nothing_is_left_of_what_failed(tmp_path):
    path = write(tmp_path / "pairs.jsonl", pairs(40))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(ConfigError, match="there already"):
        train(path, tmp_path / "full", Recipe(**RECIPE))
    with pytest.raises(ConfigError, match="lower the learning rate"):
        train(path, tmp_path / "out", Recipe(**RECIPE, learning_rate=1e30))
    with pytest.raises(ConfigError, match=r"holds nothing to train on: 1 lines left out \(the first: bad.jsonl:1"):
        train(write(tmp_path / "bad.jsonl", ["{"]), tmp_path / "out", Recipe(**RECIPE))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.jsonl", "full", "pairs.jsonl"]


def test_a_backbone_that_is_broken_is_refused(tmp_path):
    size = scratch.Size(width=16, layers=1, heads=2, vocabulary=300)
    scratch.new_model(tmp_path / "base", ["text"], size)
    config = json.loads((tmp_path / "base/config.json").read_text())
    (tmp_path / "base/config.json").write_text(json.dumps({**config, "num_hidden_layers": 2}))
    path = write(tmp_path / "pairs.jsonl", pairs(40))
    with pytest.raises(ConfigError, match=r"no weights for 'model\.layers\.1"):
        train(path, tmp_path / "out", Recipe(model=str(tmp_path / "base"), device="cpu"))


def test_small_passes_make_the_same_step(tmp_path):
    path = write(tmp_path / "pairs.jsonl", pairs(40))
    for name, size in (("whole", None), ("parts", 8)):
        train(path, tmp_path / name, Recipe(**{**RECIPE, "epochs": 1, "pass_size": size, "eval_share": 0}))
    whole, parts = (
        AutoModelForSequenceClassification.from_pretrained(tmp_path / name).score.weight for name in ("whole", "parts")
    )
    assert torch.allclose(whole, parts, atol=1e-3)


def call(*arguments):
    return CliRunner().invoke(cli, ["train-rm", *[str(argument) for argument in arguments]])


def test_the_command_prints_one_clean_line_and_tells_of_bad_lines(tmp_path):
    path = write(tmp_path / "pairs.jsonl", [*pairs(40), "{oops", {"prompt": "p", "chosen": "", "rejected": "y"}])
    done = call(path, "--from-scratch", "tiny", "-o", tmp_path / "out", "--device", "cpu")
    assert done.exit_code == 1
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["held_out"]["pairs"] == 4
    assert "2 lines were left out" in done.stderr
    assert "pairs.jsonl:41" in done.stderr
    assert "pairs.jsonl:42: chosen is empty" in done.stderr
    assert "step 2 of 2" in done.stderr
    assert "with 95 %" in done.stderr


def test_the_command_is_quiet_when_asked_and_all_is_well(tmp_path):
    path = write(tmp_path / "pairs.jsonl", pairs(40))
    done = call(path, "--from-scratch", "tiny", "-o", tmp_path / "out", "--device", "cpu", "-q", "--eval-share", 0)
    assert (done.exit_code, done.stderr) == (0, "")
    assert json.loads(done.stdout)["held_out"] is None


def test_a_call_that_cannot_be_right_is_an_error(tmp_path):
    path = write(tmp_path / "pairs.jsonl", pairs(4))
    assert isinstance(call(path, "-o", tmp_path / "out").exception, ConfigError)
    assert call(path).exit_code == 2
    assert isinstance(
        call(tmp_path / "no.jsonl", "--from-scratch", "tiny", "-o", tmp_path / "o").exception, ConfigError
    )


def test_bfloat16_and_checkpointing_make_a_checkpoint_in_float32(tmp_path):
    path = write(tmp_path / "pairs.jsonl", pairs(40))
    done = train(path, tmp_path / "out", Recipe(**{**RECIPE, "epochs": 1}, bf16=True, gradient_checkpointing=True))
    assert json.loads((done.folder / "config.json").read_text())["dtype"] == "float32"
    assert done.record["held_out"]["pairs"] == 8
