"""The values that cross every boundary: trajectories in, scores out; no behaviour beyond reading them.

Reading and writing files is `serialize`; computing is `scoring`. All types are frozen and go through pickle and JSON
unchanged, provided that metadata holds JSON values only (lists rather than tuples, string keys).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rewardkit.errors import InvalidScoreError

Role = Literal["system", "user", "assistant", "tool"]
FailureKind = Literal["error", "timeout", "unparsable", "sandbox", "killed", "input"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """One tool call of the agent, in OpenAI's shape; `arguments` is the text the model wrote, usually JSON."""

    id: str = ""
    name: str
    arguments: str = "{}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One chat message in OpenAI's shape.

    `content` is always text ("" where a tool call has none); content given as parts keeps them in `metadata["parts"]`
    and its text parts joined here. Fields we do not know (such as `reasoning_content`) are in `metadata`.
    """

    role: Role
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """The sampled tokens of one action: ids, and log-probabilities (nats, same length) where known."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One turn: what was new to the agent since its last action, and what it did.

    `observation` of the first step leaves out the task's prompt. `reward` is what the environment itself paid, or None.
    """

    observation: tuple[Message, ...] = ()
    action: Message
    tokens: Tokens | None = None
    reward: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What was asked: the prompt, and what a reward may know of the right answer.

    `references` may be empty; several are alternatives, any of which is right. `metadata` holds whatever else the task
    carries: unit tests, passages, a rubric, principles.
    """

    id: str = ""
    prompt: tuple[Message, ...] = ()
    references: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def question(self) -> str:
        """The text of the last user message of the prompt, or "" when there is none."""
        return next((m.content for m in reversed(self.prompt) if m.role == "user"), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """One attempt at a task, from the prompt to where it ended."""

    id: str = ""
    task: Task
    steps: tuple[Step, ...] = ()
    terminated: bool = True
    truncated: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def completion(self) -> str:
        """The text of the agent's last action: the answer of a single-turn task; "" when the agent never acted."""
        return self.steps[-1].action.content if self.steps else ""

    @property
    def messages(self) -> tuple[Message, ...]:
        """The whole dialogue in order: the prompt, then each step's observation and action."""
        return (*self.task.prompt, *(m for step in self.steps for m in (*step.observation, step.action)))

    @property
    def group(self) -> str:
        """What attempts at one task share: `metadata["group"]`, the task's id, or else its prompt and references."""
        group = self.metadata.get("group", self.task.id)
        return str(group) if group != "" else repr((self.task.prompt, self.task.references))


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What one reward says of one trajectory.

    `value` None means that the reward abstains, which is not 0. `steps` holds one number per step (None: that step is
    not judged), `tokens` one per sampled token of all steps in order. `parts` are named components that explain the
    value and are never summed. Every number must be finite: anything else raises InvalidScoreError.
    """

    value: float | None
    steps: tuple[float | None, ...] | None = None
    tokens: tuple[float, ...] | None = None
    parts: Mapping[str, float] = field(default_factory=dict)
    uncertainty: float | None = None
    explanation: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.value is not None and type(self.value) is not float:
            object.__setattr__(self, "value", _as_float("value", self.value))
        elif self.value is not None and not math.isfinite(self.value):
            raise _not_finite("value", self.value)
        if self.steps is not None:
            steps = tuple(None if x is None else _as_float("steps", x) for x in self.steps)
            object.__setattr__(self, "steps", steps)
        if self.tokens is not None:
            object.__setattr__(self, "tokens", tuple(_as_float("tokens", x) for x in self.tokens))
        if self.parts:
            object.__setattr__(self, "parts", {str(k): _as_float(f"parts[{k!r}]", v) for k, v in self.parts.items()})
        if self.uncertainty is not None:
            object.__setattr__(self, "uncertainty", _as_float("uncertainty", self.uncertainty))


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a reward has no score for a trajectory. `retryable` says that trying again may help."""

    reward: str
    kind: FailureKind
    message: str
    retryable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardResult:
    """All that is known of one trajectory's reward.

    `total` is None when a required reward failed, or when every reward abstained: mask the sample, do not read it as 0.
    `signature` says how the number was made.
    """

    total: float | None
    scores: Mapping[str, Score] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()
    signature: str = ""


Outcome = Score | Failure


def _as_float(field_name: str, number: Any) -> float:
    """Return `number` as a finite float; bools and numpy scalars are numbers, text is not."""
    if isinstance(number, (str, bytes)):
        raise InvalidScoreError(f"Score.{field_name} must be a number, not {number!r}: convert it in the reward")
    try:
        value = float(number)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidScoreError(f"Score.{field_name} must be a number, not {number!r}: {error}") from error
    if not math.isfinite(value):
        raise _not_finite(field_name, value)
    return value


def _not_finite(field_name: str, value: float) -> InvalidScoreError:
    return InvalidScoreError(f"Score.{field_name} is {value!r}: use None to abstain, or raise RewardError to fail")
