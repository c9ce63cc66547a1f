"""Attacks that leave processes behind: daemons, deaf, stopped and orphaned ones. All end by themselves in 8 seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rewardkit.programs import Execution
from rewardkit_sandbox.attacks.model import LIMITS, attack, nothing_reported, stopped_by

_DAEMON = r"""
def daemon(*, silent):
    "Start a process that nobody waits for; it keeps stdout open unless it is silent."
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    for number in signal.valid_signals():
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            pass
    if silent:
        for descriptor in range(64):
            try:
                os.close(descriptor)
            except OSError:
                pass
    stop = time.monotonic() + 8
    while time.monotonic() < stop:
        time.sleep(0.2)
    os._exit(0)


"""

_SILENT, _OPEN = "daemon(silent=True)\nreport()", "daemon(silent=False)\nreport()"

_SEEN = r"""
def found():
    names = [content(f"/proc/{pid}/comm").strip().decode() for pid in strangers()]
    return [name for name in names if name == MARK]


attempt("a process of the program before", found)
report()
"""

_STOPPED = r"""
for number in (signal.SIGSTOP, signal.SIGTSTP):
    if os.fork() == 0:
        os.setsid()
        signal.alarm(8)
        os.kill(os.getpid(), number)
        time.sleep(8)
        os._exit(0)
time.sleep(0.1)
report()
"""

_NOHUP = r"""
import subprocess

script = f"sleep 8; : {MARK}"
for command in (["nohup", "sh", "-c", script], ["setsid", "sh", "-c", script],
                ["sh", "-c", f"trap '' TERM HUP; {script}"],
                [sys.executable, "-c", f"import time; time.sleep(8)  # {MARK}"]):
    try:
        subprocess.Popen(command, stdin=-3, stdout=-3, stderr=-3, start_new_session=True)
    except OSError:
        pass
report()
"""

_CHILDREN = r"""
for _ in range(8):
    if os.fork() == 0:
        os.setpgid(0, 0)
        signal.alarm(8)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_IGN)
        time.sleep(8)
        os._exit(0)
time.sleep(8)
"""

_CRASH = r"""
if os.fork() == 0:
    os.setsid()
    signal.alarm(8)
    time.sleep(8)
    os._exit(0)
libc.memset(0, 0, 1)
"""

_HALF = replace(LIMITS, wall_s=0.5)


def _crashed(executions: Sequence[Execution]) -> str | None:
    first, *rest = executions
    return "a crash was taken for a success" if first.ok else nothing_reported(rest)


def _prompt(executions: Sequence[Execution]) -> str | None:
    slowest = max(execution.wall_s for execution in executions)
    return f"its end was noticed after {slowest:.1f} s" if slowest > 3 else nothing_reported(executions)


def _ended(executions: Sequence[Execution]) -> str | None:
    return stopped_by("wall_s", within=2)(executions[:1]) or nothing_reported(executions[1:])


ATTACKS = (
    attack("daemon", "leftovers", "a daemon, deaf to all signals", _DAEMON + _SILENT, _SEEN),
    attack("daemon-open", "leftovers", "a daemon that keeps stdout open", _DAEMON + _OPEN, _SEEN, held=_prompt),
    attack("nohup", "leftovers", "programs started in sessions of their own", _NOHUP, _SEEN),
    attack("stopped-child", "leftovers", "stopped processes", _STOPPED, _SEEN),
    attack("orphans", "leftovers", "children when the time is up", _CHILDREN, _SEEN, held=_ended, limits=_HALF),
    attack("crash", "leftovers", "a child when it crashes", _CRASH, _SEEN, held=_crashed),
)
