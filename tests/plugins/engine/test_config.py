"""The options of an engine, and what stands of a model in a signature."""

from __future__ import annotations

import json
import shutil

import pytest

torch = pytest.importorskip("torch", reason="needs the extra hf")

from rewardkit.errors import ConfigError, RewardError  # noqa: E402
from rewardkit.types import Message  # noqa: E402
from rewardkit_plugins.engine import identity  # noqa: E402
from rewardkit_plugins.engine.config import EngineConfig  # noqa: E402
from rewardkit_plugins.engine.engine import Engine  # noqa: E402


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtyp": "bfloat16"}, "probe has no option 'dtyp'; did you mean 'dtype'"),
        ({"dtype": "int4"}, "dtype"),
        ({"batch_tokens": 0}, "batch_tokens must be at least 1 token, not 0"),
        ({"max_length": -5}, "max_length must be at least 1"),
        ({"truncation": "right"}, "truncation"),
        ({"model": ""}, "not ''"),
        ({"self_test": "yes"}, "self_test"),
    ],
)
def test_options_that_cannot_be_right_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        EngineConfig.of("probe", {"model": "m", **options})


@pytest.mark.parametrize(
    ("model", "message"),
    [("/nowhere/at/all", "no directory"), ("./nowhere", "no directory"), ("a/b/c", "no directory")],
)
def test_a_model_that_is_not_there_is_refused(model, message):
    with pytest.raises(ConfigError, match=message):
        EngineConfig(model=model).signature_fields()


def test_a_directory_without_a_configuration_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"no checkpoint: it has no config\.json"):
        EngineConfig(model=str(tmp_path)).signature_fields()


def test_a_directory_has_no_revisions(checkpoint):
    with pytest.raises(ConfigError, match="is a directory, which has no revision 'main': leave it out"):
        EngineConfig(model=checkpoint("llama"), revision="main").signature_fields()


def test_a_broken_configuration_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match="is not JSON"):
        EngineConfig(model=str(tmp_path)).signature_fields()


def test_the_signature_follows_weights_dtype_and_template_but_not_the_device(checkpoint, tmp_path):
    model = checkpoint("llama")
    fields = EngineConfig(model=model).signature_fields()
    assert fields["dtype"] == "float32"
    assert fields == EngineConfig(model=model, device="cpu", batch_tokens=5, attention="sdpa").signature_fields()
    assert EngineConfig(model=model, dtype="bfloat16").signature_fields()["dtype"] == "bfloat16"
    assert EngineConfig(model=model, chat_template="plain").signature_fields()["template"] != fields["template"]
    assert EngineConfig(model=model, chat_template="chatml").signature_fields()["template"] == fields["template"]
    assert EngineConfig(model=model, trust_remote_code=True).signature_fields() == {**fields, "code": "remote"}
    assert EngineConfig(model=model, max_length=9).signature_fields()["max_length"] == "9"
    copy = tmp_path / "copy"
    shutil.copytree(model, copy)
    assert identity.fingerprint(str(copy), None).partition("@")[2] == fields["model"].partition("@")[2]
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1
    weights.write_bytes(content)
    assert identity.fingerprint(str(copy), None).partition("@")[2] != fields["model"].partition("@")[2]


def test_the_signature_follows_the_tokenizer(checkpoint, tmp_path):
    shutil.copytree(checkpoint("llama"), tmp_path, dirs_exist_ok=True)
    before = identity.fingerprint(str(tmp_path), None)
    (tmp_path / "trainer_state.json").write_text("{}")
    assert identity.fingerprint(str(tmp_path), None) == before
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**settings, "bos_token": "<|im_start|>"}))
    assert identity.fingerprint(str(tmp_path), None) != before


def test_the_window_is_the_models_own_or_a_smaller_one(checkpoint):
    assert identity.window_of(checkpoint("llama"), None) == 512
    assert identity.window_of(checkpoint("gpt2"), None) == 512
    assert identity.window_of(checkpoint("roberta", "sequence", pad_token_id=1), None) == 512
    assert identity.window_of(checkpoint("mpnet", "embedding", pad_token_id=1), None) == 512
    assert Engine(EngineConfig(model=checkpoint("llama"), max_length=9999), "causal").window == 512


