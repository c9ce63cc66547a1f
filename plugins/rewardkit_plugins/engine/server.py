"""Models behind a vLLM or SGLang server: the tokenizer is loaded here, the model is asked over HTTP.

The numbers are those of the model loaded here, up to the rounding of the server's dtype and kernels. Hidden states,
logits of chosen tokens and custom heads are not to be had from a server.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from rewardkit.errors import ConfigError, RewardError, RewardkitError
from rewardkit_plugins.engine import loading
from rewardkit_plugins.engine.client import Client
from rewardkit_plugins.engine.config import EngineConfig
from rewardkit_plugins.engine.dialects import DIALECTS
from rewardkit_plugins.engine.forest import plan
from rewardkit_plugins.engine.reader import Reader, Reading

T = TypeVar("T")

IN_FLIGHT = 8  # requests at a time
_BATCH_TOKENS = 16384  # in one request


class ServerReader(Reader):
    """Asks a server; safe in any thread. Raises ConfigError when it cannot be reached or does not hold such a model.

    `kind` is as for `engine.Engine`; "embedding" is refused, since servers give no hidden states.
    """

    def __init__(self, config: EngineConfig, kind: loading.Kind) -> None:
        assert config.server is not None
        self.kind = kind
        if kind == "embedding":
            raise ConfigError(f"a server gives no hidden states of {config.model!r}: load it here, without server=")
        self._client = Client(config.server)
        try:
            self._dialect = DIALECTS[config.server_kind](self._client, config.model, kind)
            super().__init__(config, loading.load_tokenizer(config))
            self._whole = kind == "sequence" and loading.classifies_whole(config)
        except RewardkitError as error:
            self._client.close()
            if isinstance(error, RewardError):
                raise ConfigError(str(error)) from error
            raise
        self.window = min((n for n in (self.window, self._dialect.window) if n is not None), default=None)
        self._budget = config.batch_tokens or _BATCH_TOKENS

    @property
    def classifies_whole(self) -> bool:
        """Whether the server's model classifies sequences by a head that is not read at one token."""
        return self._whole

    def logprobs(self, readings: Sequence[Reading]) -> list[torch.Tensor]:
        """Return for each position read the log-probability (nats) of the token after it; float32 [positions] each.

        Raises RewardError for a last token, after which there is none, and for whatever the server does not answer.
        """
        for reading in readings:
            if reading.positions and max(reading.positions) + 1 >= len(reading.ids):
                raise RewardError(f"no token follows the last of a sequence of {len(reading.ids)}, to be judged")
        asked = [reading for reading in readings if reading.positions]
        answers = iter(self._gather(asked, self._dialect.logprobs))
        return [torch.tensor(next(answers)) if reading.positions else torch.empty(0) for reading in readings]

    def classes(self, readings: Sequence[Reading]) -> list[torch.Tensor]:
        """Return what the classification head says at each position; float32 [positions, classes] each.

        A sequence classifier is asked for the text up to each position, which is the same for decoders; an encoder has
        to be read at its last token.
        """
        if self.kind == "token":
            answers = self._gather(readings, self._dialect.each_token)
            for reading, rows in zip(readings, answers, strict=True):
                self._check_rows(rows, len(reading.ids))
            return [torch.tensor(a)[list(r.positions)] for r, a in zip(readings, answers, strict=True)]
        pieces = [Reading(reading.ids[: p + 1], [p]) for reading in readings for p in reading.positions]
        rows = self._gather(pieces, self._dialect.whole)
        self._check_rows(rows, len(pieces))
        return list(torch.split(torch.tensor(rows), [len(reading.positions) for reading in readings]))

    def close(self) -> None:
        """Close the connections to the server."""
        self._client.close()

    def _gather(self, readings: Sequence[Reading], ask: Callable[[Sequence[Reading]], list[T]]) -> list[T]:
        """Return what the server says of each reading, in order; several requests are under way at a time."""
        for reading in readings:
            self.check(reading)
        passes = plan([reading.ids for reading in readings], self._budget, share=False)
        batches = [[tree.members[0] for tree in trees] for trees in passes]
        found: dict[int, T] = {}
        with ThreadPoolExecutor(min(IN_FLIGHT, len(batches) or 1)) as pool:
            jobs = [pool.submit(ask, [readings[i] for i in batch]) for batch in batches]
            try:
                for batch, job in zip(batches, jobs, strict=True):
                    found.update(zip(batch, job.result(), strict=True))
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
        return [found[i] for i in range(len(readings))]

    def _check_rows(self, rows: Sequence[Sequence[float]], expected: int) -> None:
        if len(rows) != expected or len({len(row) for row in rows}) > 1:
            raise RewardError(
                f"the model server at {self._client.url} classified {len(rows)} tokens of {expected}, or not all with "
                "the same classes: start vLLM with pooling type ALL, not STEP"
            )
