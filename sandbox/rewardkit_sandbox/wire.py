"""The host's side of a worker's stream: programs out, executions in; what comes back is trusted in nothing."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, replace
from functools import lru_cache
from typing import Any, Protocol

from rewardkit.errors import ConfigError, SandboxUnavailableError
from rewardkit.programs import Execution, Limits, Program
from rewardkit_sandbox.inside import frames

_START_S = 60.0
_SLACK_S = 15.0  # what a worker may be late with an answer before it counts as broken
_REPORT_BYTES = 1 << 20  # of headers


class TransportError(Exception):
    """The stream to a worker broke, or it does not answer: the worker has to go, the program may be run again."""


class BrokenWorkerError(TransportError):
    """The worker itself says that it cannot go on, and why."""


class Transport(Protocol):
    """The byte stream to one worker. Deadlines are `time.monotonic()` seconds."""

    def send(self, payload: bytes, *, deadline: float) -> None:
        """Send all of it; raises TransportError."""
        ...

    def receive(self, size: int, *, deadline: float) -> bytes:
        """Return exactly `size` bytes; raises TransportError."""
        ...

    def kill(self) -> None:
        """End the worker and all in it, and wait (for a bounded time) until it is gone. Idempotent."""
        ...


def boot(transport: Transport, message: bytes) -> dict[str, Any]:
    """Send a worker its modules and return what it says of itself.

    Raises SandboxUnavailableError when it says that no wall can be built here, TransportError for anything else.
    """
    deadline = time.monotonic() + _START_S
    transport.send(message, deadline=deadline)
    try:
        header, _ = _receive(transport, deadline, _REPORT_BYTES)
    except BrokenWorkerError as error:
        raise SandboxUnavailableError(str(error)) from error
    return dict(_expect(header, "hello", dict))


def run(transport: Transport, program: Program, ceiling: Limits) -> Execution:
    """Run one program on a worker; raises TransportError when the worker has to be replaced."""
    pair = [program] if program.peer is None else [program, program.peer]
    orders = [_order(p, ceiling) for p in pair]
    if len(pair) > 1 and not all(header["direct"] for header, _ in orders):
        raise ConfigError("a program with a peer, and its peer, cannot be compiled ones or have files fetched")
    header = {"ceilings": _ceilings(orders[0][0]["limits"], ceiling), "programs": [h for h, _ in orders]}
    limits = [h["limits"] for h, _ in orders]
    size = sum(2 * int(limit["output_kb"] * 1024) + (limit["disk_mb"] << 20) for limit in limits) + _REPORT_BYTES
    wall = max(limit["wall_s"] for limit in limits)
    transport.send(frames.pack(header, *(part for _, part in orders)), deadline=time.monotonic() + _SLACK_S)
    if not orders[0][0]["direct"]:
        return _collect(transport, program, ceiling, wall=wall, size=size)
    reply, payload = _receive(transport, time.monotonic() + wall + _SLACK_S, size)
    reports = _expect(reply, "done", list)
    if len(reports) != len(pair):
        raise TransportError("a worker reported on the wrong number of programs")
    parts = frames.split(payload, [n for r in reports for n in (r["out"], r["err"])])
    ended = [_execution(r, parts[2 * n : 2 * n + 2]) for n, r in enumerate(reports)]
    return ended[0] if len(ended) == 1 else replace(ended[0], peer=ended[1])


def _collect(transport: Transport, program: Program, ceiling: Limits, *, wall: float, size: int) -> Execution:
    """Receive the runs of a program until it is done, or has been told that it is enough."""
    runs: list[Execution] = []
    told = False
    while True:
        reply, payload = _receive(transport, time.monotonic() + wall + _SLACK_S, size)
        if "done" in reply:
            break
        report = _expect(reply, "run", dict)
        out, err, *contents = frames.split(payload, [report["out"], report["err"], *(n for _, n in report["files"])])
        files = dict(zip((path for path, _ in report["files"]), contents, strict=True))
        if told:
            continue
        runs.append(replace(_execution(report, [out, err]), files=files, phase=report["phase"]))
        if program.stop is not None and len(runs) < len(program.inputs) and program.stop(runs[-1]):
            told = True
            transport.send(frames.pack({"enough": True}), deadline=time.monotonic() + _SLACK_S)
    if not runs:
        raise TransportError("a worker reported no run")
    if told or runs[-1].phase == "compile" or len(runs) >= len(program.inputs):
        return replace(runs[-1], runs=tuple(runs)) if program.inputs else runs[-1]
    rest = run(transport, replace(program, inputs=program.inputs[len(runs) :]), ceiling)
    return replace(rest, runs=(*runs, *rest.runs))


def _order(program: Program, ceiling: Limits) -> tuple[dict[str, Any], bytes]:
    """Return what the supervisor needs to know of a program, and what only the program's own child reads."""
    limits = _allowed(program.limits or ceiling, ceiling)
    runs = len(program.inputs) or 1
    compiled = program.code is not None and program.language in ("c", "cpp")
    direct = not program.inputs and not program.fetch and not compiled
    code = None if program.code is None else program.code.encode("utf-8", "surrogatepass")
    inputs = [] if direct else list(program.inputs or [program.stdin])
    order = frames.pack(
        {
            "language": program.language,
            "argv": list(program.argv),
            "env": dict(program.env),
            "fetch": list(program.fetch),
            "limits": limits,
            "direct": direct,
            "code": None if code is None else len(code),
            "files": [[path, len(content)] for path, content in program.files.items()],
            "inputs": [len(content) for content in inputs],
        },
        code or b"",
        *program.files.values(),
        *inputs,
    )
    stdin = program.stdin if direct else b""
    header = {"limits": limits, "direct": direct, "runs": runs, "order": len(order), "stdin": len(stdin)}
    return header, order + stdin


