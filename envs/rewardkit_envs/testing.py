"""The contract tests of text environments: inherit `EnvContract` in a test file and say which environment.

Whether its reward is a good one is for `rewardkit.testing.RewardContract`.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.utils.env_checker import check_env

from rewardkit_envs.env import TextEnv

_NOISE = 'abcdefghijklmnopqrstuvwxyz0123456789 .,:+-*/=()[]{}<>"`\\\n\x00\x1b\u00e9\u4e2d\U0001f600'
_ALMOST = (
    "Action: ",
    "Action Input: ",
    '{"name": ',
    '"arguments": {',
    "```python\n",
    "\n```",
    "<tool_call>",
    "\\boxed{",
    "None",
    "Observation: ",
    "import os; os._exit(0)",
)


class EnvContract:
    """Tests that every text environment must pass: `class TestMine(EnvContract): env = "mine/Env-v0"`.

    `env` is an id that gymnasium knows, or a class or function at module level that returns the environment; it is
    given `options`, and in some tests `render_mode` and `max_turns`. `gold_reward` is what the gold policy must earn in
    sum, `garbage` how many actions of noise are tried, and `longest` how many actions of an episode are played.
    """

    env: ClassVar[Any] = None
    options: ClassVar[Mapping[str, Any]] = {}
    gold_reward: ClassVar[float] = 1.0
    garbage: ClassVar[int] = 200
    longest: ClassVar[int] = 100

    def make(self, **options: Any) -> gymnasium.Env[str, str]:
        """Return a new environment, with `options` added to those of the class."""
        merged = {**self.options, **options}
        return gymnasium.make(self.env, **merged) if isinstance(self.env, str) else type(self).env(**merged)

    def test_gymnasium_finds_no_fault(self) -> None:
        """Check that `check_env` neither fails nor warns."""
        env = self.make()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            check_env(env.unwrapped, skip_render_check=env.spec is None)
        env.close()

    def test_the_same_seed_gives_the_same_episode(self) -> None:
        """Check that what a seed leads to is the same in two environments, and in one that was used before."""
        one, other = self.make(), self.make()
        for seed in (0, 1, 0):
            assert _record(one, _gold, seed=seed) == _record(other, _gold, seed=seed)
        one.close()
        other.close()

    def test_a_task_is_found_by_its_id(self) -> None:
        """Check that `reset(options={"task_id": ...})` shows the task that had this id, whatever the seed."""
        env = self.make()
        for seed in range(3):
            shown, report = env.reset(seed=seed)
            again, reported = env.reset(seed=99, options={"task_id": report["task_id"]})
            assert (again, reported["task_id"]) == (shown, report["task_id"])
        env.close()

    def test_a_restored_state_plays_on_equally(self) -> None:
        """Check that an episode goes on from `state()` in the same way, twice, and in another environment."""
        env, other = self.make(), self.make()
        inner, away = _text_env(env), _text_env(other)
        env.reset(seed=3)
        start = pickle.loads(pickle.dumps(inner.state()))  # noqa: S301  our own
        first = _play(env, _gold, self.longest)
        inner.restore(start)
        assert _play(env, _gold, self.longest) == first
        away.restore(start)
        assert _play(away, _gold, self.longest) == first
        assert env.reset()[0] == other.reset()[0], "the state of the random numbers belongs to it"
        env.close()
        other.close()

    def test_a_pickled_environment_plays_on_equally(self) -> None:
        """Check that a copy through pickle, made during an episode, goes on like the original."""
        env = self.make()
        env.reset(seed=4)
        copy = pickle.loads(pickle.dumps(env.unwrapped))  # noqa: S301  our own
        assert _play(copy, _gold, self.longest) == _play(env, _gold, self.longest)
        env.close()
        copy.close()

    def test_gold_earns_the_reward(self) -> None:
        """Check that the gold policy earns `gold_reward` in every one of a few episodes, and ends them."""
        env = self.make()
        for seed in range(5):
            steps = _record(env, _gold, seed=seed, longest=self.longest)
            assert sum(step[1] for step in steps) == self.gold_reward, steps
            assert steps[-1][2:] == (True, False), "the gold policy comes to the end of the task"
        env.close()

    def test_garbage_neither_raises_nor_pays_more_than_silence(self) -> None:
        """Check that noise, pieces of calls and echoes of what is shown earn no more than empty actions."""
        env = self.make()
        random = np.random.default_rng(5)
        played = 0
        while played < self.garbage:
            seed = int(random.integers(2**31))
            silence = _record(env, lambda *_: "", seed=seed, longest=self.longest)
            noisy = _record(env, lambda _, shown: noise(random, shown), seed=seed, longest=self.longest)
            assert sum(step[1] for step in noisy) <= sum(step[1] for step in silence), noisy
            played += len(noisy)
        env.close()

    def test_an_episode_ends_at_max_turns(self) -> None:
        """Check that an environment that is asked for it ends after `max_turns` actions, and takes none after that."""
        for turns in (1, 3):
            env = self.make(max_turns=turns)
            steps = _record(env, lambda *_: "x", seed=6, longest=turns)
            assert steps[-1][2] or steps[-1][3]
            try:
                env.step("x")
            except gymnasium.error.ResetNeeded:
                continue
            finally:
                env.close()
            raise AssertionError("a step after the end must raise gymnasium.error.ResetNeeded")

    def test_it_runs_in_vectors(self) -> None:
        """Check that vectors of environments, in this process and in others, show what single ones do."""
        makers: list[Callable[[], gymnasium.Env[str, str]]] = [self.make, self.make]
        single = [self.make(), self.make()]
        shown = [env.reset(seed=seed)[0] for seed, env in zip((7, 8), single, strict=True)]
        actions = [_text_env(env).gold() for env in single]
        rewards = [env.step(action)[1] for env, action in zip(single, actions, strict=True)]
        for vector in (
            gymnasium.vector.SyncVectorEnv(makers),
            gymnasium.vector.AsyncVectorEnv(makers, shared_memory=False),
        ):
            assert list(vector.reset(seed=[7, 8])[0]) == shown
            assert list(vector.step(tuple(actions))[1]) == rewards
            vector.close()
        for env in single:
            env.close()

    def test_it_renders_text_and_html(self) -> None:
        """Check that both transcripts hold what was said."""
        for mode in ("ansi", "html"):
            env = self.make(render_mode=mode)
            env.reset(seed=9)
            env.step("my <words> & signs")
            transcript = env.render()
            assert isinstance(transcript, str)
            assert ("my <words> & signs" if mode == "ansi" else "my &lt;words&gt; &amp; signs") in transcript
            env.close()


def noise(random: np.random.Generator, shown: str) -> str:
    """Return random characters, pieces of calls, or an echo of what is shown."""
    kind = random.integers(4)
    if kind == 0:
        return shown
    if kind == 1:
        return "".join(_ALMOST[i] for i in random.integers(len(_ALMOST), size=6))
    return "".join(_NOISE[i] for i in random.integers(len(_NOISE), size=int(random.integers(200))))


_Policy = Callable[[TextEnv, str], str]
_Recorded = tuple[str, float, bool, bool]


def _gold(env: TextEnv, shown: str) -> str:  # noqa: ARG001  other policies look at it
    return env.gold()


def _record(env: Any, policy: _Policy, *, seed: int, longest: int = 100) -> list[_Recorded]:
    """Return (observation, reward, terminated, truncated) of the reset and of each step of one episode."""
    shown, _ = env.reset(seed=seed)
    return [(shown, 0.0, False, False), *_play(env, policy, longest, shown)]


def _play(env: Any, policy: _Policy, longest: int, shown: str = "") -> list[_Recorded]:
    """Play the running episode to its end, or for `longest` steps."""
    steps: list[_Recorded] = []
    while len(steps) < longest and not (steps and (steps[-1][2] or steps[-1][3])):
        shown, reward, terminated, truncated, _ = env.step(policy(_text_env(env), shown))
        steps.append((shown, float(reward), terminated, truncated))
    return steps


def _text_env(env: Any) -> TextEnv:
    inner = env.unwrapped
    assert isinstance(inner, TextEnv), f"{type(inner).__name__} is no TextEnv: wrap it, or derive from it"
    return inner
