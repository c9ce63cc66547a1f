"""Language models small enough for a benchmark on a CPU: a byte-level tokenizer, and checkpoints made on the spot."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from rewardkit_plugins.engine.identity import TEMPLATES

CONTROLS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def tokenizer(texts: Iterable[str], *, vocabulary: int) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE of at most `vocabulary` entries, trained on `texts`, with ChatML as its template."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=CONTROLS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=["<|im_start|>"],
        chat_template=TEMPLATES["chatml"],
    )


def llama(vocabulary: int, **sizes: Any) -> LlamaForCausalLM:
    """Return a Llama with random weights, the same for the same sizes."""
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=vocabulary, pad_token_id=0, bos_token_id=None, eos_token_id=2, **sizes)
    return LlamaForCausalLM(config).eval()


def save(model: LlamaForCausalLM, words: PreTrainedTokenizerFast, folder: str | Path) -> str:
    """Write a checkpoint and return its path."""
    transformers.logging.disable_progress_bar()
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return str(folder)
