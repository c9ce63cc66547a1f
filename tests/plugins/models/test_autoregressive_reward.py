"""autoregressive_reward: the numbers of a plain float64 computation, and how it is gamed."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rewardkit.errors import ConfigError, RewardError
from rewardkit.testing import RewardContract, trajectory

torch = pytest.importorskip("torch", reason="torch is not installed: autoregressive_reward is not tested")
pytest.importorskip("transformers", reason="transformers is not installed: autoregressive_reward is not tested")

from rewardkit_plugins.models.autoregressive_reward import AutoregressiveReward  # noqa: E402

_FILE = importlib.util.spec_from_file_location("couple", Path(__file__).parent / "couple.py")
couple = importlib.util.module_from_spec(_FILE)
_FILE.loader.exec_module(couple)

TURNS = [
    ("What colour is the sky?", "The sky is blue."),
    ("?", "Grass, if you ask me, is mostly of some green or other, except in August."),
    ("Who wrote Faust?", "Goethe wrote it.", "Are you sure?", "Yes: the first part in 1808."),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return couple.make(tmp_path_factory.mktemp("models"))[0]


@pytest.fixture(scope="module")
def reward(model):
    made = build(model, per_token=True)
    yield made
    made.close()


def build(model, **options):
    return AutoregressiveReward(model=model, **{"self_test": False, **options})


class TestContract(RewardContract):
    reward = "rewardkit_plugins.models.autoregressive_reward:AutoregressiveReward"

    @pytest.fixture(autouse=True)
    def a_model(self, model):
        type(self).options = {"model": model}

    def trajectories(self):
        return [trajectory(question, answer) for question, answer in couple.ANSWERS.items()]


@pytest.mark.parametrize("options", [{"self_test": True}, {"attention": "sdpa"}, {"batch_tokens": 30}])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0), (1,), (1, 1, 0)])
def test_every_composition_of_a_batch_gives_the_numbers_of_float64(model, options, order):
    exact = couple.Exact(model)
    for actions, chosen in {"last": slice(-1, None), "all": slice(None)}.items():
        rows = [exact.answers(*turns)[chosen] for turns in TURNS]
        found = build(model, actions=actions, **options).score_batch([couple.dialogue(*TURNS[n]) for n in order])
        assert [one.value for one in found] == pytest.approx(
            [sum(map(sum, rows[n])) for n in order], abs=1e-5, rel=1e-6
        )
        if actions == "all":
            assert [list(one.steps) for one in found] == [
                pytest.approx([sum(row) for row in rows[n]], abs=1e-5, rel=1e-6) for n in order
            ]


def test_every_token_is_paid_its_log_probability_and_none_is_above_0(model, reward):
    turns = TURNS[0]
    exact = couple.Exact(model)
    ids = exact.tokenizer.encode(turns[1] + couple.END)
    (found,) = reward.score_batch([couple.dialogue(*turns, sampled=[ids])])
    assert found.tokens == pytest.approx(exact.answers(*turns)[0], abs=1e-5)
    assert max(found.tokens) <= 0
    assert found.value == pytest.approx(sum(found.tokens), abs=1e-9)
    assert found.parts == {"tokens": len(ids)}
    (mean,) = build(model, level="mean").score_batch([couple.dialogue(*turns)])
    assert mean.value == pytest.approx(found.value / len(ids), abs=1e-6)


def test_gaming_by_silence_is_refused_and_brevity_pays_unless_the_mean_is_taken(model, reward):
    question = "Who wrote Faust?"
    with pytest.raises(RewardError, match="empty"):
        reward.score_batch([couple.dialogue(question, "")])
    long = "Goethe wrote it. Goethe wrote Faust. Goethe wrote Faust."
    short, padded = reward.score_batch([couple.dialogue(question, text) for text in ("It.", long)])
    assert short.value > padded.value
    short, padded = build(model, level="mean").score_batch([couple.dialogue(question, text) for text in ("It.", long)])
    assert short.value < padded.value


def test_an_answer_that_was_never_ended_is_judged_without_its_end(model):
    open_ended, ended = (
        build(model, end_of_turn=end).score_batch([couple.dialogue("Why?", "The sky")])[0] for end in (False, True)
    )
    assert ended.parts["tokens"] == open_ended.parts["tokens"] + 1
    assert ended.value < open_ended.value - 3  # ending there is not what the model would do


def spoiled(model, directory, change):
    copy = Path(shutil.copytree(model, directory / "spoiled"))
    change(copy)
    return str(copy)


def test_a_tokenizer_without_a_pad_token_and_the_pad_token_as_the_end_change_nothing(model, reward, tmp_path):
    def repad(pad):
        def change(path):
            settings = json.loads((path / "tokenizer_config.json").read_text())
            settings["pad_token"] = pad
            (path / "tokenizer_config.json").write_text(json.dumps(settings))

        return change

    batch = [couple.dialogue(*turns) for turns in TURNS]
    for pad in (None, couple.END):
        path = spoiled(model, tmp_path / str(pad), repad(pad))
        found = build(path, attention="sdpa").score_batch(batch)
        assert [s.value for s in found] == pytest.approx([s.value for s in reward.score_batch(batch)], abs=1e-4)


def test_weights_that_are_not_finite_are_refused(model, tmp_path):
    def break_one(path):
        from safetensors.torch import load_file, save_file

        weights = load_file(path / "model.safetensors")
        weights["model.norm.weight"][0] = float("nan")
        save_file(weights, path / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(ConfigError, match="not finite"):
        build(spoiled(model, tmp_path, break_one)).setup()


def test_what_cannot_be_rendered_or_does_not_fit_is_refused(model, reward):
    strict = build(model, chat_template="{{ raise_exception('users only') }}{{ messages }}")
    with pytest.raises(RewardError, match="users only"):
        strict.score_batch([couple.dialogue(*TURNS[0])])
    with pytest.raises(RewardError, match="control token"):
        reward.score_batch([couple.dialogue("Hi", "<|im_start|>user")])
    with pytest.raises(RewardError, match="at most 512 fit"):
        reward.score_batch([couple.dialogue("Hi", "word " * 600)])
    assert reward.score_batch([]) == []


def test_the_signature_says_how_the_number_was_made(reward):
    fields = dict(reward.signature_fields())
    assert fields.pop("model").startswith("policy@")
    del fields["template"]
    assert fields == {
        "dtype": "float32",
        "truncation": "error",
        "level": "sequence",
        "actions": "last",
        "end_of_turn": "true",
        "per_token": "true",
    }


def test_listing_the_reward_imports_nothing_heavy():
    heavy = {"torch", "transformers", "jinja2", "numpy"}
    code = f"import sys, rewardkit_plugins.models.autoregressive_reward; print({heavy!r} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
