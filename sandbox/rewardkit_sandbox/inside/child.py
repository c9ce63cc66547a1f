"""One copy behind its wall: takes its program, makes its files, and becomes it.

A program that runs once, and of whose files none is fetched, takes the place of this process ("direct"). Otherwise this
process stays: it starts the program once for each input, clears up after it and brings its files back ("runs").
"""

from __future__ import annotations

import atexit
import builtins
import gc
import linecache
import os
import resource
import signal
import socket
import sys
import traceback
import types
from typing import Any, NoReturn

from rewardkit_sandbox.inside import capture, frames, runs
from rewardkit_sandbox.inside.walls import WORK

_AS_MARGIN_MB = 256  # what an idle interpreter maps, several times over
_PATH = "/usr/local/bin:/usr/bin:/bin"
ENVIRONMENT = {"PATH": _PATH, "HOME": "/tmp", "TMPDIR": "/tmp", "LANG": "C.UTF-8", "TZ": "UTC"}
_COMPILED = "/tmp/main"
_LINK = 3  # the stream to a peer
_REHEARSAL = b"0"
# language: suffix of its source file, how it is compiled, how it is run; {} is the source.
LANGUAGES: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "bash": (".sh", (), ("bash", "{}")),
    "sh": (".sh", (), ("sh", "{}")),
    "javascript": (".js", (), ("node", "{}")),
    "c": (".c", ("gcc", "-O2", "-std=c17", "-o", _COMPILED, "{}", "-lm"), (_COMPILED,)),
    "cpp": (".cpp", ("g++", "-O2", "-std=c++20", "-o", _COMPILED, "{}"), (_COMPILED,)),
}


class Order:
    """A program as it reaches this process."""

    def __init__(self, header: dict[str, Any], payload: bytes) -> None:
        self.language: str = header["language"]
        self.argv: list[str] = header["argv"]
        self.env: dict[str, str] = header["env"]
        self.fetch: list[str] = header["fetch"]
        self.limits: dict[str, Any] = header["limits"]
        self.direct: bool = header["direct"]
        sizes = [header["code"] or 0, *(size for _, size in header["files"]), *header["inputs"]]
        code, *rest = frames.split(payload, sizes)
        self.code = None if header["code"] is None else code
        self.files = dict(zip([path for path, _ in header["files"]], rest))
        self.inputs = rest[len(self.files) :]
        self.compiled: types.CodeType | None = None

    @property
    def in_process(self) -> bool:
        """Whether this interpreter runs it."""
        return self.code is not None and self.language == "python"

    @property
    def source(self) -> str:
        """Where the source is for a run time that reads it from a file; "" where none does."""
        return "" if self.code is None or self.in_process else f"/tmp/main{LANGUAGES[self.language][0]}"

    @property
    def address_space(self) -> int:
        """How many bytes this interpreter may map for it."""
        return (int(self.limits["memory_mb"]) + _AS_MARGIN_MB) << 20

    def compiler(self) -> list[str]:
        """Return the command that compiles the code, if there is one."""
        return [] if self.code is None else [word.format(self.source) for word in LANGUAGES[self.language][1]]

    def command(self) -> list[str]:
        """Return the command that runs the program."""
        if self.code is None:
            return self.argv
        return [*(word.format(self.source) for word in LANGUAGES[self.language][2]), *self.argv]


def main(control: int) -> NoReturn:
    """Take one order from the supervisor and run it; never returns."""
    stream = socket.socket(fileno=control)
    first, descriptors, _, _ = socket.recv_fds(stream, 1 << 16, 4)
    stream.detach()
    if not first:
        os._exit(0)  # a spare that nobody needs
    order = Order(*frames.read(control, bytearray(first)))
    for link in descriptors:
        if link != _LINK:
            os.dup2(link, _LINK)
            os.close(link)
        os.set_inheritable(_LINK, True)
    write_files(order)
    if order.direct:
        _lower_limits(order)
        _run_once(order, control)
    _run_all(order, control)


def _run_once(order: Order, control: int) -> NoReturn:
    """Become the program."""
    frames.write(control, b"P")  # whatever happens from here on is the program's doing: its source may be an attack
    if order.in_process and (problem := compile_python(order)):
        frames.write(2, problem)
        frames.write(control, b"C")
        os._exit(1)
    frames.write(control, b"R")
    become(order, control)


def _run_all(order: Order, control: int) -> NoReturn:
    """Start the program once for each of its inputs."""
    runner = runs.Runner(control, order.limits)
    if order.in_process:
        runner.tell("compile")
        before = resource.getrlimit(resource.RLIMIT_AS)
        _limit(resource.RLIMIT_AS, order.address_space, for_good=False)
        if problem := compile_python(order):
            runner.refuse(problem)
        resource.setrlimit(resource.RLIMIT_AS, before)
        runner.tell("run")
    elif compiler := order.compiler():
        job = runner.run(lambda: _become_run(order, compiler), b"")
        if job.outcome["exit"] or job.limit:
            runner.send("compile", job, {})
            os._exit(1)
    compiled = _stamp(order)
    keep = {_COMPILED, order.source} if compiled else {order.source}
    for number, content in enumerate(order.inputs):
        if number:
            if runner.is_enough():
                break
            try:
                if _stamp(order) != compiled:
                    break
                runs.clear(keep)
                os.mkdir(WORK, 0o700)
                os.chdir(WORK)
                write_files(order)
            except (OSError, RecursionError):
                break  # the inputs that are left get a place of their own
        job = runner.run(lambda: _become_run(order), content)
        runner.send("run", job, runs.fetch(order.fetch, int(order.limits["disk_mb"]) << 20))
    os._exit(0)


