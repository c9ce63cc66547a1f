"""Reward models without training: random bodies, heads that are fitted or drawn; and what transformers says of them.

No fixtures; the tokenizers know a few words.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import transformers as tf
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from rewardkit_plugins.engine.identity import TEMPLATES

GOOD = {
    "What colour is the sky?": "The sky is blue.",
    "What is 3 + 4?": "3 + 4 = 7, so the answer is 7.",
    "Who wrote Faust?": "Goethe wrote it.",
    "Name a large planet, please.": "Jupiter is the largest planet of all.",
}
BAD = [*GOOD, "", "No.", "qzx vlorp; 77777 ]}{ snerf~ blat blat ## wug\n\t&&& %%% florb zzzyx -- gnarl?! " * 3]
PAIR = "{{ cls_token }}{% for m in messages %}{{ m.content }}{{ sep_token }}{% endfor %}"
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}


def tokenizer(**options):
    """Byte-level BPE with ChatML, and with a pad token of its own unless `options` say otherwise."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    inner.train_from_iterator(
        [*GOOD, *GOOD.values(), "user", "assistant"] * 9,
        trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    options = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", **options}
    made = tf.PreTrainedTokenizerFast(
        tokenizer_object=inner, extra_special_tokens=special[1:2], **{k: v for k, v in options.items() if v}
    )
    made.chat_template = TEMPLATES["chatml"]
    return made


def config(tok, **more):
    return tf.LlamaConfig(
        vocab_size=len(tok),
        **SIZES,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.2,
        **{"pad_token_id": tok.pad_token_id, "eos_token_id": tok.eos_token_id, "bos_token_id": None, **more},
    )


def decoder(directory, *, seed=0, tokenizer_options=(), **more):
    """Write a LlamaForSequenceClassification with one random output, or `num_labels`; return its path."""
    tok = tokenizer(**dict(tokenizer_options))
    torch.manual_seed(seed)
    model = tf.LlamaForSequenceClassification(config(tok, **{"num_labels": 1, "pad_token_id": 0, **more}))
    model.config.pad_token_id = tok.pad_token_id  # not before: it would draw other weights
    return write(model, tok, directory)


def learned(directory):
    """Write a reward model whose head was fitted, by least squares, to give GOOD answers 1 and others −1."""
    path = decoder(directory)
    texts = [chatml(q, a) for q, a in GOOD.items()] + [chatml(q, a) for q in GOOD for a in BAD]
    states = torch.stack([hidden(path, text)[-1] for text in texts])
    labels = torch.tensor([1.0] * len(GOOD) + [-1.0] * (len(texts) - len(GOOD)), dtype=torch.float64)
    ridge = states.T @ states + 1e-3 * torch.eye(states.shape[1], dtype=torch.float64)
    head = torch.linalg.solve(ridge, states.T @ labels)
    change(path, {"score.weight": head[None].float()})
    return path


def language_model(directory, extra=(), settings=()):
    """Write a causal model, `extra` tensors beside its own, and `settings` in its config.json; return its path."""
    tok = tokenizer()
    torch.manual_seed(0)
    path = write(tf.LlamaForCausalLM(config(tok)), tok, directory)
    change(path, dict(extra))
    file = Path(path) / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **dict(settings)}))
    return path


def encoder(directory, kind, **more):
    """Write a BERT with WordPiece or a RoBERTa with BPE, with one random output or `num_labels`; return its path."""
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"] if kind == "bert" else ["<s>", "<pad>", "</s>", "<unk>"]
    bert = kind == "bert"
    inner = Tokenizer(models.WordPiece(unk_token="[UNK]") if bert else models.BPE())
    inner.normalizer = normalizers.BertNormalizer() if bert else None
    inner.pre_tokenizer = (
        pre_tokenizers.BertPreTokenizer() if bert else pre_tokenizers.ByteLevel(add_prefix_space=False)
    )
    trainer = (trainers.WordPieceTrainer if bert else trainers.BpeTrainer)(
        vocab_size=400,
        special_tokens=names,
        show_progress=False,
        initial_alphabet=[] if bert else pre_tokenizers.ByteLevel.alphabet(),
    )
    inner.train_from_iterator([*GOOD, *GOOD.values()] * 9, trainer)
    first, last = ("[CLS]", "[SEP]") if bert else ("<s>", "</s>")
    inner.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}", special_tokens=[(t, inner.token_to_id(t)) for t in (first, last)]
    )
    tok = tf.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token=names[0 if bert else 1],
        unk_token=names[1 if bert else 3],
        cls_token=first,
        sep_token=last,
    )
    tok.chat_template = PAIR
    torch.manual_seed(0)
    made, sizes = (tf.BertConfig, 64) if bert else (tf.RobertaConfig, 66)
    settings = made(
        vocab_size=len(tok),
        **SIZES,
        max_position_embeddings=sizes,
        initializer_range=0.2,
        pad_token_id=tok.pad_token_id,
        **{"num_labels": 1, **more},
    )
    return write(tf.AutoModelForSequenceClassification.from_config(settings), tok, directory)


def write(model, tok, directory):
    model.save_pretrained(directory)
    tok.save_pretrained(directory)
    return str(directory)


def change(path, tensors):
    """Set tensors of a checkpoint."""
    file = Path(path) / "model.safetensors"
    save_file({**load_file(file), **tensors}, file, metadata={"format": "pt"})


def chatml(*turns):
    roles = ("user", "assistant")
    return "".join(f"<|im_start|>{roles[i % 2]}\n{turn}<|im_end|>\n" for i, turn in enumerate(turns))


def hidden(path, text):
    """Return transformers' own hidden states [tokens, width] of one text, in float64."""
    ids = ids_of(path, text)
    model = tf.AutoModel.from_pretrained(path, dtype=torch.float64)
    with torch.no_grad():
        return model.eval()(input_ids=torch.tensor([ids])).last_hidden_state[0]


def ids_of(path, text):
    return tf.AutoTokenizer.from_pretrained(path)(text, add_special_tokens=False)["input_ids"]


def tensors(path):
    return {name: tensor.double() for name, tensor in load_file(Path(path) / "model.safetensors").items()}
