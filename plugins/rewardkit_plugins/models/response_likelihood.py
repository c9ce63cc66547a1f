"""The `response_likelihood` reward: how likely a language model finds the agent's answer, given what was said before.

Fluent is not true: it is the baseline that other likelihoods must beat. Ratios of two models are not here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from rewardkit.types import Score, Trajectory
from rewardkit_plugins.models.actions import Actions, Which, find_actions
from rewardkit_plugins.models.model_reward import ModelReward
from rewardkit_plugins.rules.rule import check_choice, check_flag

Aggregate = Literal["mean", "sum"]

_LARGEST_EXPONENT = 700.0  # of e, just below what a float holds


class ResponseLikelihood(ModelReward):
    """Gives the log-likelihood (nats) of the agent's last answer, or with `actions` "all" of everything it wrote.

    `aggregate` is the mean over tokens or their sum. With `end_of_turn` the control token counts with which the chat
    template closes a turn, where it has one: stopping there must be likely, too. `steps` holds the same for each action
    that is judged, None for the others. `parts` are the summed log-likelihood (`logprob`), the number of `tokens`, and
    their `perplexity`, left out above 1e304. Raises RewardError for an answer that is empty or too long.
    """

    name = "response_likelihood"
    kind = "causal"

    def __init__(
        self, *, aggregate: Aggregate = "mean", actions: Which = "last", end_of_turn: bool = False, **engine: Any
    ) -> None:
        super().__init__(**engine)
        check_choice("response_likelihood: aggregate", aggregate, get_args(Aggregate))
        check_choice("response_likelihood: actions", actions, get_args(Which))
        check_flag("response_likelihood: end_of_turn", end_of_turn)
        self._aggregate: Aggregate = aggregate
        self._actions: Which = actions
        self._end_of_turn = end_of_turn

    def own_fields(self) -> Mapping[str, Any]:
        """Return the reward's own options."""
        return {"aggregate": self._aggregate, "actions": self._actions, "end_of_turn": self._end_of_turn}

    def score_batch(self, batch: Sequence[Trajectory], /) -> list[Score]:
        """Return one Score for each trajectory; `metadata` says how many tokens were cut off."""
        judged = find_actions(self.engine, batch, which=self._actions, end_of_turn=self._end_of_turn)
        found = self.engine.logprobs([one.reading for one in judged])
        return [self._score(one, logprobs.tolist()) for one, logprobs in zip(judged, found, strict=True)]

    def _score(self, judged: Actions, logprobs: Sequence[float]) -> Score:
        left = iter(logprobs)
        steps = [self._value([next(left) for _ in step]) if step else None for step in judged.steps]
        total, tokens = math.fsum(logprobs), len(logprobs)
        parts = {"logprob": total, "tokens": float(tokens)}
        if -total / tokens <= _LARGEST_EXPONENT:
            parts["perplexity"] = math.exp(-total / tokens)
        metadata = {"truncated_tokens": judged.dropped} if judged.dropped else {}
        return Score(value=self._value(logprobs), steps=tuple(steps), parts=parts, metadata=metadata)

    def _value(self, logprobs: Sequence[float]) -> float:
        total = math.fsum(logprobs)
        return total if self._aggregate == "sum" else total / len(logprobs)
