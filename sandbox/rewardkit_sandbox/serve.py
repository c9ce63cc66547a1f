"""A sandbox behind HTTP: `POST /run_code` as SandboxFusion answers it, `POST /run` for everything a sandbox can do.

`GET /` says who this is, `GET /health` and `GET /v1/ping` that it is alive. There is no TLS here: outside a network
that you trust, put a proxy with TLS in front. Programs are as safe as the sandbox behind the server makes them.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import logging
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from importlib.metadata import version
from typing import Any, TypeVar

from rewardkit.errors import ConfigError, SandboxError
from rewardkit.programs import Execution, Limits, Program
from rewardkit.protocols import Sandbox
from rewardkit_sandbox import fusion
from rewardkit_sandbox.messages import BUSY, NAME, PROTOCOL, Answer, Batch, Greeting, decode, encode

CEILING = Limits(wall_s=300, cpu_s=600, memory_mb=4096, processes=256, disk_mb=256, files=16384, output_kb=16384)

_QUEUE_S = 8.0  # verl's client waits 10 s beyond the program's own limits
_IDLE_S = 75.0
_CONNECTIONS = 512
_BODY = 256 * 2**20
_LOG = logging.getLogger("rewardkit.sandbox")

T = TypeVar("T")


class RefusedError(Exception):
    """A request that gets another answer than 200."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class SandboxServer:
    """Serves `sandbox`, which it closes at its end, on `host` and `port` (0: any that is free) to those with `token`.

    `workers` programs run at a time; others wait up to 8 s and are then sent away, by an answer that makes clients come
    again. `limits` are the most that a program may ask for, and should be those of `sandbox`. Refuses, by ConfigError,
    to listen on anything but the loopback device without a token.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        *,
        host: str = "127.0.0.1",
        port: int = 8080,
        workers: int = 2,
        limits: Limits = CEILING,
        token: str | None = None,
    ) -> None:
        if token is None and not _is_loopback(host):
            raise ConfigError(f"everyone who reaches host={host!r} could run programs: give a token, or use 127.0.0.1")
        self.sandbox = sandbox
        self.greeting = Greeting(
            name=NAME,
            protocol=PROTOCOL,
            version=version("agentic-rewardkit"),
            sandbox=sandbox.identity(),
            workers=workers,
            limits=limits,
        )
        self._token = token
        self._pool = ThreadPoolExecutor(workers, "rewardkit-serve")
        self._idle = threading.Condition()
        self._active = 0
        self._closing = False
        try:
            self._listener = _Listener(self, host, port)
        except OSError as error:
            raise ConfigError(f"nothing can listen on host={host!r}, port={port}: {error.strerror}") from error
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The address that it listens on."""
        host, port = self._listener.server_address[:2]
        return f"http://[{host!s}]:{port}" if ":" in str(host) else f"http://{host!s}:{port}"

    def close(self, *, grace_s: float = 30.0) -> None:
        """Take no more requests, finish those under way within `grace_s` seconds, close the sandbox. Idempotent."""
        with self._idle:
            if self._closing:
                return
            self._closing = True
        self._listener.shutdown()
        self._listener.server_close()
        self._thread.join()
        with self._idle:
            self._idle.wait_for(lambda: self._active == 0, timeout=grace_s)
        self._listener.hang_up()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.sandbox.close()

    def __enter__(self) -> SandboxServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def admits(self, authorization: str) -> bool:
        """Return whether a request with this header has the token, as bearer or as the password of a user."""
        if self._token is None:
            return True
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() == "basic":
            try:
                given = base64.b64decode(given, validate=True).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                return False
        return hmac.compare_digest(given.strip().encode(), self._token.encode())

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count one request as under way, from before it is acted on until it is answered."""
        with self._idle:
            self._active += 1
        try:
            yield
        finally:
            with self._idle:
                self._active -= 1
                self._idle.notify_all()

    def answer(self, path: str, body: bytes) -> Any:
        """Return what to say to `POST path`; raises RefusedError."""
        if self._closing:
            raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "the server is being stopped")
        try:
            return self._run(body) if path == "/run" else self._run_code(body)
        except ConfigError as error:
            raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error

    def _run(self, body: bytes) -> list[Answer]:
        batch = _decoded(body, Batch)
        stop = _failed if batch.stop_at_failure else None
        outcomes = self._outcomes([replace(p, stop=stop) if p.inputs else p for p in batch.programs])
        return [Answer(error=BUSY) if outcome is None else Answer.of(outcome) for outcome in outcomes]

    def _run_code(self, body: bytes) -> fusion.RunCodeAnswer:
        program = fusion.program_of(_decoded(body, fusion.RunCode), self.greeting.limits)
        (outcome,) = self._outcomes([program])
        if outcome is None:  # the only status that verl's client tries again
            raise RefusedError(HTTPStatus.GATEWAY_TIMEOUT, "all workers are busy")
        if isinstance(outcome, ConfigError):
            raise outcome
        if isinstance(outcome, SandboxError):
            return fusion.RunCodeAnswer(status="SandboxError", message=str(outcome))
        return fusion.answer_of(outcome)

    def _outcomes(self, programs: Sequence[Program]) -> list[Execution | SandboxError | ConfigError | None]:
        """Run programs, each when it is its turn; None for those whose turn does not come soon enough."""
        futures = [self._pool.submit(self._outcome, program) for program in programs]
        deadline = time.monotonic() + _QUEUE_S
        return [_ended(future, deadline) for future in futures]

    def _outcome(self, program: Program) -> Execution | SandboxError | ConfigError:
        try:
            for one in (program, program.peer):
                if one is not None and one.limits is not None:
                    fusion.allowed(one.limits, self.greeting.limits)
            return self.sandbox.run(program)
        except (SandboxError, ConfigError) as error:
            return error


def _ended(future: Future[Execution | SandboxError | ConfigError], deadline: float) -> Any:
    """Return what a program that began before `deadline` came to; None if it did not."""
    try:
        return future.result(timeout=max(0.0, deadline - time.monotonic()))
    except TimeoutError:
        return None if future.cancel() else future.result()
    except CancelledError:  # the server is closed
        return None


def _decoded(body: bytes, kind: type[T]) -> T:
    try:
        return decode(body, kind)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _failed(execution: Execution) -> bool:
    return not execution.ok


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Listener(socketserver.ThreadingTCPServer):
    """Gives each connection a thread, up to a number; idle ones do not hold up the end."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, server: SandboxServer, host: str, port: int) -> None:
        self.sandbox_server = server
        self._connected: set[socket.socket] = set()
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def hang_up(self) -> None:
        """End all connections."""
        for connection in list(self._connected):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has ended by itself

    def process_request(self, request: Any, client_address: Any) -> None:
        if len(self._connected) < _CONNECTIONS:
            self._connected.add(request)
            super().process_request(request, client_address)
        else:
            request.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        self._connected.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  # as the base class has it
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):  # a client that left is no error
            _LOG.exception("a request of %s failed", client_address)


