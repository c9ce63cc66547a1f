"""The reward implicit in a policy that was trained by preferences (DPO): how much likelier it finds the agent's words.

Its losses are `training.implicit`. Both models are loaded beside each other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rewardkit.errors import ConfigError
from rewardkit.types import Trajectory
from rewardkit_plugins.models.actions import Actions, Which, find_actions
from rewardkit_plugins.models.agreement import check_tokens
from rewardkit_plugins.models.model_reward import open_engine
from rewardkit_plugins.models.token_reward import Level, TokenReward
from rewardkit_plugins.rules.rule import check_number

if TYPE_CHECKING:
    from rewardkit_plugins.engine.reader import Reader


class ImplicitReward(TokenReward):
    """r(x, y) = β·(log π(y|x) - log π_ref(y|x)), of any sign, 0 where both models agree; every token earns its term.

    `model` is π, `reference` π_ref: what π was trained from, with its `reference_revision`. Both are loaded with the
    same options; either may be behind a server (`server`, `reference_server`). `setup` raises ConfigError unless they
    share tokenizer and chat template. The parts `logprob` and `reference_logprob` are sums in nats over the `tokens`.
    Other options, steps and tokens are those of `TokenReward`.
    Source: Rafailov et al. 2023 (DPO), Eq. 5; per token Rafailov et al. 2024 (From r to Q*).
    """

    name = "implicit_reward"
    kind = "causal"

    def __init__(
        self,
        *,
        reference: str,
        reference_revision: str | None = None,
        reference_server: str | None = None,
        beta: float = 0.1,
        level: Level = "sequence",
        actions: Which = "last",
        end_of_turn: bool = True,
        per_token: bool = False,
        **engine: Any,
    ) -> None:
        super().__init__(level=level, actions=actions, end_of_turn=end_of_turn, per_token=per_token, **engine)
        check_number(f"{self.name}: beta", beta)
        if beta <= 0:
            raise ConfigError(f"{self.name}: beta must be above 0, not {beta!r}")
        if not isinstance(reference, str) or not reference:
            raise ConfigError(f"{self.name}: reference must be a directory or a name on the hub, not {reference!r}")
        self.beta = beta
        self.reference = replace(self.config, model=reference, revision=reference_revision, server=reference_server)
        self._reference_engine: Reader | None = None

    def setup(self) -> None:
        """Load both models. Idempotent; raises ConfigError or MissingExtraError."""
        if self._reference_engine is None:
            check_tokens(self.config, self.reference)
            super().setup()
            self._reference_engine = open_engine(self.reference, self.kind)

    def close(self) -> None:
        """Let go of both models. Idempotent."""
        super().close()
        if self._reference_engine is not None:
            self._reference_engine.close()
        self._reference_engine = None

    @property
    def reference_engine(self) -> Reader:
        """What reads the reference model; it is there after `setup`."""
        if self._reference_engine is None:
            self.setup()
        assert self._reference_engine is not None
        return self._reference_engine

    def find(self, batch: Sequence[Trajectory]) -> list[Actions]:
        """Return the judged tokens of each attempt, cut to the shorter of the two windows."""
        engines = (self.engine, self.reference_engine)
        shorter = min(engines, key=lambda engine: engine.window or math.inf)
        return find_actions(shorter, batch, which=self.actions, end_of_turn=self.end_of_turn)

    def token_terms(self, found: Sequence[Actions]) -> list[Mapping[str, list[float]]]:
        """Return β times the difference of the log-probabilities of each judged token, and both of them."""
        readings = [actions.reading for actions in found]
        pairs = zip(self.engine.logprobs(readings), self.reference_engine.logprobs(readings), strict=True)
        return [
            {
                "reward": (self.beta * (ours.double() - theirs.double())).tolist(),
                "logprob": ours.tolist(),
                "reference_logprob": theirs.tolist(),
            }
            for ours, theirs in pairs
        ]

    def own_fields(self) -> Mapping[str, Any]:
        """Return who the reference is, and the options that decide the numbers."""
        reference = self.reference.signature_fields()
        who = {"reference": reference["model"]}
        who |= {f"reference_{name}": reference[name] for name in ("dtype", "server") if name in reference}
        return {**who, "beta": self.beta, **super().own_fields()}

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_reference_engine": None}
