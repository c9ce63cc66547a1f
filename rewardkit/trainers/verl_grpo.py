"""An advantage estimator for verl that leaves samples without a reward out; importing this module registers it.

    VERL_USE_EXTERNAL_MODULES=rewardkit.trainers.verl_grpo
    algorithm.adv_estimator=rewardkit_grpo
    +reward.custom_reward_function.reward_kwargs.missing=nan

It is GRPO (DeepSeekMath, arXiv:2402.03300) as verl computes it (verl/trainer/ppo/core_algos.py,
`compute_grpo_outcome_advantage`), but a NaN counts neither in the mean nor in the deviation of its group and has the
advantage 0. verl's own estimators would spread it over the group. Its metrics of the raw scores are NaN in such a step.
"""

from __future__ import annotations

import importlib
from typing import Any


def masked_grpo(
    token_level_rewards: Any, response_mask: Any, index: Any, epsilon: float = 1e-6, config: Any = None, **_: Any
) -> tuple[Any, Any]:
    """Return advantages and returns, both of the shape of `response_mask` (samples, tokens).

    `index` holds the group of each sample. A group with one sample that has a reward keeps the reward as it is, as in
    verl. `config.norm_adv_by_std_in_grpo` (default: true) divides by the deviation.
    """
    scores = token_level_rewards.sum(-1)
    known = ~scores.isnan()
    advantages = scores.new_zeros(scores.shape)
    groups: dict[Any, list[int]] = {}
    for row, group in enumerate(index):
        if known[row]:
            groups.setdefault(group, []).append(row)
    by_deviation = True if config is None else config.get("norm_adv_by_std_in_grpo", True)
    for rows in groups.values():
        some = scores[rows]
        if len(rows) > 1:
            some = (some - some.mean()) / (some.std() + epsilon if by_deviation else 1.0)
        else:
            some = some / (1.0 + epsilon if by_deviation else 1.0)
        advantages[rows] = some
    spread = advantages.unsqueeze(-1) * response_mask
    return spread, spread


importlib.import_module("verl.trainer.ppo.core_algos").register_adv_est("rewardkit_grpo")(masked_grpo)