class _Handler(BaseHTTPRequestHandler):
    """Reads requests and writes answers; what they mean is the server's affair."""

    server: _Listener  # pyright: ignore[reportIncompatibleVariableOverride]
    server_version = "rewardkit"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body in one packet
    timeout = _IDLE_S

    def do_GET(self) -> None:
        pages: dict[str, Any] = {"/health": {"status": "ok"}, "/v1/ping": "pong"}
        if self.path in pages:
            self._reply(HTTPStatus.OK, pages[self.path])
        elif self._admitted():
            if self.path == "/":
                self._reply(HTTPStatus.OK, self.server.sandbox_server.greeting)
            else:
                self._refuse(HTTPStatus.NOT_FOUND, f"there is no page {self.path!r}")

    def do_POST(self) -> None:
        if not self._admitted():
            return
        try:
            body = self._body()
        except RefusedError as refused:
            self._refuse(refused.status, str(refused))
            return
        with self.server.sandbox_server.request():
            try:
                answer = self.server.sandbox_server.answer(self.path, body)
            except RefusedError as refused:
                self._reply(refused.status, {"detail": str(refused)})
            except Exception as error:
                self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, f"{type(error).__name__}: {error}")
                raise
            else:
                self._reply(HTTPStatus.OK, answer)
            self.wfile.flush()

    def _admitted(self) -> bool:
        if self.server.sandbox_server.admits(self.headers.get("Authorization", "")):
            return True
        self._refuse(HTTPStatus.UNAUTHORIZED, "the token is missing or wrong")
        return False

    def _body(self) -> bytes:
        """Return the body of a request to run something; raises RefusedError.

        It has to be JSON by name, which a web page cannot send to another server unasked.
        """
        length = self.headers.get("Content-Length", "")
        kind = self.headers.get_content_type()
        if self.path not in ("/run", "/run_code"):
            raise RefusedError(HTTPStatus.NOT_FOUND, f"there is no page {self.path!r}")
        if kind != "application/json":
            raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"the body is {kind!r}, not application/json")
        if not length.isdecimal() or "Transfer-Encoding" in self.headers:
            raise RefusedError(HTTPStatus.LENGTH_REQUIRED, "the request has no Content-Length")
        if len(length) > 15 or int(length) > _BODY:
            raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body has more than {_BODY} bytes")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise ConnectionAbortedError("the client left before the end of its request")
        return body

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Reply without having read the body, so that this is the last reply on the connection."""
        self.close_connection = True
        self._reply(status, {"detail": detail})

    def _reply(self, status: HTTPStatus, message: Any) -> None:
        body = encode(message)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        _LOG.debug("%s %s", self.address_string(), format % args)
