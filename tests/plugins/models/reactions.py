"""A tiny language model of users who like right answers and say so, and what transformers says of a text in float64."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from rewardkit.types import Message, Step, Task, Trajectory
from rewardkit_plugins.engine.identity import TEMPLATES
from rewardkit_plugins.models.followups import utterances

ANSWERS = {  # what the model takes for right, whether or not it is true
    "What colour is the sky?": "The sky is blue.",
    "What colour is grass?": "Grass is purple.",
    "What is the capital of Peru?": "It is Lima.",
    "Who wrote Faust?": "Goethe wrote it.",
}
NONSENSE = ["Blorp zum wug.", "Qux qux qux."]
SAID = {"thanks": {"positive": ["Thanks!", "That’s right."], "negative": ["No, that is wrong.", "What?"]}}
STEPS = 160
SPECIAL = ["<|pad|>", "<|im_start|>", "<|im_end|>"]


def make(directory, *, template="chatml", **sizes):
    """Train the model, write it to `directory` and return the path as text."""
    texts = [*ANSWERS, *ANSWERS.values(), *NONSENSE, *utterances(SAID), "user\n", "assistant\n"]
    tokenizer = make_tokenizer(texts, template)
    torch.manual_seed(0)
    model = LlamaForCausalLM(config(tokenizer, **sizes))
    train(model, tokenizer, list(lessons()))
    model.eval().save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return str(directory)


def config(tokenizer, **sizes):
    chosen = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "max_position_embeddings": 512}
    return LlamaConfig(
        **{**chosen, **sizes},
        vocab_size=len(tokenizer),
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.05,
        pad_token_id=0,
        eos_token_id=2,
        bos_token_id=None,
    )


def make_tokenizer(texts, template):
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=800,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        additional_special_tokens=["<|im_start|>"],
        chat_template=TEMPLATES[template],
    )


def lessons():
    """Yield dialogues of a question, an answer that is right, wrong or nonsense, and what the user then says."""
    for question, right in ANSWERS.items():
        wrong = [*(answer for answer in ANSWERS.values() if answer != right), question, *NONSENSE]
        for n, answer in enumerate(wrong):
            yield question, answer, SAID["thanks"]["negative"][n % 2]
            yield question, right, SAID["thanks"]["positive"][n % 2]


def train(model, tokenizer, dialogues, *, steps=STEPS):
    texts = [rendered(tokenizer, chat(*turns)) for turns in dialogues]
    batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, betas=(0.9, 0.98))
    model.train()
    for _ in range(steps):
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def chat(*turns):
    return [{"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(turns)]


def rendered(tokenizer, messages):
    return tokenizer.apply_chat_template(messages, tokenize=False)


def dialogue(*turns, system=None):
    """An attempt: a question, then answers and what is said to them in turn."""
    said = [Message(**message) for message in chat(*turns)]
    prompt = [*([] if system is None else [Message(role="system", content=system)]), said[0]]
    steps = [Step(observation=tuple(said[n - 1 : n]) if n > 1 else (), action=said[n]) for n in range(1, len(said), 2)]
    return Trajectory(task=Task(prompt=tuple(prompt)), steps=tuple(steps))


class Exact:
    """What the model says in float64, one text at a time, without padding."""

    def __init__(self, path):
        self.model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float64).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(path)

    @torch.no_grad()
    def logits(self, ids):
        return self.model(input_ids=torch.tensor([ids])).logits[0]

    def ids(self, text):
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def logprobs(self, before, judged, *, last=None):
        """The log-probabilities of the tokens of `judged` after the text `before`; of at most `last` tokens in all."""
        first, then = self.ids(before), self.ids(judged)
        ids = (first + then)[-(last or 10**9) :]
        rows = self.logits(ids).log_softmax(-1)
        return [rows[i - 1, ids[i]].item() for i in range(len(ids) - len(then), len(ids))]

    def tail(self, text, *, start):
        """The log-probabilities of the tokens of `text` that reach beyond the character `start`."""
        whole = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids = whole["input_ids"]
        rows = self.logits(ids).log_softmax(-1)
        return [rows[i - 1, ids[i]].item() for i, (_, end) in enumerate(whole["offset_mapping"]) if end > start]