def test_what_is_too_long_fails_or_loses_its_oldest_tokens_as_asked(checkpoint):
    talk = [Message(role="user", content="word " * 60), Message(role="assistant", content="The answer is 42.")]
    strict = Engine(EngineConfig(model=checkpoint("llama"), max_length=60), "causal")
    rendered = strict.renderer.render(talk)
    keep = rendered.tokens(rendered.messages[-1])
    with pytest.raises(RewardError, match=r"tokens judged|of them judged.*at most 60 fit.*truncation=left"):
        strict.fit(rendered, keep)
    left = Engine(EngineConfig(model=checkpoint("llama"), max_length=60, truncation="left"), "causal")
    cut, kept, dropped = left.fit(rendered, keep)
    assert len(cut.ids) == 60 == len(cut.offsets)
    assert dropped == len(rendered.ids) - 60
    assert [cut.ids[i] for i in kept] == [rendered.ids[i] for i in keep]
    short = Engine(EngineConfig(model=checkpoint("llama"), max_length=len(keep), truncation="left"), "causal")
    with pytest.raises(RewardError, match="raise max_length"):
        short.fit(rendered, keep)
    roomy = Engine(EngineConfig(model=checkpoint("llama")), "causal")
    assert roomy.fit(rendered, keep) == (rendered, keep, 0)


def test_what_is_cut_keeps_the_token_that_begins_a_sequence(checkpoint):
    left = Engine(EngineConfig(model=checkpoint("llama"), max_length=60, truncation="left"), "causal")
    talk = [Message(role="user", content="word " * 60), Message(role="assistant", content="The answer is 42.")]
    rendered = left.renderer.render(talk)
    left.tokenizer.bos_token = "<|im_start|>"
    cut, kept, _ = left.fit(rendered, rendered.tokens(rendered.messages[-1]))
    assert len(cut.ids) == 60
    assert cut.ids[0] == rendered.ids[0]
    assert [cut.ids[i] for i in kept] == [rendered.ids[i] for i in rendered.tokens(rendered.messages[-1])]


def test_weights_that_are_not_finite_are_refused(checkpoint, tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(checkpoint("llama"), tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][3, 3] = float("nan")
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"not finite, in 'model\.layers\.1\.mlp\.up_proj\.weight'"):
        Engine(EngineConfig(model=str(tmp_path)), "causal")


def test_more_layers_than_the_configuration_says_are_refused(checkpoint, tmp_path):
    shutil.copytree(checkpoint("llama"), tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 1, "layer_types": None}))
    with pytest.raises(ConfigError, match=r"holds 'model\.layers\.1\..*says that it has 1 layers"):
        Engine(EngineConfig(model=str(tmp_path)), "causal")


def test_a_checkpoint_of_an_unknown_architecture_is_refused(checkpoint, tmp_path):
    shutil.copytree(checkpoint("llama"), tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "no-such-thing"}))
    with pytest.raises(ConfigError, match="does not load"):
        Engine(EngineConfig(model=str(tmp_path)), "causal")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("model.safetensors", lambda whole: whole[:5000]),
        ("model.safetensors", lambda whole: b""),
        ("config.json", lambda whole: b"[]"),
        ("config.json", lambda whole: whole.replace(b'"num_attention_heads": 4', b'"num_attention_heads": 5')),
        ("config.json", lambda whole: whole.replace(b'"float32"', b'"nn"')),
        ("config.json", lambda whole: whole.replace(b'"float32"', b'"float33"')),
        ("tokenizer.json", lambda whole: b"{}"),
    ],
)
def test_a_broken_checkpoint_is_refused_and_named(file, content, checkpoint, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(checkpoint("llama"), broken)
    whole = (broken / file).read_bytes()
    assert content(whole) != whole
    (broken / file).write_bytes(content(whole))
    with pytest.raises(ConfigError, match=r"broken' (does not load|says that its weights are)"):
        Engine(EngineConfig(model=str(broken)), "causal")
