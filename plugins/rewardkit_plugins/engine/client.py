"""HTTP to a model server: kept connections, retries, and errors that say what to do. What is asked is `dialects`.

Proxies in the environment are not used, and redirects are not followed.
"""

from __future__ import annotations

import http.client
import os
import time
from typing import Any
from urllib.parse import urlsplit

import msgspec

from rewardkit.errors import ConfigError, RewardError

KEY = "REWARDKIT_SERVER_KEY"
WAITS = (0.5, 1.0, 2.0, 4.0)  # seconds before the second attempt, the third, ...
SECONDS = 600.0  # for one answer
_CONNECT_S = 10.0
_LONGEST_WAIT = 30.0  # that a server may ask for


class Client:
    """Speaks JSON with the server at `url`; safe in threads, and in forked copies.

    The environment variable REWARDKIT_SERVER_KEY, where it is set, is sent as a bearer token. Raises ConfigError for an
    address or a key that cannot be right.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError as error:
            raise ConfigError(f"server={url!r} cannot be right: {error}") from None
        if "@" in parts.netloc:
            raise ConfigError(f"server must not hold a user or a password: put the key into {KEY}")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ConfigError(f"server={url!r} must be like http://host:8000")
        self.url = url.rstrip("/").removesuffix("/v1")
        self._make = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._address = (parts.hostname, port)
        self._path = parts.path.rstrip("/").removesuffix("/v1")
        self._headers = {"Content-Type": "application/json", **_authorization(os.environ.get(KEY))}
        self._idle: list[http.client.HTTPConnection] = []
        self._process = os.getpid()
        self._answers = True  # whether the last request was answered; if not, the next one is tried only once

    def ask(self, path: str, body: Any = None) -> bytes:
        """Return the answer to a GET, or to a POST of `body` as JSON.

        After a failed connection, 429 or 5xx it is asked again, at most four times and ever later. A server that has
        not answered even then is asked once a request until it does. Raises RewardError with what the server says.
        """
        payload = None if body is None else msgspec.json.encode(body)
        for wait in WAITS if self._answers else ():
            try:
                return self._attempt(path, payload)
            except _AgainError as again:
                time.sleep(max(wait, again.seconds))
        try:
            return self._attempt(path, payload)
        except _AgainError as again:
            self._answers = False
            raise self.error(path, str(again)) from again.__cause__

    def error(self, path: str, problem: str) -> RewardError:
        """Return the error that says what is wrong with the server's answer to a request."""
        return RewardError(f"the model server at {self.url}{path} {problem}")

    def close(self) -> None:
        """Close the kept connections. Idempotent."""
        while self._idle:
            self._idle.pop().close()

    def _attempt(self, path: str, payload: bytes | None) -> bytes:
        try:
            status, answer, seconds = self._exchange(path, payload)
        except TimeoutError as error:
            self._answers = False
            raise self.error(path, f"did not answer within {SECONDS:g} s: it may be overloaded") from error
        except (OSError, http.client.HTTPException) as error:
            problem = f"cannot be reached ({type(error).__name__}: {error}): start it, or correct server="
            raise _AgainError(problem) from error
        if status == 429 or status >= 500:
            raise _AgainError(f"answers {status}: {_message(answer)}{_cure(status)}", min(seconds, _LONGEST_WAIT))
        self._answers = True
        if status != 200:
            raise self.error(path, f"answers {status}: {_message(answer)}{_cure(status)}")
        return answer

    def _exchange(self, path: str, payload: bytes | None) -> tuple[int, bytes, float]:
        """Return status, body and the seconds that the server asks to wait; a kept connection may have ended unseen."""
        if self._process != os.getpid():  # a forked copy must not speak on its parent's connections
            self._idle = []
            self._process = os.getpid()
        try:
            kept = self._idle.pop()  # atomic, so that threads cannot get the same one
        except IndexError:
            kept = None
        if kept is not None:
            try:
                return self._over(kept, path, payload)
            except (ConnectionError, http.client.BadStatusLine):
                pass
        return self._over(self._make(*self._address, timeout=_CONNECT_S), path, payload)

    def _over(
        self, connection: http.client.HTTPConnection, path: str, payload: bytes | None
    ) -> tuple[int, bytes, float]:
        keep = False
        try:
            if connection.sock is None:
                _connect(connection)
            assert connection.sock is not None
            connection.sock.settimeout(SECONDS)
            method = "GET" if payload is None else "POST"
            connection.request(method, self._path + path, payload, self._headers)
            response = connection.getresponse()
            answer = response.read()
            keep = not response.will_close
            return response.status, answer, _seconds(response.headers.get("Retry-After"))
        finally:
            if keep:
                self._idle.append(connection)
            else:
                connection.close()


class _AgainError(Exception):
    """An attempt failed, and another may not; `seconds` is what the server asks to wait."""

    def __init__(self, problem: str, seconds: float = 0.0) -> None:
        super().__init__(problem)
        self.seconds = seconds


def _connect(connection: http.client.HTTPConnection) -> None:
    try:
        connection.connect()
    except TimeoutError as error:
        raise ConnectionError(f"no connection within {_CONNECT_S:g} s") from error


def _authorization(key: str | None) -> dict[str, str]:
    if not key:
        return {}
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(f"the key in {KEY} must be printable ASCII without spaces")
    return {"Authorization": f"Bearer {key}"}


def _message(answer: bytes) -> str:
    """Return what the server says of an error, in any of the forms in which servers say it."""
    try:
        said = msgspec.json.decode(answer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = answer.decode("utf-8", "replace")
    for name in ("error", "message", "detail"):
        said = said.get(name, said) if isinstance(said, dict) else said
    text = said if isinstance(said, str) else str(said)
    return " ".join(text.split())[:300] or "nothing more"


def _cure(status: int) -> str:
    cures = {
        401: f" (set {KEY} to the key that the server was started with)",
        403: f" (set {KEY} to a key that may do this)",
        404: " (is server_kind right, and does the server hold a model of this kind?)",
        429: " (the server is overloaded)",
    }
    return cures.get(status, "")


def _seconds(text: str | None) -> float:
    try:
        return max(0.0, float(text or 0))
    except ValueError:
        return 0.0  # a date, which no model server sends
