"""What the rewards that run programs share: which sandbox, with which limits, from setup to close.

A program that fails is for the reward to judge. A sandbox that fails raises SandboxError, which becomes a Failure: no
program is ever run outside of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rewardkit.errors import ConfigError, SandboxError
from rewardkit.plugins import Plugins
from rewardkit.programs import Execution, Limits, Program
from rewardkit.protocols import Sandbox


class Sandboxed:
    """Holds the sandbox of a reward; base of `unit_tests`, `executes` and `sql`.

    `sandbox` is the name of one ("auto", "docker", "namespace", or what a plugin registers), or a sandbox itself, which
    the caller then closes. `wall_s`, `cpu_s` (seconds) and `memory_mb` (MiB) limit every run of a program. Raises
    ConfigError for what cannot be right; whether the sandbox can be had shows in `setup`.
    """

    def __init__(
        self,
        reward: str,
        *,
        sandbox: str | Sandbox = "auto",
        wall_s: float = 10.0,
        cpu_s: float = 10.0,
        memory_mb: int = 512,
    ) -> None:
        if not isinstance(sandbox, str) and not callable(getattr(sandbox, "run_many", None)):
            raise ConfigError(f"{reward}: sandbox must be the name of one (such as auto), not {sandbox!r}")
        try:
            self.limits = Limits(wall_s=wall_s, cpu_s=cpu_s, memory_mb=memory_mb)
        except ConfigError as error:
            raise ConfigError(f"{reward}: {error}") from error
        self._named = sandbox
        self._open: Sandbox | None = None

    @property
    def sandbox(self) -> Sandbox:
        """The sandbox; it is there after `setup`."""
        if self._open is None:
            self.setup()
        assert self._open is not None
        return self._open

    def setup(self) -> None:
        """Open the sandbox; raises SandboxUnavailableError where it cannot be had."""
        if self._open is None:
            opened = self._build()
            opened.identity()
            self._open = opened

    def close(self) -> None:
        """Close the sandbox, unless it was given."""
        if self._open is not None and isinstance(self._named, str):
            self._open.close()
        self._open = None

    def signature_fields(self) -> Mapping[str, str]:
        """Return the identity of the sandbox and the limits: both decide how programs end."""
        opened = self._open or self._build()
        try:
            identity = opened.identity()
        finally:
            if opened is not self._open and opened is not self._named:
                opened.close()
        names = ("wall_s", "cpu_s", "memory_mb")
        return {"sandbox": identity, **{name: f"{getattr(self.limits, name):g}" for name in names}}

    def run_all(self, programs: Sequence[Program]) -> list[Execution]:
        """Run programs, equal ones once, and return how each ended; raises SandboxError when the sandbox fails."""
        distinct: list[Program] = []
        for program in programs:
            if program not in distinct:
                distinct.append(program)
        ended = self.sandbox.run_many(distinct) if distinct else []
        for execution in ended:
            if isinstance(execution, SandboxError):
                raise execution
        return [found for found in (ended[distinct.index(p)] for p in programs) if isinstance(found, Execution)]

    def _build(self) -> Sandbox:
        if not isinstance(self._named, str):
            return self._named
        # A sandbox lowers what programs may use to its own limits, so higher ones are told to it.
        higher = self.limits != self.limits.within(Limits())
        options: dict[str, Any] = {"limits": self.limits} if higher else {}
        sandbox: Sandbox = Plugins.load().sandboxes.get(self._named).build(**options)
        return sandbox


def tail(output: bytes, longest: int = 2000) -> str:
    """Return the end of what a program printed as text, for people; bytes that are no text become U+FFFD."""
    text = output.decode("utf-8", "replace")
    return text if len(text) <= longest else f"…{text[-longest:]}"


def ending(execution: Execution) -> str:
    """Return in a few words how a program ended, or "" where it ended well."""
    if execution.ok:
        return ""
    if execution.limit:
        return f"the program ran into its limit {execution.limit}"
    last = tail(execution.stderr).strip().rpartition("\n")[2]
    how = f"the program ended with exit status {execution.exit_code}"
    if execution.exit_code < 0:
        how = f"the program was ended by signal {-execution.exit_code}"
    elif execution.phase == "compile":
        how = "the program does not compile"
    return f"{how}: {last}" if last else how
