"""The engine: reads a model at chosen tokens of many sequences, and gives the same numbers whatever the batch.

Rewards call `logprobs`, `logits`, `classes`, `hidden` or `read`; what they call them with comes from `rendering`. How a
pass is laid out is `forest` and `packing`; models behind a server are `server`.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

import torch

from rewardkit.errors import RewardError
from rewardkit_plugins.engine import loading, selftest
from rewardkit_plugins.engine.config import EngineConfig
from rewardkit_plugins.engine.forest import Tree, plan
from rewardkit_plugins.engine.reader import Reader, Reading
from rewardkit_plugins.engine.replica import Replica

_CPU_TOKENS, _GPU_TOKENS = 2048, 32768  # in one pass
_LOGITS = 1 << 24  # numbers at a time, where they span the vocabulary


@dataclass(frozen=True, slots=True)
class Rows:
    """What a head is given: hidden states [n, width] of the tokens read, and for each the id of the token after it.

    `next_ids` is [n], 0 where none follows; `readings` says of each row which reading it belongs to.
    """

    hidden: torch.Tensor
    next_ids: torch.Tensor
    readings: list[int]


@dataclass(slots=True)
class Usage:
    """What an engine has done: forward passes, tokens in them, tokens of the sequences asked for, and seconds in them.

    With shared beginnings `useful` may exceed `tokens`.
    """

    passes: int = 0
    tokens: int = 0
    useful: int = 0
    seconds: float = 0.0


Head = Callable[[Replica, Rows], torch.Tensor]


class Engine(Reader):
    """A loaded model; raises ConfigError when it cannot be had or fails its self-test. Safe in any thread.

    `kind` is "causal" (a language model), "sequence" or "token" (classification), or "embedding" (no head).
    """

    def __init__(self, config: EngineConfig, kind: loading.Kind) -> None:
        super().__init__(config, loading.load_tokenizer(config))
        self.kind = kind
        self.usage = Usage()
        devices = loading.devices_of(config)
        self._budget = config.batch_tokens or (_CPU_TOKENS if devices[0].type == "cpu" else _GPU_TOKENS)
        self._replicas = [
            Replica(loading.load_model(config, kind, device), device, compiled=config.compile) for device in devices
        ]
        self._regime = _regime_of(self.model.config.get_text_config())
        self._lock = threading.Lock()
        self.is_causal = selftest.sees_only_back(self)
        selftest.choose_layout(self)

    @property
    def replicas(self) -> Sequence[Replica]:
        """The copies of the model, one a device."""
        return self._replicas

    @property
    def classifies_whole(self) -> bool:
        """Whether sequences are classified by a head that is not read at one token: encoders pool in their own way."""
        return self.kind == "sequence" and loading.reads_whole(self.model)

    @property
    def model(self) -> Any:
        """The first copy of the model."""
        return self._replicas[0].model

    def logprobs(self, readings: Sequence[Reading]) -> list[torch.Tensor]:
        """Return for each position read the log-probability (nats) of the token after it; float32 [positions] each."""
        for reading in readings:
            if any(position + 1 >= len(reading.ids) for position in reading.positions):
                raise RewardError(f"nothing follows the last of {len(reading.ids)} tokens, so it has no probability")
        return self.read(readings, _next_logprobs)

    def logits(self, readings: Sequence[Reading], token_ids: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """Return the logits of the given tokens at each position; float32 [positions, tokens] each.

        `token_ids` has one list for each reading, all of one length, or one list for all of them.
        """
        if len(token_ids) not in (1, len(readings)):
            raise ValueError(
                f"{len(token_ids)} lists of tokens for {len(readings)} readings: give one list each, or one"
            )
        wanted = torch.tensor(token_ids if len(token_ids) == len(readings) else [token_ids[0]] * len(readings))

        def head(replica: Replica, rows: Rows) -> torch.Tensor:
            logits = replica.vocabulary(rows.hidden)
            return logits.gather(1, wanted[rows.readings].to(logits.device))

        return self.read(readings, head)

    def classes(self, readings: Sequence[Reading]) -> list[torch.Tensor]:
        """Return what the classification head says at each position; float32 [positions, classes] each.

        An encoder classifies a sequence as a whole: one row each, whatever the positions.
        """
        return self._read(readings, None if self.classifies_whole else _classes)

    def hidden(self, readings: Sequence[Reading]) -> list[torch.Tensor]:
        """Return the last hidden states at each position; float32 [positions, width] each."""
        return self.read(readings, lambda _, rows: rows.hidden)

    def read(self, readings: Sequence[Reading], head: Head) -> list[torch.Tensor]:
        """Return what `head` makes of the tokens read: one float32 tensor on the CPU each, [positions, ...], in order.

        `head` gets some rows at a time, of one or several readings. Raises RewardError for an empty sequence, one that
        is longer than the model's window, and one that does not fit into memory.
        """
        return self._read(readings, head)

    def close(self) -> None:
        """Let go of the model and of the device's memory."""
        self._replicas = []
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _read(self, readings: Sequence[Reading], head: Head | None) -> list[torch.Tensor]:
        for reading in readings:
            self.check(reading)
        found: list[torch.Tensor | None] = [None] * len(readings)
        for members in self._apart(readings):
            self._run_all(readings, members, head, found)
        return [one if one is not None else torch.empty(0) for one in found]

    def _apart(self, readings: Sequence[Reading]) -> list[list[int]]:
        """Return the readings in groups that may share a pass: some models treat long sequences in another way."""
        groups: dict[int, list[int]] = {}
        for i, reading in enumerate(readings):
            groups.setdefault(self._regime(len(reading.ids)), []).append(i)
        return list(groups.values())

    def _run_all(
        self, readings: Sequence[Reading], members: Sequence[int], head: Head | None, found: list[torch.Tensor | None]
    ) -> None:
        some = [readings[i].ids for i in members]
        packed = self._replicas[0].packed
        passes = plan(some, self._budget, share=packed and self.is_causal, padded=not packed)
        left: SimpleQueue[list[Tree]] = SimpleQueue()
        for trees in passes:
            left.put([Tree(t.trunk, tuple(members[i] for i in t.members), t.tokens) for t in trees])

        def work(replica: Replica) -> None:
            try:
                while True:
                    self._run(replica, readings, left.get_nowait(), head, found)
            except Empty:
                return

        if len(self._replicas) == 1 or len(passes) == 1:
            work(self._replicas[0])
            return
        with ThreadPoolExecutor(len(self._replicas)) as pool:
            for finished in [pool.submit(work, replica) for replica in self._replicas]:
                finished.result()

    def _run(
        self,
        replica: Replica,
        readings: Sequence[Reading],
        trees: Sequence[Tree],
        head: Head | None,
        found: list[torch.Tensor | None],
    ) -> None:
        members = [i for tree in trees for i in tree.members]
        started = time.perf_counter()
        try:
            with replica.lock:
                outputs, tokens = _pass(replica, readings, trees, head)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            outputs, tokens = None, 0
        if outputs is None:
            if len(members) == 1:
                raise RewardError(f"a sequence of {len(readings[members[0]].ids)} tokens does not fit into memory")
            self._budget = max(1, min(self._budget, sum(tree.tokens for tree in trees)) // 2)
            if replica.device.type == "cuda":
                torch.cuda.empty_cache()
            half = len(members) // 2
            for some in (members[:half], members[half:]):
                self._run_all(readings, some, head, found)
            return
        with self._lock:
            self.usage.passes += 1
            self.usage.tokens += tokens
            self.usage.useful += sum(len(readings[i].ids) for i in members)
            self.usage.seconds += time.perf_counter() - started
        for i, output in zip(members, outputs, strict=True):
            found[i] = output


def _pass(
    replica: Replica, readings: Sequence[Reading], trees: Sequence[Tree], head: Head | None
) -> tuple[list[torch.Tensor], int]:
    """Return what `head` makes of one forward pass, one tensor a member in the order of the trees, and its tokens.

    Without a head these are the classes of each sequence as a whole.
    """
    members = [i for tree in trees for i in tree.members]
    with torch.inference_mode():
        if head is None:
            sequences = [readings[i].ids for i in members]
            logits = replica.whole(sequences).float().cpu()
            return list(logits[:, None]), len(sequences) * max(map(len, sequences))
        states, rows_of = replica.hidden([reading.ids for reading in readings], trees)
        at = [row for i in members for row in rows_of(i, readings[i].positions)]
        wanted = [(i, p) for i in members for p in readings[i].positions]
        owners = [i for i, _ in wanted]
        following = [readings[i].ids[p + 1] if p + 1 < len(readings[i].ids) else 0 for i, p in wanted]
        tokens = states.shape[0]
        states = states[torch.tensor(at, dtype=torch.long, device=states.device)]
        next_ids = torch.tensor(following, device=states.device)
        step = max(1, _LOGITS // replica.model.config.get_text_config().vocab_size)
        parts = [
            head(replica, Rows(states[a : a + step], next_ids[a : a + step], owners[a : a + step])).float().cpu()
            for a in range(0, len(at), step)
        ]
        outputs = torch.cat(parts) if parts else torch.empty(0)
        return list(torch.split(outputs, [len(readings[i].positions) for i in members])), tokens


def _classes(replica: Replica, rows: Rows) -> torch.Tensor:
    return replica.classes(rows.hidden)


def _next_logprobs(replica: Replica, rows: Rows) -> torch.Tensor:
    logits = replica.vocabulary(rows.hidden)
    return logits.gather(1, rows.next_ids[:, None])[:, 0] - logits.logsumexp(dim=1)


def _out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out, on a GPU or on the CPU, where Linux and Windows say so in words of their own."""
    said = ("can't allocate memory", "not enough memory")
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in said)


def _regime_of(config: Any) -> Callable[[int], int]:
    """Return which sequences may share a pass, by length: some rotary embeddings depend on the longest one in it."""
    scaling = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    if scaling.get("rope_type") != "longrope":
        return lambda _: 0
    short = int(scaling.get("original_max_position_embeddings") or config.max_position_embeddings)
    return lambda length: int(length > short)
