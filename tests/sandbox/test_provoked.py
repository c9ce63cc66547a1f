"""Programs that want to break their worker: a SandboxError would hide a program that fails from its reward.

A worker that breaks is replaced and its program run again, so each test also asks whether it is still the same one.
"""

from __future__ import annotations

import contextlib
import shutil

import pytest

from rewardkit.errors import SandboxUnavailableError
from rewardkit.programs import Execution, Limits, Program
from rewardkit_sandbox.namespace import NamespaceSandbox
from rewardkit_sandbox.wire import TransportError

_LIMITS = Limits(wall_s=2.0, cpu_s=2.0, memory_mb=256)
_LISTENER = "import socket\nline = socket.socket(fileno=3)\nwhile line.recv(99): pass\nprint('heard all')"
_SPINNERS = "for _ in range(55):\n    if os.fork() == 0:\n        while True: pass\n"


@pytest.fixture(scope="module")
def sandbox():
    with contextlib.closing(NamespaceSandbox(workers=1)) as sandbox:
        try:
            sandbox.start()
        except SandboxUnavailableError as error:
            pytest.skip(f"the namespace sandbox is NOT tested: {error}")
        yield sandbox


@pytest.fixture(autouse=True)
def same_worker(sandbox):
    before = set(sandbox._live)
    yield
    assert sandbox.run(Program(code="print('next')")).stdout == b"next\n"
    assert set(sandbox._live) == before, "the worker broke"


def run(sandbox, code: str, **fields) -> Execution:
    return sandbox.run(Program(code=f"import os, signal, socket, time\n{code}", **{"limits": _LIMITS, **fields}))


@pytest.mark.parametrize("number", ["SIGKILL", "SIGSTOP", "SIGTERM"])
def test_a_signal_to_its_process_group_stays_with_a_program(sandbox, number) -> None:
    code = f"os.kill(0, signal.{number})\ntime.sleep(0.2)"
    assert run(sandbox, code).wall_s < 2.5
    beside = run(sandbox, code, peer=Program(code=_LISTENER, limits=_LIMITS))
    assert beside.peer is not None
    assert beside.peer.stdout == b"heard all\n"
    assert len(run(sandbox, code, inputs=(b"", b"")).runs) == 2


def test_nobody_lowers_the_priority_of_who_watches(sandbox) -> None:
    run(sandbox, "os.setpriority(os.PRIO_PGRP, 0, 19)")
    assert run(sandbox, "print(os.getpriority(os.PRIO_PROCESS, 0))").stdout == b"0\n"
    ways = (
        "os.sched_setscheduler(1, os.SCHED_IDLE, os.sched_param(0))",
        "os.sched_setaffinity(1, {0})",
        "os.setpriority(os.PRIO_PROCESS, 1, 19)",
        "os.setpriority(os.PRIO_PGRP, 0, 19)",
        "os.setpriority(os.PRIO_USER, 0, 19)",
    )
    for way in ways:
        refused = run(sandbox, way, inputs=(b"",))
        assert b"PermissionError" in refused.stderr, way
    own = "os.sched_setaffinity(0, os.sched_getaffinity(0))\nos.nice(5)\nprint('own')"
    assert run(sandbox, own, inputs=(b"",)).stdout == b"own\n"


def test_who_watches_runs_has_no_limit_of_cpu_time(sandbox) -> None:
    code = "print([line.split()[3:5] for line in open('/proc/1/limits') if line.startswith('Max cpu')])"
    assert run(sandbox, code, inputs=(b"",)).stdout == b"[['unlimited', 'unlimited']]\n"
    assert run(sandbox, code.replace("/1/", "/self/"), inputs=(b"",)).stdout == b"[['2', '2']]\n"


def test_a_program_that_lets_its_first_process_starve_ends_in_time(sandbox) -> None:
    idle = "os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\nheld = bytearray(b'x') * (200 << 20)\n"
    for last in ("time.sleep(60)", "sys.exit(0)"):
        ended = run(sandbox, f"import sys\n{_SPINNERS}{idle}{last}")
        assert ended.wall_s < 8, last


def test_memory_counts_when_the_first_thread_of_a_process_has_ended(sandbox) -> None:
    code = (
        "import ctypes, threading\nexit_thread = 60 if os.uname().machine == 'x86_64' else 93\n"
        "def hold():\n    time.sleep(0.2)\n    held = bytearray(b'x') * (120 << 20)\n    time.sleep(60)\n"
        "for _ in range(4):\n    if os.fork() == 0:\n        threading.Thread(target=hold).start()\n"
        "        ctypes.CDLL(None).syscall(exit_thread, 0)\ntime.sleep(60)"
    )
    ended = run(sandbox, code)
    assert (ended.limit, ended.memory_mb > 256) == ("memory_mb", True)


