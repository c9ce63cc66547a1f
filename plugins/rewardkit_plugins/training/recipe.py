"""Training a reward model from a file of pairs or ratings: read, hold out, train, save, load again and measure.

What is measured is the checkpoint as a reward reads it: loaded from where it was saved, through the same engine.
"""

from __future__ import annotations

import dataclasses
import gc
import importlib.metadata
import json
import math
import os
import platform
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import transformers
from transformers import TrainingArguments

import rewardkit
from rewardkit.errors import ConfigError
from rewardkit_plugins.engine import identity
from rewardkit_plugins.engine.config import EngineConfig, Truncation
from rewardkit_plugins.engine.loading import quiet
from rewardkit_plugins.training import checkpoints, held_out, scratch
from rewardkit_plugins.training.encoding import Encoder
from rewardkit_plugins.training.heads import ScoredModel, with_fresh_head
from rewardkit_plugins.training.pairs import Example, Examples, LeftOut, Objective, Pair, Rating, read_examples
from rewardkit_plugins.training.strength import Form
from rewardkit_plugins.training.trainer import (
    OnStep,
    RewardTrainer,
    pair_loss,
    pair_targets,
    rating_loss,
    rating_targets,
)

RECORD = "rewardkit.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to train.

    - `model` is what to start from, or `from_scratch` the size of a new one; exactly one of the two is given.
    - `batch_size`: examples in a step; `pass_size`: in one forward pass (None: all of them).
    - `learning_rate`: None takes 1e-5, and 1e-3 from scratch. It rises over the first `warmup` share of the steps and
      falls to 0 along a cosine.
    - `strength`: what the strength of a preference does: "regular" nothing, "margin" asks for a reward higher by as
      much, "scaled" weighs the loss. `label_smoothing` and `centre` are those of `losses`.
    - `eval_share` of the examples is held out, or else all of `eval_file` is.
    - `dropout` leaves the model's dropout on.
    - The others are those of the engine.
    """

    model: str | None = None
    from_scratch: Literal["tiny", "small"] | None = None
    objective: Objective = "pairs"
    epochs: float = 1.0
    batch_size: int = 32
    pass_size: int | None = None
    learning_rate: float | None = None
    warmup: float = 0.05
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    centre: float = 0.0
    strength: Form = "regular"
    eval_share: float = 0.1
    eval_file: str | None = None
    seed: int = 0
    dropout: bool = False
    bf16: bool = False
    gradient_checkpointing: bool = False
    device: Literal["auto", "cpu"] = "auto"
    revision: str | None = None
    chat_template: str | None = None
    max_length: int | None = None
    truncation: Truncation = "error"
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        if (self.model is None) == (self.from_scratch is None):
            many = "both" if self.model else "neither"
            raise ConfigError(f"{many} of model and from_scratch is given: name a model to start from, or a size")
        passes = self.batch_size if self.pass_size is None else self.pass_size
        if passes < 1 or self.batch_size % passes:
            raise ConfigError(f"pass_size is {passes} and batch_size {self.batch_size}: give a divisor of the batch")
        if self.epochs <= 0 or not 0 <= self.warmup <= 1:
            raise ConfigError(f"epochs is {self.epochs} and warmup {self.warmup}: give more than 0, and a share")

    def config(self, model: str) -> EngineConfig:
        """Return how `model` is read, in training as in scoring."""
        names = ("revision", "chat_template", "max_length", "truncation", "device", "trust_remote_code")
        return EngineConfig.of("train-rm", {"model": model, **{name: getattr(self, name) for name in names}})


@dataclass(frozen=True, slots=True)
class Trained:
    """What was trained: the folder of the checkpoint, what its rewardkit.json says, and the lines left out."""

    folder: Path
    record: dict[str, Any]
    left_out: list[LeftOut]


def train(path: str | os.PathLike[str], output: Path, recipe: Recipe, *, on_step: OnStep | None = None) -> Trained:
    """Train a reward model on the examples of a file and save it in the new folder `output`, whole or not at all.

    `on_step` is told the step, how many there are, and the loss. Raises ConfigError for what cannot be trained.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError(f"{str(output)!r} is there already: name a new folder, or remove it")
    read = read_examples(path, recipe.objective)
    kept, ties = _without_ties(read.kept)
    if not kept:
        first = f" (the first: {read.left_out[0]})" if read.left_out else ""
        raise ConfigError(f"{read.name!r} holds nothing to train on: {len(read.left_out)} lines left out{first}")
    if recipe.eval_file is None:
        examples, held, held_read = (*held_out.split(kept, share=recipe.eval_share, seed=recipe.seed), None)
    else:
        held_read = read_examples(recipe.eval_file, recipe.objective)
        examples, held = kept, _without_ties(held_read.kept)[0]
    held = [one for one in held if not (isinstance(one, Pair) and one.label == 0.5)]
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as work:
        session = _Training(recipe, Path(work), examples, held)
        record = {**_origin(recipe, session.base, read, held_read, ties), **session.run(on_step)}
        left_out = [*read.left_out, *(held_read.left_out if held_read else ()), *session.left_out]
        record["input"]["left_out"] = len(left_out)
        (session.folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        if output.exists():
            output.rmdir()
        shutil.move(session.folder, output)
    return Trained(output, record, left_out)


class _Training:
    """One run, in a folder of its own."""

    def __init__(self, recipe: Recipe, work: Path, examples: Sequence[Example], held: Sequence[Example]) -> None:
        self.recipe, self._work, self.folder = recipe, work, work / "model"
        base = recipe.model
        if base is None:
            base = str(work / "base")
            size = scratch.SIZES[recipe.from_scratch or "tiny"]
            with quiet():
                scratch.new_model(Path(base), _texts(examples), size, seed=recipe.seed)
        self.config = recipe.config(base)
        self.base = identity.fingerprint(base, recipe.revision) if recipe.model else f"scratch:{recipe.from_scratch}"
        self._encoder = Encoder(self.config)
        (self.examples, bad), (self.held, worse) = map(self._encoder.encode, (examples, held))
        self.left_out = [LeftOut(one.where, one.reason.replace(f"{work}/", "")) for one in (*bad, *worse)]
        if not self.examples:
            raise ConfigError(f"no example can be trained on: {self.left_out[0]}")
        named = {name: None for one in examples if isinstance(one, Rating) for name in one.attributes}
        self.labels = list(named) or ["reward"]

    def run(self, on_step: OnStep | None) -> dict[str, Any]:
        """Train, save and measure; return what of it is worth keeping."""
        transformers.set_seed(self.recipe.seed)
        model = with_fresh_head(self.config, self.labels, dropout=self.recipe.dropout)
        trainer = self._trainer(model, on_step)
        trainer.train()
        last = trainer.losses[-max(1, len(trainer.losses) // 10) :]
        checkpoints.save(model, self._encoder, self.folder)
        steps = trainer.state.global_step
        del model, trainer
        gc.collect()
        return {
            "train": {
                "examples": len(self.examples),
                "prompts": len({one.example.topic for one in self.examples}),
                "truncated_tokens": sum(one.truncated for one in self.examples),
                "steps": steps,
                "loss": sum(last) / len(last),
            },
            "held_out": self._measure() if self.held else None,
        }

    def _trainer(self, model: Any, on_step: OnStep | None) -> RewardTrainer:
        recipe, pairs = self.recipe, self.recipe.objective == "pairs"
        passes = recipe.pass_size or recipe.batch_size
        rate = recipe.learning_rate or (1e-5 if recipe.from_scratch is None else 1e-3)
        if recipe.gradient_checkpointing:
            getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()  # its newer name
        arguments = TrainingArguments(
            output_dir=str(self._work / "trainer"),
            per_device_train_batch_size=passes,
            gradient_accumulation_steps=recipe.batch_size // passes,
            num_train_epochs=recipe.epochs,
            learning_rate=rate,
            lr_scheduler_type="cosine",
            warmup_steps=math.ceil(recipe.warmup * math.ceil(len(self.examples) / recipe.batch_size) * recipe.epochs),
            weight_decay=recipe.weight_decay,
            bf16=recipe.bf16,
            use_cpu=recipe.device == "cpu",
            seed=recipe.seed,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_pin_memory=False,
        )
        loss = pair_loss(label_smoothing=recipe.label_smoothing, centre_weight=recipe.centre) if pairs else rating_loss
        targets = pair_targets(recipe.strength) if pairs else rating_targets(self.labels)
        return RewardTrainer(ScoredModel(model), arguments, self.examples, loss=loss, targets=targets, on_step=on_step)

    def _measure(self) -> dict[str, Any]:
        """Return how the saved checkpoint does on what was held out."""
        held, seen = ({one.example.topic for one in some} for some in (self.held, self.examples))
        counts = {"examples": len(self.held), "prompts": len(held), "prompts_seen_in_training": len(held & seen)}
        config = dataclasses.replace(self.config, model=str(self.folder), revision=None, chat_template=None)
        if self.recipe.objective == "pairs":
            return {**counts, **checkpoints.measure_pairs(config, self.held)}
        found = checkpoints.measure_ratings(config, self.held, trained=self.examples, names=self.labels)
        return {**counts, **found}


def _without_ties(examples: Sequence[Example]) -> tuple[list[Example], int]:
    """Return the examples that prefer something, and how many do not."""
    kept = [one for one in examples if not (isinstance(one, Pair) and one.strength == 0)]
    return kept, len(examples) - len(kept)


def _texts(examples: Sequence[Example]) -> list[str]:
    return [m.content for one in examples for some in (one.prompt, *one.answers) for m in some]


def _origin(recipe: Recipe, base: str, read: Examples, held: Examples | None, ties: int) -> dict[str, Any]:
    """Return what a checkpoint was made from and with."""
    options = {name: value for name, value in dataclasses.asdict(recipe).items() if name != "eval_file"}
    packages = ("torch", "transformers", "tokenizers")
    return {
        "command": "train-rm",
        "base": base,
        "options": options,
        "input": {"name": read.name, "sha256": read.sha256, "ties": ties},
        "eval_input": {"name": held.name, "sha256": held.sha256} if held else None,
        "versions": {
            "rewardkit": rewardkit.__version__,
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in packages},
        },
    }
