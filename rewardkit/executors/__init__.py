"""Where rewards run: in this process (`serial`) or in supervised processes (`process`); the contract is `Executor`."""

from __future__ import annotations

from rewardkit.errors import ConfigError
from rewardkit.protocols import Executor
from rewardkit.registry import did_you_mean

EXECUTORS = ("serial", "process")


def open_executor(name: str, *, workers: int | None = None, memory_limit: int | None = None) -> Executor:
    """Return the executor called `name`.

    `workers` is the number of worker processes (default: one a core), `memory_limit` the bytes that each may use;
    the serial executor has neither.
    """
    if name == "serial":
        from rewardkit.executors.serial import SerialExecutor

        return SerialExecutor()
    if name == "process":
        from rewardkit.executors.process import ProcessExecutor

        return ProcessExecutor(workers, memory_limit=memory_limit)
    raise ConfigError(f"no executor is called {name!r}{did_you_mean(name, list(EXECUTORS))}")
