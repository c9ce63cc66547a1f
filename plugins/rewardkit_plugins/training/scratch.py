"""A new small model for machines without one: a Llama with random weights, a byte-level tokenizer made from the texts.

It knows nothing of language but what the pairs teach it. Tests and demonstrations are what it is for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from rewardkit_plugins.engine.identity import TEMPLATES

_PADDING, _START, _END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large a model is: hidden width, layers, attention heads, vocabulary at most, and window, both in tokens."""

    width: int
    layers: int
    heads: int
    vocabulary: int
    window: int = 2048


SIZES: Final = {
    "tiny": Size(width=64, layers=2, heads=4, vocabulary=2000),
    "small": Size(width=256, layers=4, heads=8, vocabulary=8000),
}


def new_model(folder: Path, texts: Iterable[str], size: Size, *, seed: int = 0) -> None:
    """Save a language model with random weights, its tokenizer and the template "chatml" in `folder`."""
    tokenizer = new_tokenizer(texts, size)
    transformers.set_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.width,
        intermediate_size=2 * size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        max_position_embeddings=size.window,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def new_tokenizer(texts: Iterable[str], size: Size) -> Any:
    """Return a byte-level BPE tokenizer made from the texts; every text can be written with it."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size.vocabulary,
        special_tokens=[_PADDING, _START, _END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(texts, trainer)
    wrap: Any = PreTrainedTokenizerFast
    return wrap(
        tokenizer_object=inner,
        pad_token=_PADDING,
        eos_token=_END,
        additional_special_tokens=[_START],
        chat_template=TEMPLATES["chatml"],
        model_max_length=size.window,
    )
