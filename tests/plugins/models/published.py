"""Process reward models as their releases read them: one sequence at a time, in float64, without the engine.

Also tiny untrained models for the interfaces that need no learning to be compared.
"""

from __future__ import annotations

import json

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

CLASSES = {
    "causal": AutoModelForCausalLM,
    "sequence": AutoModelForSequenceClassification,
    "token": AutoModelForTokenClassification,
}


class Exact:
    """A checkpoint in float64; `rows` is what it says after each token."""

    def __init__(self, path, kind):
        self.model = CLASSES[kind].from_pretrained(path, dtype=torch.float64).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(path)

    def encode(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False)

    @torch.no_grad()
    def rows(self, ids):
        return self.model(input_ids=torch.tensor([ids])).logits[0]

    @torch.no_grad()
    def states(self, ids):
        return self.model.base_model(input_ids=torch.tensor([ids]))[0][0]

    def chat(self, *turns, generate=False):
        messages = [{"role": ("user", "assistant")[n % 2], "content": turn} for n, turn in enumerate(turns)]
        text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generate)
        return self.encode(text)


def qwen(exact, question, steps):
    """Softmax at every <extra_0> of the agent's message."""
    ids = exact.chat(question, "".join(f"{step}<extra_0>" for step in steps))
    mark = exact.tokenizer.convert_tokens_to_ids("<extra_0>")
    return [row.softmax(0)[1].item() for row, i in zip(exact.rows(ids), ids, strict=True) if i == mark]


def math_shepherd(exact, question, steps):
    """Softmax over two words at every tag of a plain text."""
    ids = exact.encode(f"{question} " + "\n".join(f"{step} ки" for step in steps))
    tag, words = exact.tokenizer.convert_tokens_to_ids("ки"), exact.tokenizer.convert_tokens_to_ids(["+", "-"])
    return [row[words].softmax(0)[0].item() for row, i in zip(exact.rows(ids), ids, strict=True) if i == tag]


def rlhflow(exact, question, steps):
    """One conversation for each step, all earlier ones answered by +; the word after the opened turn."""
    words = exact.tokenizer.convert_tokens_to_ids(["+", "-"])
    found, turns = [], []
    for step in steps:
        turns.append(step if turns else f"{question} {step}")
        found.append(exact.rows(exact.chat(*turns, generate=True))[-1][words].softmax(0)[0].item())
        turns.append("+")
    return found


def pure(exact, question, steps):
    """p(good) - p(bad) at a line break behind each step, every piece encoded by itself."""
    ids, found = exact.encode(question), []
    for step in steps:
        ids = ids + exact.encode(step) + exact.encode("\n")
        bad, good = exact.rows(ids)[-1].softmax(0).tolist()
        found.append(good - bad)
    return found


def prefixes(exact, texts):
    """The single logit at the last token of each text."""
    return [exact.rows(exact.encode(text)).item() for text in texts]


def untrained(source, directory):
    """Write a sequence classifier of one output with the tokenizer and the size of a checkpoint; return its path."""
    torch.manual_seed(1)
    config = AutoConfig.from_pretrained(source, num_labels=1, initializer_range=0.2)
    model = LlamaForSequenceClassification(config)
    model.save_pretrained(directory)
    AutoTokenizer.from_pretrained(source).save_pretrained(directory)
    return directory


def encoder(directory, texts):
    """Write a BERT that classifies whole texts, one output, with a token for each word; return its path."""
    words = sorted({word for text in texts for word in text.split()})
    inner = Tokenizer(
        models.WordLevel({word: n for n, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}, "[UNK]")
    )
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    made = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]")
    made.save_pretrained(directory)
    torch.manual_seed(4)
    config = BertConfig(
        vocab_size=len(made),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        num_labels=1,
        initializer_range=0.3,
    )
    BertForSequenceClassification(config).save_pretrained(directory)
    return directory


def two_layers(source, directory):
    """Write the checkpoint of a classifier with the head of Qwen2.5-Math-PRM: two layers and ReLU between them."""
    torch.manual_seed(2)
    AutoTokenizer.from_pretrained(source).save_pretrained(directory)
    config = json.loads((source / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, "architectures": ["TheirOwnClass"]}))
    tensors = {name: t for name, t in load_file(source / "model.safetensors").items() if not name.startswith("score")}
    width = config["hidden_size"]
    shapes = {
        "score.0.weight": (width, width),
        "score.0.bias": (width,),
        "score.2.weight": (2, width),
        "score.2.bias": (2,),
    }
    tensors |= {name: torch.randn(shape) / width**0.5 for name, shape in shapes.items()}
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    return directory
