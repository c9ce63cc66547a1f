"""One copy of a model on one device: hidden states of a pass, and what the model's heads make of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from rewardkit.errors import ConfigError
from rewardkit_plugins.engine import packing
from rewardkit_plugins.engine.forest import Ids, Tree

RowsOf = Callable[[int, Sequence[int]], list[int]]


class Replica:
    """A model on a device. `packed` says how passes are laid out: without padding, or as a padded batch."""

    def __init__(self, model: Any, device: torch.device, *, compiled: bool = False) -> None:
        self.model = model
        self.device = device
        self.packed = False
        self.lock = threading.Lock()  # a pass at a time: some models keep what they computed last
        self._attention = model.config._attn_implementation
        # Some models look for the padding by its id, whatever the mask says; not every id in a configuration is one.
        pad = getattr(model.config, "pad_token_id", None)
        self._pad = pad if pad is not None and 0 <= pad < model.config.get_text_config().vocab_size else 0
        # Bound to the backbone, which stays a submodule of the model.
        self._backbone = torch.compile(model.base_model, dynamic=True) if compiled else model.base_model

    def pack(self) -> bool:
        """Lay passes out without padding from now on, unless the model's attention cannot be exchanged."""
        if getattr(self.model, "_supports_attention_backend", False):
            self.model.set_attn_implementation(packing.NAME)
            self.packed = True
        return self.packed

    def unpack(self) -> None:
        """Pad from now on, with the attention that the model was loaded with."""
        if self.packed:
            self.model.set_attn_implementation(self._attention)
            self.packed = False

    @contextmanager
    def unpacked(self) -> Iterator[None]:
        """Pad for a while."""
        packed = self.packed
        self.unpack()
        try:
            yield
        finally:
            if packed:
                self.pack()

    def hidden(self, sequences: Sequence[Ids], trees: Sequence[Tree]) -> tuple[torch.Tensor, RowsOf]:
        """Return the last hidden states of a pass, [tokens, width], and where in it the tokens of a sequence lie."""
        if self.packed:
            layout = packing.Layout.of(sequences, trees)
            states = packing.forward(self._backbone, layout, self.device)
            return states, layout.rows
        members = [tree.members[0] for tree in trees]
        states = self.padded([sequences[i] for i in members])
        width = states.shape[1]
        starts = {i: row * width for row, i in enumerate(members)}
        return states.flatten(0, 1), lambda i, positions: [starts[i] + p for p in positions]

    def padded(self, sequences: Sequence[Ids], *, left: bool = False) -> torch.Tensor:
        """Return the last hidden states of a padded batch, [sequences, longest, width]."""
        states: torch.Tensor = self._backbone(**self._batch(sequences, left=left))[0]
        return states

    def whole(self, sequences: Sequence[Ids]) -> torch.Tensor:
        """Return the logits of the model's own classification of whole sequences, [sequences, classes]."""
        logits: torch.Tensor = self.model(**self._batch(sequences)).logits
        return logits

    def vocabulary(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the logits over the vocabulary for hidden states [n, width]: [n, vocabulary], float32."""
        logits: torch.Tensor = self.model.get_output_embeddings()(hidden).float()
        config = self.model.config.get_text_config()
        if (scale := getattr(config, "logit_scale", None)) is not None:
            logits = logits * scale
        if (divisor := getattr(config, "logits_scaling", None)) is not None:
            logits = logits / divisor
        if (cap := getattr(config, "final_logit_softcapping", None)) is not None:
            logits = torch.tanh(logits / cap) * cap
        return logits

    def classes(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return what the classification head says of hidden states [n, width]: [n, classes], float32."""
        dense = getattr(self.model, "head", None)  # ModernBERT has a layer before the last one
        logits: torch.Tensor = self.head("score", "classifier")(hidden if dense is None else dense(hidden))
        return logits.float()

    def head(self, *names: str) -> Any:
        """Return the first of these submodules that the model has; raises ConfigError."""
        for name in names:
            try:
                return self.model.get_submodule(name)
            except AttributeError:
                continue
        known = [name for name, _ in self.model.named_children()]
        raise ConfigError(f"the model has no head called {' or '.join(names)}; its parts are {', '.join(known)}")

    def _batch(self, sequences: Sequence[Ids], *, left: bool = False) -> dict[str, torch.Tensor]:
        width = max(map(len, sequences))
        ids = torch.full((len(sequences), width), self._pad)
        mask = torch.zeros_like(ids)
        for row, sequence in enumerate(sequences):
            where = slice(width - len(sequence), width) if left else slice(0, len(sequence))
            ids[row, where] = torch.tensor(sequence, dtype=torch.long)
            mask[row, where] = 1
        batch = {"input_ids": ids, "attention_mask": mask}
        if left:
            batch["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
        return {name: tensor.to(self.device) for name, tensor in batch.items()}
