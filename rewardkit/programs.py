"""What a sandbox is given and what it gives back: programs, their limits, and how they ended. Values only.

The contract of a sandbox itself is `protocols.Sandbox`; the sandboxes are in `rewardkit_sandbox`.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from rewardkit.errors import ConfigError

LimitName = Literal["wall_s", "cpu_s", "memory_mb", "output_kb"]
Phase = Literal["compile", "run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one program may use, with all the processes that it starts; each run of `Program.inputs` by itself.

    `wall_s` and `cpu_s` are seconds, `memory_mb` MiB of memory, `disk_mb` MiB and `files` the number of files that it
    may have written at one time, `processes` processes and threads together, `output_kb` KiB on stdout and on stderr
    each. A program that goes over `wall_s`, `cpu_s`, `memory_mb` or `output_kb` is stopped; more files, bytes in files
    or processes than allowed are refused to it, as by any system. All are positive; anything else raises ConfigError.
    """

    wall_s: float = 10.0
    cpu_s: float = 10.0
    memory_mb: int = 512
    processes: int = 64
    disk_mb: int = 64
    files: int = 4096
    output_kb: int = 1024

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            whole = name not in ("wall_s", "cpu_s")
            if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not 0 < value < 1e9:
                raise ConfigError(f"the limit {name}={value!r} must be a positive {'whole ' * whole}number")

    def within(self, ceiling: Limits) -> Limits:
        """Return these limits, each lowered to that of `ceiling`."""
        return Limits(**{name: min(getattr(self, name), getattr(ceiling, name)) for name in self.__slots__})


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program to run, once, in a place of its own that nothing outlives.

    Either `code` in `language`, with `argv` as its arguments, or, without code, the command `argv`. It starts in an
    empty writable directory that holds `files` (relative path to content; a file that starts with `#!` or an ELF header
    is executable) and finds `stdin` on its standard input. `fetch` names the files to bring back after its end: paths
    relative to that directory, or `("*",)` for all that are there. `env` is added to a fixed, bare environment.

    `inputs` runs the program once for each of them as its standard input, one after the other, each run from the same
    start and with the same files; `stop`, asked by the caller's side after each run, ends that at once when it says
    True. `peer` is a second program that runs beside this one in a place of its own: file descriptor 3 is, in both, the
    end of a stream (a connected stream socket) to the other. The peer's end is waited for; this program is stopped when
    its peer ends. A peer has no peer or inputs of its own. In Python, `import rewardkit_harness` is there for calling
    functions across that stream. `limits` may only be lower than the sandbox's own.
    """

    code: str | None = None
    language: str = "python"
    argv: tuple[str, ...] = ()
    stdin: bytes = b""
    files: Mapping[str, bytes] = field(default_factory=dict)
    fetch: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[bytes, ...] = ()
    stop: Callable[[Execution], bool] | None = None
    peer: Program | None = None
    limits: Limits | None = None

    def __post_init__(self) -> None:
        self._check_types()
        if self.code is None and not self.argv:
            raise ConfigError("a program needs code, or argv with the command to run")
        if self.peer is not None and (self.inputs or self.peer.inputs or self.peer.peer is not None):
            raise ConfigError("a program with a peer has no inputs, and its peer has neither inputs nor a peer")
        for path in (*self.files, *self.fetch):
            parts = path.split("/")
            if "\0" in path or path[:1] in ("", "/") or {*parts} <= {"", "."} or ".." in parts:
                raise ConfigError(f"the file {path!r} must be a relative path without '..'")
            if path in self.files and any("/".join(parts[:n]) in self.files for n in range(1, len(parts))):
                raise ConfigError(f"the file {path!r} lies in one that is no folder, but a file itself")
        for name, text in self.env.items():
            if not name or "=" in name or "\0" in name + text:
                raise ConfigError(f"the variable {name!r} must have a name without '=', and no zero byte in it")
        if any("\0" in word for word in self.argv):
            raise ConfigError(f"the arguments {self.argv!r} must not hold a zero byte")

    def _check_types(self) -> None:
        """Refuse text for bytes, and one text for several, which would pass for a list of its characters."""
        groups: tuple[tuple[str, Iterable[object], type, str], ...] = (
            ("code", () if self.code is None else (self.code,), str, "text"),
            ("stdin", (self.stdin,), bytes, "bytes, such as b'7'"),
            ("argv", self.argv, str, "a tuple of texts, such as ('ls', '-l')"),
            ("fetch", self.fetch, str, "a tuple of texts, such as ('out.txt',), or ('*',) for all files"),
            ("inputs", self.inputs, bytes, "a tuple of bytes, such as (b'7',)"),
            ("files", self.files.values(), bytes, "paths and bytes, such as {'in.txt': b'7'}"),
            ("env", self.env.values(), str, "names and texts, such as {'LANG': 'C'}"),
        )
        for name, values, kind, wanted in groups:
            if isinstance(values, str | bytes) or not all(isinstance(value, kind) for value in values):
                raise ConfigError(f"a program's {name}={reprlib.repr(getattr(self, name))} must be {wanted}")
        if self.limits is not None and not isinstance(self.limits, Limits):
            raise ConfigError(f"a program's limits={self.limits!r} must be Limits(...)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How a program ended. A program that fails is an Execution; a sandbox that fails raises SandboxError.

    `exit_code` is its exit status, or minus the number of the signal that ended it. `limit` names the limit that it ran
    into, if any. `phase` is "compile" when it did not get further than that. `stdout` and `stderr` are cut at
    `output_kb` (`truncated` says so). `files` are those fetched; `wall_s`, `cpu_s` (seconds) and `memory_mb` (MiB, the
    largest of its processes at its peak) what it used. With `Program.inputs`, `runs` has one Execution for each input
    that was run and the fields here are those of the last; with `Program.peer`, `peer` is how the peer ended.
    """

    exit_code: int
    limit: LimitName | None = None
    phase: Phase = "run"
    stdout: bytes = b""
    stderr: bytes = b""
    truncated: bool = False
    files: Mapping[str, bytes] = field(default_factory=dict)
    wall_s: float = 0.0
    cpu_s: float = 0.0
    memory_mb: float = 0.0
    runs: tuple[Execution, ...] = ()
    peer: Execution | None = None

    @property
    def ok(self) -> bool:
        """Whether the program ended by itself, with exit status 0, within its limits."""
        return self.exit_code == 0 and self.limit is None
