"""What the rule rewards share: a base that judges one trajectory at a time, and checks of option values.

Option names are checked by the registry. Third-party rewards need none of this: any object with the three methods of
`rewardkit.protocols.Reward` will do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from rewardkit.errors import ConfigError
from rewardkit.registry import did_you_mean
from rewardkit.types import Score, Trajectory


class Rule:
    """A reward that judges each trajectory by itself and holds nothing; thread-safe."""

    def setup(self) -> None:
        """Do nothing: a rule has nothing to load."""

    def score_batch(self, batch: Sequence[Trajectory], /) -> list[Score]:
        """Return one Score for each trajectory, in order."""
        return [self.score(trajectory) for trajectory in batch]

    def close(self) -> None:
        """Do nothing: a rule holds nothing."""

    def score(self, trajectory: Trajectory, /) -> Score:
        """Return the Score of one trajectory; a subclass says how."""
        raise NotImplementedError


def check_choice(option: str, value: object, allowed: Sequence[str]) -> None:
    """Raise ConfigError unless `value` is one of `allowed`; `option` reads `"format: mode"`."""
    if value not in allowed:
        hint = did_you_mean(str(value), list(allowed))
        raise ConfigError(f"{option} must be one of {', '.join(allowed)}, not {value!r}{hint}")


def check_flag(option: str, value: object) -> None:
    """Raise ConfigError unless `value` is a bool; the text "False" would be true."""
    if not isinstance(value, bool):
        raise ConfigError(f"{option} must be true or false, not {value!r}")


def check_number(option: str, value: object, *, low: float = -math.inf, high: float = math.inf) -> None:
    """Raise ConfigError unless `value` is a finite number in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ConfigError(f"{option} must be a number, not {value!r}")
    if not low <= value <= high:
        bounds = f"at least {low:g}" if math.isinf(high) else f"at most {high:g}"
        if math.isfinite(low) and math.isfinite(high):
            bounds = f"in [{low:g}, {high:g}]"
        raise ConfigError(f"{option} must be {bounds}, not {value!r}")


def check_whole(option: str, value: object, *, low: int = 0) -> None:
    """Raise ConfigError unless `value` is a whole number of at least `low`."""
    check_number(option, value, low=low)
    if not isinstance(value, int):
        raise ConfigError(f"{option} must be a whole number, not {value!r}")


def quoted(text: str, longest: int = 80) -> str:
    """Return the repr of `text` for an explanation, cut in the middle when it is long."""
    if len(text) <= longest:
        return repr(text)
    return repr(f"{text[: longest // 2]}…{text[-longest // 2 :]}")
