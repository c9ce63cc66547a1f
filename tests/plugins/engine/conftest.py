"""Random models of several architectures, saved as checkpoints; untrained, since only equality is tested."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the extra hf")
pytest.importorskip("transformers", reason="needs the extra hf")

import transformers as tf  # noqa: E402
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: E402

from rewardkit_plugins.engine.config import EngineConfig  # noqa: E402
from rewardkit_plugins.engine.engine import Engine  # noqa: E402
from rewardkit_plugins.engine.identity import TEMPLATES  # noqa: E402

TEXT = [
    "A rainbow shows when sunlight is bent in drops of rain, and every colour is bent by an angle of its own.",
    "What is 12 * 12? It is 144, because ten twelves are 120 and two more are 24.",
    "You’re very clear. Das war schön! 你好,世界 \U0001f600 naïve café",
]
SIZES = {
    "vocab_size": 400,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
}
GROUPED = {**SIZES, "num_key_value_heads": 2}
CAUSAL = {
    "llama": lambda: tf.LlamaConfig(**GROUPED),
    "qwen2": lambda: tf.Qwen2Config(**GROUPED),
    "qwen3": lambda: tf.Qwen3Config(**GROUPED, head_dim=8),
    "mistral-window": lambda: tf.MistralConfig(**GROUPED, sliding_window=24),
    "gemma2-softcap": lambda: tf.Gemma2Config(**GROUPED, head_dim=8, sliding_window=24, final_logit_softcapping=5.0),
    "gemma3": lambda: tf.Gemma3TextConfig(**GROUPED, head_dim=8, sliding_window=24),
    "granite": lambda: tf.GraniteConfig(**GROUPED, logits_scaling=4.0),
    "cohere": lambda: tf.CohereConfig(**GROUPED, logit_scale=0.25),
    "gpt2": lambda: tf.GPT2Config(
        vocab_size=400, n_embd=32, n_layer=2, n_head=4, n_positions=512, initializer_range=0.2
    ),
    "phi3-longrope": lambda: tf.Phi3Config(
        **{**GROUPED, "max_position_embeddings": 512},
        original_max_position_embeddings=64,
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "short_factor": [1.0, 1.0, 1.0, 1.0],
            "long_factor": [4.0, 3.0, 2.0, 1.5],
            "original_max_position_embeddings": 64,
        },
        pad_token_id=0,
    ),
    "dynamic-rope": lambda: tf.LlamaConfig(
        **{**GROUPED, "max_position_embeddings": 64},
        rope_parameters={"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0},
    ),
}


def new_tokenizer(**options):
    """A byte-level BPE with ChatML's control tokens; `options` go to PreTrainedTokenizerFast."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=390,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT * 20, trainer)
    options = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", **options}
    fast = tf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, extra_special_tokens=["<|im_start|>"], **{k: v for k, v in options.items() if v}
    )
    fast.chat_template = TEMPLATES["chatml"]
    return fast


@pytest.fixture(scope="session")
def tokenizer():
    return new_tokenizer()


@pytest.fixture
def make_tokenizer():
    return new_tokenizer


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory, tokenizer):
    """`checkpoint("llama")` is the directory of a random model; `kind` is causal, sequence, token or embedding."""
    made = {}
    classes = {
        "causal": tf.AutoModelForCausalLM,
        "sequence": tf.AutoModelForSequenceClassification,
        "token": tf.AutoModelForTokenClassification,
        "embedding": tf.AutoModel,
    }

    def make(name, kind="causal", **changes):
        key = (name, kind, repr(changes))
        if key not in made:
            config = CAUSAL[name]() if name in CAUSAL else ENCODERS[name]()
            config.num_labels = changes.pop("num_labels", 1 if kind == "sequence" else 2)
            for option, value in {"pad_token_id": 0, "eos_token_id": 2, "bos_token_id": None, **changes}.items():
                setattr(config, option, value)
            torch.manual_seed(0)
            made[key] = tmp_path_factory.mktemp(name)
            classes[kind].from_config(config).save_pretrained(made[key])
            tokenizer.save_pretrained(made[key])
        return str(made[key])

    return make


_ENDS = {"cls_token_id": 1, "sep_token_id": 2, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
ENCODERS = {
    "bert": lambda: tf.BertConfig(**SIZES),
    "roberta": lambda: tf.RobertaConfig(**{**SIZES, "max_position_embeddings": 514}, pad_token_id=1),
    "mpnet": lambda: tf.MPNetConfig(**{**SIZES, "max_position_embeddings": 514}),
    "modernbert": lambda: tf.ModernBertConfig(**SIZES, local_attention=16, **_ENDS),
    "modernbert-decoder": lambda: tf.ModernBertDecoderConfig(**SIZES, **_ENDS),
    "xlnet": lambda: tf.XLNetConfig(vocab_size=400, d_model=32, n_layer=2, n_head=4, d_inner=64, initializer_range=0.2),
    "t5": lambda: tf.T5Config(vocab_size=400, d_model=32, d_ff=64, num_layers=2, num_heads=4, d_kv=8),
}


@pytest.fixture(scope="session")
def engine(checkpoint):
    """`engine("llama")` is the engine of a random model; further options go to its config."""
    opened = {}

    def open_engine(name="llama", kind="causal", **options):
        key = (name, kind, repr(options))
        if key not in opened:
            opened[key] = Engine(EngineConfig(model=checkpoint(name, kind), **options), kind)
        return opened[key]

    return open_engine
