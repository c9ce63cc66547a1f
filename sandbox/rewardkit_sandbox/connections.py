"""Keep-alive HTTP/1.1 connections to one server, shared by threads. What is said over them is not known here."""

from __future__ import annotations

import base64
import http.client
import os
import socket
import threading
import time
from urllib.parse import SplitResult, unquote, urlsplit

from rewardkit.errors import ConfigError

_MOST = 2**30  # bytes of one answer
_CONNECT_S = 10.0


class Connections:
    """Connections to the server at `url` (http or https, perhaps with a path), at most `limit` at a time.

    A `token` is sent as a bearer token; a user and a password in `url` as basic authorization. Proxies in the
    environment are not used. Raises ConfigError for an address that cannot be right.
    """

    def __init__(self, url: str, *, limit: int, token: str | None = None) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError as error:
            raise ConfigError(f"the sandbox server's url={url!r} cannot be right: {error}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ConfigError(f"the sandbox server's url={url!r} must be like http://host:8080")
        self._make = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._address = (parts.hostname, port)
        self._path = parts.path.rstrip("/")
        where = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self.url = f"{parts.scheme}://{where}{f':{port}' if port else ''}{self._path}"
        self._headers = {"Content-Type": "application/json", **_authorization(parts, token)}
        self._limit = limit
        self._start()

    def ask(self, method: str, path: str, body: bytes | None = None, *, seconds: float) -> tuple[int, bytes]:
        """Return the status and the body of the answer to one request, which may take `seconds`.

        Raises OSError (TimeoutError when it takes longer) or http.client.HTTPException. A kept connection that the
        server has closed meanwhile is replaced unnoticed.
        """
        if self._process != os.getpid():  # a forked copy must not speak on its parent's connections
            for inherited in self._open:
                inherited.close()
            self._start()
        with self._slots:
            kept = self._take()
            if kept is not None:
                try:
                    return self._exchange(kept, method, path, body, seconds)
                except (ConnectionError, http.client.BadStatusLine):
                    pass
            fresh = self._make(*self._address, timeout=min(seconds, _CONNECT_S))
            return self._exchange(fresh, method, path, body, seconds)

    def close(self) -> None:
        """Close all connections, those in use as well. Idempotent."""
        with self._lock:
            self._closed = True
            for connection in self._idle:
                self._open.discard(connection)
                connection.close()
            self._idle.clear()
            for connection in self._open:
                _hang_up(connection)

    def _start(self) -> None:
        self._process = os.getpid()
        self._slots = threading.BoundedSemaphore(self._limit)
        self._lock = threading.Lock()
        self._idle: list[http.client.HTTPConnection] = []
        self._open: set[http.client.HTTPConnection] = set()
        self._closed = False

    def _take(self) -> http.client.HTTPConnection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _exchange(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None, seconds: float
    ) -> tuple[int, bytes]:
        """Ask over `connection`; keep it if that went well, else close it."""
        keep = False
        with self._lock:
            if self._closed:
                raise ConnectionAbortedError("the connections were closed")
            self._open.add(connection)
        try:
            deadline = time.monotonic() + seconds
            if connection.sock is None:
                connection.connect()
            assert connection.sock is not None
            connection.sock.settimeout(seconds)
            connection.request(method, self._path + path, body, self._headers)
            response = connection.getresponse()
            answer = response.status, _read(response, deadline)
            keep = not response.will_close
            return answer
        finally:
            with self._lock:
                if keep and not self._closed:
                    self._idle.append(connection)
                else:
                    self._open.discard(connection)
                    connection.close()


def _read(response: http.client.HTTPResponse, deadline: float) -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := response.read1(2**20):
        parts.append(part)
        size += len(part)
        if size > _MOST:
            raise http.client.HTTPException(f"the answer has more than {_MOST} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError("the answer did not end in time")
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)
    response.close()
    return b"".join(parts)


def _hang_up(connection: http.client.HTTPConnection) -> None:
    """End a connection on which another thread may be waiting; that thread closes it."""
    if connection.sock is not None:
        try:
            connection.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it has ended by itself


def _authorization(parts: SplitResult, token: str | None) -> dict[str, str]:
    if token is not None:
        if not token.isascii() or not token.isprintable() or not token or " " in token:
            raise ConfigError("the sandbox server's token must be printable ASCII without spaces")
        return {"Authorization": f"Bearer {token}"}
    if parts.password is not None:
        pair = f"{unquote(parts.username or '')}:{unquote(parts.password)}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    return {}
