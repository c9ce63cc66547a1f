"""One forward pass over many sequences without padding: they lie one behind the other, and attention keeps them apart.

Registered with transformers as the attention "rewardkit_packed". Tokens of a common beginning (a trunk) lie there once;
its branches see it and themselves. Which tokens lie where is `Layout`; what goes into a pass decides `forest`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

from rewardkit_plugins.engine.forest import Ids, Tree

NAME = "rewardkit_packed"
_ROWS = 256  # of short branches in one call of the attention kernel
_HARMLESS = frozenset({"position_ids", "use_cache", "is_causal", "position_embeddings", "cache_position"})

_CURRENT: ContextVar[Layout] = ContextVar("layout")


class PackingUnsupported(Exception):  # noqa: N818  it is caught where the model is loaded
    """The model's attention asks for more than causal or full attention, optionally in a sliding window."""


@dataclass(frozen=True, slots=True)
class Block:
    """Queries of the tokens [start, end), which see [trunk, trunk_end) and those of their own branch up to themselves.

    `ends` are where the branches among them end; a lone sequence or a trunk is one branch and sees nothing else.
    """

    start: int
    end: int
    trunk: int = 0
    trunk_end: int = 0
    ends: tuple[int, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether this is one sequence that sees itself only."""
        return self.trunk == self.trunk_end

    def positions(self) -> torch.Tensor:
        """Return the position of each query within its sequence, trunk included; shape [end - start]."""
        starts = [self.start, *self.ends[:-1]]
        own = [torch.arange(b - a) for a, b in zip(starts, self.ends, strict=True)]
        return torch.cat(own) + (self.trunk_end - self.trunk)

    def mask(self, window: int | None, device: torch.device) -> torch.Tensor:
        """Return what sees what, bool of shape [queries, trunk + queries]; `window` is how far back a token sees."""
        starts = [self.start, *self.ends[:-1]]
        branch = torch.cat([torch.full((b - a,), i) for i, (a, b) in enumerate(zip(starts, self.ends, strict=True))])
        position = self.positions()
        trunk = self.trunk_end - self.trunk
        keys = torch.cat([torch.arange(trunk), position])
        seen = torch.ones(len(position), trunk + len(position), dtype=torch.bool)
        seen[:, trunk:] = branch[:, None] == branch[None, :]
        seen &= keys[None, :] <= position[:, None]
        if window is not None:
            seen &= keys[None, :] > position[:, None] - window
        return seen.to(device)


@dataclass(slots=True)
class Layout:
    """Where the tokens of one pass lie, and the masks of its blocks, which all layers share."""

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    places: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    masks: dict[tuple[Block, int | None], torch.Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, sequences: Sequence[Ids], trees: Sequence[Tree]) -> Layout:
        """Lay out the sequences of one pass."""
        layout = cls()
        for tree in trees:
            trunk = len(layout.ids)
            layout._add(sequences[tree.members[0]][: tree.trunk], 0)
            if tree.trunk:
                layout.blocks.append(Block(trunk, trunk + tree.trunk, ends=(trunk + tree.trunk,)))
            layout._add_branches(sequences, tree, trunk)
        return layout

    def rows(self, member: int, positions: Sequence[int]) -> list[int]:
        """Return where the tokens at `positions` of a sequence lie."""
        trunk, length, branch = self.places[member]
        return [trunk + p if p < length else branch + p - length for p in positions]

    def _add(self, ids: Ids, first: int) -> None:
        self.ids += ids
        self.positions += range(first, first + len(ids))

    def _add_branches(self, sequences: Sequence[Ids], tree: Tree, trunk: int) -> None:
        ends: list[int] = []
        start = len(self.ids)
        for member in tree.members:
            own = sequences[member][tree.trunk :]
            if ends and (not tree.trunk or len(self.ids) + len(own) - start > _ROWS):
                self.blocks.append(Block(start, ends[-1], trunk, trunk + tree.trunk, tuple(ends)))
                ends, start = [], len(self.ids)
            self.places[member] = (trunk, tree.trunk, len(self.ids))
            self._add(own, tree.trunk)
            ends.append(len(self.ids))
        self.blocks.append(Block(start, ends[-1], trunk, trunk + tree.trunk, tuple(ends)))


def forward(model: Any, layout: Layout, device: torch.device) -> torch.Tensor:
    """Return the last hidden states of a pass, shape [tokens, width]; raises PackingUnsupported."""
    token = _CURRENT.set(layout)
    try:
        output = model(
            input_ids=torch.tensor([layout.ids], device=device),
            position_ids=torch.tensor([layout.positions], device=device),
            use_cache=False,
        )
    finally:
        _CURRENT.reset(token)
    hidden: torch.Tensor = output[0][0]
    return hidden


@torch.compiler.disable  # type: ignore[untyped-decorator]
def attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Return the attention of each sequence by itself; shapes as transformers gives and wants them.

    `query` is [1, heads, tokens, width], the output [1, tokens, heads, width].
    """
    unknown = sorted(name for name, value in others.items() if value is not None and name not in _HARMLESS)
    if unknown or dropout or attention_mask is not None or query.shape[0] != 1:
        raise PackingUnsupported(f"attention takes {', '.join(unknown) or 'a mask, a batch or dropout'}")
    is_causal = bool(getattr(module, "is_causal", True))
    layout = _CURRENT.get()
    if not is_causal and (sliding_window is not None or not all(block.is_plain for block in layout.blocks)):
        raise PackingUnsupported("attention looks forward within a window, or from a common beginning")
    grouped = query.shape[1] != key.shape[1]
    output = query.new_empty(1, query.shape[2], query.shape[1], value.shape[-1])
    for block in layout.blocks:
        here = slice(block.start, block.end)
        keys, values = key[:, :, here], value[:, :, here]
        if not block.is_plain:
            trunk = slice(block.trunk, block.trunk_end)
            keys, values = (torch.cat([x[:, :, trunk], y], dim=2) for x, y in ((key, keys), (value, values)))
        mask = _mask_of(layout, block, sliding_window, query.device)
        causal = mask is None and is_causal
        seen = scaled_dot_product_attention(
            query[:, :, here], keys, values, attn_mask=mask, is_causal=causal, scale=scaling, enable_gqa=grouped
        )
        output[:, here] = seen.transpose(1, 2)
    return output, None


def _mask_of(layout: Layout, block: Block, window: int | None, device: torch.device) -> torch.Tensor | None:
    if block.is_plain and (window is None or block.end - block.start <= window):
        return None
    if (block, window) not in layout.masks:
        layout.masks[block, window] = block.mask(window, device)
    return layout.masks[block, window]


def _no_mask(*_: Any, **__: Any) -> None:
    """Return None: the layout says what sees what."""


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, _no_mask)
