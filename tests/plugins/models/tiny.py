"""A tiny model that learns in a minute on a CPU, and the texts that it learns; no fixtures, no cache, no downloads.

Three generators make the texts, the same for the same seed: `questions` (each with a right and a wrong answer),
`dialogues` (a user who likes right answers and dislikes others) and `sheets` (sums line by line, half of them wrong).
The model saw the seeds from `TRAIN` to 9; any other is held out, which means new combinations: every single sum, colour
and capital has been seen. Sums are those of two digits that give at most `MOST`; nothing is known beyond. The rows
are short: among the sums of a long one, such a model takes many times as long to find which numbers belong together.

One body learns everything, so that it learns to tell right from wrong only once: the next words of the dialogues; "+"
or "-" behind the tag of a step, and in answer to a step that a user says; and a head of two classes (wrong, right) at
the end of each answer and step. `save` writes it as a language model, as a reward model (the difference of the two
logits: log odds of right, up to a constant) and as a token classifier.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.functional import cross_entropy
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    LlamaForTokenClassification,
    PreTrainedTokenizerFast,
)

from rewardkit_plugins.models.followups import probes_of

TRAIN, MOST = 0, 9
FIRST, THEN = 450, 400  # batches in which to judge is learned, and those in which everything is
STEP, TAG, BOS = "<extra_0>", "ки", "<|bos|>"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", STEP, BOS]
TEMPLATE = """{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
PROBES = probes_of(None, None).values()
LIKED, DISLIKED = ([text for sides in PROBES for text in sides[side]] for side in ("positive", "negative"))
COLOURS = {"sky": "blue", "grass": "green", "snow": "white", "coal": "black"}
CAPITALS = {"France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Japan": "Tokyo"}
IGNORED = -100


@dataclass(frozen=True)
class Question:
    """A question, an answer that is right and one that is wrong."""

    text: str
    right: str
    wrong: str


@dataclass(frozen=True)
class Sheet:
    """A task, its steps, and whether each step is right; a step is judged by itself."""

    question: str
    steps: tuple[str, ...]
    right: tuple[bool, ...]


@dataclass(frozen=True)
class Row:
    """A tokenised text and what is learned of it: words, words that judge, and whether what ends there is right."""

    ids: list[int] = field(default_factory=list)
    words: list[int] = field(default_factory=list)
    verdicts: list[int] = field(default_factory=list)
    right: list[int] = field(default_factory=list)

    def add(self, ids: list[int], *, words: bool = False, verdict: int = IGNORED, right: int = IGNORED) -> None:
        """Add tokens; `verdict` is to be said in place of the last one, `right` is to be judged at the last one."""
        before = [IGNORED] * (len(ids) - 1)
        self.ids.extend(ids)
        self.words.extend(ids if words else [*before, IGNORED])
        self.verdicts.extend([*before, verdict])
        self.right.extend([*before, right])


def questions(count: int, *, seed: int = TRAIN) -> list[Question]:
    """Ask for sums, colours and capitals; a wrong answer names another number, colour or city."""
    draw = random.Random(seed)
    return [draw.choice((_sum, _colour, _capital))(draw) for _ in range(count)]


def dialogues(count: int, *, seed: int = TRAIN) -> list[tuple[list[dict[str, str]], bool]]:
    """Ask, answer, react: three messages, and whether the answer is right; the reactions are FLR's utterances."""
    draw, made = random.Random(seed), []
    for question in questions(count, seed=seed):
        good = draw.random() < 0.5
        reaction = draw.choice(LIKED if good else DISLIKED)
        turns = (("user", question.text), ("assistant", question.right if good else question.wrong), ("user", reaction))
        made.append(([{"role": role, "content": content} for role, content in turns], good))
    return made


def sheets(count: int, *, seed: int = TRAIN, least: int = 2, most: int = 6, facts: bool = False) -> list[Sheet]:
    """Write `least` to `most` sums (`facts`: answers of every kind) below each other, each wrong half of the time."""
    draw = random.Random(seed)
    kinds = (_sum, _colour, _capital) if facts else (_sum,)
    return [_sheet(draw, kinds, draw.randint(least, most)) for _ in range(count)]


def asked(text: str) -> str:
    """Render what a user says, up to where the assistant begins."""
    return f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"


def tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE of at most 2,000 entries in which every digit is a token; no BOS is written."""
    inner = Tokenizer(models.BPE())
    digits = pre_tokenizers.Split(Regex(r" ?\d"), "isolated")
    inner.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    inner.train_from_iterator(
        texts,
        trainers.BpeTrainer(vocab_size=1999, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False),
    )
    inner.add_tokens([AddedToken(TAG, normalized=False)])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        additional_special_tokens=SPECIAL[1:],
        chat_template=TEMPLATE,
        model_max_length=1024,
    )


def save(folder: Path, *, prose: str) -> None:
    """Train, and write the folders `lm`, `reward_model` and `token_prm`, each with the tokenizer.

    `prose` is what the tokenizer sees of ordinary English, beside the texts of the tasks.
    """
    said = [m["content"] for talk, _ in dialogues(500) for m in talk]
    tok = tokenizer([prose, *LIKED, *DISLIKED, *said, *(step for sheet in sheets(200) for step in sheet.steps)])
    with torch.random.fork_rng():
        torch.manual_seed(TRAIN)
        model, head = _trained(tok)
        reward_model = LlamaForSequenceClassification(_config(tok, num_labels=1))
        token_prm = LlamaForTokenClassification(_config(tok, num_labels=2))
    token_prm.score.load_state_dict(head.state_dict())
    reward_model.score.load_state_dict({"weight": head.weight[1:] - head.weight[:1]})
    for name, made in {"lm": model, "reward_model": reward_model, "token_prm": token_prm}.items():
        made.model.load_state_dict(model.model.state_dict())
        made.save_pretrained(folder / name)
        tok.save_pretrained(folder / name)


def train(parameters: list[Any], batches: Sequence[Any], *, loss: Callable[[Any], torch.Tensor], rate: float) -> None:
    """Take one step of AdamW for each batch; the rate rises during a tenth of them and then falls to 0."""
    optimizer = torch.optim.AdamW(parameters, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=len(batches), pct_start=0.1)
    for batch in batches:
        loss(batch).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()


def _trained(tok: PreTrainedTokenizerFast) -> tuple[Any, torch.nn.Linear]:
    """Return the language model and the head of two classes.

    To judge steps and facts is learned first: among everything else, it would take many times as long.
    """
    model = LlamaForCausalLM(_config(tok))
    head = torch.nn.Linear(model.config.hidden_size, 2)
    talks, tagged, chats = _talks(tok), _tagged(tok), _chats(tok)
    marked = _marked(tok, sheets(3 * THEN, least=1, seed=TRAIN + 3))
    short = _marked(tok, sheets(24 * FIRST, least=1, most=3, seed=TRAIN + 4, facts=True))
    every = (*(talks,) * 4, *(marked,) * 3, *(tagged,) * 2, *(chats,) * 3)

    def loss(rows: list[Row]) -> torch.Tensor:
        batch = _padded(rows, tok.pad_token_id)
        hidden = model.model(input_ids=batch["ids"], attention_mask=batch["mask"]).last_hidden_state
        judged = _loss_at(head, hidden, batch["right"])
        spoken = [_loss_at(model.lm_head, hidden[:, :-1], batch[name][:, 1:]) for name in ("words", "verdicts")]
        return judged + sum(spoken)

    for order, count in (((short,) * 24, FIRST), (every, THEN)):
        batches = [[next(rows) for rows in order] for _ in range(count)]
        train([*model.parameters(), *head.parameters()], batches, loss=loss, rate=1e-3)
    return model, head


def _talks(tok: PreTrainedTokenizerFast) -> Iterator[Row]:
    """Put two dialogues below each other; the answer is judged at its end, at <|im_end|> and at the line break."""
    said = iter(dialogues(8 * THEN))
    for _ in range(4 * THEN):
        row = Row()
        for (question, answer, reaction), good in (next(said) for _ in range(2)):
            row.add(tok.encode(asked(question["content"])))
            for text in (answer["content"], "<|im_end|>", "\n"):
                row.add(tok.encode(text), words=True, right=int(good))
            row.add(tok.encode("<|im_start|>user\n"), right=int(good))
            row.add(tok.encode(reaction["content"] + "<|im_end|>\n"), words=True)
        yield row


def _marked(tok: PreTrainedTokenizerFast, taught: list[Sheet]) -> Iterator[Row]:
    """Judge steps at their end, and at <extra_0> in one row and at the line break behind them in the next."""
    for i, sheet in enumerate(taught):
        row = Row()
        row.add(tok.encode(asked(sheet.question)))
        for step, right in zip(sheet.steps, sheet.right, strict=True):
            row.add(tok.encode(step), right=int(right))
            row.add(tok.encode((STEP, "\n")[i % 2]), right=int(right))
        yield row


def _tagged(tok: PreTrainedTokenizerFast) -> Iterator[Row]:
    """Say "+" or "-" at the tag, where the text itself goes on with a line break (Math-Shepherd)."""
    for sheet in sheets(2 * THEN, least=1, seed=TRAIN + 1):
        row = Row()
        row.add(tok.encode(sheet.question))
        for n, (step, right) in enumerate(zip(sheet.steps, sheet.right, strict=True)):
            row.add(tok.encode(step if n else f" {step}"), right=int(right))
            row.add(tok.encode(f" {TAG}\n"), verdict=tok.convert_tokens_to_ids("-+"[right]))
        yield row


def _chats(tok: PreTrainedTokenizerFast) -> Iterator[Row]:
    """Answer each step by "+" or "-", where earlier steps were all answered by "+" (RLHFlow)."""
    for sheet in sheets(3 * THEN, least=1, seed=TRAIN + 2):
        row = Row()
        for n, (step, right) in enumerate(zip(sheet.steps, sheet.right, strict=True)):
            row.add(tok.encode("<|im_start|>user\n" + (step if n else f"{sheet.question} {step}")), right=int(right))
            row.add(tok.encode("<|im_end|>\n<|im_start|>assistant\n+"), verdict=tok.convert_tokens_to_ids("-+"[right]))
            row.add(tok.encode("<|im_end|>\n"))
        yield row


def _sum(draw: random.Random) -> Question:
    total = draw.randint(2, MOST)
    first = draw.randint(1, total - 1)
    wrong = draw.choice([n for n in range(1, MOST + 1) if n != total])
    said = f"{first} + {total - first}"
    return Question(f"What is {said}?", f"{said} = {total}", f"{said} = {wrong}")


def _colour(draw: random.Random) -> Question:
    thing, right, wrong = _fact(draw, COLOURS)
    said = f"{thing.capitalize()} is "
    return Question(f"What colour is {thing}?", f"{said}{right}.", f"{said}{wrong}.")


def _capital(draw: random.Random) -> Question:
    land, right, wrong = _fact(draw, CAPITALS)
    said = f"The capital of {land} is "
    return Question(f"What is the capital of {land}?", f"{said}{right}.", f"{said}{wrong}.")


def _fact(draw: random.Random, facts: dict[str, str]) -> tuple[str, str, str]:
    key, right = draw.choice(list(facts.items()))
    return key, right, draw.choice([value for value in facts.values() if value != right])


def _sheet(draw: random.Random, kinds: Sequence[Callable[[random.Random], Question]], count: int) -> Sheet:
    asked_for = [draw.choice(kinds)(draw) for _ in range(count)]
    right = tuple(draw.random() < 0.5 for _ in asked_for)
    steps = tuple(q.right if good else q.wrong for q, good in zip(asked_for, right, strict=True))
    return Sheet("Work these sums out.", steps, right)


def _config(tok: PreTrainedTokenizerFast, **more: Any) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tok),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        initializer_range=0.09,
        tie_word_embeddings=True,
        pad_token_id=tok.pad_token_id,
        eos_token_id=tok.eos_token_id,
        bos_token_id=None,
        **more,
    )


def _loss_at(head: torch.nn.Module, hidden: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    known = labels != IGNORED
    return cross_entropy(head(hidden[known]), labels[known], reduction="sum") / max(known.sum().item(), 1)


def _padded(rows: list[Row], pad: int) -> dict[str, torch.Tensor]:
    width = max(len(row.ids) for row in rows)
    fills = {"ids": pad, "words": IGNORED, "verdicts": IGNORED, "right": IGNORED}
    batch = {
        name: torch.tensor([getattr(row, name) + [fill] * (width - len(row.ids)) for row in rows])
        for name, fill in fills.items()
    }
    mask = [[1] * len(row.ids) + [0] * (width - len(row.ids)) for row in rows]
    return batch | {"mask": torch.tensor(mask)}
