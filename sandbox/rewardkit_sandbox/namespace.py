"""The embedded sandbox: the same workers as in containers, behind user, pid, mount, ipc and net namespaces.

For Linux, as root and as an ordinary user, with nothing installed. Programs see a read-only `/usr` and the interpreter
of the host, and nothing else of it. Memory is watched rather than fenced: see docs/design/sandbox.md.
"""

from __future__ import annotations

import os
import platform
import select
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from rewardkit.errors import ConfigError, SandboxError, SandboxUnavailableError
from rewardkit.programs import Limits
from rewardkit_sandbox.bundle import ENVIRONMENT, command
from rewardkit_sandbox.pool import WarmSandbox
from rewardkit_sandbox.wire import Transport, TransportError

_SHOWN = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc/alternatives", "/etc/ld.so.cache")
_KILL_S = 10.0


class NamespaceSandbox(WarmSandbox):
    """Runs programs behind Linux namespaces, without Docker; options as `WarmSandbox`.

    `packages` are folders of Python packages (a virtual environment's `site-packages`) that programs may import from.
    Raises SandboxUnavailableError, with the setting to change, where the kernel does not allow it.
    """

    name = "namespace"

    def __init__(
        self,
        *,
        workers: int | None = None,
        limits: Limits | None = None,
        recycle_after: int = 5000,
        packages: Sequence[str] = (),
    ) -> None:
        super().__init__(workers=workers, limits=limits, recycle_after=recycle_after)
        self.packages = [os.path.realpath(path) for path in packages]
        for path in self.packages:
            if not os.path.isdir(path):
                raise ConfigError(f"sandbox 'namespace': packages={path!r} is no folder")

    def identity(self) -> str:
        """Return the interpreter and the machine that programs get."""
        if not sys.platform.startswith("linux"):
            raise SandboxUnavailableError(f"sandbox 'namespace' needs Linux, not {sys.platform}: use 'docker'")
        _check_kernel()
        return f"namespace:{sys.implementation.name}-{platform.python_version()}:{platform.machine()}"

    def start_worker(self) -> Transport:
        """Start an interpreter that will put itself behind namespaces."""
        self.identity()
        ours, theirs = socket.socketpair()
        try:
            launcher = subprocess.Popen(
                command(_interpreter()),
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.DEVNULL,
                env=ENVIRONMENT,
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise SandboxError(f"sandbox 'namespace': {_interpreter()!r} does not start: {error}") from error
        finally:
            theirs.close()
        return SocketTransport(ours, launcher)

    def boot_config(self) -> dict[str, Any]:
        """Return which paths of the host programs may see."""
        places = {path: f"/packages/{number}" for number, path in enumerate(self.packages)}
        return {"outer": "namespace", "shown": _shown() | places, "packages": list(places.values())}


class SocketTransport:
    """The stream to a worker that this process started."""

    def __init__(self, stream: socket.socket, launcher: subprocess.Popen[bytes]) -> None:
        self._stream = stream
        self._launcher = launcher

    def send(self, payload: bytes, *, deadline: float) -> None:
        """Send all of it; raises TransportError."""
        try:  # all of it: the stream may have been closed by another thread
            self._stream.settimeout(max(0.001, deadline - time.monotonic()))
            self._stream.sendall(payload)
        except OSError as error:
            raise TransportError(f"a worker does not listen: {error}") from error

    def receive(self, size: int, *, deadline: float) -> bytes:
        """Return exactly `size` bytes; raises TransportError."""
        buffer = bytearray(size)
        view, filled = memoryview(buffer), 0
        while filled < size:
            try:
                self._stream.settimeout(max(0.001, deadline - time.monotonic()))
                count = self._stream.recv_into(view[filled:])
            except OSError as error:
                raise TransportError(f"a worker does not answer: {error}") from error
            if not count:
                raise TransportError("a worker is gone")
            filled += count
        return bytes(buffer)

    def kill(self) -> None:
        """End the worker and wait until everything that held its stream is gone."""
        if self._stream.fileno() < 0:
            return
        self._launcher.kill()
        self._launcher.wait()
        end = time.monotonic() + _KILL_S
        try:
            while (left := end - time.monotonic()) > 0 and select.select([self._stream], [], [], left)[0]:
                if not self._stream.recv(1 << 16):
                    break
        except OSError:
            pass
        self._stream.close()


def _interpreter() -> str:
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def _shown() -> dict[str, str]:
    """Return the paths of the host that programs may see, and where."""
    paths = [path for path in _SHOWN if os.path.lexists(path)]
    prefix = os.path.realpath(sys.base_prefix)
    if prefix != "/usr" and not prefix.startswith("/usr/"):
        paths.append(prefix)
    return {path: path for path in paths}


def _check_kernel() -> None:
    """Raise SandboxUnavailableError for a kernel that is known to refuse."""
    for path, bad, cure in (
        ("/proc/sys/user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=15000"),
        ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ):
        try:
            with open(path, encoding="ascii") as file:
                refused = file.read().strip() == bad
        except OSError:
            continue
        if refused:
            raise SandboxUnavailableError(
                f"sandbox 'namespace': {path} is {bad}, so that programs cannot get user namespaces: "
                f"run '{cure}' as root, or use the sandbox 'docker'"
            )
