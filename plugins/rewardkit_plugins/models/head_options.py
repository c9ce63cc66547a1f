"""Which head of a model is read, and what its outputs mean, as options; checked here, opened by `heads`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rewardkit.errors import ConfigError
from rewardkit_plugins.models.readout import Gaussian, Weights

CHECKPOINT = "checkpoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadOptions:
    """At most one of `head`, `head_file` and `objectives`; without any the model's own classification head is read.

    - `head`: a submodule of the model, or the name of a linear head among the tensors of its checkpoint ("v_head").
    - `head_file`: a safetensors file with `weight` [outputs, width] and maybe `bias` [outputs].
    - `objectives`: a safetensors file as `multi_objective` writes it, or "checkpoint" for tensors so named in the
      model's own files, as ArmoRM's are.
    - `heads` names the outputs, `weights` says what each is worth, `gaussian` what two outputs mean.
    """

    head: str | None = None
    head_file: str | None = None
    objectives: str | None = None
    heads: tuple[str, ...] | None = None
    weights: Weights | None = None
    gaussian: Gaussian | None = None

    def __post_init__(self) -> None:
        given = [name for name in ("head", "head_file", "objectives") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ConfigError(f"{' and '.join(given)} each name a head, and one is read: leave the others out")
        if self.objectives is not None and self.gaussian is not None:
            raise ConfigError(f"objectives have no spread: leave out gaussian={self.gaussian!r}")
        if self.heads is not None and (not self.heads or len(set(self.heads)) != len(self.heads)):
            raise ConfigError(f"heads={list(self.heads)!r} cannot be right: give each output a name of its own")

    @property
    def kind(self) -> Literal["sequence", "embedding"]:
        """How the model is loaded: with its classification head, or without any."""
        return "sequence" if self.head is self.head_file is self.objectives is None else "embedding"

    def signature_fields(self) -> Mapping[str, Any]:
        """Return what is set, with the hash of a file in place of its path."""
        fields: dict[str, Any] = {"head": self.head, "heads": self.heads and list(self.heads), "weights": self.weights}
        fields["head_file"] = self.head_file and _hash(self.head_file)
        fields["objectives"] = self.objectives if self.objectives == CHECKPOINT else _hash(self.objectives)
        fields["gaussian"] = self.gaussian
        return {name: value for name, value in fields.items() if value is not None}


def file_at(path: str) -> Path:
    """Return the path of a head's file; raises ConfigError when there is none."""
    file = Path(path).expanduser()
    if not file.is_file():
        raise ConfigError(f"there is no file {path!r} to read a head from")
    return file


def _hash(path: str | None) -> str | None:
    return None if path is None else hashlib.sha256(file_at(path).read_bytes()).hexdigest()[:12]
