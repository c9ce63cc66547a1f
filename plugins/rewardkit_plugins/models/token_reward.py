"""What rewards for single tokens share: how they add up, and where they are put; subclasses say what they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from rewardkit.errors import RewardError
from rewardkit.types import Score, Trajectory
from rewardkit_plugins.models.actions import Actions, Which, find_actions
from rewardkit_plugins.models.model_reward import ModelReward
from rewardkit_plugins.rules.rule import check_choice, check_flag

Level = Literal["sequence", "mean"]


class TokenReward(ModelReward):
    """Base of rewards that pay every token of the agent.

    The value is the sum over the judged tokens (`level` "sequence") or their mean. With `actions` "all" every step has
    a score too, made in the same way. `per_token` keeps the rewards of the single tokens: in `Score.tokens` where the
    judged tokens are those that the trajectory says were sampled, else in the metadata with their texts.
    """

    def __init__(
        self,
        *,
        level: Level = "sequence",
        actions: Which = "last",
        end_of_turn: bool = True,
        per_token: bool = False,
        **engine: Any,
    ) -> None:
        super().__init__(**engine)
        check_choice(f"{self.name}: level", level, get_args(Level))
        check_choice(f"{self.name}: actions", actions, get_args(Which))
        check_flag(f"{self.name}: end_of_turn", end_of_turn)
        check_flag(f"{self.name}: per_token", per_token)
        self.level: Level = level
        self.actions: Which = actions
        self.end_of_turn = end_of_turn
        self.per_token = per_token

    def score_batch(self, batch: Sequence[Trajectory], /) -> list[Score]:
        """Return one Score each; raises RewardError for an attempt without an answer, and for one that does not fit."""
        if not batch:
            return []
        found = self.find(batch)
        terms = self.token_terms(found)
        return [self._score(t, a, row) for t, a, row in zip(batch, found, terms, strict=True)]

    def find(self, batch: Sequence[Trajectory]) -> list[Actions]:
        """Return the judged tokens of each attempt."""
        return find_actions(self.engine, batch, which=self.actions, end_of_turn=self.end_of_turn)

    def token_terms(self, found: Sequence[Actions]) -> list[Mapping[str, list[float]]]:
        """Return for each attempt named numbers on its judged tokens, [tokens] each; "reward" is what they earn."""
        raise NotImplementedError

    def own_fields(self) -> Mapping[str, Any]:
        """Return the options that decide the numbers, and which of them are kept."""
        return {
            "level": self.level,
            "actions": self.actions,
            "end_of_turn": self.end_of_turn,
            "per_token": self.per_token,
        }

    def _score(self, trajectory: Trajectory, actions: Actions, terms: Mapping[str, list[float]]) -> Score:
        rewards = terms["reward"]
        if not all(map(math.isfinite, rewards)):
            raise RewardError(f"model {self.config.model!r} gives numbers that are not finite: try dtype=float32")
        sampled = self.per_token and _sampled(trajectory) == actions.ids
        metadata: dict[str, Any] = {"truncated_tokens": actions.dropped} if actions.dropped else {}
        if self.per_token and not sampled:
            metadata["token_rewards"] = [list(pair) for pair in zip(actions.texts, rewards, strict=True)]
        return Score(
            value=self._sum(rewards),
            steps=self._steps(actions, rewards) if self.actions == "all" else None,
            tokens=tuple(rewards) if sampled else None,
            parts={n: math.fsum(row) for n, row in terms.items() if n != "reward"} | {"tokens": float(len(rewards))},
            metadata=metadata,
        )

    def _steps(self, actions: Actions, rewards: Sequence[float]) -> tuple[float | None, ...]:
        left = iter(rewards)
        rows = [[next(left) for _ in step] for step in actions.steps]
        return tuple(self._sum(row) if row else None for row in rows)

    def _sum(self, rewards: Sequence[float]) -> float:
        return math.fsum(rewards) / (len(rewards) if self.level == "mean" else 1)


def _sampled(trajectory: Trajectory) -> list[int] | None:
    """Return the tokens that the agent sampled in all its steps, or None where the trajectory does not say."""
    tokens = [step.tokens for step in trajectory.steps]
    return None if None in tokens else [i for one in tokens if one is not None for i in one.ids]
