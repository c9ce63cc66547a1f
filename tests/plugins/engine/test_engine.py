"""The engine: the numbers of a plain float64 model for every batch, layout and architecture; what it refuses."""

from __future__ import annotations

import copy
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

torch = pytest.importorskip("torch", reason="needs the extra hf")

from rewardkit.errors import ConfigError, RewardError  # noqa: E402
from rewardkit_plugins.engine import engine as engine_module  # noqa: E402
from rewardkit_plugins.engine import loading  # noqa: E402
from rewardkit_plugins.engine.config import EngineConfig  # noqa: E402
from rewardkit_plugins.engine.engine import Engine, Reading  # noqa: E402
from rewardkit_plugins.engine.replica import Replica  # noqa: E402

ARCHITECTURES = {
    # name: whether it is packed
    "llama": True,
    "qwen2": True,
    "qwen3": True,
    "mistral-window": True,
    "gemma2-softcap": False,  # caps the scores of attention, which the packed kernel cannot
    "gemma3": True,
    "granite": True,
    "cohere": True,
    "gpt2": True,
    "phi3-longrope": True,
    "dynamic-rope": True,
}
ORDINARY = range(3, 390)


def some_sequences(*, longest=120, families=True, seed=0):
    """Random sequences of many lengths, some with common beginnings of 40 to 90 tokens."""
    choose = random.Random(seed)
    new = lambda length: choose.choices(ORDINARY, k=length)  # noqa: E731
    found = [new(choose.randint(2, longest)) for _ in range(14)]
    if families:
        for length in (40, min(90, longest - 20)):
            trunk = new(length)
            found += [trunk + new(choose.randint(1, 12)) for _ in range(8)]
        found += [found[-1], [*found[-1], 7], found[-2][:-1]]
    choose.shuffle(found)
    return found


def reference(model, ids):
    """Log-probabilities of the next tokens, computed plainly in float64."""
    exact = copy.deepcopy(model).double()
    exact.set_attn_implementation("eager")
    with torch.inference_mode():
        logits = exact(torch.tensor([ids])).logits[0].double()
    return logits.log_softmax(-1)[:-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0]


