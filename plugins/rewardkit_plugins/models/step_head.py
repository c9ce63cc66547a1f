"""Heads that transformers' own classes do not have: the two layers of Qwen2.5-Math-PRM, and a layer in a file.

A head is read beside a model without one (`kind` "embedding"), or with its vocabulary ("causal"). Loading code from a
checkpoint is never needed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers.utils.hub import cached_file

from rewardkit.errors import ConfigError
from rewardkit_plugins.engine import identity
from rewardkit_plugins.engine.config import EngineConfig
from rewardkit_plugins.engine.engine import Rows
from rewardkit_plugins.engine.loading import Kind
from rewardkit_plugins.engine.replica import Replica

_LAYERS = ("score.0.weight", "score.0.bias", "score.2.weight", "score.2.bias")


class StepHead:
    """Linear layers with ReLU between them, in float32; `layers` holds (weight [out, in], bias [out]) of each.

    `base` is the kind of model that it is read on: "embedding" for hidden states, "causal" for the logits of the
    vocabulary (ReST-MCTS*).
    """

    def __init__(self, layers: list[tuple[torch.Tensor, torch.Tensor]], *, base: Kind = "embedding") -> None:
        self.layers = [(weight.float(), bias.float()) for weight, bias in layers]
        self.base: Kind = base
        self._copies: dict[torch.device, Sequence[tuple[torch.Tensor, torch.Tensor]]] = {}

    @property
    def outputs(self) -> int:
        """How many numbers it says of a token."""
        return self.layers[-1][0].shape[0]

    def __call__(self, replica: Replica, rows: Rows) -> torch.Tensor:
        """Return the outputs for rows of an engine, [rows, outputs]."""
        found = rows.hidden if self.base == "embedding" else replica.vocabulary(rows.hidden)
        for n, (weight, bias) in enumerate(self._on(found.device)):
            found = torch.relu(found) if n else found.float()
            found = torch.nn.functional.linear(found, weight, bias)
        return found

    def _on(self, device: torch.device) -> Sequence[tuple[torch.Tensor, torch.Tensor]]:
        """Return the layers on a device, to which they are copied once."""
        if device not in self._copies:
            self._copies[device] = [(weight.to(device), bias.to(device)) for weight, bias in self.layers]
        return self._copies[device]


def head_of_checkpoint(config: EngineConfig) -> StepHead | None:
    """Return the two layers `score.0` and `score.2` of a checkpoint, or None where it has none."""
    files = _files(config)
    if not all(name in files for name in _LAYERS):
        return None
    tensors = {name: _tensors(files[name], [name])[name] for name in _LAYERS}
    first, bias, second, last = (tensors[name] for name in _LAYERS)
    shapes = [first.shape[:1], second.shape[1:], bias.shape, second.shape[:1], last.shape]
    if (
        not shapes[0] == shapes[1] == shapes[2]
        or shapes[3] != shapes[4]
        or _bases(config).get(first.shape[-1]) != "embedding"
    ):
        raise ConfigError(
            f"the layers score.0 and score.2 of {config.model!r} do not fit it or each other: it is broken"
        )
    head = StepHead([(first, bias), (second, last)])
    _check_finite(head, f"the head of {config.model!r}")
    return head


def head_of_file(path: str, config: EngineConfig) -> StepHead:
    """Return the layer kept in a safetensors file as `weight` [outputs, width] and, if it has one, `bias` [outputs].

    The names may have a prefix. The width is that of the model's hidden states, or of its vocabulary.
    """
    try:
        tensors = _tensors(str(Path(path).expanduser()))
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"head_file {path!r} is no safetensors file: {error}") from error
    found = {name.rpartition(".")[2]: tensor for name, tensor in tensors.items()}
    weight = found.get("weight")
    if weight is None or weight.ndim != 2 or len(found) != len(tensors) or found.keys() - {"weight", "bias"}:
        raise ConfigError(f"head_file {path!r} must hold weight [outputs, width] and bias, not {sorted(tensors)!r}")
    bases = _bases(config)
    if weight.shape[1] not in bases:
        raise ConfigError(
            f"head_file {path!r} reads {weight.shape[1]} numbers, and {config.model!r} has {list(bases)!r}"
        )
    head = StepHead([(weight, found.get("bias", torch.zeros(len(weight))))], base=bases[weight.shape[1]])
    _check_finite(head, f"head_file {path!r}")
    return head


def _check_finite(head: StepHead, what: str) -> None:
    if not all(bool(torch.isfinite(tensor).all()) for layer in head.layers for tensor in layer):
        raise ConfigError(f"{what} holds numbers that are not finite")


def _bases(config: EngineConfig) -> dict[int, Kind]:
    """Return which kind of model gives so many numbers for a token."""
    read = json.loads((identity.files_of(config.model, config.revision) / "config.json").read_text(encoding="utf-8"))
    named = {**read, **read.get("text_config", {})}
    return {named.get("vocab_size", 0): "causal", named.get("hidden_size", 0): "embedding"}


def _files(config: EngineConfig) -> Mapping[str, str]:
    """Return for each tensor of a checkpoint the file that holds it; empty where it is not kept as safetensors."""
    files = identity.files_of(config.model, config.revision)
    index = files / "model.safetensors.index.json"
    if index.is_file():
        names: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return {name: _path(config, files, file) for name, file in names.items() if name in _LAYERS}
    try:
        single = _path(config, files, "model.safetensors")
        with safe_open(single, framework="pt") as opened:
            return dict.fromkeys(opened.keys(), single)
    except (OSError, SafetensorError):  # if the file is broken, the model does not load either
        return {}


def _path(config: EngineConfig, files: Path, name: str) -> str:
    where: dict[str, Any] = {} if identity.is_directory(config.model) else {"revision": files.name}
    source = str(files) if identity.is_directory(config.model) else config.model
    found = cached_file(source, name, **where)
    return str(found)


def _tensors(path: str, names: list[str] | None = None) -> dict[str, torch.Tensor]:
    with safe_open(path, framework="pt") as opened:
        return {name: opened.get_tensor(name) for name in (names or opened.keys())}
