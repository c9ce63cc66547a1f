"""Asking a sandbox server until it answers: what is tried again, how often, and what it is called when it fails.

Trying again may run a program twice; a program leaves nothing behind, so only time is lost.
"""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from rewardkit.errors import ConfigError, SandboxError, SandboxUnavailableError
from rewardkit_sandbox.connections import Connections

_TRIES = 4
_LONGEST_PAUSE_S = 5.0

T = TypeVar("T")


class BusyError(SandboxError):
    """The server has no worker to spare at the moment."""


class Client:
    """Asks one server, `workers` times at once at most.

    A request that fails is sent again with growing pauses, four times in all; one that is not answered in time counts
    twice. A server that says it is busy (429, 503) is asked for `patience` seconds.
    """

    def __init__(self, url: str, *, token: str | None, workers: int, patience: float) -> None:
        self._connections = Connections(url, limit=workers, token=token)
        self._patience = patience
        self._closed = threading.Event()
        self.url = self._connections.url

    def ask(
        self, method: str, path: str, read: Callable[[int, bytes], T], *, seconds: float, body: bytes | None = None
    ) -> T:
        """Return what `read` makes of the status and the body of the answer, which may take `seconds`.

        `read` raises BusyError, ValueError or SandboxError for answers that should be asked for again. Raises
        SandboxUnavailableError when nothing answers, SandboxError when it fails otherwise, ConfigError when the server
        refuses the request.
        """
        failures, busy_since, pause = 0, time.monotonic(), 0.1
        while not self._closed.is_set():
            try:
                status, answer = self._connections.ask(method, path, body, seconds=seconds)
                return read(status, answer)
            except ConfigError:
                raise
            except BusyError as error:
                problem: Exception = error
            except (OSError, http.client.HTTPException, ValueError, SandboxError) as error:
                if isinstance(error, SandboxUnavailableError):
                    raise
                problem = error
                failures += 2 if isinstance(error, TimeoutError) else 1
            if failures >= _TRIES or time.monotonic() - busy_since > self._patience:
                raise self._failure(problem) from problem
            self._closed.wait(pause * random.uniform(0.5, 1.5))  # noqa: S311  # spreads clients, guards nothing
            pause = min(2 * pause, _LONGEST_PAUSE_S)
        raise SandboxError(f"the sandbox server {self.url} is not asked any more: the sandbox was closed")

    def close(self) -> None:
        """Stop asking; requests under way fail. Idempotent."""
        self._closed.set()
        self._connections.close()

    def _failure(self, problem: Exception) -> SandboxError:
        said = str(problem) or type(problem).__name__
        if isinstance(problem, OSError) and not isinstance(problem, TimeoutError):
            return SandboxUnavailableError(
                f"no sandbox server answers at {self.url} ({said}): start one there with `rewardkit sandbox serve`, "
                "or correct the url"
            )
        return SandboxError(f"the sandbox server {self.url} failed: {said}")


def check_status(status: int, body: bytes, *, url: str) -> None:
    """Return if an answer is one (200); raises what fits any other status."""
    if status == 200:
        return
    said = f"HTTP {status}: {_detail(body)}"
    if status in (429, 503):
        raise BusyError(said)
    if status >= 500 or status == 408:
        raise SandboxError(said)
    if status in (401, 403):
        raise SandboxUnavailableError(
            f"the sandbox server {url} refuses the token ({said}): set token= or REWARDKIT_SANDBOX_TOKEN to its token"
        )
    if status in (404, 405):
        raise SandboxUnavailableError(f"there is no sandbox server at {url} ({said}): correct the url")
    raise ConfigError(f"the sandbox server {url} refuses the program ({said})")


def _detail(body: bytes) -> str:
    """Return what an error's body says, shortened; FastAPI and our server put it in `detail`."""
    text = body.decode("utf-8", "replace")
    try:
        text = str(json.loads(text)["detail"])
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    return text.strip()[:500]