def worst_difference(found, expected):
    return max(float((a - b).abs().max()) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_log_probabilities_equal_a_float64_reference_in_every_architecture(name, engine):
    reader = engine(name, max_length=240)
    longest = 120 if name != "dynamic-rope" else 60  # beyond its window transformers' own numbers depend on the past
    sequences = some_sequences(longest=longest)
    found = reader.logprobs([Reading(ids, range(len(ids) - 1)) for ids in sequences])
    assert worst_difference(found, [reference(reader.model, ids) for ids in sequences]) < 1e-5
    assert reader.replicas[0].packed is ARCHITECTURES[name]


@pytest.mark.parametrize("budget", [1, 64, 300, 5000])
@pytest.mark.parametrize("attention", ["packed", "sdpa", "eager"])
def test_neither_the_budget_nor_the_layout_nor_the_order_changes_a_number(budget, attention, engine):
    reader = engine("llama", attention=attention, batch_tokens=budget)
    sequences = some_sequences(seed=1)
    expected = [reference(reader.model, ids) for ids in sequences]
    readings = [Reading(ids, range(len(ids) - 1)) for ids in sequences]
    assert worst_difference(reader.logprobs(readings), expected) < 1e-5
    assert worst_difference(reader.logprobs(readings[::-1])[::-1], expected) < 1e-5
    assert worst_difference([one for r in readings[:5] for one in reader.logprobs([r])], expected[:5]) < 1e-5


def test_a_common_beginning_is_computed_once(engine):
    reader = engine("llama", batch_tokens=4096)
    trunk = list(range(3, 203))
    before = reader.usage.tokens
    reader.logprobs([Reading([*trunk, 5, i], [199, 200]) for i in range(10, 40)])
    assert reader.usage.tokens - before < 200 + 30 * 2 + 1


def test_only_the_positions_asked_for_come_back_in_their_order(engine):
    reader = engine("llama")
    ids = list(range(3, 60))
    everything = reader.logprobs([Reading(ids, range(len(ids) - 1))])[0]
    some = reader.logprobs([Reading(ids, [20, 3, 3, 50]), Reading(ids, []), Reading(ids, [0])])
    assert some[0].tolist() == pytest.approx([float(everything[p]) for p in (20, 3, 3, 50)], abs=1e-6)
    assert some[1].tolist() == []
    assert some[2].tolist() == pytest.approx([float(everything[0])], abs=1e-6)


def test_logits_of_chosen_tokens_are_those_of_the_model(engine):
    reader = engine("granite")
    ids = list(range(3, 40))
    with reader.replicas[0].unpacked(), torch.inference_mode():
        own = reader.model(torch.tensor([ids])).logits[0]
    found = reader.logits([Reading(ids, [10, 36]), Reading(ids, [5])], [[7, 9]])
    assert torch.allclose(found[0], own[[10, 36]][:, [7, 9]], atol=1e-5)
    found = reader.logits([Reading(ids, [10]), Reading(ids, [5])], [[7], [8]])
    assert [float(x) for x in found] == pytest.approx([float(own[10, 7]), float(own[5, 8])], abs=1e-5)


def test_lists_of_tokens_must_fit_the_readings(engine):
    with pytest.raises(ValueError, match="2 lists of tokens for 3 readings"):
        engine("llama").logits([Reading([5, 6], [0])] * 3, [[1], [2]])


def test_threads_that_share_an_engine_get_the_same_numbers(engine):
    from concurrent.futures import ThreadPoolExecutor

    reader = engine("phi3-longrope", max_length=240)
    batches = [[Reading(ids, range(len(ids) - 1)) for ids in some_sequences(seed=seed)] for seed in range(4)]
    expected = [reader.logprobs(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(reader.logprobs, batches * 2))
    for one, other in zip(found, expected * 2, strict=True):
        assert worst_difference(one, other) < 1e-5


@pytest.mark.parametrize("name", ["llama", "qwen2", "gpt2", "gemma2-softcap"])
def test_a_sequence_is_classified_at_its_last_token_whatever_pads_it(name, engine):
    reader = engine(name, "sequence")
    sequences = [*some_sequences(seed=2), [5, 0], [5, 2], [5, 0, 0, 2]]  # 0 pads and 2 ends: ours to score, too
    found = reader.classes([Reading(ids, [len(ids) - 1]) for ids in sequences])
    with reader.replicas[0].unpacked(), torch.inference_mode():
        own = [reader.model.score(reader.model.base_model(torch.tensor([ids]))[0][0, -1]) for ids in sequences]
    assert worst_difference([one[0] for one in found], own) < 1e-5


@pytest.mark.parametrize("name", ["bert", "roberta", "mpnet", "modernbert"])
def test_an_encoder_classifies_a_sequence_in_its_own_way(name, engine):
    reader = engine(name, "sequence", batch_tokens=200)
    sequences = some_sequences(seed=3)
    found = reader.classes([Reading(ids, [0]) for ids in sequences])
    with reader.replicas[0].unpacked(), torch.inference_mode():
        own = [reader.model(torch.tensor([ids])).logits[0] for ids in sequences]
    assert worst_difference([one[0] for one in found], own) < 1e-5


def test_a_decoder_that_finds_its_end_by_the_padding_is_padded_with_it(checkpoint):
    model = checkpoint("modernbert-decoder", "sequence", pad_token_id=395, bos_token_id=1)
    reader = Engine(EngineConfig(model=model), "sequence")
    sequences = some_sequences(seed=3)
    found = reader.classes([Reading(ids, [0]) for ids in sequences])
    with torch.inference_mode():
        own = [reader.model(torch.tensor([ids])).logits[0] for ids in sequences]
    assert worst_difference([one[0] for one in found], own) < 1e-5


@pytest.mark.parametrize("name", ["llama", "bert", "roberta", "mpnet", "modernbert"])
def test_tokens_are_classified_as_the_model_does(name, engine):
    reader = engine(name, "token", batch_tokens=300)
    sequences = some_sequences(seed=4)
    found = reader.classes([Reading(ids, range(0, len(ids), 3)) for ids in sequences])
    with reader.replicas[0].unpacked(), torch.inference_mode():
        own = [reader.model(torch.tensor([ids])).logits[0, ::3] for ids in sequences]
    assert worst_difference(found, own) < 1e-5


@pytest.mark.parametrize("name", ["bert", "roberta", "mpnet", "xlnet", "llama"])
def test_hidden_states_are_those_of_the_model(name, engine):
    reader = engine(name, "embedding")
    sequences = some_sequences(seed=5)
    found = reader.hidden([Reading(ids, range(len(ids))) for ids in sequences])
    with reader.replicas[0].unpacked(), torch.inference_mode():
        own = [reader.model(torch.tensor([ids]))[0][0] for ids in sequences]
    assert worst_difference(found, own) < 1e-5


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_stays_close(dtype, engine):
    exact, half = engine("llama"), engine("llama", dtype=dtype)
    readings = [Reading(ids, range(len(ids) - 1)) for ids in some_sequences(seed=6)]
    for a, b in zip(exact.logprobs(readings), half.logprobs(readings), strict=True):
        assert b.dtype == torch.float32
        assert float((a - b).abs().mean()) < (0.15 if dtype == "bfloat16" else 0.02)


def test_copies_on_two_devices_give_the_same_numbers(engine):
    one, two = engine("llama", batch_tokens=100), engine("llama", batch_tokens=100, device="cpu,cpu")
    assert len(two.replicas) == 2
    readings = [Reading(ids, range(len(ids) - 1)) for ids in some_sequences(seed=7)]
    assert worst_difference(two.logprobs(readings), one.logprobs(readings)) < 1e-5


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile uses its own deprecated parts
def test_a_compiled_model_gives_the_same_numbers(engine):
    plain, compiled = engine("llama"), engine("llama", compile=True)
    readings = [Reading(ids, range(len(ids) - 1)) for ids in some_sequences(seed=8)[:6]]
    try:
        found = compiled.logprobs(readings)
    except RuntimeError as error:
        pytest.skip(f"torch.compile does not work on this machine: {error}")
    assert worst_difference(found, plain.logprobs(readings)) < 1e-5


def test_running_out_of_memory_halves_the_budget_and_goes_on(checkpoint, monkeypatch):
    reader = Engine(EngineConfig(model=checkpoint("llama"), batch_tokens=4096), "causal")
    sequences = some_sequences(seed=9)
    readings = [Reading(ids, range(len(ids) - 1)) for ids in sequences]
    expected = reader.logprobs(readings)
    real, refused = engine_module._pass, []

    def small_memory(replica, readings, trees, head):
        tokens = sum(tree.tokens for tree in trees)
        if tokens > 300:
            refused.append(tokens)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(replica, readings, trees, head)

    monkeypatch.setattr(engine_module, "_pass", small_memory)
    assert worst_difference(reader.logprobs(readings), expected) < 1e-5
    assert refused
    count = len(refused)
    reader.logprobs(readings)
    assert len(refused) <= count + 2, "the smaller budget is kept"


def test_whole_sequences_run_out_of_memory_in_the_same_way(checkpoint, monkeypatch):
    reader = Engine(EngineConfig(model=checkpoint("bert", "sequence"), batch_tokens=4096), "sequence")
    readings = [Reading(ids, [0]) for ids in some_sequences(seed=9)]
    expected = reader.classes(readings)
    real = Replica.whole

    def small_memory(self, sequences):
        if len(sequences) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, sequences)

    monkeypatch.setattr(Replica, "whole", small_memory)
    passes = reader.usage.passes
    assert worst_difference(reader.classes(readings), expected) < 1e-5
    assert reader.usage.passes - passes >= len(readings) / 3


def test_memory_that_the_cpu_lacks_is_told_from_other_errors():
    with pytest.raises(RuntimeError) as lacking:
        torch.empty(10**15)
    assert engine_module._out_of_memory(lacking.value)
    assert not engine_module._out_of_memory(RuntimeError("shapes do not match"))


def test_readings_without_positions_are_empty(engine):
    assert [one.tolist() for one in engine("llama").logprobs([Reading([5, 6, 7], []), Reading([8], [])])] == [[], []]


def test_a_sequence_that_fits_into_no_memory_is_refused_and_named(checkpoint, monkeypatch):
    reader = Engine(EngineConfig(model=checkpoint("llama")), "causal")
    monkeypatch.setattr(engine_module, "_pass", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("no")))
    with pytest.raises(RewardError, match="a sequence of 3 tokens does not fit into memory"):
        reader.logprobs([Reading([5, 6, 7], [0])])


