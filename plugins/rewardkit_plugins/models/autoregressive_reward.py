"""GenARM's reward (2410.08193): the log-probability that an autoregressive reward model gives to what the agent wrote.

Decoding with such a model is `guided_decoding`, its loss is `training.implicit.genarm`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rewardkit_plugins.models.actions import Actions
from rewardkit_plugins.models.token_reward import TokenReward


class AutoregressiveReward(TokenReward):
    """r(x, y) = Σ_t log π_r(y_t | x, y_<t), in nats, from -∞ to 0; every token earns its term.

    Options, steps and tokens are those of `TokenReward`. The part `tokens` counts what was judged.
    Source: Xu et al. 2024 (GenARM).
    """

    name = "autoregressive_reward"
    kind = "causal"

    def token_terms(self, found: Sequence[Actions]) -> list[Mapping[str, list[float]]]:
        """Return the log-probability of each judged token."""
        logprobs = self.engine.logprobs([actions.reading for actions in found])
        return [{"reward": row.tolist()} for row in logprobs]
