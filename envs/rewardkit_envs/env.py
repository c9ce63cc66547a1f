"""An episode over text as a `gymnasium.Env`: the part that is the same for every task.

A subclass says what the agent sees and what its actions do (`begin`, `act`); this class keeps the dialogue, ends the
episode, and pays. What is played can be scored again: `trajectory` is what `rewardkit score` reads. Not covered: many
episodes at once (`vector`), other people's environments (`wrappers`).
"""

from __future__ import annotations

import copy
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import gymnasium

from rewardkit.errors import ConfigError, RewardError
from rewardkit.judging import failure_of
from rewardkit.protocols import Executor
from rewardkit.scorer import Scorer
from rewardkit.types import Failure, Message, RewardResult, Step, Task, Trajectory
from rewardkit_envs.spaces import TextSpace
from rewardkit_envs.tasks import TaskSource, open_tasks


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What an action led to.

    `observation` is what the agent sees next: text (shown as the user's), or messages. `terminated` ends the episode
    by the task's own rules. `reward` is what the environment itself pays for the step, if it does; `metadata` goes into
    the step.
    """

    observation: str | tuple[Message, ...] = ""
    terminated: bool = False
    reward: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Episode:
    """Everything that an episode is; a copy of it is a place to come back to.

    `memory` is the subclass's own: values that can be copied and pickled.
    """

    task: Task
    steps: list[Step] = field(default_factory=list)
    seen: tuple[Message, ...] = ()
    terminated: bool = False
    truncated: bool = False
    result: RewardResult | None = None
    memory: Any = None

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.terminated or self.truncated


class TextEnv(gymnasium.Env[str, str]):
    """An environment of text whose reward is any reward plugin.

    `tasks` is what `tasks.open_tasks` takes. `reward` is what `Scorer` takes (`"math"`, `["math", "0.2*format"]`,
    `{"math": 1.0}`, a Scorer), or None for none. After `max_turns` actions the episode is truncated. The reward is paid
    when the episode ends; before that it is what the task itself pays, or 0. With `defer_reward` nothing is scored
    here, for a caller that scores many episodes at once (`trajectory`, then `settle`).

    `reset(options=...)` takes `task_id`, or `task` (a Task). `info` has `messages` (the whole dialogue) and, at the
    end, `reward_result`. A reward that cannot be had is no 0: then `info["reward_missing"]` is True, the number is 0.0
    and the episode counts as truncated, so that trainers can leave it out. So it ends, too, when an action meets a
    sandbox that fails.
    """

    metadata = {"render_modes": ["ansi", "html"], "render_fps": 1}  # noqa: RUF012  as gymnasium declares it
    default_reward: ClassVar[Any] = None

    def __init__(
        self,
        *,
        tasks: Any = None,
        reward: Any = "default",
        max_turns: int = 1,
        render_mode: str | None = None,
        defer_reward: bool = False,
    ) -> None:
        if isinstance(max_turns, bool) or not isinstance(max_turns, int) or max_turns < 1:
            raise ConfigError(f"max_turns={max_turns!r} must be a whole number above 0")
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ConfigError(f"render_mode={render_mode!r}: choose one of {self.metadata['render_modes']}")
        self.tasks: TaskSource = self.default_tasks() if tasks is None else open_tasks(tasks)
        self.max_turns = max_turns
        self.render_mode = render_mode
        self.defer_reward = defer_reward
        self._rewards = self.default_reward if isinstance(reward, str) and reward == "default" else reward
        self._scorer: Scorer | None = None
        self.observation_space = TextSpace()
        self.action_space = TextSpace()
        self._episode: Episode | None = None

    # What a subclass provides.

    def default_tasks(self) -> TaskSource:
        """Return the tasks for callers that name none."""
        raise ConfigError(f"{type(self).__name__} needs tasks=...: a file or a list of tasks")

    def begin(self, task: Task) -> str | tuple[Message, ...]:  # noqa: ARG002  a subclass may
        """Start an episode and return what the agent sees beside the task's prompt; `self.episode` is new."""
        return ""

    def act(self, action: str) -> Turn:
        """Let an action take effect; may read and change `self.episode.memory`. Garbage is an observation, no error.

        What is not the agent's fault raises RewardError, a sandbox that fails SandboxError: that ends the episode
        without a reward.
        """
        raise NotImplementedError

    def evidence(self) -> Mapping[str, Any]:
        """Return what the last step's metadata must say of how the episode ended, for rewards; may raise as `act`."""
        return {}

    def gold(self) -> str:
        """Return an action that a perfect agent might take now; raises ConfigError for tasks without a known answer."""
        raise ConfigError(f"{type(self).__name__} knows no gold policy")

    # What callers use.

    @property
    def episode(self) -> Episode:
        """The running episode; raises gymnasium's ResetNeeded before the first `reset`."""
        if self._episode is None:
            raise gymnasium.error.ResetNeeded("call reset before step")
        return self._episode

    @property
    def trajectory(self) -> Trajectory:
        """What has been played so far."""
        episode = self.episode
        return Trajectory(
            task=episode.task,
            steps=tuple(episode.steps),
            terminated=episode.terminated,
            truncated=episode.truncated,
        )

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start an episode; the same seed gives the same one."""
        super().reset(seed=seed)
        self._episode = Episode(task=self._choose(options or {}))
        first = _as_messages(self.begin(self._episode.task))
        self._episode.seen = first
        return _text((*self._episode.task.prompt, *first)), self._info()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Take one action; see the class for the reward and `info`."""
        episode = self.episode
        if episode.over:
            raise gymnasium.error.ResetNeeded("the episode is over: call reset")
        given: Any = action
        if not isinstance(given, str):
            raise TypeError(f"an action is text, not {type(given).__name__}")
        broken: Failure | None = None
        try:
            turn = self.act(action)
            ends = turn.terminated or len(episode.steps) + 1 >= self.max_turns
            metadata = {**turn.metadata, **self.evidence()} if ends else turn.metadata
        except RewardError as error:
            turn, metadata, broken = Turn(), {}, failure_of(type(self).__name__, error)
        message = Message(role="assistant", content=action)
        episode.steps.append(Step(observation=episode.seen, action=message, reward=turn.reward, metadata=metadata))
        episode.seen = _as_messages(turn.observation)
        episode.terminated = turn.terminated
        episode.truncated = not turn.terminated and len(episode.steps) >= self.max_turns
        reward = turn.reward or 0.0
        if broken is not None:
            reward = self.settle(RewardResult(total=None, failures=(broken,)))
        elif (episode.terminated or episode.truncated) and not self.defer_reward:
            reward = self.settle(self._scored())
        return _text(episode.seen), reward, episode.terminated, episode.truncated, self._info()

    def truncate(self) -> None:
        """End a running episode where it stands, for a caller whose steps or tokens ran out; `settle` pays for it."""
        episode = self.episode
        if episode.over:
            return
        episode.truncated = True
        try:
            if episode.steps and (found := self.evidence()):
                last = episode.steps[-1]
                episode.steps[-1] = replace(last, metadata={**last.metadata, **found})
        except RewardError as error:
            self.settle(RewardResult(total=None, failures=(failure_of(type(self).__name__, error),)))

    def settle(self, result: RewardResult | None) -> float:
        """Take the reward of the finished episode (None: what its steps paid) and return the number to pay.

        An episode that was broken off because of a failure keeps that failure, and pays 0.0.
        """
        episode = self.episode
        if episode.result is None or episode.result.total is not None:
            episode.result = result
        if episode.result is None:
            return float(episode.steps[-1].reward or 0.0)
        if episode.result.total is None:
            episode.terminated, episode.truncated = False, True
            return 0.0
        return episode.result.total

    def state(self) -> Any:
        """Return where the episode is, with the state of the random numbers; for `restore`, also in another process."""
        return copy.deepcopy((self._episode, self.np_random.bit_generator.state))

    def restore(self, state: Any) -> None:
        """Go back to what `state` returned."""
        self._episode, generator = copy.deepcopy(state)
        self.np_random.bit_generator.state = generator

    def render(self) -> str:
        """Return the dialogue so far, as text or as HTML."""
        if self.render_mode is None:
            raise ConfigError("render needs an environment made with render_mode='ansi' or 'html'")
        messages = self.messages
        if self.render_mode == "ansi":
            return "\n".join(f"[{m.role}] {m.content}" for m in messages) + self._verdict()
        rows = (f"<dt>{m.role}</dt><dd><pre>{html.escape(m.content)}</pre></dd>" for m in messages)
        return f"<dl class='rewardkit-transcript'>{''.join(rows)}</dl><p>{html.escape(self._verdict().strip())}</p>"

    @property
    def messages(self) -> tuple[Message, ...]:
        """The whole dialogue so far, with what the agent sees now."""
        episode = self.episode
        said = list(episode.task.prompt)
        for step in episode.steps:
            said += step.observation
            said.append(step.action)
        return (*said, *episode.seen)

    def open_rewards(self, executor: Executor | None = None) -> Scorer | None:
        """Return what scores the episodes, None where only the steps pay; the first call opens it, with `executor`."""
        if self._scorer is None and self._rewards is not None:
            self._scorer = open_scorer(self._rewards, executor)
        return self._scorer

    def twin(self) -> Self:
        """Return another environment that shares tasks, tools and rewards with this one, with episodes of its own.

        It is a copy with the same attributes: a subclass that keeps more of an episode than `episode` must override it.
        """
        twin = copy.copy(self)
        twin._rewards, twin._scorer, twin._episode = self.open_rewards(), None, None
        twin._np_random = twin._np_random_seed = None
        return twin

    def close(self) -> None:
        """Close the rewards."""
        if self._scorer is not None:
            self._scorer.close()
            self._scorer = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_scorer": None}

    def _choose(self, options: Mapping[str, Any]) -> Task:
        if unknown := sorted(set(options) - {"task", "task_id"}):
            raise ConfigError(f"reset knows no option {unknown[0]!r}, only task and task_id")
        if (task := options.get("task")) is not None:
            if not isinstance(task, Task):
                raise ConfigError(f"reset(options={{'task': ...}}) takes a Task, not {type(task).__name__}")
            return task
        if "task_id" not in options:
            return self.tasks.draw(self.np_random)
        try:
            return self.tasks.find(str(options["task_id"]))
        except KeyError:
            raise ConfigError(f"there is no task {options['task_id']!r}") from None

    def _scored(self) -> RewardResult | None:
        scorer = self.open_rewards()
        return None if scorer is None else scorer.score(self.trajectory)

    def _info(self) -> dict[str, Any]:
        episode = self.episode
        info: dict[str, Any] = {"task_id": episode.task.id, "messages": self.messages}
        if episode.result is not None:
            info["reward_result"] = episode.result
            info["reward_missing"] = episode.result.total is None
        return info

    def _verdict(self) -> str:
        result = self.episode.result
        return "" if result is None else f"\n[reward] {result.total}"


def open_scorer(rewards: Any, executor: Executor | None = None) -> Scorer:
    """Return the Scorer that `rewards` stands for: one, or what makes one, to run in `executor`."""
    if isinstance(rewards, Scorer):
        return rewards
    return Scorer([rewards] if isinstance(rewards, str) else rewards, executor=executor)


def _as_messages(shown: str | tuple[Message, ...]) -> tuple[Message, ...]:
    if isinstance(shown, str):
        return (Message(role="user", content=shown),) if shown else ()
    return shown


def _text(messages: Sequence[Message]) -> str:
    return messages[0].content if len(messages) == 1 else "\n\n".join(m.content for m in messages)
