"""Many episodes at once, in one process: all that end in a step are scored in one call.

`step` waits for the scores. `send` and `recv` do not: episodes that are being scored hold up no others. Not covered:
acting in several processes (gymnasium's AsyncVectorEnv does that), and rewards that compare attempts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from rewardkit.errors import ConfigError
from rewardkit.protocols import Executor
from rewardkit.types import RewardResult, Trajectory
from rewardkit_envs.env import TextEnv

Batch = tuple[tuple[str, ...], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]
"""Observations, rewards, terminated, truncated, and infos in gymnasium's vector shape."""


class TextVectorEnv(VectorEnv[tuple[str, ...], Sequence[str], Any]):
    """`num_envs` episodes of one TextEnv; its tasks, tools and rewards are there once.

    `env` is the id of a registered TextEnv, or what returns one; it is called with `options`. In every autoreset mode
    `step` gives what gymnasium's SyncVectorEnv gives. The rewards run in `executor` (default: in this process; see
    `rewardkit.executors.open_executor`); `threads` act at once, for environments that wait for a sandbox. Raises
    ConfigError for a reward that compares attempts: which ones end together is chance.
    """

    def __init__(
        self,
        env: str | Callable[..., gymnasium.Env[Any, Any]],
        num_envs: int = 1,
        *,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        executor: Executor | None = None,
        threads: int = 1,
        **options: Any,
    ) -> None:
        for name, value in {"num_envs": num_envs, "threads": threads}.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name}={value!r} must be a whole number above 0")
        self._mode = AutoresetMode(autoreset_mode)
        first = _open(env, options)
        self._scorer = first.open_rewards(executor)
        if self._scorer is not None and self._scorer.needs_groups:
            raise ConfigError("a reward compares attempts, which do not end together: score the recorded episodes")
        self.envs = [first, *(first.twin() for _ in range(num_envs - 1))]
        self.num_envs = num_envs
        self.metadata = {**first.metadata, "autoreset_mode": self._mode}
        self.render_mode = first.render_mode
        self.single_observation_space = first.observation_space
        self.single_action_space = first.action_space
        self.observation_space = batch_space(first.observation_space, num_envs)
        self.action_space = batch_space(first.action_space, num_envs)
        self._turns: list[_Turn] = [("", 0.0, False, False, {})] * num_envs
        self._out: set[int] = set()  # sent, and not yet received
        self._ready: list[int] = []
        self._unscored: deque[_Ended] = deque()
        self._scorings: deque[Future[list[tuple[int, RewardResult]]]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rewardkit-scoring")
        self._actors = ThreadPoolExecutor(threads, thread_name_prefix="rewardkit-acting") if threads > 1 else None

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[tuple[str, ...], dict[str, Any]]:
        """Begin all episodes, with the seeds `seed`, `seed + 1`, ...; `options["reset_mask"]` says which ones only."""
        options = dict(options or {})
        mask = options.pop("reset_mask", np.ones(self.num_envs, dtype=np.bool_))
        self._forget()
        began = np.flatnonzero(mask)
        for i, own in zip(began, np.array(self._seeds(seed), dtype=object)[began], strict=True):
            observation, about = self.envs[i].reset(seed=own, options=options)
            self._turns[i] = observation, 0.0, False, False, about
        infos: dict[str, Any] = {}
        for i in began:
            infos = self._add_info(infos, self._turns[i][4], int(i))
        return tuple(turn[0] for turn in self._turns), infos

    def step(self, actions: Sequence[str]) -> Batch:
        """Let every episode take one action, and score those that ended in one call."""
        if self._out:
            raise gymnasium.error.AlreadyPendingCallError("actions were sent: call recv until all are back", "send")
        ended = self._act(range(self.num_envs), actions)
        for i, scored in self._scored(ended):
            self._settle(i, scored)
        return self._gather(range(self.num_envs))

    def async_reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> None:
        """Begin all episodes; `recv` gives their first observations."""
        self.reset(seed=seed, options=options)
        self._ready = list(range(self.num_envs))
        self._out = set(self._ready)

    def send(self, actions: Sequence[str], ids: Iterable[int]) -> None:
        """Let the environments `ids` take one action each, at once; what has ended is scored in the background."""
        ids = [int(i) for i in ids]
        if len(set(ids)) < len(ids):
            raise ConfigError(f"ids={ids!r}: an environment takes one action at a time")
        if pending := self._out.intersection(ids):
            raise gymnasium.error.AlreadyPendingCallError(f"environment {min(pending)} is out: recv it first", "send")
        ended = self._act(ids, actions)
        self._out.update(ids)
        unscored = {i for i, _ in ended}
        self._ready += [i for i in ids if i not in unscored]
        if ended:
            self._unscored.extend(ended)
            self._scorings.append(self._thread.submit(self._score_waiting, self._unscored))

    def recv(self, at_least: int = 1) -> Batch:
        """Return what came of the actions sent, for all that are ready, after waiting for `at_least` of them.

        `infos["env_id"]` says which environments they are; every array has their order. Raises gymnasium's
        NoAsyncCallError when none is out.
        """
        if not self._out:
            raise gymnasium.error.NoAsyncCallError("nothing was sent: call async_reset or send before recv", "recv")
        while self._scorings and (len(self._ready) < at_least or self._scorings[0].done()):
            for i, scored in self._scorings.popleft().result():
                self._settle(i, scored)
                self._ready.append(i)
        ids, self._ready = self._ready, []
        self._out.difference_update(ids)
        observations, rewards, terminated, truncated, infos = self._gather(ids)
        infos = {**_rows(infos, ids), "env_id": np.array(ids)}
        return observations, rewards, terminated, truncated, infos

    def render(self) -> tuple[Any, ...]:
        """Return each environment's rendering."""
        return tuple(env.render() for env in self.envs)

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Return each environment's attribute `name`, or what it returns when it is a method."""
        found = [getattr(env, name) for env in self.envs]
        return tuple(each(*args, **kwargs) if callable(each) else each for each in found)

    def close_extras(self, **_: Any) -> None:
        """Close the environments and what scores them."""
        if not hasattr(self, "_actors"):  # gymnasium closes what could not be made, too
            return
        self._forget()
        self._thread.shutdown()
        if self._actors is not None:
            self._actors.shutdown()
        for env in self.envs:
            env.close()

    def _act(self, ids: Sequence[int], actions: Sequence[str]) -> list[_Ended]:
        """Take one action each and return what must be scored."""
        if len(ids) != len(actions):
            raise ConfigError(f"{len(actions)} actions for {len(ids)} environments: give one each")
        mapped = map if self._actors is None else self._actors.map
        for i, turn in zip(ids, mapped(self._turn, ids, actions), strict=True):
            self._turns[i] = turn
        if self._scorer is None:
            return []
        ended = [i for i in ids if self._turns[i][2] or self._turns[i][3]]
        return [(i, self.envs[i].trajectory) for i in ended if self.envs[i].episode.result is None]

    def _turn(self, i: int, action: str) -> _Turn:
        """Take one action; where the episode was over, the next one begins instead."""
        env = self.envs[i]
        if env.episode.over and self._mode is AutoresetMode.NEXT_STEP:
            observation, about = env.reset()
            return observation, 0.0, False, False, about
        return env.step(action)

    def _score_waiting(self, unscored: deque[_Ended]) -> list[tuple[int, RewardResult]]:
        """Score all that has ended by now; in the thread."""
        return self._scored([unscored.popleft() for _ in range(len(unscored))])

    def _scored(self, ended: Sequence[_Ended]) -> list[tuple[int, RewardResult]]:
        if not ended or self._scorer is None:
            return []
        results = self._scorer.score_batch([trajectory for _, trajectory in ended])
        return [(i, scored) for (i, _), scored in zip(ended, results, strict=True)]

    def _settle(self, i: int, scored: RewardResult) -> None:
        env, (observation, _, _, _, about) = self.envs[i], self._turns[i]
        reward, episode = env.settle(scored), self.envs[i].episode
        about = {**about, "reward_result": scored, "reward_missing": scored.total is None}
        self._turns[i] = observation, reward, episode.terminated, episode.truncated, about

    def _gather(self, ids: Sequence[int]) -> Batch:
        infos: dict[str, Any] = {}
        observations = []
        turns = [self._turns[i] for i in ids]
        for i, (observation, _, terminated, truncated, about) in zip(ids, turns, strict=True):
            if (terminated or truncated) and self._mode is AutoresetMode.SAME_STEP:
                infos = self._add_info(infos, {"final_obs": observation, "final_info": about}, i)
                observation, about = self.envs[i].reset()
                self._turns[i] = observation, 0.0, False, False, about
            infos = self._add_info(infos, about, i)
            observations.append(observation)
        rewards = np.array([turn[1] for turn in turns], dtype=np.float64)
        terminated_, truncated_ = (np.array([turn[at] for turn in turns], dtype=np.bool_) for at in (2, 3))
        return tuple(observations), rewards, terminated_, truncated_, infos

    def _seeds(self, seed: int | Sequence[int | None] | None) -> list[int | None]:
        if seed is None:
            return [None] * self.num_envs
        if isinstance(seed, int):
            return [seed + i for i in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise ConfigError(f"{len(seed)} seeds for {self.num_envs} environments: give one each, or one number")
        return list(seed)

    def _forget(self) -> None:
        """Drop what is out; scores that are still to come reach nobody."""
        self._out.clear()
        self._ready.clear()
        self._unscored = deque()
        self._scorings.clear()


_Turn = tuple[str, float, bool, bool, dict[str, Any]]
_Ended = tuple[int, Trajectory]


def _open(env: str | Callable[..., gymnasium.Env[Any, Any]], options: Mapping[str, Any]) -> TextEnv:
    """Return the environment, which leaves scoring to the caller."""
    made = gymnasium.make(env, disable_env_checker=True, **options) if isinstance(env, str) else env(**options)
    inner = made.unwrapped
    if not isinstance(inner, TextEnv):
        raise ConfigError(f"{env!r} is no TextEnv, but {type(inner).__name__}: use gymnasium's SyncVectorEnv for it")
    if made.spec is not None and made.spec.max_episode_steps is not None:
        raise ConfigError(f"max_episode_steps={made.spec.max_episode_steps} is for others: give max_turns")
    inner.defer_reward = True
    return inner


def _rows(infos: Mapping[str, Any], ids: Sequence[int]) -> dict[str, Any]:
    return {key: _rows(value, ids) if isinstance(value, dict) else value[ids] for key, value in infos.items()}


# What `gymnasium.make_vec` makes of our ids.
MathVectorEnv = partial(TextVectorEnv, "rewardkit/Math-v0")
CodeVectorEnv = partial(TextVectorEnv, "rewardkit/Code-v0")
RAGVectorEnv = partial(TextVectorEnv, "rewardkit/RAG-v0")
AgentVectorEnv = partial(TextVectorEnv, "rewardkit/Agent-v0")
