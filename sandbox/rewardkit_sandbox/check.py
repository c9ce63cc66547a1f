"""Attack a sandbox and ask whether it keeps its contract: what `rewardkit sandbox check` and the contract tests run.

What is tried is `attacks` and `promises`. A sandbox with one worker is attacked best: the next program then meets what
the one before left. A whole check takes about 30 seconds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rewardkit.errors import ConfigError, RewardkitError, SandboxError
from rewardkit.programs import Execution, Limits, Program
from rewardkit.protocols import Sandbox
from rewardkit.registry import did_you_mean
from rewardkit_sandbox.attacks import ATTACKS, Attack, Ground, Group
from rewardkit_sandbox.attacks.model import ending
from rewardkit_sandbox.attacks.prelude import PROBE
from rewardkit_sandbox.promises import PROMISES, Promise, PromiseError

ITEMS: tuple[Attack | Promise, ...] = (*PROMISES, *ATTACKS)
GROUPS = tuple(dict.fromkeys(item.group for item in ITEMS))
_PROBE = Program(code=PROBE, limits=Limits(wall_s=10, cpu_s=5, memory_mb=256, processes=32, disk_mb=16, files=256))


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What came of one attack or promise: whether it `held`, in `detail` what got through, and how long it took."""

    name: str
    group: Group
    summary: str
    held: bool
    detail: str
    seconds: float


def check(sandbox: Sandbox, *, only: str | None = None) -> list[Finding]:
    """Attack `sandbox` and return a finding for each attack and promise, or for those of the group or name `only`.

    Raises ConfigError for an unknown `only`, SandboxUnavailableError when the sandbox cannot be had at all; whatever
    else the sandbox raises is a finding.
    """
    return list(findings(sandbox, only=only))


def findings(sandbox: Sandbox, *, only: str | None = None) -> Iterator[Finding]:
    """Yield what `check` returns, each finding as soon as it is there."""
    chosen = [item for item in ITEMS if only in (None, item.group, item.name)]
    if not chosen:
        hint = did_you_mean(str(only), [*GROUPS, *(item.name for item in ITEMS)])
        raise ConfigError(f"no attack or group is called {only!r}{hint} (groups: {', '.join(GROUPS)})")
    sandbox.identity()
    with Ground() as ground:
        usual = _probed(sandbox, ground)
        for item in chosen:
            started = time.monotonic()
            problem = _problem_with(sandbox, item, ground, usual)
            yield Finding(
                name=item.name,
                group=item.group,
                summary=item.summary,
                held=problem is None,
                detail=problem or "",
                seconds=time.monotonic() - started,
            )


def _problem_with(sandbox: Sandbox, item: Attack | Promise, ground: Ground, usual: dict[str, Any]) -> str | None:
    try:
        if isinstance(item, Attack):
            return _attacked(sandbox, item, ground, usual)
        item.keep(sandbox)
    except PromiseError as error:
        return str(error)
    except ConfigError:
        return None  # it refuses what it lacks, and runs nothing
    except (RewardkitError, OSError) as error:
        return f"the sandbox failed: {type(error).__name__}: {error}"
    return None


def _attacked(sandbox: Sandbox, item: Attack, ground: Ground, usual: dict[str, Any]) -> str | None:
    place = f"an earlier program of {item.name!r}"
    executions = [sandbox.run(p if item.bare else ground.arm(p, place)) for p in item.programs]
    problems = [item.held(executions), _seen(ground, executions), _difference(usual, _probed(sandbox, ground))]
    ground.sweep()
    return "; ".join(problem for problem in problems if problem) or None


def _seen(ground: Ground, executions: Sequence[Execution]) -> str | None:
    """Return what the host sees of an attack; processes get a moment to be gone."""
    deadline = time.monotonic() + 0.3
    while any(ground.processes()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return ground.traces(executions)


def _probed(sandbox: Sandbox, ground: Ground) -> dict[str, Any]:
    """Return what a program finds that looks around; raises SandboxError when it cannot even run."""
    execution = sandbox.run(ground.arm(_PROBE, "the probe"))
    try:
        found = json.loads(execution.stdout)
        return {"answer": found["answer"], **found}
    except (ValueError, TypeError, KeyError):
        raise SandboxError(f"a plain program does not run: {ending(execution)}") from None


def _difference(usual: dict[str, Any], found: dict[str, Any]) -> str | None:
    told = [f"{name} {found.get(name)!r:.120}" for name in usual if found.get(name) != usual[name]]
    return f"the next program finds another world: {', '.join(told)}" if told else None
