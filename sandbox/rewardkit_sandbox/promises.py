"""What every sandbox promises of plain programs (`rewardkit.programs`, `protocols.Sandbox`), as checks by name.

That programs which mean harm are held is `attacks`. The checks run on their own too: `rewardkit_sandbox.testing`.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from rewardkit.errors import ConfigError
from rewardkit.programs import Execution, Limits, Program
from rewardkit.protocols import Sandbox
from rewardkit_sandbox.attacks.model import Group, ending

_LIMITS = Limits(wall_s=8, cpu_s=4, memory_mb=256, processes=32, disk_mb=16, files=256, output_kb=256)
_REFUSED = ("processes", "disk_mb")  # what the kernel may answer with an error, which the program lives to see


class PromiseError(AssertionError):
    """A promise is not kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """One promise: `keep` raises PromiseError when the sandbox does not keep it."""

    name: str
    summary: str
    keep: Callable[[Sandbox], None]
    group: Group = "contract"


def python(code: str, **fields: Any) -> Program:
    """Return a program in Python with small limits."""
    limits = replace(_LIMITS, **fields.pop("limits", {}))
    return Program(code=code, limits=limits, **fields)


def expect(found: object, wanted: object, what: str) -> None:
    """Require that `found` is `wanted`."""
    if found != wanted:
        raise PromiseError(f"{what}: {found!r:.200} instead of {wanted!r:.200}")


def said(execution: Execution) -> Any:
    """Return what the program printed as JSON."""
    try:
        return json.loads(execution.stdout)
    except ValueError:
        raise PromiseError(f"it printed {execution.stdout!r:.100} ({ending(execution)})") from None


def _ends(sandbox: Sandbox) -> None:
    """Exit codes come back, from sys.exit, os._exit, and an exception."""
    for code, wanted in (
        ("", 0),
        ("raise SystemExit(7)", 7),
        ("import os; os._exit(9)", 9),
        ("1 / 0", 1),
        ("import sys; sys.exit('words')", 1),
        ("def", 1),
    ):
        execution = sandbox.run(python(code))
        expect(
            (execution.exit_code, execution.limit, execution.ok), (wanted, None, wanted == 0), f"the end of {code!r}"
        )
    expect(b"ZeroDivisionError" in sandbox.run(python("1 / 0")).stderr, True, "the traceback on stderr")


def _signals(sandbox: Sandbox) -> None:
    """A program that crashes has minus the signal's number for an exit code, and what it had printed is there."""
    crash = "import ctypes, sys; print('before'); sys.stdout.flush(); ctypes.string_at(0)"
    execution = sandbox.run(python(crash))
    expect((execution.exit_code, execution.limit, execution.stdout), (-11, None, b"before\n"), "the end by a wild read")
    aborted = sandbox.run(python("import os; os.abort()")).exit_code  # the first process of a namespace cannot have -6
    expect(aborted < 0, True, f"whether the exit code of abort, {aborted}, is negative")


def _streams(sandbox: Sandbox) -> None:
    """Standard input arrives whole; stdout and stderr come back whole and apart, every byte."""
    every_byte = bytes(range(256)) * 64
    code = (
        "import sys; text = sys.stdin.buffer.read(); sys.stdout.buffer.write(text); sys.stderr.buffer.write(text[::-1])"
    )
    execution = sandbox.run(python(code, stdin=every_byte))
    expect((execution.stdout, execution.stderr), (every_byte, every_byte[::-1]), "the streams")
    expect(execution.truncated, False, "truncated")
    expect(sandbox.run(python("print(input())", stdin=b"one\ntwo")).stdout, b"one\n", "a line of input")
    expect(sandbox.run(python("print(repr(open(0).read()))")).stdout, b"''\n", "input when there is none")


def _unicode(sandbox: Sandbox) -> None:
    """Code, arguments, environment, file names and output are UTF-8, whatever the machine's locale is."""
    code = "import os, sys; print('ä→🙂', sys.argv[1], os.environ['NAME'], open('é.txt', encoding='utf-8').read())"
    execution = sandbox.run(python(code, argv=("ß",), env={"NAME": "日本"}, files={"é.txt": "ñ".encode()}))
    expect(execution.stdout.decode(errors="replace"), "ä→🙂 ß 日本 ñ\n", "the text")


def _arguments(sandbox: Sandbox) -> None:
    """Arguments follow the program's name, also empty ones and those with blanks, quotes and line ends."""
    given = ("a b", "", "'\"$HOME`", "line\nend", "-v")
    found = said(sandbox.run(python("import json, sys; print(json.dumps(sys.argv[1:]))", argv=given)))
    expect(tuple(found), given, "the arguments")


