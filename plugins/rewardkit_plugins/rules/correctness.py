"""Whether an attempt is right, asked of another reward: what length rules need that treat right and wrong differently.

The other reward is built and called here, so it runs a second time if the scorer has it too; its value is not reused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rewardkit.errors import ConfigError
from rewardkit.plugins import Plugins
from rewardkit.terms import Term, parse_term
from rewardkit.types import Trajectory


class Correctness:
    """A judge named by a SPEC such as `math` or `exact_match:extract=last_line`; above 0.5 is right.

    Pickles as the SPEC alone. Building it is free; `setup` and `signature` raise ConfigError, UnknownNameError or
    MissingExtraError for a SPEC that cannot be built.
    """

    def __init__(self, spec: str) -> None:
        if not isinstance(spec, str) or not spec.strip():
            raise ConfigError(f"correct must name a reward such as 'math', not {spec!r}")
        self._spec = spec
        self._judge: Any = None

    def __reduce__(self) -> tuple[type[Correctness], tuple[str]]:
        return Correctness, (self._spec,)

    def setup(self) -> None:
        """Build the judge and set it up. Idempotent."""
        if self._judge is None:
            judge = self._term().build()
            judge.setup()
            self._judge = judge

    def signature(self) -> str:
        """Return the judge's signature."""
        return str(self._term().signature())

    def of(self, batch: Sequence[Trajectory]) -> list[bool | None]:
        """Return for each trajectory whether it is right; None where the judge abstains. Its errors are raised."""
        scores = self._judge.score_batch(batch)
        return [None if score.value is None else score.value > 0.5 for score in scores]

    def close(self) -> None:
        """Close the judge."""
        if self._judge is not None:
            self._judge.close()
            self._judge = None

    def _term(self) -> Term:
        term = parse_term(self._spec, Plugins.load().rewards)
        if "group" in term.spec.needs:
            raise ConfigError(f"correct={self._spec!r} compares attempts: name a reward that judges each by itself")
        return term
