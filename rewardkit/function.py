"""`@reward`: lift a plain function into a Reward. For anything with state, write a class (see `protocols.Reward`)."""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any

from rewardkit.errors import ConfigError
from rewardkit.types import Score, Trajectory


class FunctionReward:
    """A Reward made from `f(trajectory, *, option=...) -> float | Score | None`; None abstains.

    Keyword-only parameters of the function are the reward's options. Calling the object calls the function.
    """

    def __init__(self, function: Callable[..., float | Score | None], **options: Any) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self.options = options

    def __call__(self, trajectory: Trajectory, /, **options: Any) -> float | Score | None:
        """Return what the function says of `trajectory`."""
        return self._function(trajectory, **{**self.options, **options})

    def with_options(self, **options: Any) -> FunctionReward:
        """Return the same reward with other options."""
        return FunctionReward(self._function, **{**self.options, **options})

    def option_parameters(self) -> list[inspect.Parameter]:
        """Return the keyword-only parameters of the function."""
        parameters = inspect.signature(self._function).parameters.values()
        return [p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]

    def setup(self) -> None:
        """Do nothing: a function needs no set-up."""

    def score_batch(self, batch: Sequence[Trajectory], /) -> list[Score]:
        """Return one Score for each trajectory, in order."""
        return [_as_score(self._function(trajectory, **self.options)) for trajectory in batch]

    def close(self) -> None:
        """Do nothing: a function holds nothing."""

    def __reduce__(self) -> Any:
        # The module's attribute is this object, not the function, so the function cannot pickle by name.
        return _restore, (self._function.__module__, self._function.__qualname__, self.options)


def reward(function: Callable[..., float | Score | None]) -> FunctionReward:
    """Lift `function` into a Reward; raises ConfigError when it does not take exactly one positional argument."""
    if inspect.iscoroutinefunction(function):
        raise ConfigError(f"@reward cannot lift {function.__name__!r}, which is async: write a plain 'def'")
    parameters = list(inspect.signature(function).parameters.values())
    if [p.kind for p in parameters if p.kind is not p.KEYWORD_ONLY] != [inspect.Parameter.POSITIONAL_OR_KEYWORD]:
        raise ConfigError(
            "@reward needs a function of one trajectory and keyword-only options, as "
            f"'def {function.__name__}(trajectory, *, option=1)', not {inspect.signature(function)}"
        )
    return FunctionReward(function)


def _as_score(value: float | Score | None) -> Score:
    return value if isinstance(value, Score) else Score(value=value)


def _restore(module: str, qualname: str, options: dict[str, Any]) -> FunctionReward:
    target: Any = sys.modules.get(module) or importlib.import_module(module)
    for part in qualname.split("."):
        target = getattr(target, part)
    restored: FunctionReward = target.with_options(**options)
    return restored
