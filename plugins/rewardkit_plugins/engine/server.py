"""Models behind a vLLM or SGLang server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rewardkit_plugins.engine import loading
from rewardkit_plugins.engine.config import EngineConfig
from rewardkit_plugins.engine.reader import Reader, Reading

if TYPE_CHECKING:
    import torch


class ServerReader(Reader):
    """Asks a server."""

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config, loading.load_tokenizer(config))

    def logprobs(self, readings: Sequence[Reading]) -> list[torch.Tensor]:
        """Return log-probabilities."""
        raise NotImplementedError

    def classes(self, readings: Sequence[Reading]) -> list[torch.Tensor]:
        """Return classes."""
        raise NotImplementedError

    def close(self) -> None:
        """Do nothing."""
