"""The `length` reward: shaping by how much the agent wrote; never by what it wrote.

`length_group` compares the attempts at one task instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from rewardkit.errors import ConfigError, RewardError
from rewardkit.types import Score, Trajectory
from rewardkit_plugins.rules.correctness import Correctness
from rewardkit_plugins.rules.rule import check_choice, check_number, check_whole

Mode = Literal["band", "overlong", "cosine", "cosine-open-r1"]
Unit = Literal["words", "characters", "tokens"]


class Length:
    """Measures all that the agent wrote against `maximum`, in `unit`.

    - `mode="band"`: 1.0 from `minimum` to `maximum`, falling in a line to 0.0 at `slope` units outside (0: at once)
      and for silence.
    - "overlong": DAPO's soft penalty, 0.0 up to `maximum - slope`, falling in a line to -1.0 at `maximum` and beyond.
    - "cosine": for a right attempt from the first number of `right` (default 1.0, 0.5) at length 0 along half a cosine
      to the second at `maximum` and beyond; for a wrong one so with `wrong` (default -1.0, -0.5). `correct` is the SPEC
      of the reward that tells right from wrong; where it abstains, so does this one.
    - "cosine-open-r1": as open-r1 released it, without the "and beyond": at twice the maximum the value is back at its
      first number. Theirs counts characters.

    Units: "words" between whitespace, "characters", or sampled "tokens", which fails with RewardError on a step that
    has none rather than count something else. Words and characters leave out tool calls and hidden reasoning.
    Raises ConfigError for an option that cannot be right.
    """

    def __init__(
        self,
        *,
        maximum: int,
        mode: Mode = "band",
        unit: Unit = "words",
        minimum: int = 1,
        slope: int = 0,
        correct: str = "math",
        right: Sequence[float] | None = None,
        wrong: Sequence[float] | None = None,
    ) -> None:
        check_choice("length: mode", mode, get_args(Mode))
        check_choice("length: unit", unit, get_args(Unit))
        check_whole("length: maximum", maximum, low=1)
        check_whole("length: minimum", minimum)
        check_whole("length: slope", slope)
        if mode == "band" and minimum > maximum:
            raise ConfigError(f"length: minimum={minimum} is more than maximum={maximum}")
        if mode == "overlong" and slope > maximum:
            raise ConfigError(f"length: slope={slope} is more than maximum={maximum}")
        self._mode: Mode = mode
        self._unit: Unit = unit
        self._minimum, self._maximum, self._slope = minimum, maximum, slope
        self._right, self._wrong = _pair("right", right, (1.0, 0.5)), _pair("wrong", wrong, (-1.0, -0.5))
        self._correctness = Correctness(correct) if mode.startswith("cosine") else None

    def signature_fields(self) -> Mapping[str, Any]:
        """Return the options that the mode uses, with the judge's whole signature."""
        fields: dict[str, Any] = {"mode": self._mode, "unit": self._unit, "maximum": self._maximum}
        if self._correctness is not None:
            pairs = {"right": self._right, "wrong": self._wrong}
            return {**fields, **pairs, "correct": self._correctness.signature()}
        band = {"minimum": self._minimum} if self._mode == "band" else {}
        return {**fields, **band, "slope": self._slope}

    def setup(self) -> None:
        """Set up the reward that tells right from wrong, if the mode needs one."""
        if self._correctness is not None:
            self._correctness.setup()

    def score_batch(self, batch: Sequence[Trajectory], /) -> list[Score]:
        """Return one Score each, in order; the part `length` is the length in units."""
        lengths = [measure(trajectory, self._unit) for trajectory in batch]
        if self._correctness is None:
            shape = self._band if self._mode == "band" else self._overlong
            return [Score(value=shape(length), parts={"length": length}) for length in lengths]
        verdicts = self._correctness.of(batch)
        return [self._cosine(length, right) for length, right in zip(lengths, verdicts, strict=True)]

    def close(self) -> None:
        """Close the reward that tells right from wrong."""
        if self._correctness is not None:
            self._correctness.close()

    def _band(self, length: int) -> float:
        below = length < self._minimum
        outside = self._minimum - length if below else max(length - self._maximum, 0)
        slope = min(self._slope, self._minimum) if below else self._slope  # silence earns nothing
        return max(0.0, 1 - outside / slope) if slope else float(outside == 0)

    def _overlong(self, length: int) -> float:
        over = length - (self._maximum - self._slope)
        return -min(1.0, over / self._slope if self._slope else 1.0) if over > 0 else 0.0

    def _cosine(self, length: int, right: bool | None) -> Score:
        parts = {"length": float(length)}
        if right is None:
            return Score(value=None, parts=parts, explanation="the reward that tells right from wrong abstains")
        start, end = self._right if right else self._wrong
        progress = length / self._maximum
        if self._mode == "cosine":
            progress = min(progress, 1.0)
        value = end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
        return Score(value=value, parts={**parts, "correct": float(right)})


def measure(trajectory: Trajectory, unit: Unit) -> int:
    """Return the length of all actions together; raises RewardError for tokens where a step has none."""
    if unit == "tokens":
        if any(step.tokens is None for step in trajectory.steps):
            raise RewardError(f"trajectory {trajectory.id!r} has a step without tokens: use unit=words or characters")
        return sum(len(step.tokens.ids) for step in trajectory.steps if step.tokens is not None)
    texts = (step.action.content for step in trajectory.steps)
    return sum(len(text) if unit == "characters" else len(text.split()) for text in texts)


def _pair(name: str, value: Sequence[float] | None, default: tuple[float, float]) -> tuple[float, float]:
    if value is None:
        return default
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ConfigError(f"length: {name} must be two numbers, at length 0 and at the maximum, not {value!r}")
    for number in value:
        check_number(f"length: {name}", number)
    return float(value[0]), float(value[1])
