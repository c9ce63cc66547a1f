"""The host's side of an attack: canaries and listeners that nothing may reach, and the search for what was left.

All that attacks leave behind bears one mark in its name, so that it is found and removed, also from a broken sandbox.
Secrets look like `RKSECRET-` and 32 hexadecimal digits: an attack can search for all of them without knowing one.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import secrets
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rewardkit.programs import Execution, Program
from rewardkit_sandbox.attacks.model import report
from rewardkit_sandbox.attacks.prelude import IPC_KEYS, PLACES, PRELUDE

_HARMLESS = frozenset({"PATH", "LANG", "HOME", "TZ", "PWD", "SHLVL", "_", "TERM", "USER", "LOGNAME", "SHELL"})


class Ground:
    """Canaries on this machine for as long as it is entered: files, an environment variable, listening sockets."""

    def __init__(self) -> None:
        self.mark = new_mark()
        self.secrets: dict[str, str] = {}
        self._exit = contextlib.ExitStack()
        self._listeners: list[socket.socket] = []
        self._created: set[Path] = set()

    def __enter__(self) -> Self:
        """Put everything in its place."""
        with contextlib.ExitStack() as stack:
            self.folder = Path(tempfile.mkdtemp(prefix="rewardkit-check-"))
            stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            stack.callback(self.sweep)
            self._paths = list(self._place_files(stack))
            self._name = f"RKCANARY_{self.mark}"
            os.environ[self._name] = self.new_secret("the host's environment")
            stack.callback(os.environ.pop, self._name, None)
            self._ports = self._listen(stack)
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take everything away again."""
        self._exit.close()

    def new_secret(self, place: str) -> str:
        """Return a fresh secret, remembered as the one that is in `place`."""
        secret = f"RKSECRET-{secrets.token_hex(16)}"
        self.secrets[secret] = place
        return secret

    def facts(self) -> str:
        """Return, as JSON, what an attack may know: where the canaries are, never what is in them."""
        namespaces = {name: _link(f"/proc/self/ns/{name}") for name in ("pid", "mnt", "net", "ipc", "user", "uts")}
        return json.dumps(
            {
                "mark": self.mark,
                "variable": self._name,
                "checker": os.getpid(),
                "paths": [str(path) for path in self._paths],
                "socket": str(self.folder / "socket"),
                "namespaces": namespaces,
                "addresses": _own_addresses(),
                **self._ports,
            }
        )

    def arm(self, program: Program, place: str) -> Program:
        """Return the program with the prelude, the facts, and a fresh secret for every `@SECRET@`."""
        code, language = program.code, program.language
        python = code is not None and language == "python"
        return replace(
            program,
            code=None if code is None else self._filled((PRELUDE if python else "") + code, f"the code of {place}"),
            argv=(*program.argv, self.facts()) if python else program.argv,
            stdin=self._filled_bytes(program.stdin, f"the standard input of {place}"),
            inputs=tuple(self._filled_bytes(text, f"an input of {place}") for text in program.inputs),
            files={name: self._filled_bytes(text, f"a file of {place}") for name, text in program.files.items()},
            env={name: self._filled(text, f"the environment of {place}") for name, text in program.env.items()},
            peer=None if program.peer is None else self.arm(program.peer, f"the peer in {place}"),
        )

    def traces(self, executions: Sequence[Execution]) -> str | None:
        """Return what this side saw of an attack: visits, secrets in what came back, and what was left behind."""
        self._created |= set(self._claimed(executions))
        found = [*dict.fromkeys(self._leaked(executions)), *self._visits()]
        found += [f"{path} was written on the host" for path in self.files()]
        if alive := list(self.processes()):
            found.append(f"{len(alive)} of its processes live on")
        if any(self.mark in line for line in _lines("/proc/self/mountinfo")):
            found.append("it mounted something on the host")
        return "; ".join(found) or None

    def processes(self) -> Iterator[int]:
        """Yield the processes on this machine that bear the mark."""
        for pid in filter(str.isdecimal, _entries("/proc")):
            folder = f"/proc/{pid}"
            names = [*_lines(f"{folder}/comm"), *_lines(f"{folder}/cmdline")]
            if int(pid) != os.getpid() and any(self.mark in name for name in names):
                state = next((line for line in _lines(f"{folder}/status") if line.startswith("State:")), "State:\tX")
                if state.split()[1] not in "ZX":
                    yield int(pid)

    def files(self) -> Iterator[Path]:
        """Yield the files and folders that bear the mark, in the places where attacks put or say they put them."""
        yield from (path for path in self._created if os.path.lexists(path))
        home, here = os.path.expanduser("~"), os.getcwd()
        for place in dict.fromkeys([*PLACES, tempfile.gettempdir(), home, here]):
            yield from (
                Path(place, name) for name in _entries(place) if self.mark in name and not name.startswith(".canary")
            )

    def sweep(self) -> None:
        """Remove what bears the mark: the attack's own processes and files."""
        for pid in self.processes():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        for path in self.files():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    path.unlink()
        _remove_ipc()

    def _place_files(self, stack: contextlib.ExitStack) -> Iterator[Path]:
        for folder in (self.folder, Path(tempfile.gettempdir()), Path.home()):
            path = folder / f".canary-{self.mark}"
            with contextlib.suppress(OSError):
                path.write_text(self.new_secret(f"a file in {folder}"), encoding="ascii")
                stack.callback(path.unlink, missing_ok=True)
                yield path

    def _listen(self, stack: contextlib.ExitStack) -> dict[str, Any]:
        tcp, tcp6, udp = socket.socket(), None, socket.socket(type=socket.SOCK_DGRAM)
        tcp.bind(("", 0))
        udp.bind(("", 0))
        unix, abstract = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
        unix.bind(str(self.folder / "socket"))
        os.chmod(self.folder / "socket", 0o777)  # noqa: S103 only the sandbox may be what keeps it out
        os.chmod(self.folder, 0o755)  # noqa: S103
        abstract.bind(f"\0{self.mark}-host")
        self._listeners = [tcp, udp, unix, abstract]
        with contextlib.suppress(OSError):
            tcp6 = socket.create_server(("::1", 0), family=socket.AF_INET6)
            self._listeners.append(tcp6)
        for listener in self._listeners:
            stack.enter_context(listener)
            listener.setblocking(False)
            if listener is not udp:
                listener.listen()
        ports = {"tcp": tcp.getsockname()[1], "udp": udp.getsockname()[1]}
        return {**ports, "tcp6": tcp6.getsockname()[1] if tcp6 else 0, "abstract": f"{self.mark}-host"}

    def _visits(self) -> Iterator[str]:
        for listener in self._listeners:
            name = listener.getsockname()
            with contextlib.suppress(BlockingIOError):
                heard = b""
                while True:  # until nobody waits
                    heard += _heard(listener)
                    if self.mark.encode() in heard:
                        yield f"it reached the host's socket {name!r}"
                        heard = b""

    def _leaked(self, executions: Sequence[Execution]) -> Iterator[str]:
        for execution in _all_of(executions):
            for text in (execution.stdout, execution.stderr, *execution.files.values()):
                if b"RKSECRET-" in text:
                    yield from (f"it read {place}" for secret, place in self.secrets.items() if secret.encode() in text)

    def _claimed(self, executions: Sequence[Execution]) -> Iterator[Path]:
        for execution in executions:
            with contextlib.suppress(ValueError):
                yield from (Path(p) for p in report(execution).get("_created", []) if self.mark in os.path.basename(p))

    def _filled(self, text: str, place: str) -> str:
        while "@SECRET@" in text:
            text = text.replace("@SECRET@", self.new_secret(place), 1)
        return text

    def _filled_bytes(self, text: bytes, place: str) -> bytes:
        while b"@SECRET@" in text:
            text = text.replace(b"@SECRET@", self.new_secret(place).encode(), 1)
        return text


