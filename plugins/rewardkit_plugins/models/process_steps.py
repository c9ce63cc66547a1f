"""The steps of an attempt that a process reward model judges: turns of the agent, or pieces of its last answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rewardkit.errors import RewardError
from rewardkit.types import Message, Step, Trajectory
from rewardkit_plugins.models.model_reward import conversation
from rewardkit_plugins.steps.splitting import Span, Splitter

Mode = Literal["auto", "turns", "text"]


@dataclass(frozen=True, slots=True)
class JudgedStep:
    """A step to judge: its text, and where it stands.

    `place` is the trajectory's step that it is, or is part of; `span` its characters in that step's answer, None where
    it is the whole turn. `before` is what was said since the judged step before it: observations, earlier turns.
    """

    text: str
    place: int
    span: Span | None = None
    before: str = ""


def judged_steps(trajectory: Trajectory, *, mode: Mode, split: Splitter) -> list[JudgedStep]:
    """Return the steps to judge: the agent's turns, or with "text" the steps within its last answer.

    "auto" takes the turns where there are several. Turns in which the agent neither said nor did anything are left out.
    Raises RewardError where there is nothing to judge.
    """
    conversation(trajectory)
    if mode == "turns" or (mode == "auto" and len(trajectory.steps) > 1):
        texts = [_said(step.action) for step in trajectory.steps]
        return [
            JudgedStep(text, place, None, _lines(_heard(step)))
            for place, (text, step) in enumerate(zip(texts, trajectory.steps, strict=True))
            if text
        ]
    *earlier, final = list(trajectory.steps)
    story = [part for step in earlier for part in (*_heard(step), _said(step.action))]
    before = _lines([*story, *_heard(final)])
    spans = split(trajectory.completion)
    if not spans:
        raise RewardError("the agent's last answer has no steps to judge: it calls tools, or holds only separators")
    texts = [trajectory.completion[start:end] for start, end in spans]
    return [
        JudgedStep(text, len(earlier), span, "" if n else before)
        for n, (text, span) in enumerate(zip(texts, spans, strict=True))
    ]


def _said(action: Message) -> str:
    calls = [f"{call.name}({call.arguments})" for call in action.tool_calls]
    return "\n".join(filter(None, [action.content.strip(), *calls]))


def _heard(step: Step) -> list[str]:
    return [message.content.strip() for message in step.observation]


def _lines(texts: Sequence[str]) -> str:
    return "".join(f"{text}\n" for text in texts if text)
