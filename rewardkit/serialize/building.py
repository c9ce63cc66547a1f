"""Cheap constructors for the frozen types, which are most of what a reader makes.

They check nothing: who calls them has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

from rewardkit.types import Message, Step, Task, ToolCall, Trajectory

_T = TypeVar("_T")


def constructor(cls: type[_T]) -> Callable[..., _T]:
    """Return a function of all fields of the frozen, slotted dataclass `cls`, in order and by position.

    A frozen dataclass sets each field through `object.__setattr__`; the setters of its slots take a third of the time.
    """
    names = [field.name for field in fields(cls)]  # type: ignore[arg-type]
    lines = [f"def build({', '.join(names)}):", "    built = new(cls)"]
    lines += [f"    set_{name}(built, {name})" for name in names]
    scope: dict[str, Any] = {f"set_{name}": getattr(cls, name).__set__ for name in names}
    scope |= {"new": object.__new__, "cls": cls}
    exec("\n".join([*lines, "    return built"]), scope)  # noqa: S102  as dataclasses do; the names are the fields'
    build: Callable[..., _T] = scope["build"]
    return build


new_message = constructor(Message)
new_call = constructor(ToolCall)
new_step = constructor(Step)
new_task = constructor(Task)
new_trajectory = constructor(Trajectory)