def _heard(listener: socket.socket) -> bytes:
    if listener.type == socket.SOCK_DGRAM:
        return listener.recv(64)
    with listener.accept()[0] as visitor, contextlib.suppress(TimeoutError, ConnectionError):
        visitor.settimeout(0.2)
        return visitor.recv(64)
    return b""


def new_mark() -> str:
    """Return a name that nothing else has; it fits the 15 characters of a process name."""
    return f"rk{secrets.token_hex(5)}"


def of_the_host(environment: dict[str, str]) -> list[str]:
    """Return the names of those variables that this process has with the same value, but for harmless ones."""
    mine = {name: text for name, text in os.environ.items() if name not in _HARMLESS and not name.startswith("LC_")}
    return sorted(name for name, text in environment.items() if len(text) > 3 and mine.get(name) == text)


def _remove_ipc() -> None:
    libc = ctypes.CDLL(None)
    for key in IPC_KEYS:
        for get, control, remove in (
            ("shmget", "shmctl", (0, None)),
            ("msgget", "msgctl", (0, None)),
            ("semget", "semctl", (0, 0)),
        ):
            found = getattr(libc, get)(key, 0, 0)
            if found >= 0:
                getattr(libc, control)(found, *remove)


def _all_of(executions: Sequence[Execution]) -> Iterator[Execution]:
    for execution in executions:
        yield execution
        yield from execution.runs
        if execution.peer is not None:
            yield execution.peer


def _own_addresses() -> list[str]:
    addresses = {"127.0.0.1"}
    with contextlib.suppress(OSError):
        addresses |= {str(found[4][0]) for found in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    with contextlib.suppress(OSError), socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing: it only chooses the address that would send
        addresses.add(probe.getsockname()[0])
    return sorted(addresses)


def _entries(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(errors="replace").splitlines()
    except OSError:
        return []


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
