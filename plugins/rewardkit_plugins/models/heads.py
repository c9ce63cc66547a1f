"""The head of a loaded reward model: its own classifier, a submodule, tensors of its checkpoint, or a file beside it.

What the outputs mean is `readout`, objectives with a gate `multi_objective`. Pickled checkpoints (.bin) are not read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn.functional import linear
from transformers import AutoConfig

from rewardkit.errors import ConfigError
from rewardkit_plugins.engine import identity
from rewardkit_plugins.engine.config import EngineConfig
from rewardkit_plugins.engine.reader import Reader, Reading
from rewardkit_plugins.models.head_options import CHECKPOINT, HeadOptions, file_at
from rewardkit_plugins.models.multi_objective import GATE, REGRESSION, TRANSFORM, Objectives
from rewardkit_plugins.models.readout import Readout, Verdict, finite, weights_of

Read = Callable[[Reader, Sequence[Reading]], list[Tensor]]


class Head(Protocol):
    """What makes verdicts of a model."""

    @property
    def gated(self) -> bool:
        """Whether readings name the last token of the prompt before the last one of all."""
        ...

    def verdicts(self, reader: Reader, readings: Sequence[Reading]) -> list[Verdict]:
        """Return one verdict for each reading; raises RewardError."""
        ...


@dataclass(frozen=True, slots=True)
class OutputHead:
    """Outputs at the last token, and what they mean."""

    read: Read
    readout: Readout
    gated: bool = False

    def verdicts(self, reader: Reader, readings: Sequence[Reading]) -> list[Verdict]:
        """Return one verdict for each reading; raises RewardError."""
        return [self.readout.verdict(rows[-1].tolist()) for rows in self.read(reader, readings)]


@dataclass(frozen=True, slots=True)
class ObjectiveHead:
    """Objectives weighed by their gate, or by the same `weights` for every prompt."""

    objectives: Objectives
    weights: tuple[float, ...] | None = None

    @property
    def gated(self) -> bool:
        """Whether the weights depend on the prompt."""
        return self.objectives.gate is not None

    def verdicts(self, reader: Reader, readings: Sequence[Reading]) -> list[Verdict]:
        """Return one verdict for each reading: the parts are the objectives as they were fitted."""
        states = reader.hidden(readings)
        if not states:
            return []
        rewards = self.objectives.rewards(torch.stack([rows[-1] for rows in states]))
        weights = self._weights(torch.stack([rows[0] for rows in states]))
        values = self.objectives.score(rewards, weights)
        return [self._verdict(*row) for row in zip(values.tolist(), rewards.tolist(), weights.tolist(), strict=True)]

    def _weights(self, prompts: Tensor) -> Tensor:
        if self.objectives.gate is not None:
            return self.objectives.gate(prompts)
        return torch.tensor(self.weights).expand(len(prompts), -1)

    def _verdict(self, value: float, rewards: Sequence[float], weights: Sequence[float]) -> Verdict:
        names = self.objectives.names
        gate = dict(zip(names, weights, strict=True)) if self.gated else {}
        return Verdict(finite(["score"], [value])["score"], parts=finite(names, rewards), gate=gate)


def open_head(config: EngineConfig, reader: Reader, options: HeadOptions) -> Head:
    """Return the head that `options` names, of a model that is loaded; raises ConfigError."""
    if options.objectives is not None:
        return _objective_head(config, options)
    if options.kind == "sequence":
        return OutputHead(lambda engine, asked: engine.classes(asked), _readout(labels_of(config), options))
    if options.head is not None and (outputs := _outputs_of(reader, options.head)) is not None:
        return OutputHead(_submodule(options.head), _readout(_numbered(outputs), options))
    if options.head is not None:
        prefix, source = f"{options.head}.", config.model
        tensors = _tensors(_weight_files(config), [prefix])
    else:
        prefix, source = "", str(options.head_file)
        tensors = _tensors([file_at(source)], ["weight", "bias"])
    weight, bias = _linear(tensors, prefix, source)
    _require_width(weight, config, source)
    return OutputHead(_beside(weight, bias), _readout(_numbered(len(weight)), options))


def labels_of(config: EngineConfig) -> list[str]:
    """Return what the model's configuration calls the outputs of its classification head; a single one is "reward"."""
    named = _configuration(config).id2label
    labels = [str(named[i]) for i in sorted(named)]
    return ["reward"] if labels == ["LABEL_0"] else labels


def _readout(labels: Sequence[str], options: HeadOptions) -> Readout:
    names = labels if options.heads is None else options.heads
    if len(names) != len(labels):
        raise ConfigError(f"heads names {len(names)} outputs, and the model has {len(labels)} ({', '.join(labels)})")
    return Readout.of(names, weights=options.weights, gaussian=options.gaussian)