def _environment(sandbox: Sandbox) -> None:
    """The environment given is added, and stays with that program."""
    code = "import os; print(os.environ.get('GIVEN'))"
    expect(sandbox.run(python(code, env={"GIVEN": "x=y z"})).stdout, b"x=y z\n", "the variable")
    expect(sandbox.run(python(code)).stdout, b"None\n", "the variable in the next program")


def _main(sandbox: Sandbox) -> None:
    """Python code runs as the main module, with what a program of its own has."""
    code = (
        "import sys, pickle\nclass A: pass\nassert __name__ == '__main__' and sys.modules['__main__'].A is A\n"
        "pickle.loads(pickle.dumps(A()))\nexec(compile('x = 1', '<string>', 'exec'))\nprint(x, [y for y in [x]])"
    )
    expect(sandbox.run(python(code)).stdout, b"1 [1]\n", "what it printed")


def _commands(sandbox: Sandbox) -> None:
    """A command without code runs; one that is not there, or a script that cannot be run, ends with 126 or 127."""
    script = {"run.sh": b'#!/bin/sh\nread line\necho "$line"\necho "$1"\n'}
    execution = sandbox.run(Program(argv=("./run.sh", "x"), files=script, stdin=b"in\n", limits=_LIMITS))
    expect((execution.stdout, execution.exit_code), (b"in\nx\n", 0), "the script")
    missing = sandbox.run(Program(argv=("no-such-command",), limits=_LIMITS))
    expect(missing.exit_code, 127, "the exit code of a command that is not there")


def _files(sandbox: Sandbox) -> None:
    """Files go in and come back: nested, binary, empty; what is not fetched stays, what is not there is left out."""
    code = (
        "import os\nbinary = open('a/b/in.bin', 'rb').read()\nos.makedirs('out/deep')\n"
        "open('out/deep/x.bin', 'wb').write(binary[::-1])\nopen('empty', 'w')\nopen('other', 'w').write('no')"
    )
    binary = bytes(range(256)) * 1000
    fetch = ("out/deep/x.bin", "empty", "missing")
    execution = sandbox.run(python(code, files={"a/b/in.bin": binary}, fetch=fetch))
    expect(dict(execution.files), {"out/deep/x.bin": binary[::-1], "empty": b""}, "the files")
    expect(dict(sandbox.run(python("open('x', 'w')")).files), {}, "the files when none is fetched")


def _all_files(sandbox: Sandbox) -> None:
    """`"*"` fetches all files that are there in the end, given or made, and nothing that is no file."""
    code = "import os; os.mkdir('d'); open('d/new', 'w').write('n'); os.unlink('gone'); os.symlink('d/new', 'link')"
    execution = sandbox.run(python(code, files={"kept": b"k", "gone": b"g"}, fetch=("*",)))
    expect(dict(execution.files), {"kept": b"k", "d/new": b"n"}, "the files")


def _links(sandbox: Sandbox) -> None:
    """A symbolic link is not followed by what fetches, neither as the file nor on the way to it."""
    code = (
        "import os; os.symlink('/etc/passwd', 'file'); os.symlink('/etc', 'folder'); os.mkdir('d')\n"
        "open('d/own', 'w').write('x'); os.symlink('d', 'way'); os.symlink('d/own', 'own')"
    )
    fetch = ("file", "folder/passwd", "way/own", "own", "d/own")
    expect(dict(sandbox.run(python(code, fetch=fetch)).files), {"d/own": b"x"}, "the files")


def _fresh(sandbox: Sandbox) -> None:
    """Every program starts in an empty directory that it can write to, with a home and temporary files of its own."""
    code = (
        "import os, tempfile\nprint(sorted(os.listdir('.')))\nopen('x', 'w').write('x')\n"
        "with tempfile.NamedTemporaryFile() as file: file.write(b'x')\nopen('/tmp/left', 'w').write('x')"
    )
    for _ in range(2):
        execution = sandbox.run(python(code))
        expect((execution.stdout, execution.exit_code), (b"[]\n", 0), f"the directory ({ending(execution)})")


def _limit(name: str, code: str, seconds: float, **limits: float) -> Callable[[Sandbox], None]:
    def keep(sandbox: Sandbox) -> None:
        started = time.monotonic()
        execution = sandbox.run(python(code, limits=limits))
        if execution.limit != name and (execution.limit or name not in _REFUSED):
            raise PromiseError(f"the limit {name} did not end it: {ending(execution)}")
        expect(execution.ok, False, "ok")
        if (took := time.monotonic() - started) > seconds:
            raise PromiseError(f"it was ended after {took:.1f} s, allowed {seconds:g}")

    how = "is refused more, or is ended" if name in _REFUSED else "is ended, in time, and the Execution names it"
    keep.__doc__ = f"A program that goes beyond {name} {how}."
    return keep


