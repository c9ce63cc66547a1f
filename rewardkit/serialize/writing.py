"""Trajectories into JSON objects of the native shape, which reads back equal; empty fields are left out.

Results are `results`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewardkit.types import Message, Step, Trajectory


def trajectory_to_json(trajectory: Trajectory) -> dict[str, Any]:
    """Return `trajectory` in the native shape; `trajectory_from_json` gives an equal one back."""
    task = trajectory.task
    record = {
        "id": trajectory.id,
        "task": {
            "id": task.id,
            "prompt": [message_to_json(message) for message in task.prompt],
            "references": list(task.references),
            **_metadata(task.metadata),
        },
        "steps": [_step(step) for step in trajectory.steps],
        "terminated": trajectory.terminated,
        "truncated": trajectory.truncated,
    }
    return record | _metadata(trajectory.metadata)


def message_to_json(message: Message) -> dict[str, Any]:
    """Return one message in OpenAI's shape."""
    record: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        record["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        record["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        record["name"] = message.name
    return record | _metadata(message.metadata)


def _step(step: Step) -> dict[str, Any]:
    record: dict[str, Any] = {"action": message_to_json(step.action)}
    if step.observation:
        record = {"observation": [message_to_json(message) for message in step.observation], **record}
    if step.tokens is not None:
        tokens: dict[str, Any] = {"ids": list(step.tokens.ids)}
        if step.tokens.logprobs is not None:
            tokens["logprobs"] = list(step.tokens.logprobs)
        record["tokens"] = tokens
    if step.reward is not None:
        record["reward"] = step.reward
    return record | _metadata(step.metadata)


def _metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {"metadata": dict(metadata)} if metadata else {}
