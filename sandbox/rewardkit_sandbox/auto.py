"""The sandbox `auto`: docker where a daemon answers, else namespace, else a refusal that says what to do for each."""

from __future__ import annotations

import logging
from typing import Any

from rewardkit.errors import MissingExtraError, SandboxUnavailableError
from rewardkit.programs import Limits
from rewardkit_sandbox.pool import WarmSandbox

_log = logging.getLogger("rewardkit.sandbox")


def open_sandbox(*, workers: int | None = None, limits: Limits | None = None, recycle_after: int = 5000) -> WarmSandbox:
    """Return the best sandbox that works here, and log which; raises SandboxUnavailableError when none does.

    The options are those that all of them have.
    """
    from rewardkit_sandbox.namespace import NamespaceSandbox

    problems = []
    for make in (_docker, NamespaceSandbox):
        try:
            sandbox = make(workers=workers, limits=limits, recycle_after=recycle_after)
            identity = sandbox.identity()
        except (SandboxUnavailableError, MissingExtraError) as error:
            problems.append(str(error))
            continue
        _log.info("sandbox 'auto' is %s", identity)
        return sandbox
    raise SandboxUnavailableError("no sandbox works here: " + "; ".join(problems))


def _docker(**options: Any) -> WarmSandbox:
    try:
        from rewardkit_sandbox.docker import DockerSandbox
    except ModuleNotFoundError as error:
        cure = "pip install 'agentic-rewardkit[docker]'"
        raise MissingExtraError(f"sandbox 'docker' needs {error.name!r}: {cure}") from error
    return DockerSandbox(**options)