def test_other_errors_of_a_pass_are_not_mistaken_for_memory(checkpoint):
    reader = Engine(EngineConfig(model=checkpoint("llama")), "causal")
    with pytest.raises((RuntimeError, IndexError)):
        reader.logprobs([Reading([5, 6, 100_000], [0])])


def test_empty_and_overlong_sequences_are_refused(engine):
    reader = engine("llama")
    with pytest.raises(RewardError, match="the text is empty"):
        reader.logprobs([Reading([], [])])
    with pytest.raises(RewardError, match="513 tokens, and at most 512 fit"):
        reader.logprobs([Reading([5] * 513, [0])])
    assert reader.logprobs([]) == []


def test_usage_counts_passes_and_tokens(checkpoint):
    reader = Engine(EngineConfig(model=checkpoint("llama"), batch_tokens=100), "causal")
    reader.logprobs([Reading(list(range(3, 63)), [0]), Reading(list(range(70, 130)), [0])])
    assert (reader.usage.passes, reader.usage.tokens, reader.usage.useful) == (2, 120, 120)
    assert reader.usage.seconds > 0


def test_a_checkpoint_without_a_head_is_refused(checkpoint):
    with pytest.raises(ConfigError, match=r"no trained weights for 'score\.weight'"):
        Engine(EngineConfig(model=checkpoint("llama")), "sequence")