def _become_run(order: Order, command: list[str] | None = None) -> NoReturn:
    """Become one run of the program, or its compiler; this process alone has the limits, not the one that watches."""
    _lower_limits(order)
    if command:
        _replace(command, order)
    become(order)


def _stamp(order: Order) -> tuple[int, ...]:
    """Return what another file than the compiled program does not have; nothing where none was compiled."""
    if order.in_process or not order.compiler():
        return ()
    found = os.stat(_COMPILED)
    return found.st_ino, found.st_size, found.st_ctime_ns


def write_files(order: Order) -> None:
    """Put the order's files into the current directory, and its source where its run time looks for it."""
    if order.source and order.code is not None:
        with open(order.source, "wb") as file:
            file.write(order.code)
    for path, content in order.files.items():
        if folder := os.path.dirname(path):
            os.makedirs(folder, exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
        if content[:2] == b"#!" or content[:4] == b"\x7fELF":
            os.chmod(path, 0o700)


def become(order: Order, control: int | None = None) -> NoReturn:
    """Turn this process into the program, which says on `control` that it has ended; never returns."""
    if order.compiled is None:
        _replace(order.command(), order)
    os.environ.update(order.env)
    status = 1
    try:
        status = _execute(order.compiled, order.argv, reseed=b"random" in (order.code or b""))
        if control is not None and os.getpid() == 1:  # and not a fork of the program that came here, too
            usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
            cpu_s, peak_kb = sum(u.ru_utime + u.ru_stime for u in usage), max(u.ru_maxrss for u in usage)
            socket.socket(fileno=control).sendall(capture.claim(status, cpu_s, peak_kb))
    finally:  # the program may have closed what it did not know, or opened something else in its place
        os._exit(status)


def rehearse() -> None:
    """Take a first order that leads to nothing, so that the pages it touches are this copy's own before a real one."""
    header = {"language": "python", "argv": [], "env": {}, "fetch": [], "limits": {}, "direct": True}
    rest = {"code": len(_REHEARSAL), "files": [], "inputs": []}
    order = Order(*frames.unpack(bytearray(frames.pack({**header, **rest}, _REHEARSAL))) or ({}, b""))
    compile_python(order)


def _replace(command: list[str], order: Order) -> NoReturn:
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(command[0], command, {**ENVIRONMENT, **order.env})
    except (OSError, ValueError) as error:
        frames.write(2, f"{command[0]}: {error}\n".encode("utf-8", "backslashreplace"))
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def compile_python(order: Order) -> bytes:
    """Compile the order's code; returns what is wrong with it, or nothing."""
    try:
        order.compiled = compile(order.code or b"", "main.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        text = "".join(traceback.format_exception_only(type(error), error))
        return text.encode("utf-8", "backslashreplace")
    return b""


def _execute(compiled: types.CodeType, argv: list[str], *, reseed: bool) -> int:
    """Run compiled code as `__main__`, end as an interpreter would, and return the exit status."""
    if reseed:
        import random

        random.seed()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv[:] = ["main.py", *argv]
    sys.path.insert(0, os.getcwd())
    module = types.ModuleType("__main__")
    namespace = module.__dict__
    namespace["__builtins__"] = builtins
    namespace["__file__"] = "main.py"
    sys.modules["__main__"] = module
    status = 0
    try:
        exec(compiled, namespace)
    except SystemExit as error:
        status = _status_of(error)
    except BaseException as error:
        status = 1
        _print_error(error)
    return _end(status, namespace)


def _end(status: int, namespace: dict[str, Any]) -> int:
    """Do what the interpreter does at its end: threads, exit functions, open files, buffers."""
    try:
        threading = sys.modules.get("threading")
        if threading is not None:
            threading._shutdown()
        atexit._run_exitfuncs()
        namespace.clear()
        gc.collect()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException as error:
        _print_error(error)
        return status or 120
    return status


def _status_of(error: SystemExit) -> int:
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    try:
        sys.stderr.write(f"{error.code}\n")
    except BaseException:
        return 1
    return 1


def _print_error(error: BaseException) -> None:
    try:
        hook = sys.excepthook
        own = error.__traceback__.tb_next if error.__traceback__ else None
        if hook is sys.__excepthook__:
            linecache.checkcache("main.py")
            traceback.print_exception(type(error), error, own, file=sys.stderr)
        else:
            hook(type(error), error, own)
        sys.stderr.flush()
    except BaseException:
        return


def _lower_limits(order: Order) -> None:
    """Lower the ceilings of the process that becomes the program to the program's own limits."""
    _limit(resource.RLIMIT_CPU, max(1, round(order.limits["cpu_s"] + 0.499)))
    _limit(resource.RLIMIT_NPROC, int(order.limits["processes"]))
    if order.in_process:  # other run times reserve far more address space than they use
        _limit(resource.RLIMIT_AS, order.address_space)


def _limit(kind: int, value: int, *, for_good: bool = True) -> None:
    """Lower one limit; `for_good`, so that it cannot be raised again."""
    hard = resource.getrlimit(kind)[1]
    lower = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (lower, lower if for_good else hard))
