"""The byte stream to one worker in a container: Docker's attached stdin, stdout and stderr, and the end of it all.

It works with every daemon and runtime, remote ones and gVisor included. Not covered: starting the container (`docker`).
"""

from __future__ import annotations

import logging
import os
import struct
import threading
import time
from typing import TYPE_CHECKING, Any

from rewardkit.errors import SandboxError
from rewardkit_sandbox.docker_daemon import Daemon
from rewardkit_sandbox.wire import TransportError

if TYPE_CHECKING:
    from docker import APIClient

_CHUNK = 1 << 16
_HEADER = struct.Struct(">BxxxL")  # stream (1 stdout, 2 stderr) and length, before every piece of output
_STDERR = 2
_COMPLAINT_BYTES = 2000
_logger = logging.getLogger(__name__)


class DockerTransport:
    """The stream to the first process of the container `name`.

    `attached` is what docker-py's `attach_socket` returns: a socket, or a file around one, that nobody has read from.
    """

    def __init__(self, daemon: Daemon, name: str, attached: Any) -> None:
        self._daemon = daemon
        self.name = name
        self._attached = attached  # closes the socket when it is collected
        self._socket = getattr(attached, "_sock", attached)
        self._raw = bytearray()
        self._stdout = bytearray()
        self._complaint = b""
        self._lock = threading.Lock()
        self._gone = False
        self._owner = os.getpid()

    def send(self, payload: bytes, *, deadline: float) -> None:
        """Write all of `payload` to the worker's stdin; raises TransportError."""
        self._before(deadline)
        try:
            self._socket.sendall(payload)
        except OSError as error:
            raise self._lost(error) from error

    def receive(self, size: int, *, deadline: float) -> bytes:
        """Return exactly `size` bytes of the worker's stdout; raises TransportError."""
        while len(self._stdout) < size:
            self._before(deadline)
            try:
                piece = self._socket.recv(_CHUNK)
            except OSError as error:
                raise self._lost(error) from error
            if not piece:
                raise self._lost("its stream ended")
            self._raw += piece
            self._sort()
        payload = bytes(self._stdout[:size])
        del self._stdout[:size]
        return payload

    def kill(self) -> None:
        """Remove the container with all that runs in it, and return when it is gone. Idempotent.

        A daemon that is away or hangs is not waited for: the worker ends when its stdin is closed, and what is left of
        it is swept later.
        """
        with self._lock:
            if self._gone:
                return
            self._gone = True
            self._attached.close()  # first: Docker cannot kill a container whose output nobody reads
            self._socket.close()
        if os.getpid() != self._owner:  # a fork has a copy of what is not its own
            return
        try:
            self._daemon.call(lambda client: remove(client, self.name), wait=False)
        except SandboxError as error:
            _logger.warning("the container %s is left to the next sweep: %s", self.name, error)

    def _before(self, deadline: float) -> None:
        """Let the next call on the socket last until `deadline` at most."""
        left = deadline - time.monotonic()
        if left <= 0 or self._gone:
            raise self._lost("it was removed" if self._gone else "the time is up")
        self._socket.settimeout(left)

    def _sort(self) -> None:
        """Take whole pieces of output off `_raw`."""
        start = 0
        while len(self._raw) - start >= _HEADER.size:
            stream, length = _HEADER.unpack_from(self._raw, start)
            end = start + _HEADER.size + length
            if end > len(self._raw):
                break
            piece = self._raw[start + _HEADER.size : end]
            if stream == _STDERR:
                self._complaint = (self._complaint + piece)[-_COMPLAINT_BYTES:]
            else:
                self._stdout += piece
            start = end
        del self._raw[:start]

    def _lost(self, reason: object) -> TransportError:
        complaint = self._complaint.decode(errors="replace").strip()
        return TransportError(f"the worker in the container {self.name} is lost: {reason} {complaint}".strip())


def remove(client: APIClient, name: str) -> None:
    """Kill and remove a container with its volumes, and return when it is gone; no error if it is gone already."""
    from docker.errors import APIError, NotFound

    try:
        client.remove_container(name, force=True, v=True)
    except NotFound:
        pass
    except APIError as error:
        if error.status_code != 409:  # it is being removed
            raise
        try:
            client.wait(name, condition="removed", timeout=client.timeout)
        except NotFound:
            pass
