"""The `goal_state` reward: 1.0 if the world ended as the task's goal says, else 0.0; words count for nothing.

It compares what the environment saved of the world with the goal; nothing is run here. Not covered: making that
evidence, which `rewardkit/Agent-v0` does.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rewardkit.errors import RewardError
from rewardkit.types import Score, Task, Trajectory
from rewardkit_plugins.code.compare import same_output, same_value
from rewardkit_plugins.rules.rule import Rule, quoted

Condition = tuple[str, bool]  # what is asked, and whether it holds


class GoalState(Rule):
    """Judges the evidence that the last step's metadata holds as `final_state`, by `goal` in the task's metadata.

    All conditions of a goal must hold; `parts` says which share does. What a goal may hold is on the reward's page. A
    world that has judged itself says so in the evidence as `value`, which counts where the task has no goal. A
    trajectory without evidence, or one with neither goal nor `value`, is abstained from. Raises RewardError for a goal
    that cannot be right, and for evidence that was made for another goal.
    """

    def score(self, trajectory: Trajectory, /) -> Score:
        """Return 1.0 or 0.0 (or the world's own value), or None without evidence."""
        task, evidence = trajectory.task, _evidence(trajectory)
        if evidence is None:
            return Score(value=None, explanation="the last step holds no final_state")
        goal = task.metadata.get("goal")
        if goal is None:
            return _own_value(task, evidence)
        try:
            conditions = list(_conditions(task, goal, evidence))
        except (TypeError, AttributeError, KeyError, ValueError) as error:
            raise RewardError(f"task {task.id!r}: the goal or its evidence cannot be read: {error!r}") from error
        if not conditions:
            raise RewardError(f"task {task.id!r}: the goal asks for nothing, and every attempt would reach it")
        missed = [asked for asked, holds in conditions if not holds]
        return Score(
            value=float(not missed),
            parts={"conditions": 1 - len(missed) / len(conditions)},
            explanation=f"not as asked: {', '.join(missed[:5])}" if missed else "",
        )


def _evidence(trajectory: Trajectory) -> Mapping[str, Any] | None:
    found = trajectory.steps[-1].metadata.get("final_state") if trajectory.steps else None
    return found if isinstance(found, Mapping) else None


def _own_value(task: Task, evidence: Mapping[str, Any]) -> Score:
    value = evidence.get("value")
    if value is None:
        return Score(value=None, explanation="the task has no goal")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise RewardError(f"task {task.id!r}: the world's own value is no finite number: {value!r}")
    return Score(value=float(value))


def _conditions(task: Task, goal: Mapping[str, Any], evidence: Mapping[str, Any]) -> Iterator[Condition]:
    if unknown := sorted(set(goal) - {*_KINDS, "check_files"}):
        raise ValueError(f"a goal has no {unknown[0]!r}")
    for kind, judge in _KINDS.items():
        if kind in goal:
            yield from judge(goal[kind], evidence, task)


def _files(wanted: Any, evidence: Mapping[str, Any], task: Task) -> Iterator[Condition]:  # noqa: ARG001  one shape
    for path, content in wanted.items():
        yield f"file {path}", _same_file(evidence["files"].get(path), content)


def _unchanged(wanted: Any, evidence: Mapping[str, Any], task: Task) -> Iterator[Condition]:
    """Compare with what the task began with: the paths named, or, for True, all files that the goal does not name."""
    at_start = task.metadata.get("files", {})
    named = task.metadata["goal"].get("files", {})
    for path in [path for path in at_start if path not in named] if wanted is True else wanted:
        found, before = evidence["files"].get(path), _digest(at_start[path])
        yield f"{path} unchanged", found is not None and _digest(found) == before
    if wanted is True:
        yield "no other files", not set(evidence["files"]) - set(at_start) - set(named)


def _commands(wanted: Any, evidence: Mapping[str, Any], task: Task) -> Iterator[Condition]:  # noqa: ARG001
    found = evidence["commands"]
    if [one["command"] for one in wanted] != [one["command"] for one in found]:
        raise ValueError("the saved commands are not those of the goal")
    for one, ended in zip(wanted, found, strict=True):
        right = ended["exit_code"] == one.get("exit_code", 0) and "limit" not in ended
        if "stdout" in one:
            right = right and same_output(ended["stdout"], one["stdout"])
        yield f"command {quoted(one['command'])}", right


def _tables(wanted: Any, evidence: Mapping[str, Any], task: Task) -> Iterator[Condition]:  # noqa: ARG001
    found = evidence["tables"] or {}  # None: the agent has made them unreadable
    for name, rows in wanted.items():
        yield f"table {name}", _same_rows(found.get(name), rows)


def _sql(wanted: Any, evidence: Mapping[str, Any], task: Task) -> Iterator[Condition]:  # noqa: ARG001
    """Compare with what the gold statements made of a fresh database, which the evidence holds."""
    expected, found = evidence["expected_tables"], evidence["tables"] or {}
    yield "the same tables", set(found) == set(expected)
    for name, rows in expected.items():
        yield f"table {name}", _same_rows(found.get(name), rows)


def _memory(wanted: Any, evidence: Mapping[str, Any], task: Task) -> Iterator[Condition]:  # noqa: ARG001
    for key, value in wanted.items():
        yield f"memory {key}", key in evidence["memory"] and same_value(evidence["memory"][key], value)


def _answer(wanted: Any, evidence: Mapping[str, Any], task: Task) -> Iterator[Condition]:  # noqa: ARG001
    given = evidence.get("answer")
    alternatives = [wanted] if isinstance(wanted, str) else wanted
    yield "the answer", isinstance(given, str) and any(_same_text(given, text) for text in alternatives)


def _answers(wanted: Any, evidence: Mapping[str, Any], task: Task) -> Iterator[Condition]:  # noqa: ARG001
    """Compare a list of answers in any order, given as a JSON list, or as plain text where it is one."""
    given = _listed(evidence.get("answer"))
    left = [str(text) for text in wanted]
    for answer in given:
        match = next((text for text in left if _same_text(answer, text)), None)
        if match is None:
            break
        left.remove(match)
    yield "the answers", not left and len(given) == len(wanted)


_KINDS: Mapping[str, Callable[[Any, Mapping[str, Any], Task], Iterator[Condition]]] = {
    "files": _files,
    "unchanged": _unchanged,
    "commands": _commands,
    "tables": _tables,
    "sql": _sql,
    "memory": _memory,
    "answer": _answer,
    "answers": _answers,
}


def _same_file(found: Any, wanted: Any) -> bool:
    """Compare a saved file (text, a digest, or None) with a wanted one; blank space at the end of a text is free."""
    if wanted is None or found is None:
        return wanted is found
    if isinstance(wanted, str) and isinstance(found, str):
        return found.rstrip() == wanted.rstrip()
    return _digest(found) == _digest(wanted)


def _digest(file: Any) -> str:
    """Return the digest of a file that is given as text, as {"base64": text} or as {"sha256": digest}."""
    if not isinstance(file, str) and "sha256" in file:
        return str(file["sha256"]).lower()
    content = file.encode() if isinstance(file, str) else base64.b64decode(file["base64"], validate=True)
    return hashlib.sha256(content).hexdigest()


def _same_rows(found: Any, wanted: Any) -> bool:
    """Compare rows as often as they occur, in any order; numbers as `compare.same_value`."""
    if found is None or len(found) != len(wanted):
        return False
    return same_value(sorted(found, key=_row_key), sorted(wanted, key=_row_key))


def _row_key(row: Any) -> list[str]:
    return [f"{value:.6g}" if type(value) in (int, float) else repr(value) for value in row]


def _same_text(given: str, wanted: str) -> bool:
    """Compare answers: case and blank space are free, and numbers are compared as numbers."""
    one, other = (" ".join(text.casefold().split()) for text in (given, str(wanted)))
    return one == other or same_output(one, other)


def _listed(answer: Any) -> list[str]:
    if not isinstance(answer, str):
        return []
    try:
        values = json.loads(answer)
    except (ValueError, RecursionError):
        return [answer]
    return [str(value) for value in values] if isinstance(values, list) else [answer]
