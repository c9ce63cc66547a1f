"""The training loop: batches of one length, the losses of both objectives, and how far it is; on transformers' Trainer.

One process; several GPUs, resuming and checkpoints in between are not covered.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_pt_utils import LengthGroupedSampler

from rewardkit.errors import ConfigError
from rewardkit_plugins.training.attributes import attribute_loss
from rewardkit_plugins.training.encoding import Encoded
from rewardkit_plugins.training.heads import ScoredModel
from rewardkit_plugins.training.losses import centre, preference
from rewardkit_plugins.training.pairs import Pair, Rating
from rewardkit_plugins.training.strength import Form

Batch = dict[str, Tensor]
Loss = Callable[[Tensor, Batch], Tensor]
OnStep = Callable[[int, int, float], object]


class RewardTrainer(Trainer):
    """Trains a `ScoredModel` on examples, longer ones with longer ones; `losses` has one number for each pass.

    Raises ConfigError as soon as a loss is not finite.
    """

    def __init__(
        self,
        model: ScoredModel,
        arguments: TrainingArguments,
        examples: Sequence[Encoded],
        *,
        loss: Loss,
        targets: Callable[[Encoded], dict[str, Any]],
        on_step: OnStep | None = None,
    ) -> None:
        self.losses: list[float] = []
        self._loss = loss
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=examples,
            data_collator=lambda some: collate(some, targets),
            callbacks=[_Follower(self.losses, on_step)] if on_step else None,
        )
        self.model_accepts_loss_kwargs = False  # the loss is a mean over the batch
        for callback in (PrinterCallback, ProgressCallback):
            self.remove_callback(callback)

    def compute_loss(
        self, model: Any, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the mean loss of a batch."""
        del num_items_in_batch
        rewards = model(inputs["input_ids"], inputs["attention_mask"]).float()
        loss = self._loss(rewards, inputs)
        self.losses.append(float(loss.detach()))
        if not math.isfinite(self.losses[-1]):
            raise ConfigError(f"the loss is {self.losses[-1]} in pass {len(self.losses)}: lower the learning rate")
        return (loss, rewards) if return_outputs else loss

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        del train_dataset
        lengths = [one.length for one in self.train_dataset]  # type: ignore[union-attr]
        return LengthGroupedSampler(self.args.train_batch_size * self.args.gradient_accumulation_steps, lengths=lengths)


def collate(some: Sequence[Encoded], targets: Callable[[Encoded], dict[str, Any]]) -> Batch:
    """Return padded ids and mask of all first answers, then of all second ones, and the targets of each example."""
    rows = [one.ids[i] for i in range(len(some[0].ids)) for one in some]
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, tokens in enumerate(rows):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        mask[row, : len(tokens)] = 1
    wanted = [targets(one) for one in some]
    return {"input_ids": ids, "attention_mask": mask, **{k: torch.tensor([t[k] for t in wanted]) for k in wanted[0]}}


def pair_loss(*, label_smoothing: float = 0.0, centre_weight: float = 0.0) -> Loss:
    """Return the loss of rewards [2n, 1], n chosen and n rejected: Bradley–Terry with margin, label and weight each.

    The targets are those of `pair_targets`.
    """
    if not 0 <= label_smoothing < 0.5:
        raise ConfigError(f"label_smoothing is {label_smoothing!r}: give 0 or more, and less than 0.5")

    def loss(rewards: Tensor, batch: Batch) -> Tensor:
        chosen, rejected = rewards[:, 0].chunk(2)
        probability = batch["label"] * (1 - 2 * label_smoothing) + label_smoothing
        each = batch["weight"] * preference(chosen - rejected - batch["margin"], probability=probability)
        return (each + centre_weight * centre(chosen, rejected)).mean()

    return loss


def pair_targets(form: Form) -> Callable[[Encoded], dict[str, float]]:
    """Return what `pair_loss` wants of a pair; `form` is that of `strength.annotated_strength`."""

    def targets(one: Encoded) -> dict[str, float]:
        pair = one.example
        assert isinstance(pair, Pair)
        strength = 1.0 if pair.strength is None else pair.strength
        added = strength if form == "margin" and pair.strength is not None else 0.0
        weight = strength if form == "scaled" else 1.0
        return {"margin": pair.margin + added, "label": pair.label, "weight": weight}

    return targets


def rating_loss(predicted: Tensor, batch: Batch) -> Tensor:
    """Return the mean over the answers of the squared error over the attributes that are labelled."""
    return attribute_loss(predicted, batch["labels"]).mean()


def rating_targets(names: Sequence[str]) -> Callable[[Encoded], dict[str, list[float]]]:
    """Return what `rating_loss` wants of a rated answer: its labels in this order, NaN for those it has not."""

    def targets(one: Encoded) -> dict[str, list[float]]:
        assert isinstance(one.example, Rating)
        return {"labels": [one.example.attributes.get(name, math.nan) for name in names]}

    return targets


class _Follower(TrainerCallback):
    """Tells of each step: its number, how many there are, and the mean loss of the last 20 passes."""

    def __init__(self, losses: list[float], on_step: OnStep) -> None:
        self._losses, self._on_step = losses, on_step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002  as called
        recent = self._losses[-20:]
        self._on_step(state.global_step, state.max_steps, sum(recent) / len(recent))
