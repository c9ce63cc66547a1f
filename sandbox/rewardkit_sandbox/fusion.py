"""SandboxFusion's `POST /run_code`, both sides: what it asks and answers, as `Program` and `Execution`.

The names are those of `sandbox/server/sandbox_api.py` in github.com/bytedance/SandboxFusion. What the protocol cannot
say: peers, inputs, argv, env, bytes that are no UTF-8, and limits other than wall clock and memory. Nothing here does
HTTP. Our own servers add `limit` and `truncated` to a `run_result`; others ignore them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, cast, get_args

from rewardkit.errors import ConfigError, SandboxError
from rewardkit.programs import Execution, LimitName, Limits, Phase, Program

_CAPTURE = 2**20  # SandboxFusion silently drops what a stream has beyond this
_KILLED = -9
_OURS = {"nodejs": "javascript", "js": "javascript"}  # their names of languages to ours; the others agree
_THEIRS = {"javascript": "nodejs", "sh": "bash"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCode:
    """The body of `POST /run_code`; `memory_limit_MB` -1 stands for no limit of the caller's."""

    code: str
    language: str
    stdin: str | None = None
    files: dict[str, bytes | None] = field(default_factory=dict)
    fetch_files: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    compile_timeout: float = 10.0
    run_timeout: float = 10.0
    memory_limit_MB: float = -1  # noqa: N815  # the protocol's name


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandResult:
    """How the compiler or the program ended."""

    status: Literal["Finished", "Error", "TimeLimitExceeded"]
    execution_time: float | None = None
    cpu_time: float | None = None
    return_code: int | None = None
    stdout: str | None = None
    stderr: str | None = None
    limit: str | None = None
    truncated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCodeAnswer:
    """The body of the answer."""

    status: Literal["Success", "Failed", "SandboxError"]
    message: str = ""
    compile_result: CommandResult | None = None
    run_result: CommandResult | None = None
    executor_pod_name: str | None = None
    files: dict[str, bytes] = field(default_factory=dict)


def program_of(asked: RunCode, ceiling: Limits) -> Program:
    """Return the program that a client asks for; raises ConfigError above `ceiling`.

    The caller sets wall clock and memory; all else may be used up to `ceiling`. A file without content is left out.
    """
    memory = int(asked.memory_limit_MB) if asked.memory_limit_MB >= 1 else ceiling.memory_mb
    return Program(
        code=asked.code,
        language=_OURS.get(asked.language, asked.language),
        argv=asked.args,
        stdin=(asked.stdin or "").encode("utf-8", "replace"),
        files={path: content for path, content in asked.files.items() if content is not None},
        fetch=asked.fetch_files,
        limits=allowed(replace(ceiling, wall_s=asked.run_timeout, memory_mb=memory), ceiling),
    )


def allowed(limits: Limits, ceiling: Limits) -> Limits:
    """Return `limits`; raises ConfigError if one of them is above `ceiling`."""
    for name in Limits.__slots__:
        asked, most = getattr(limits, name), getattr(ceiling, name)
        if asked > most:
            raise ConfigError(
                f"the limit {name}={asked:g} is above this server's {most:g}: ask for less, or start the server with "
                f"--limit {name}={asked:g}"
            )
    return limits


def answer_of(execution: Execution) -> RunCodeAnswer:
    """Return what a client of SandboxFusion is told about `execution`. Bytes that are no UTF-8 become U+FFFD."""
    late = execution.limit in ("wall_s", "cpu_s")
    ended = CommandResult(
        status="TimeLimitExceeded" if late else "Finished",
        execution_time=execution.wall_s,
        cpu_time=execution.cpu_s,
        return_code=None if late else execution.exit_code or (0 if execution.limit is None else _KILLED),
        stdout=execution.stdout.decode("utf-8", "replace"),
        stderr=execution.stderr.decode("utf-8", "replace"),
        limit=execution.limit,
        truncated=execution.truncated,
    )
    compiling = execution.phase == "compile"
    return RunCodeAnswer(
        status="Success" if execution.ok and not compiling else "Failed",
        compile_result=ended if compiling else None,
        run_result=None if compiling else ended,
        files=dict(execution.files),
    )


def request_of(program: Program, limits: Limits) -> RunCode:
    """Return what to ask a SandboxFusion server for; raises ConfigError for what its protocol cannot say."""
    lacking = {
        "a peer": program.peer is not None,
        "a command without code": program.code is None,
        "argv": bool(program.argv),
        "env": bool(program.env),
        "fetch '*'": "*" in program.fetch,
        "standard input that is no UTF-8": not _is_utf8(program.stdin),
    }
    if missing := [name for name, asked in lacking.items() if asked]:
        raise ConfigError(
            f"a SandboxFusion server cannot run a program with {missing[0]}: "
            "use `rewardkit sandbox serve` there, or another sandbox"
        )
    return RunCode(
        code=(program.code or "").encode("utf-8", "replace").decode(),
        language=_THEIRS.get(program.language, program.language),
        stdin=program.stdin.decode(),
        files=dict(program.files),
        fetch_files=program.fetch,
        compile_timeout=limits.wall_s,
        run_timeout=limits.wall_s,
        memory_limit_MB=int(limits.memory_mb),
    )


def execution_of(answer: RunCodeAnswer, limits: Limits) -> Execution:
    """Return how the program ended; raises SandboxError where the server failed, not the program.

    Output is cut at `output_kb` here, as the protocol has no such limit. There is no word of memory used, nor, from
    older servers, of CPU time.
    """
    compiled, ran = answer.compile_result, answer.run_result
    stages: list[tuple[Phase, CommandResult | None]] = [("compile", compiled), ("run", ran)]
    if answer.status == "SandboxError" or any(ended and ended.status == "Error" for _, ended in stages):
        raise SandboxError(f"the server's sandbox failed: {answer.message[:500]!r}")
    for phase, ended in stages:
        if ended is not None and (phase == "run" or ended.status != "Finished" or ended.return_code != 0):
            return _execution(ended, phase, answer.files, limits)
    raise SandboxError(f"the server answered {answer.status!r} without a run_result")


def _execution(ended: CommandResult, phase: Phase, files: dict[str, bytes], limits: Limits) -> Execution:
    late = ended.status == "TimeLimitExceeded"
    if not late and ended.return_code is None:
        raise SandboxError("the server answered 'Finished' without a return_code")
    stdout, stderr = ((text or "").encode("utf-8", "surrogatepass") for text in (ended.stdout, ended.stderr))
    most = int(limits.output_kb * 1024)
    flooded = max(len(stdout), len(stderr)) > most
    limit = ended.limit if ended.limit in get_args(LimitName) else "wall_s" if late else None
    return Execution(
        exit_code=_KILLED if ended.return_code is None else ended.return_code,
        limit=cast("LimitName | None", limit or ("output_kb" if flooded else None)),
        phase=phase,
        stdout=stdout[:most],
        stderr=stderr[:most],
        truncated=ended.truncated or flooded or _CAPTURE in (len(stdout), len(stderr)),
        files=files,
        wall_s=ended.execution_time or 0.0,
        cpu_s=ended.cpu_time or 0.0,
    )


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