def _truncated(sandbox: Sandbox) -> None:
    """Output is cut at `output_kb` and says so; output that just fits is whole, and the program goes on."""
    fits = sandbox.run(python("print('x' * (64 * 1024 - 1))", limits={"output_kb": 64}))
    expect((len(fits.stdout), fits.truncated, fits.limit), (64 << 10, False, None), "output that fits")
    over = sandbox.run(python("import sys; sys.stdout.write('x' * (1 << 20))", limits={"output_kb": 64}))
    expect((len(over.stdout), over.truncated, over.limit), (64 << 10, True, "output_kb"), "output that does not fit")


def _usage(sandbox: Sandbox) -> None:
    """What a program used comes back: seconds on the clock and of the processor, memory at its peak."""
    code = (
        "import time\nstart = time.process_time()\nwhile time.process_time() - start < 0.3: pass\n"
        "time.sleep(0.3); held = b'x' * (64 << 20)"
    )
    execution = sandbox.run(python(code))
    for what, used, least, most in (
        ("wall_s", execution.wall_s, 0.55, 6),
        ("cpu_s", execution.cpu_s, 0.25, 1.5),
        ("memory_mb", execution.memory_mb, 60, 256),
    ):
        if not least <= used <= most:
            raise PromiseError(
                f"{what} is {used:.2f}, which cannot be (at least {least}, at most {most}; {ending(execution)})"
            )


def _unread(sandbox: Sandbox) -> None:
    """20 MB of standard input that nobody reads stop nothing; those that are read arrive whole."""
    big = b"0123456789" * 2_000_000
    execution = sandbox.run(python("print('ok')", stdin=big))
    expect((execution.stdout, execution.ok), (b"ok\n", True), "what it printed")
    execution = sandbox.run(python("import sys; print(len(sys.stdin.buffer.read()))", stdin=big))
    expect(execution.stdout, b"20000000\n", "the bytes read")


def _closed(sandbox: Sandbox) -> None:
    """A program that closes 0, 1 and 2 ends as it would, and at once."""
    code = "import os\nfor number in range(3): os.close(number)\nos._exit(3)"
    execution = sandbox.run(python(code))
    expect((execution.exit_code, execution.limit, execution.wall_s < 3), (3, None, True), "its end")


def _inputs(sandbox: Sandbox) -> None:
    """Each of `inputs` is run by itself, in order, from the same start, with the same files."""
    code = (
        "import sys\ntext = sys.stdin.read()\nprint(text, open('f').read(), flush=True)\n"
        "open('f', 'w').write('changed')\nif text == 'bad': raise SystemExit(4)\nimport time\n"
        "while text == 'slow' and time.process_time() < 3: pass"
    )
    given = (b"one", b"bad", b"slow", b"", b"two")
    execution = sandbox.run(python(code, inputs=given, files={"f": b"same"}, limits={"wall_s": 1.0, "cpu_s": 0.5}))
    expect([run.stdout for run in execution.runs], [text + b" same\n" for text in given], "what the runs printed")
    expect([run.exit_code == 0 for run in execution.runs], [True, False, False, True, True], "which runs went well")
    expect([run.limit is not None for run in execution.runs], [False, False, True, False, False], "which met a limit")
    expect(execution.runs[1].exit_code, 4, "the exit code of a run")
    expect(execution.stdout, execution.runs[-1].stdout, "the last run's output")


def _stop(sandbox: Sandbox) -> None:
    """`stop` is asked after each run and ends the runs when it says True."""
    asked: list[bytes] = []

    def stop(execution: Execution) -> bool:
        asked.append(execution.stdout)
        return execution.exit_code != 0

    inputs = (b"0", b"0", b"1", b"0", b"0")
    execution = sandbox.run(python("print(c := int(input())); raise SystemExit(c)", inputs=inputs, stop=stop))
    expect((len(execution.runs), asked), (3, [b"0\n", b"0\n", b"1\n"]), "the runs and the questions")


_ASK = """
import socket

line = socket.socket(fileno=3)
for number in (2, 3):
    line.sendall(b"%d\\n" % number)
    print(line.recv(99))
"""
_ANSWER = """
import socket

line = socket.socket(fileno=3)
for text in line.makefile("rb", 0):
    line.sendall(b"%d" % int(text) ** 2)
"""


def _peer(sandbox: Sandbox) -> None:
    """A peer runs beside its program; descriptor 3 is, in both, the end of a stream to the other."""
    peer = python(_ASK, stdin=b"unused", limits={"wall_s": 4.0})
    execution = sandbox.run(python(_ANSWER, peer=peer))
    expect(execution.peer is None, False, "whether the peer is missing")
    expect(execution.peer.stdout if execution.peer else b"", b"b'4'\nb'9'\n", "what the peer printed")
    expect(execution.peer.exit_code if execution.peer else 1, 0, "the peer's exit code")


