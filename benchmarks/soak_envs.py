"""Thousands of episodes of noise in every environment: nothing raises, nothing leaks, and silence pays as much.

Run: python benchmarks/soak_envs.py [N] [NAME ...] (10,000 episodes of each environment: about a minute each where
nothing runs in a sandbox, up to an hour where every action may). Noise is random characters, pieces of calls, and
echoes; each episode is compared with one of the same seed whose actions are empty. Memory is compared between the first
tenth and the end; threads, descriptors and child processes before and after.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import rewardkit_envs  # noqa: F401  registers the environments
from rewardkit.errors import SandboxUnavailableError
from rewardkit_envs.arithmetic import ArithmeticTasks
from rewardkit_envs.testing import noise
from rewardkit_envs.vector import TextVectorEnv

AT_ONCE = 50
SUMS = ArithmeticTasks(10**8, 10**9)  # the answers to the default ones are small enough for noise to hit upon
GROWTH_MB = 32.0
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "math": ("rewardkit/Math-v0", {"tasks": SUMS}),
    "math, tools": ("rewardkit/Math-v0", {"tasks": SUMS, "tools": ["calculator", "python"]}),
    "code": ("rewardkit/Code-v0", {"max_turns": 3, "threads": 2}),
    "rag": ("rewardkit/RAG-v0", {}),
    "agent, shell": ("rewardkit/Agent-v0", {"max_turns": 5, "threads": 2}),
    "agent, database": ("rewardkit/Agent-v0", {"world": "database", "max_turns": 5, "threads": 2}),
    "agent, toy text": ("rewardkit/Agent-v0", {"world": "outside:toy_text/FrozenLake-v1", "max_turns": 10}),
}


@dataclass(slots=True)
class Soaked:
    """What a soak of one environment found."""

    episodes: int = 0
    actions: int = 0
    missing: int = 0
    overpaid: int = 0
    growth_mb: float = 0.0
    left: str = ""
    seconds: float = 0.0

    @property
    def sound(self) -> bool:
        """Whether all is well."""
        return not (self.missing or self.overpaid or self.left) and self.growth_mb < GROWTH_MB


def soak(kind: str, episodes: int) -> Soaked:
    """Play `episodes` of noise, and the same ones silently; raises what the environment raises."""
    soaked = Soaked()
    started, before = time.monotonic(), belongings()
    name, options = KINDS[kind]
    envs = TextVectorEnv(name, min(AT_ONCE, episodes), **options)
    early = None
    for first in range(0, episodes, envs.num_envs):
        random = np.random.default_rng(first)
        noisy = played(envs, first, lambda shown, random=random: noise(random, shown), soaked)
        silent = played(envs, first, lambda _: "", soaked)
        soaked.overpaid += sum(noisy[i] > silent[i] for i in noisy.keys() & silent.keys())
        soaked.episodes += envs.num_envs
        if early is None and soaked.episodes * 10 >= episodes:
            early = memory_mb()
    soaked.growth_mb = memory_mb() - (early or memory_mb())
    envs.close()
    soaked.left = ", ".join(what for what, there in belongings().items() if there > before[what])
    soaked.seconds = time.monotonic() - started
    return soaked


def played(envs: TextVectorEnv, first: int, act: Callable[[str], str], soaked: Soaked) -> dict[int, float]:
    """Play one episode in each environment; return what each was paid, those left out that have no reward."""
    paid = dict.fromkeys(range(envs.num_envs), 0.0)
    envs.async_reset(seed=first)
    shown, *_ = envs.recv(envs.num_envs)
    ids = list(paid)
    while ids:
        envs.send([act(text) for text in shown], ids)
        soaked.actions += len(ids)
        observations, rewards, terminated, truncated, infos = envs.recv(len(ids))
        for at, i in enumerate(infos["env_id"]):
            paid[int(i)] += rewards[at]
        missing = infos.get("reward_missing", np.zeros(len(rewards), dtype=bool))
        soaked.missing += int(missing.sum())
        going = ~(terminated | truncated)
        ids = [int(i) for i in infos["env_id"][going]]
        shown = tuple(text for text, on in zip(observations, going, strict=True) if on)
        for i in infos["env_id"][missing]:
            del paid[int(i)]
    return paid


def memory_mb() -> float:
    """Return the memory of this process."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def belongings() -> dict[str, int]:
    """Return how many threads, descriptors and children this process has; waits a moment for those that are ending."""
    time.sleep(0.2)
    return {
        "threads": threading.active_count(),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "children": sum(1 for _ in children()),
    }


def children() -> Iterator[int]:
    """Yield the processes that this one has started."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = stat.read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if int(parent) == os.getpid():
            yield int(stat.parent.name)


def main() -> None:
    """Soak what the command line names."""
    episodes = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    print(f"{episodes} episodes each, {AT_ONCE} at once")
    failed = False
    for kind in sys.argv[2:] or KINDS:
        try:
            soaked = soak(kind, episodes)
        except SandboxUnavailableError as error:
            print(f"{kind:<16} skipped: {error}")
            continue
        failed |= not soaked.sound
        print(
            f"{kind:<16} {soaked.actions} actions in {soaked.seconds:.0f} s, {soaked.overpaid} paid more than silence, "
            f"{soaked.missing} without a reward, {soaked.growth_mb:+.1f} MB, left: {soaked.left or 'nothing'}"
            f"{'' if soaked.sound else '  FAILED'}",
            flush=True,
        )
    sys.exit(failed)


if __name__ == "__main__":
    main()
