"""What an attack is: programs that try to get out, and a judgement of what came back.

The attacks are in the modules beside this one; who runs them, and what is looked for after each, is `check`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rewardkit.programs import Execution, LimitName, Limits, Program

Group = Literal["contract", "network", "files", "escape", "resources", "leftovers", "contamination", "forging"]
Judgement = Callable[[Sequence[Execution]], str | None]

LIMITS = Limits(
    wall_s=6.0, cpu_s=4.0, memory_mb=256, processes=48, disk_mb=16, files=512, output_kb=256
)  # of every attack that does not say otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One attack: `programs` run one after the other, then `held` says what got through, or None.

    Python code that is not `bare` gets `prelude.PRELUDE` before it and what it must know of the host (`Ground.facts`)
    as its last argument. Wherever a program says `@SECRET@` a fresh secret stands instead, which no execution may bring
    back.
    """

    name: str
    group: Group
    summary: str
    programs: tuple[Program, ...]
    held: Judgement
    bare: bool = False


def attack(name: str, group: Group, summary: str, *codes: str, held: Judgement | None = None, **fields: Any) -> Attack:
    """Return an attack by programs in Python, each with these `fields` of Program; by default none may report."""
    fields.setdefault("limits", LIMITS)
    programs = tuple(Program(code=code, **fields) for code in codes)
    return Attack(name=name, group=group, summary=summary, programs=programs, held=held or nothing_reported)


def report(execution: Execution) -> dict[str, Any]:
    """Return what an attack printed on its last line: way in to what came of it; raises ValueError without one."""
    try:
        found = json.loads(execution.stdout.rstrip().rpartition(b"\n")[2])
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"it did not report: {ending(execution)}")
    return found


def nothing_reported(executions: Sequence[Execution]) -> str | None:
    """Hold that every program ran to its end and that no way in worked; names that start with "_" are remarks."""
    try:
        reports = [report(execution) for execution in executions]
    except ValueError as problem:
        return str(problem)
    found = [f"{way}: {what}" for each in reports for way, what in each.items() if not way.startswith("_")]
    return "; ".join(found) or None


def at_most(bounds: dict[str, float]) -> Judgement:
    """Hold that the last number which the program reported under each name is within its bound.

    A program that ends early counts as far as it got: each line of its output is such a report.
    """

    def held(executions: Sequence[Execution]) -> str | None:
        reached: dict[str, float] = {}
        for execution in executions:
            for line in execution.stdout.splitlines():
                if line.startswith(b"{") and line.endswith(b"}"):
                    reached |= json.loads(line)
        if not reached:
            return f"it did not report: {ending(executions[-1])}"
        over = [
            f"{name} {reached[name]:g}, allowed {top:g}" for name, top in bounds.items() if reached.get(name, 0) > top
        ]
        return "; ".join(over) or None

    return held


def stopped_by(limit: LimitName, *, within: float) -> Judgement:
    """Hold that the sandbox ended the program for `limit`, in at most `within` seconds by its own account."""

    def held(executions: Sequence[Execution]) -> str | None:
        for execution in executions:
            if execution.limit != limit:
                return f"the limit {limit} did not end it: {ending(execution)}"
            if execution.wall_s > within:
                return f"it ran {execution.wall_s:.1f} s, allowed {within:g}"
        return None

    return held


def every(*judgements: Judgement) -> Judgement:
    """Hold that all the judgements hold; the first that does not is told."""

    def held(executions: Sequence[Execution]) -> str | None:
        return next((problem for judge in judgements if (problem := judge(executions))), None)

    return held


def ending(execution: Execution) -> str:
    """Return in a few words how a program ended."""
    last = execution.stderr.decode(errors="replace").strip().rpartition("\n")[2][:200]
    limit = f", limit {execution.limit}" if execution.limit else ""
    return f"exit code {execution.exit_code}{limit}" + (f", {last}" if last else "")
