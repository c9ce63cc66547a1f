"""The sandbox `remote`: programs run on another machine, by `rewardkit sandbox serve` or by SandboxFusion.

A server of ours runs everything (`POST /run`); what SandboxFusion's `POST /run_code` cannot say is refused here. How
safely programs run is the server's affair; over plain http, anyone on the way can read and change them.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import replace
from typing import Self

from rewardkit.errors import ConfigError, SandboxError, SandboxUnavailableError
from rewardkit.programs import Execution, Limits, Program
from rewardkit_sandbox import fusion
from rewardkit_sandbox.messages import BUSY, NAME, PROTOCOL, Answer, Batch, Greeting, decode, encode
from rewardkit_sandbox.retries import BusyError, Client, check_status

_BATCH = 16  # programs in one request
_BATCH_BYTES = 4 * 2**20
_INPUTS = 32  # inputs of one program in one request
_STRANGER = Greeting(name="SandboxFusion", protocol=0)


class RemoteSandbox:
    """Sends programs to the server at `url`, and makes no difference between theirs and ours where it can.

    `url` is its address, with or without `/run_code` (default: REWARDKIT_SANDBOX_URL); `token` what a server of ours
    was started with (default: REWARDKIT_SANDBOX_TOKEN). Up to `workers` requests are under way at a time. `limits` are
    those of programs, and a server of ours must allow them. An answer may take `timeout` seconds longer than the
    program's own limits; a busy server is asked again for `patience` seconds.

    A server of SandboxFusion knows no `peer`, `argv`, `env`, `fetch="*"`, nor input that is no UTF-8 (ConfigError); it
    enforces `wall_s` and `memory_mb` only, replaces output that is no UTF-8, and says nothing of memory used.
    """

    def __init__(
        self,
        *,
        url: str | None = None,
        token: str | None = None,
        workers: int = 16,
        limits: Limits = Limits(),  # noqa: B008  # frozen
        timeout: float = 30.0,
        patience: float = 300.0,
    ) -> None:
        url = url or os.environ.get("REWARDKIT_SANDBOX_URL")
        if not url:
            raise ConfigError("the sandbox 'remote' needs url=http://host:8080, or REWARDKIT_SANDBOX_URL set to it")
        if workers < 1 or not timeout > 0 or not patience > 0:
            raise ConfigError(f"workers={workers!r}, timeout={timeout!r} and patience={patience!r} must be positive")
        self._client = Client(
            url.rstrip("/").removesuffix("/run_code"),
            token=token or os.environ.get("REWARDKIT_SANDBOX_TOKEN") or None,
            workers=workers,
            patience=patience,
        )
        self._workers = workers
        self._limits = limits
        self._timeout = timeout
        self._lock = threading.Lock()
        self._greeting: Greeting | None = None
        self._threads: tuple[int, ThreadPoolExecutor] | None = None

    def identity(self) -> str:
        """Return `remote:` and the identity of the server's sandbox, or the server's address if it does not say."""
        greeting = self._greet()
        return f"remote:{greeting.sandbox or self._client.url}"

    def run(self, program: Program, /) -> Execution:
        """Run one program to its end; raises SandboxError when the server fails, ConfigError for what it lacks."""
        (outcome,) = self._outcomes([program], self._greet())
        if isinstance(outcome, SandboxError):
            raise outcome
        return outcome

    def run_many(self, programs: Sequence[Program], /) -> list[Execution | SandboxError]:
        """Run programs side by side; one Execution each, in order, or the error where the server failed."""
        try:
            greeting = self._greet()
        except SandboxError as error:
            return [error for _ in programs]
        size = _BATCH if greeting.name == NAME else 1
        batches = list(_batches(programs, min(size, -(-len(programs) // self._workers))))
        futures = [self._pool().submit(self._outcomes, batch, greeting) for batch in batches]
        outcomes: list[Execution | SandboxError] = []
        try:
            for batch, future in zip(batches, futures, strict=True):
                try:
                    outcomes += future.result()
                except SandboxError as error:
                    outcomes += [error] * len(batch)
                except CancelledError:
                    outcomes += [SandboxError("the sandbox was closed")] * len(batch)
        finally:
            for future in futures:
                future.cancel()
        return outcomes

    async def arun(self, program: Program, /) -> Execution:
        """Run one program without blocking the event loop; cancelling stops waiting, not the program."""
        return await asyncio.get_running_loop().run_in_executor(self._pool(), self.run, program)

    def close(self) -> None:
        """Close the connections; what is under way fails. Idempotent."""
        self._client.close()
        with self._lock:
            if self._threads is not None and self._threads[0] == os.getpid():
                self._threads[1].shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _pool(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._threads is None or self._threads[0] != os.getpid():  # a forked copy has none of the threads
                self._threads = os.getpid(), ThreadPoolExecutor(self._workers, "rewardkit-remote")
            return self._threads[1]

    def _greet(self) -> Greeting:
        """Return who the server is, asked once: SandboxFusion answers `GET /` with a page, or not at all."""
        with self._lock:
            if self._greeting is None:
                self._greeting = self._client.ask("GET", "/", self._read_greeting, seconds=self._timeout)
            return self._greeting

    def _read_greeting(self, status: int, body: bytes) -> Greeting:
        if status in (401, 408, 429) or status >= 500:
            check_status(status, body, url=self._client.url)
        try:
            greeting = decode(body, Greeting)
        except ValueError:
            greeting = _STRANGER
        if status != 200 or greeting.name != NAME:
            return _STRANGER
        if greeting.protocol != PROTOCOL:
            raise SandboxUnavailableError(
                f"the sandbox server {self._client.url} has rewardkit {greeting.version} and speaks protocol "
                f"{greeting.protocol}, not {PROTOCOL}: install the same version here and there"
            )
        fusion.allowed(self._limits, greeting.limits)
        return greeting

    def _outcomes(self, programs: list[Program], greeting: Greeting) -> list[Execution | SandboxError]:
        """Run programs of which only a single one may have inputs."""
        limited = [self._limited(program) for program in programs]
        if programs[0].inputs:
            return [self._run_inputs(limited[0], ours=greeting.name == NAME)]
        if greeting.name == NAME:
            return self._run_batch(limited)
        return [self._run_code(program) for program in limited]

    def _limited(self, program: Program) -> Program:
        peer = program.peer and self._limited(program.peer)
        return replace(program, limits=(program.limits or self._limits).within(self._limits), peer=peer)

    def _seconds(self, program: Program) -> float:
        """Return how long an answer may take: a compiler has as long as the program, and so has a second try."""
        limits = program.limits or self._limits
        slowest = max(limits.wall_s, program.peer.limits.wall_s if program.peer and program.peer.limits else 0.0)
        return self._timeout + 2 * slowest * (len(program.inputs) or 1)

    def _run_inputs(self, program: Program, *, ours: bool) -> Execution:
        """Run a program on its inputs, a share of them in each request; shares grow as long as all goes well.

        The server ends a share at a run that is not ok, so that few runs are made after the one that `stop` ends.
        """
        runs: list[Execution] = []
        share = 1 if program.stop else _INPUTS
        while len(runs) < len(program.inputs):
            inputs = program.inputs[len(runs) : len(runs) + share]
            if ours:
                part = replace(program, inputs=inputs, stop=None)
                execution = _execution(self._run_batch([part], stop_at_failure=program.stop is not None)[0])
            else:
                execution = self._run_code(replace(program, inputs=(), stop=None, stdin=inputs[0]))
                execution = replace(execution, runs=(execution,))
            for run in execution.runs or (execution,):
                runs.append(run)
                if run.phase == "compile" or (program.stop is not None and program.stop(run)):
                    return replace(run, runs=tuple(runs))
            share = min(2 * share, _INPUTS)
        return replace(runs[-1], runs=tuple(runs))

    def _run_batch(self, programs: list[Program], *, stop_at_failure: bool = False) -> list[Execution | SandboxError]:
        """Run programs on a server of ours; those for which it has no worker in time are sent again."""

        def read(status: int, body: bytes) -> list[Answer]:
            check_status(status, body, url=self._client.url)
            answers = decode(body, list[Answer])
            if len(answers) != len(waiting):
                raise ValueError(f"{len(answers)} answers to {len(waiting)} programs")
            if all(answer.error == BUSY for answer in answers):
                raise BusyError("all its workers are busy")
            return answers

        outcomes: dict[int, Execution | SandboxError] = {}
        while waiting := [index for index in range(len(programs)) if index not in outcomes]:
            batch = Batch(programs=tuple(programs[i] for i in waiting), stop_at_failure=stop_at_failure)
            seconds = max(self._seconds(program) for program in batch.programs)
            answers = self._client.ask("POST", "/run", read, body=encode(batch), seconds=seconds)
            outcomes |= {i: a.outcome() for i, a in zip(waiting, answers, strict=True) if a.error != BUSY}
        return [outcomes[index] for index in range(len(programs))]

    def _run_code(self, program: Program) -> Execution:
        """Run one program on a server of SandboxFusion."""
        limits = program.limits or self._limits

        def read(status: int, body: bytes) -> Execution:
            check_status(status, body, url=self._client.url)
            return fusion.execution_of(decode(body, fusion.RunCodeAnswer), limits)

        body = encode(fusion.request_of(program, limits))
        return self._client.ask("POST", "/run_code", read, body=body, seconds=self._seconds(program))


def _execution(outcome: Execution | SandboxError) -> Execution:
    if isinstance(outcome, SandboxError):
        raise outcome
    return outcome


def _batches(programs: Sequence[Program], size: int) -> Iterator[list[Program]]:
    """Yield `programs` in order, `size` at a time as long as they are small; one with inputs alone."""
    batch: list[Program] = []
    weight = 0
    for program in programs:
        grams = sum(map(len, (program.code or "", program.stdin, *program.files.values())))
        if batch and (len(batch) >= size or weight + grams > _BATCH_BYTES or batch[0].inputs or program.inputs):
            yield batch
            batch, weight = [], 0
        batch.append(program)
        weight += grams
    if batch:
        yield batch
