"""Two tiny language models of one tokenizer: a reference that answers anything, a policy that then learned to be right.

Also what transformers itself says of an answer, one by one and in float64.
"""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from rewardkit.types import Message, Step, Task, Tokens, Trajectory
from rewardkit_plugins.engine.identity import TEMPLATES

ANSWERS = {
    "What colour is the sky?": "The sky is blue.",
    "What colour is grass?": "Grass is green.",
    "What is the capital of Peru?": "It is Lima.",
    "Who wrote Faust?": "Goethe wrote it.",
}
END = "<|im_end|>"


def make(directory):
    """Train both, write `directory`/reference and `directory`/policy; return both paths as text."""
    tokenizer = make_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.1,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    said = [*ANSWERS, *ANSWERS.values()]
    lessons = {"reference": [(question, text) for question in ANSWERS for text in said], "policy": [*ANSWERS.items()]}
    paths = []
    for name, pairs in lessons.items():
        train(model, tokenizer, pairs)
        model.eval().save_pretrained(directory / name)
        tokenizer.save_pretrained(directory / name)
        paths.append(str(directory / name))
    return paths[1], paths[0]


def make_tokenizer():
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|pad|>", "<|im_start|>", END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator([f"{q} {a}" for q, a in ANSWERS.items()], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token=END,
        pad_token="<|pad|>",
        additional_special_tokens=["<|im_start|>"],
        chat_template=TEMPLATES["chatml"],
        padding_side="left",
    )


def train(model, tokenizer, pairs, *, steps=40):
    batch = tokenizer([prompt_of(q) + a + END for q, a in pairs], return_tensors="pt", padding=True)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    for _ in range(steps):
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def prompt_of(question):
    return f"<|im_start|>user\n{question}{END}\n<|im_start|>assistant\n"


def dialogue(*turns, sampled=()):
    """An attempt: a question, then answers and what is said to them in turn; `sampled` are the ids of each answer."""
    said = [Message(role="user" if n % 2 == 0 else "assistant", content=turn) for n, turn in enumerate(turns)]
    tokens = [Tokens(ids=tuple(ids)) for ids in sampled] or [None] * (len(turns) // 2)
    steps = tuple(
        Step(observation=tuple(said[n - 1 : n]) if n > 1 else (), action=said[n], tokens=tokens[n // 2])
        for n in range(1, len(said), 2)
    )
    return Trajectory(task=Task(prompt=tuple(said[:1])), steps=steps)


class Exact:
    """What a model of transformers says in float64, one sequence at a time, without padding."""

    def __init__(self, path):
        self.model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float64).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(path)

    @torch.no_grad()
    def after(self, ids):
        """The log-probabilities of the next token after each of `ids`, [tokens, vocabulary]."""
        return self.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)

    def answers(self, *turns, end=END):
        """The log-probabilities of the tokens of each answer of a dialogue, and of what ends it."""
        ids, found = [], []
        for question, answer in zip(turns[::2], turns[1::2], strict=True):
            ids += self.tokenizer.encode(prompt_of(question))
            wanted = self.tokenizer.encode(answer + end)
            rows = self.after(ids + wanted)[len(ids) - 1 : -1]
            found.append([rows[n, token].item() for n, token in enumerate(wanted)])
            ids = ids + self.tokenizer.encode(answer + END + "\n")
        return found