@lru_cache(maxsize=64)
def _allowed(limits: Limits, ceiling: Limits) -> dict[str, Any]:
    return asdict(limits.within(ceiling))


def _ceilings(limits: dict[str, Any], ceiling: Limits) -> dict[str, Any]:
    return {"disk_mb": limits["disk_mb"], "files": limits["files"], "processes": ceiling.processes}


def _receive(transport: Transport, deadline: float, most: int) -> tuple[dict[str, Any], bytes]:
    first, second = frames.lengths(transport.receive(frames.PREFIX, deadline=deadline))
    if first > _REPORT_BYTES or second > most:
        raise TransportError(f"a worker announced {first + second} bytes")
    try:
        header = json.loads(transport.receive(first, deadline=deadline))
    except ValueError as error:
        raise TransportError(f"a worker's answer cannot be read: {error}") from error
    if not isinstance(header, dict):
        raise TransportError("a worker's answer is no object")
    payload = transport.receive(second, deadline=deadline) if second else b""
    if "error" in header:
        raise BrokenWorkerError(str(header["error"]))
    return header, payload


def _expect(header: dict[str, Any], key: str, kind: type[Any]) -> Any:
    if not isinstance(header.get(key), kind):
        raise TransportError(f"a worker's answer lacks {key!r}")
    return header[key]


def _execution(report: dict[str, Any], output: list[bytes]) -> Execution:
    mark = report.get("mark", "R")
    if mark not in ("P", "C", "R") and report["limit"] is None and not report["stopped"]:
        raise TransportError(f"a program did not get as far as running (exit status {report['exit']})")
    return Execution(
        exit_code=report["exit"],
        limit=report["limit"],
        phase="run" if mark == "R" else "compile",
        stdout=output[0],
        stderr=output[1],
        truncated=report["truncated"],
        wall_s=report["wall"],
        cpu_s=report["cpu"],
        memory_mb=report["memory"],
    )
