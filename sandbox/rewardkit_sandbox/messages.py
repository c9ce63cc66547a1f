"""What `POST /run` and `GET /` of a rewardkit sandbox server say, as JSON: programs there, executions back.

`Program` and `Execution` travel field by field, bytes as base64. Nothing here does HTTP (`connections`, `serve`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from rewardkit.errors import ConfigError, SandboxError, SandboxUnavailableError
from rewardkit.programs import Execution, Limits, Program

NAME = "rewardkit"
PROTOCOL = 1
BUSY = "busy"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """What `GET /` says: whether this is a server of ours, which sandbox it has, and the most that it allows."""

    name: str
    protocol: int
    version: str = ""
    sandbox: str = ""
    workers: int = 1
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Programs to run side by side, without `stop`; `stop_at_failure` ends the inputs of each after a run not ok."""

    programs: tuple[Program, ...]
    stop_at_failure: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How one program of a batch ended, or the error in its place (`BUSY`: it was not begun, send it again)."""

    execution: Execution | None = None
    error: str = ""
    message: str = ""

    @classmethod
    def of(cls, outcome: Execution | SandboxError | ConfigError) -> Answer:
        """Return the answer that says `outcome`."""
        if isinstance(outcome, Execution):
            return cls(execution=outcome)
        kind = next(name for name, error in _ERRORS.items() if isinstance(outcome, error))
        return cls(error=kind, message=str(outcome))

    def outcome(self) -> Execution | SandboxError:
        """Return what happened; raises ConfigError where the program asked for what the sandbox lacks."""
        if self.execution is not None:
            return self.execution
        error = _ERRORS.get(self.error, SandboxError)(self.message or f"the server answered {self.error!r}")
        if isinstance(error, ConfigError):
            raise error
        return error


_ERRORS: dict[str, type[SandboxError] | type[ConfigError]] = {
    "config": ConfigError,
    "unavailable": SandboxUnavailableError,
    "sandbox": SandboxError,
}


def encode(value: Any) -> bytes:
    """Return `value` as JSON. Text with lone surrogates, which models write, becomes escapes."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(value)).encode()


def decode(body: bytes, kind: type[T]) -> T:
    """Return the `kind` that is in `body`; raises ValueError that says where it is wrong."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ValueError(str(error)) from None
    except (msgspec.MsgspecError, UnicodeDecodeError):  # it may only be the surrogates
        try:
            return msgspec.convert(json.loads(body), type=kind)
        except (ValueError, msgspec.MsgspecError, RecursionError) as error:
            raise ValueError(f"no JSON, or not what was expected: {error}") from None
