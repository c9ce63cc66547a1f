"""Play many episodes with a policy into a file; what was played survives being killed.

An episode has its seed and no other source of chance, so that it does not matter who plays it and when. Each is one
line, whole or not there. Not covered: training, and environments that step together (`vector`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import gymnasium
import numpy as np

from rewardkit.errors import ConfigError
from rewardkit.protocols import Executor
from rewardkit.serialize import read_trajectories
from rewardkit.types import Failure, Trajectory
from rewardkit_envs.env import TextEnv, open_scorer
from rewardkit_envs.policies import Policy, PolicyError
from rewardkit_envs.recording import TrajectoryFile
from rewardkit_envs.wrappers import ScoreAtEnd, Transcript, outcome_of

_IN_A_ROW = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """One episode, with what it paid in its metadata; or why there is none."""

    seed: int
    trajectory: Trajectory | None = None
    failure: str = ""


@dataclass(slots=True)
class RolloutSummary:
    """What a rollout did: episodes that were there, played, without a number among them, and failed."""

    reused: int = 0
    played: int = 0
    missing: int = 0
    failed: int = 0
    steps: int = 0
    returns: list[float] = field(default_factory=list)
    first_failure: str = ""
    failed_in_a_row: int = 0
    seconds: float = 0.0

    def count(self, played: Played) -> None:
        """Add one episode."""
        if played.trajectory is None:
            self.failed += 1
            self.failed_in_a_row += 1
            self.first_failure = self.first_failure or f"seed {played.seed}: {played.failure}"
            return
        self.failed_in_a_row = 0
        self.played += 1
        self.steps += len(played.trajectory.steps)
        if (paid := played.trajectory.metadata["return"]) is None:
            self.missing += 1
        else:
            self.returns.append(paid)


class Player:
    """Plays episodes of one environment with one policy; `play` is called from up to `concurrency` threads.

    `make` returns the environment. A TextEnv is made once and has twins; of others each thread gets its own. `rewards`
    (what `Scorer` takes) pay at the end; without them a TextEnv's own do, or what the environment itself pays. They run
    in `executor`, and are closed with the player. `metadata` goes into every trajectory.
    """

    def __init__(
        self,
        make: Callable[[], gymnasium.Env[str, str]],
        policy: Policy,
        *,
        rewards: Any = None,
        executor: Executor | None = None,
        concurrency: int = 8,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.concurrency = concurrency
        self.metadata = dict(metadata or {})
        self._policy = policy
        self._stopped = False
        first = make()
        inner = first.unwrapped
        scorer = open_scorer(rewards, executor) if rewards else None
        if isinstance(inner, TextEnv):
            scorer = scorer or inner.open_rewards(executor)
        bounded = first.spec is not None and first.spec.max_episode_steps is not None
        another = inner.twin if isinstance(inner, TextEnv) and not bounded else make
        envs = [first, *(another() for _ in range(concurrency - 1))]
        for env in envs:
            if isinstance(env.unwrapped, TextEnv):
                env.unwrapped.defer_reward = True
        self._envs = [Transcript(env) if scorer is None else ScoreAtEnd(env, scorer) for env in envs]
        self._idle: SimpleQueue[Transcript] = SimpleQueue()
        for env in self._envs:
            self._idle.put(env)

    def play(self, seed: int) -> Played:
        """Play the episode of that seed; one without an action, or that breaks off, has failed."""
        env = self._idle.get()
        try:
            return self._play(env, seed)
        except PolicyError as error:
            return Played(seed=seed, failure=str(error))
        finally:
            self._idle.put(env)

    def stop(self) -> None:
        """Let the episodes under way end, failed, after their next action."""
        self._stopped = True

    def close(self) -> None:
        """Close the environments and the rewards."""
        for env in self._envs:
            env.close()

    def _play(self, env: Transcript, seed: int) -> Played:
        random = np.random.default_rng([seed, 1])
        env.reset(seed=seed)
        paid, over, about = 0.0, False, dict[str, Any]()
        while not over:
            if self._stopped:
                return Played(seed=seed, failure="stopped")
            _, reward, terminated, truncated, about = env.step(self._policy.act(env, random))
            paid, over = paid + reward, terminated or truncated
        inner = env.unwrapped
        if isinstance(inner, TextEnv) and inner.episode.result is not None:  # scored by nobody: it broke off
            return Played(seed=seed, failure="; ".join(failure.message for failure in inner.episode.result.failures))
        metadata = {**self.metadata, **outcome_of(seed, paid, about)}
        name = f"{self.metadata.get('env', type(inner).__name__)}/{seed}"
        return Played(seed=seed, trajectory=replace(env.trajectory, id=name, metadata=metadata))


def rollout(
    player: Player,
    output: str | Path,
    *,
    episodes: int,
    seed: int = 0,
    resume: bool = False,
    on_played: Callable[[Played], None] = lambda _: None,
) -> RolloutSummary:
    """Play the episodes with the seeds `seed` to `seed + episodes - 1` and append each to `output` as it ends.

    With `resume`, those that `output` has are not played again; without it, `output` must be new. Failed episodes leave
    no line, so that resuming tries them again. Raises ConfigError when the file is of another rollout or somebody else
    is writing it, PolicyError when no episode gets anywhere.
    """
    started = time.monotonic()
    path = Path(output)
    if not resume and path.exists() and path.stat().st_size:
        raise ConfigError(f"{str(path)!r} is there already: resume it, or delete it")
    with TrajectoryFile(path, alone=True) as file:
        there = _seeds_in(path, player.metadata)
        missing = [s for s in range(seed, seed + episodes) if s not in there]
        summary = RolloutSummary(reused=episodes - len(missing))
        for played in _played(player, iter(missing)):
            if played.trajectory is not None:
                file.append(played.trajectory)
            summary.count(played)
            on_played(played)
            if summary.failed_in_a_row >= max(_IN_A_ROW, player.concurrency):
                raise PolicyError(f"{summary.failed_in_a_row} episodes in a row failed; first {summary.first_failure}")
    summary.seconds = time.monotonic() - started
    return summary


def _played(player: Player, seeds: Iterator[int]) -> Iterator[Played]:
    """Yield episodes as they end; twice as many as there are threads are under way or wait for one."""
    pool = ThreadPoolExecutor(player.concurrency, thread_name_prefix="rewardkit-rollout")
    try:
        pending: set[Future[Played]] = set()
        while True:
            pending |= {pool.submit(player.play, seed) for seed in islice(seeds, 2 * player.concurrency - len(pending))}
            if not pending:
                return
            ended, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in ended:
                yield future.result()
    finally:
        player.stop()
        pool.shutdown(cancel_futures=True)


def _seeds_in(path: Path, metadata: Mapping[str, Any]) -> set[int]:
    """Return the seeds of the episodes in a file; raises ConfigError unless all were played with this metadata."""
    seeds: set[int] = set()
    for line in read_trajectories(path):
        if isinstance(line.content, Failure):
            raise ConfigError(f"cannot resume: {line.content.message}")
        found = line.content.metadata
        if not isinstance(found.get("seed"), int):
            raise ConfigError(f"cannot resume {str(path)!r}: line {line.number} is of no rollout")
        for key, value in metadata.items():
            if found.get(key) != value:
                was = f"{key}={found.get(key)!r}, not {value!r}"
                raise ConfigError(f"cannot resume {str(path)!r}: line {line.number} was played with {was}")
        seeds.add(found["seed"])
    return seeds
