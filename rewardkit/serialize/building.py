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

    A frozen dataclass sets each field through `object.__setattr__`. Setting them on a twin that is not frozen, and then
    calling it by the right class, takes a quarter of the time; Python allows it as both lay out the same slots.
    """
    names = [field.name for field in fields(cls)]  # type: ignore[arg-type]
    lines = [f"def build({', '.join(names)}):", "    built = Twin()"]
    lines += [f"    built.{name} = {name}" for name in names]
    scope: dict[str, Any] = {"Twin": type(cls.__name__, (), {"__slots__": tuple(names)}), "cls": cls}
    exec("\n".join([*lines, "    built.__class__ = cls", "    return built"]), scope)  # noqa: S102  as dataclasses do
    build: Callable[..., _T] = scope["build"]
    return build


new_message = constructor(Message)
new_call = constructor(ToolCall)
new_step = constructor(Step)
new_task = constructor(Task)
new_trajectory = constructor(Trajectory)
