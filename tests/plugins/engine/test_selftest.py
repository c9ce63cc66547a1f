"""The self-test: models whose batches say something else than single sequences are padded instead, or refused."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the extra hf")

from rewardkit.errors import ConfigError  # noqa: E402
from rewardkit_plugins.engine import packing, selftest  # noqa: E402
from rewardkit_plugins.engine.config import EngineConfig  # noqa: E402
from rewardkit_plugins.engine.engine import Engine  # noqa: E402
from rewardkit_plugins.engine.replica import Replica  # noqa: E402


def test_a_sound_model_is_packed(checkpoint):
    assert Engine(EngineConfig(model=checkpoint("llama")), "causal").replicas[0].packed


def test_a_model_whose_packed_batch_is_wrong_is_padded(checkpoint, monkeypatch):
    real = packing.forward
    monkeypatch.setattr(packing, "forward", lambda *a: real(*a) + 0.1)
    assert not Engine(EngineConfig(model=checkpoint("llama")), "causal").replicas[0].packed
    with pytest.raises(ConfigError, match=r"cannot be packed \(a packed batch of 32 differs .* use attention=auto"):
        Engine(EngineConfig(model=checkpoint("llama"), attention="packed"), "causal")


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_model_for_which_padding_matters_is_refused_with_the_side(side, checkpoint, monkeypatch):
    real = Replica.padded
    skewed = lambda self, ids, left=False: real(self, ids, left=left) * (1.1 if left == (side == "left") else 1)  # noqa: E731
    monkeypatch.setattr(Replica, "padded", skewed)
    with pytest.raises(ConfigError, match=f"fails its self-test: a batch padded on the {side} of 32 differs"):
        Engine(EngineConfig(model=checkpoint("llama"), attention="sdpa"), "causal")
    Engine(EngineConfig(model=checkpoint("llama"), attention="sdpa", self_test=False), "causal")


def test_a_model_whose_logits_are_made_in_a_way_of_its_own_is_refused(checkpoint, monkeypatch):
    real = Replica.vocabulary
    monkeypatch.setattr(Replica, "vocabulary", lambda self, hidden: real(self, hidden) / 2)
    with pytest.raises(ConfigError, match="cannot be read: what its last layer makes of the rest"):
        Engine(EngineConfig(model=checkpoint("llama")), "causal")


def test_classes_that_are_made_in_a_way_of_their_own_are_refused(checkpoint, monkeypatch):
    real = Replica.classes
    monkeypatch.setattr(Replica, "classes", lambda self, hidden: real(self, hidden) / 2)
    for kind in ("token", "sequence"):
        with pytest.raises(ConfigError, match="cannot be read: what its last layer makes of the rest"):
            Engine(EngineConfig(model=checkpoint("llama", kind)), kind)


def test_whole_sequences_whose_classes_depend_on_the_batch_are_refused(checkpoint):
    with pytest.raises(ConfigError, match="fails its self-test: a padded batch of 32 differs"):
        Engine(EngineConfig(model=checkpoint("xlnet", "sequence")), "sequence")


@pytest.mark.parametrize(("name", "is_causal"), [("llama", True), ("gpt2", True), ("bert", False), ("xlnet", False)])
def test_whether_tokens_see_what_follows_them_is_measured(name, is_causal, checkpoint):
    assert Engine(EngineConfig(model=checkpoint(name, "embedding")), "embedding").is_causal is is_causal


def test_answers_that_are_not_finite_are_refused(checkpoint, monkeypatch):
    monkeypatch.setattr(selftest, "_singles", lambda *_: [torch.full((3, 4), float("inf"))] * 32)
    with pytest.raises(ConfigError, match="numbers that are not finite"):
        Engine(EngineConfig(model=checkpoint("llama"), attention="sdpa"), "causal")


def test_without_a_self_test_nothing_is_packed_unless_asked(checkpoint):
    options = {"model": checkpoint("llama"), "self_test": False}
    assert not Engine(EngineConfig(**options), "causal").replicas[0].packed
    assert Engine(EngineConfig(**options, attention="packed"), "causal").replicas[0].packed
    with pytest.raises(ConfigError, match="cannot be packed"):
        Engine(EngineConfig(model=checkpoint("bert", "sequence"), self_test=False, attention="packed"), "sequence")


def test_a_dropout_left_on_would_be_noticed(checkpoint, monkeypatch):
    from rewardkit_plugins.engine import loading

    real = loading.load_model

    def noisy(*arguments):
        model = real(*arguments)
        model.base_model.embed_tokens.register_forward_hook(lambda _, __, out: out + torch.randn_like(out))
        return model

    monkeypatch.setattr(loading, "load_model", noisy)
    with pytest.raises(ConfigError, match=r"fails its self-test|cannot be read"):
        Engine(EngineConfig(model=checkpoint("llama")), "causal")