def test_memory_that_sockets_hold_counts(sandbox) -> None:
    code = (
        "held = []\nfor _ in range(30):\n    if os.fork() == 0: break\n"
        "for _ in range(100):\n    pair = socket.socketpair()\n    held.append(pair)\n    for end in pair:\n"
        "        end.setblocking(False)\n        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 24)\n"
        "        assert end.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) < 1 << 18\n"
        "        try:\n            while True: end.send(bytes(4096))\n        except OSError: pass\n"
        "print('held', flush=True)\ntime.sleep(60)"
    )
    ended = run(sandbox, code)
    assert (ended.limit, b"AssertionError" in ended.stderr) == ("memory_mb", False)
    few = "held = [socket.socketpair() for _ in range(100)]\ntime.sleep(0.2)\nprint('fine')"
    assert run(sandbox, few).stdout == b"fine\n"


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
def test_memory_of_page_tables_counts(sandbox) -> None:
    code = (
        "#define _GNU_SOURCE\n#include <sys/mman.h>\n#include <unistd.h>\nint main(void) {\n"
        "fork(); fork();\n{\n  volatile char *p = mmap(0, 1L << 36, PROT_READ,"
        " MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);\n  if (p == MAP_FAILED) return 1;\n"
        "  for (long i = 0; i < 1L << 36; i += 2 << 20) p[i];\n}\nsleep(60);\n}\n"
    )
    ended = sandbox.run(Program(code=code, language="c", limits=_LIMITS))
    assert (ended.limit, ended.memory_mb > 256) == ("memory_mb", True)


@pytest.mark.parametrize("way", ["os.closerange(3, 256)", "[os.dup2(1, number) for number in range(3, 99)]"])
def test_a_program_that_closes_every_descriptor_ends_well(sandbox, way) -> None:
    ended = run(sandbox, f"{way}\nprint('done')")
    assert (ended.exit_code, ended.stdout, ended.stderr) == (0, b"done\n", b"")


def test_what_a_program_says_on_every_descriptor_is_no_more_than_its_end(sandbox) -> None:
    claim = "b'X' + struct.pack('=BdQ', 0, float('inf'), 1 << 63)"
    for word in (claim, f"b'R' + {claim}", "b'C' * 999", "b'X' * 999", "b'PIE' + b'R' * 70"):
        code = f"import struct\nprint('a', flush=True)\nfor n in range(3, 256):\n    try: os.write(n, {word})\n"
        ended = run(sandbox, code + "    except OSError: pass\ntime.sleep(0.1)\nprint('b')\nos._exit(7)")
        assert ended.exit_code in (0, 7, ord("X")), word
        assert (ended.limit, ended.phase, ended.cpu_s < 2) == (None, "run", True), word
        assert ended.stdout in (b"a\n", b"a\nb\n"), word


def test_nothing_of_a_program_is_left_when_the_next_one_runs(sandbox) -> None:
    left = (
        "name = socket.socket(socket.AF_UNIX)\nname.bind('\\0left to others')\nheld = bytearray(b'x') * (200 << 20)\n"
        "os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\n"
    )
    for more in ("", "if os.fork() == 0:\n    time.sleep(60)\n"):
        assert run(sandbox, left + more).ok
        assert b"left" not in run(sandbox, "print(open('/proc/net/unix').read())").stdout


def test_a_run_leaves_nothing_where_compiled_programs_are(sandbox) -> None:
    code = "print(os.path.exists('/tmp/main'))\nopen('/tmp/main', 'w').write('left')"
    assert [r.stdout for r in run(sandbox, code, inputs=(b"", b"")).runs] == [b"False\n"] * 2


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
def test_a_run_that_replaces_the_compiled_program_does_so_for_itself_only(sandbox) -> None:
    script = r"#!/bin/sh\necho replaced\n"
    code = (
        "#include <stdio.h>\n#include <sys/stat.h>\n#include <unistd.h>\nint main(void) {\n"
        'unlink("/tmp/main");\nFILE *file = fopen("/tmp/main", "w");\n'
        f'fputs("{script}", file);\nfclose(file);\nchmod("/tmp/main", 0700);\nputs("honest");\n}}\n'
    )
    ended = sandbox.run(Program(code=code, language="c", inputs=(b"", b"", b""), limits=_LIMITS))
    assert [r.stdout for r in ended.runs] == [b"honest\n"] * 3


def test_a_stream_that_another_thread_has_closed_is_lost_and_no_other_error(sandbox) -> None:
    transport = NamespaceSandbox().start_worker()
    transport.kill()
    with pytest.raises(TransportError):
        transport.send(b"x", deadline=0.0)
    with pytest.raises(TransportError):
        transport.receive(1, deadline=0.0)
