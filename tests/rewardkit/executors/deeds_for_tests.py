"""What a worker may meet: deeds that a reward does when a completion names them."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import time

from rewardkit import Message, RewardSpec, Step, Task, Trajectory
from rewardkit.executors.process import ProcessExecutor


def behave(payload):
    """Do what the payload says."""
    return DEEDS[payload](payload)


def outlive(_):
    """Leave children behind in all the ways there are, and come back."""
    subprocess.Popen(["sleep", "600"])
    subprocess.Popen(["setsid", "sleep", "600"])
    subprocess.Popen(["sh", "-c", "setsid sh -c 'trap \"\" TERM; sleep 600 & sleep 600' &"])
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execvp("sleep", ["sleep", "600"])
        os._exit(0)
    time.sleep(0.1)
    return "left"


def outlive_and_hang(payload):
    outlive(payload)
    time.sleep(600)


def fork_many(_):
    for _ in range(6):
        os.fork()
    time.sleep(600)


def eat_memory(_):
    eaten = []
    while True:
        eaten.append(bytearray(b"x") * (32 << 20))


def eat_memory_in_a_child(payload):
    if os.fork() == 0:
        os.setsid()
        eat_memory(payload)
    time.sleep(600)


def ignore_signals(_):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    time.sleep(600)


def nest_and_hang(_):
    """Wait for a worker of this worker, which hangs."""
    spec = RewardSpec(name="count", factory="rewards_for_workers:count")
    action = Message(role="assistant", content="hang")
    batch = [Trajectory(task=Task(), steps=(Step(action=action),))]
    executor = ProcessExecutor(1)
    executor.submit(spec, {}, batch, timeout=None).result()


DEEDS = {
    "pid": lambda _: os.getpid(),
    "hang": lambda _: time.sleep(600),
    "hold the GIL": lambda _: re.match(r"(a+)+$", "a" * 60 + "b"),
    "ignore signals": ignore_signals,
    "stop": lambda _: os.kill(0, signal.SIGSTOP),
    "segfault": lambda _: ctypes.string_at(0),
    "abort": lambda _: os.abort(),
    "exit": lambda _: os._exit(3),
    "sys.exit": lambda _: sys.exit(4),
    "raise": lambda _: 1 / 0,
    "print": lambda _: print("this is not for stdout", flush=True) or "printed",
    "leave children": outlive,
    "leave children and hang": outlive_and_hang,
    "fork many": fork_many,
    "eat memory": eat_memory,
    "eat memory in a child": eat_memory_in_a_child,
    "nest and hang": nest_and_hang,
}