def _peer_ends(sandbox: Sandbox) -> None:
    """The peer's end is waited for and ends the program; the program's end is, for the peer, the end of the stream."""
    started = time.monotonic()
    execution = sandbox.run(python("import time; time.sleep(7)", peer=python("print('done')")))
    expect(execution.peer.stdout if execution.peer else b"", b"done\n", "what the peer printed")
    if (took := time.monotonic() - started) > 3:
        raise PromiseError(f"the program went on for {took:.1f} s after its peer")
    waiting = python("import socket, time; print(socket.socket(fileno=3).recv(1)); time.sleep(0.2); print('end')")
    execution = sandbox.run(python("raise SystemExit(5)", peer=waiting))
    expect(execution.peer.stdout if execution.peer else b"", b"b''\nend\n", "what the peer printed")
    expect(execution.exit_code, 5, "the program's exit code")


def _order(sandbox: Sandbox) -> None:
    """`run_many` answers in order, whatever takes longest; none of none."""
    programs = [python(f"import time; time.sleep({0.2 * (n % 2)}); print({n})") for n in range(6)]
    found = sandbox.run_many(programs)
    expect([getattr(e, "stdout", e) for e in found], [b"%d\n" % n for n in range(6)], "the outputs")
    expect(sandbox.run_many([]), [], "the answer to nothing")


def _asynchronous(sandbox: Sandbox) -> None:
    """`arun` does not block the event loop."""

    async def both() -> tuple[bytes, int]:
        job = asyncio.ensure_future(sandbox.arun(python("import time; time.sleep(0.3); print('x')")))
        ticks = 0
        while not job.done():
            await asyncio.sleep(0.02)
            ticks += 1
        return (await job).stdout, ticks

    stdout, ticks = asyncio.run(both())
    expect((stdout, ticks > 3), (b"x\n", True), "the output, and whether the loop went on")


def _threads(sandbox: Sandbox) -> None:
    """Several threads may use one sandbox; each gets its own answers."""
    found: dict[int, bytes] = {}

    def use(number: int) -> None:
        for _ in range(3):
            found[number] = found.get(number, b"") + sandbox.run(python(f"print({number})")).stdout

    threads = [threading.Thread(target=use, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expect(found, {number: b"%d\n" % number * 3 for number in range(6)}, "the outputs")


def _nonsense(sandbox: Sandbox) -> None:
    """What it lacks is refused by name: an unknown language raises ConfigError, and nothing is run."""
    try:
        execution = sandbox.run(Program(code="x", language="no-such-language"))
    except ConfigError as error:
        expect("no-such-language" in str(error), True, "whether the error names the language")
    else:
        raise PromiseError(f"an unknown language was run: {ending(execution)}")


def _known(sandbox: Sandbox) -> None:
    """`identity` says the same each time, and is not empty."""
    expect(sandbox.identity(), sandbox.identity(), "the identity")
    expect(bool(sandbox.identity()), True, "whether there is an identity")


# Bounded, for sandboxes that hold nothing.
_EATS = "held = [bytes([65]) * (8 << 20) for _ in range(100)]"
_FORKS = "import os, time\nfor _ in range(200):\n    if os.fork() == 0:\n        time.sleep(2); os._exit(0)"
_SPINS = "import time\nwhile time.process_time() < 2: pass"
_FLOODS = "for _ in range(50_000): print('x' * 1000)"
_WRITES = "for n in range(64): open(f'f{n}', 'wb').write(b'x' * (1 << 20))"
_CHECKS: dict[str, Callable[[Sandbox], None]] = {
    "exit codes": _ends,
    "signals": _signals,
    "streams": _streams,
    "unicode": _unicode,
    "arguments": _arguments,
    "variables": _environment,
    "main module": _main,
    "commands": _commands,
    "files in and out": _files,
    "all files": _all_files,
    "links": _links,
    "fresh start": _fresh,
    "wall limit": _limit("wall_s", "import time; time.sleep(3)", 2.5, wall_s=0.5),
    "processor limit": _limit("cpu_s", _SPINS, 3, cpu_s=0.5),
    "memory limit": _limit("memory_mb", _EATS, 5, memory_mb=128),
    "process limit": _limit("processes", _FORKS, 5, processes=16),
    "disk limit": _limit("disk_mb", _WRITES, 5, disk_mb=8),
    "output limit": _limit("output_kb", _FLOODS, 3, output_kb=32),
    "truncation": _truncated,
    "usage": _usage,
    "unread input": _unread,
    "closed streams": _closed,
    "inputs": _inputs,
    "stopping": _stop,
    "peer": _peer,
    "peer's end": _peer_ends,
    "order": _order,
    "asynchronous": _asynchronous,
    "threads": _threads,
    "nonsense": _nonsense,
    "identity": _known,
}
PROMISES = tuple(Promise(name=name, summary=(keep.__doc__ or "").strip(), keep=keep) for name, keep in _CHECKS.items())
