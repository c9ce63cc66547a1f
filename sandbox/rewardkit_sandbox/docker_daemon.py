"""A connection to the Docker daemon: every call is bounded in time, and what fails says what to do about it.

Which daemon is decided as the command line does it: `DOCKER_HOST`, else the current context. Not covered: what is
asked of it (`docker`, `docker_images`).
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

from rewardkit.errors import SandboxError, SandboxUnavailableError

if TYPE_CHECKING:
    from docker import APIClient

T = TypeVar("T")
_PAUSE_S = (0.1, 2.0)  # between attempts: the first, and the longest
_KNOCK_S = 5.0
_TROUBLE_S = 5.0  # a daemon that answers with errors of its own is starting or stopping for no longer than this


class Daemon:
    """The Docker daemon. Safe to use from several threads; connects at the first call.

    A call may take `timeout_s` seconds without a sign of life. A daemon that answered before and is away now may be
    restarting: calls then wait for it, `reconnect_s` seconds at most.
    """

    def __init__(self, *, timeout_s: int = 30, reconnect_s: float = 60.0) -> None:
        self._timeout_s = timeout_s
        self._reconnect_s = reconnect_s
        self._lock = threading.Lock()
        self._client: APIClient | None = None
        self._url = ""

    def call(self, attempt: Callable[[APIClient], T], *, wait: bool = True) -> T:
        """Return `attempt(client)`, made again while a daemon that was there before is away (not with `wait=False`).

        Raises SandboxUnavailableError when no daemon answers, and SandboxError with its words when it refuses.
        """
        if find_spec("docker") is None:
            raise SandboxUnavailableError(
                "the package 'docker' is not installed: pip install 'agentic-rewardkit[docker]'"
            )
        from docker.errors import APIError, DockerException
        from urllib3.exceptions import HTTPError

        began, pause = time.monotonic(), _PAUSE_S[0]
        patience = self._reconnect_s if wait and self._client is not None else 0.0
        while True:
            waited = time.monotonic() - began + pause
            try:
                return attempt(self._connected())
            except APIError as error:
                if (error.status_code or 0) < 500 or waited > min(patience, _TROUBLE_S):
                    raise SandboxError(f"the Docker daemon refuses: {error.explanation or error}") from error
            except (DockerException, HTTPError, OSError) as error:  # those of requests are OSErrors
                if waited > patience:
                    raise SandboxUnavailableError(_cure(error, self._url)) from error
            time.sleep(pause)
            pause = min(2 * pause, _PAUSE_S[1])

    def close(self) -> None:
        """Close the idle connections. Idempotent; the next call opens new ones."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _connected(self) -> APIClient:
        from docker import APIClient
        from docker.context import ContextAPI
        from docker.utils import kwargs_from_env

        with self._lock:
            if self._client is None:
                options: dict[str, Any] = {**kwargs_from_env()}
                if "base_url" not in options and (context := ContextAPI.get_current_context()) is not None:
                    options = {"base_url": context.Host, "tls": context.TLSConfig}
                self._url = options.get("base_url") or "unix:///var/run/docker.sock"
                _knock(self._url)
                self._client = APIClient(version="auto", timeout=self._timeout_s, **options)
        _knock(self._url)
        return self._client


def _knock(url: str) -> None:
    """Raise OSError when nobody listens at a local `url`: docker-py would say it less plainly and leak a socket."""
    scheme, _, path = url.partition("://")
    if scheme.endswith("unix"):
        with socket.socket(socket.AF_UNIX) as door:
            door.settimeout(_KNOCK_S)
            door.connect(f"/{path.lstrip('/')}")


def _cure(error: BaseException, url: str) -> str:
    """Say in one sentence why no daemon answers at `url`, and what to do."""
    causes = list(_chain(error))
    if any(isinstance(cause, PermissionError) for cause in causes):
        return (
            f"this user may not talk to the Docker daemon at {url}: add it to the group with "
            "'sudo usermod -aG docker $USER' and log in again"
        )
    if any(isinstance(cause, FileNotFoundError | ConnectionRefusedError) for cause in causes):
        return (
            f"no Docker daemon answers at {url}: start it ('sudo systemctl start docker', or 'dockerd' as root), "
            "install it ('apt-get install docker.io', or Docker Desktop), or set DOCKER_HOST"
        )
    return f"the Docker daemon at {url} does not answer ({error}): see 'docker info'"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