def _numbered(count: int) -> list[str]:
    return ["reward"] if count == 1 else [f"output_{i}" for i in range(1, count + 1)]


def _objective_head(config: EngineConfig, options: HeadOptions) -> ObjectiveHead:
    where, stored = str(options.objectives), {}
    if where == CHECKPOINT:
        files, temperature = _weight_files(config), _gating_temperature(config)
    else:
        files = [file_at(where)]
        stored = _metadata(files[0])
        temperature = float(stored.get("temperature", 10.0))
    names = options.heads or (json.loads(stored["names"]) if "names" in stored else None)
    tensors = _tensors(files, [f"{REGRESSION}.", TRANSFORM, f"{GATE}."])
    objectives = Objectives.of(tensors, names=names, temperature=temperature)
    _require_width(objectives.weight, config, where)
    if objectives.gate is None:
        return ObjectiveHead(objectives, weights_of(objectives.names, options.weights))
    if options.weights is not None:
        raise ConfigError(f"the objectives have a gate, which weighs them: leave out weights={options.weights!r}")
    return ObjectiveHead(objectives)


def _gating_temperature(config: EngineConfig) -> float:
    return float(getattr(_configuration(config), "gating_temperature", 10.0))


def _outputs_of(reader: Reader, name: str) -> int | None:
    """Return how many outputs the submodule `name` has; None when the loaded model has none of that name."""
    model: Any = getattr(reader, "model", None)
    try:
        module = model.get_submodule(name)
    except AttributeError:
        return None
    one = next(module.parameters(), next(model.parameters()))
    try:
        with torch.inference_mode():
            return int(module(one.new_zeros(1, model.config.get_text_config().hidden_size)).shape[-1])
    except Exception as error:  # what a module does with hidden states is its own affair
        raise ConfigError(
            f"the submodule {name!r} of {reader.config.model!r} is no head: it makes no numbers of hidden states "
            f"({type(error).__name__})"
        ) from error


def _submodule(name: str) -> Read:
    def read(reader: Reader, readings: Sequence[Reading]) -> list[Tensor]:
        return reader.read(readings, lambda replica, rows: replica.head(name)(rows.hidden))

    return read


def _beside(weight: Tensor, bias: Tensor | None) -> Read:
    def read(reader: Reader, readings: Sequence[Reading]) -> list[Tensor]:
        return [linear(states, weight, bias) for states in reader.hidden(readings)]

    return read


def _linear(tensors: dict[str, Tensor], prefix: str, source: str) -> tuple[Tensor, Tensor | None]:
    weight, bias = tensors.get(f"{prefix}weight"), tensors.get(f"{prefix}bias")
    if weight is None or weight.ndim != 2 or not len(weight) or (bias is not None and bias.shape != weight.shape[:1]):
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        raise ConfigError(
            f"{source!r} holds no linear head {f'{prefix}weight'!r} [outputs, width] with a fitting bias: it has "
            f"{shapes or 'nothing of that name'}"
        )
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise ConfigError(f"the head of {source!r} has weights that are not finite: it is broken")
    return weight, bias


def _require_width(weight: Tensor, config: EngineConfig, source: str) -> None:
    width = _configuration(config).get_text_config().hidden_size
    if weight.shape[1] != width:
        raise ConfigError(
            f"the head of {source!r} reads {weight.shape[1]} numbers, and {config.model!r} has hidden states of "
            f"{width}: it belongs to another model"
        )


def _configuration(config: EngineConfig) -> Any:
    files = identity.files_of(config.model, config.revision)
    return AutoConfig.from_pretrained(files, trust_remote_code=config.trust_remote_code)


def _weight_files(config: EngineConfig) -> list[Path]:
    files = sorted(identity.files_of(config.model, config.revision).glob("*.safetensors"))
    if not files:
        raise ConfigError(f"model {config.model!r} has no safetensors files to read a head from: save it again as such")
    return files


def _tensors(files: Sequence[Path], prefixes: Sequence[str]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with one of `prefixes`, in float32."""
    found: dict[str, Tensor] = {}
    for path in files:
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118  the file is no mapping
                    if name.startswith(tuple(prefixes)):
                        found[name] = file.get_tensor(name).float()
        except SafetensorError as error:
            raise ConfigError(f"{str(path)!r} is no safetensors file: {error}") from error
    return found


def _metadata(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except SafetensorError as error:
        raise ConfigError(f"{str(path)!r} is no safetensors file: {error}") from error