@pytest.mark.parametrize("kind", ["sequence", "embedding"])
def test_a_model_with_an_encoder_and_a_decoder_is_refused(kind, checkpoint):
    with pytest.raises(ConfigError, match="has an encoder and a decoder"):
        Engine(EngineConfig(model=checkpoint("t5", kind)), kind)


def test_a_classifier_is_refused_as_a_language_model_even_with_tied_embeddings(checkpoint):
    tied = checkpoint("llama", "sequence", tie_word_embeddings=True)
    with pytest.raises(ConfigError, match="was saved as LlamaForSequenceClassification, and does not predict text"):
        Engine(EngineConfig(model=tied), "causal")


def test_devices_that_are_not_here_are_refused(checkpoint):
    with pytest.raises(ConfigError, match="cuda:99"):
        Engine(EngineConfig(model=checkpoint("llama"), device="cuda:99"), "causal")
    with pytest.raises(ConfigError, match="device 'gpu'"):
        Engine(EngineConfig(model=checkpoint("llama"), device="gpu"), "causal")
    with pytest.raises(ConfigError, match="device 'meta' cannot be used here"):
        Engine(EngineConfig(model=checkpoint("llama"), device="meta"), "causal")


def test_models_may_be_loaded_in_several_threads(checkpoint):
    config = EngineConfig(model=checkpoint("llama", tie_word_embeddings=True))
    with ThreadPoolExecutor(4) as pool:
        models = list(pool.map(lambda _: loading.load_model(config, "causal", torch.device("cpu")), range(8)))
    assert all(model.lm_head.weight is model.model.embed_tokens.weight for model in models)


def test_a_model_is_not_split_without_gpus(checkpoint, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="none is in sight"):
        Engine(EngineConfig(model=checkpoint("llama"), device="split"), "causal")
