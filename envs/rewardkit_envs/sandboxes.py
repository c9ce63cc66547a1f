"""The sandbox of an environment: found by name, opened at the first program, shared by all environments of a process.

A program that fails is for the environment to show. A sandbox that fails raises SandboxError: no program is ever run
outside of it.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import Any

from rewardkit.errors import ConfigError
from rewardkit.plugins import Plugins
from rewardkit.programs import Execution, Program
from rewardkit.protocols import Sandbox


@dataclass(slots=True)
class _Shared:
    sandbox: Sandbox
    users: int = 0


# Hundreds of environments in one process must not start hundreds of containers. A forked process opens its own.
_OPEN: dict[tuple[int, str], _Shared] = {}
_LOCK = threading.Lock()


class LazySandbox:
    """A sandbox that is opened when the first program is run, and again in each process that it is sent to.

    `sandbox` is the name of one ("auto", "docker", "namespace", or what a plugin registers), or a sandbox itself, which
    the caller then closes. Raises ConfigError for anything else.
    """

    def __init__(self, sandbox: str | Sandbox = "auto") -> None:
        if not isinstance(sandbox, str) and not callable(getattr(sandbox, "run", None)):
            raise ConfigError(f"sandbox={sandbox!r} must be the name of a sandbox (such as 'auto'), or one itself")
        self.named = sandbox
        self._key: tuple[int, str] | None = None

    def run(self, program: Program) -> Execution:
        """Run one program to its end; raises SandboxError when the sandbox fails."""
        return self.opened().run(program)

    def close(self) -> None:
        """Let go of the sandbox: the last environment that does closes it. Idempotent."""
        key, self._key = self._key, None
        if key is None or key[0] != os.getpid():
            return
        with _LOCK:
            shared = _OPEN[key]
            shared.users -= 1
            if shared.users:
                return
            del _OPEN[key]
        shared.sandbox.close()

    def opened(self) -> Sandbox:
        """Return the sandbox itself, opened."""
        if not isinstance(self.named, str):
            return self.named
        key = os.getpid(), self.named
        with _LOCK:
            if self._key != key:
                if key not in _OPEN:
                    _OPEN[key] = _Shared(Plugins.load().sandboxes.get(self.named).build())
                _OPEN[key].users += 1
                self._key = key
            return _OPEN[key].sandbox

    def __getstate__(self) -> dict[str, Any]:
        return {"named": self.named, "_key": None}

    def __deepcopy__(self, memo: Any) -> LazySandbox:
        return LazySandbox(self.named)
