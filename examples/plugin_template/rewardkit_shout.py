"""Reward answers in capital letters: the template of a plugin."""

from rewardkit import RewardSpec, Trajectory, reward
from rewardkit.hookspecs import hookimpl


@reward
def shout(trajectory: Trajectory, *, least: int = 1) -> float:
    """Return the share of letters that are capitals, 0.0 for fewer than `least` letters."""
    letters = [c for c in trajectory.completion if c.isalpha()]
    return sum(c.isupper() for c in letters) / len(letters) if len(letters) >= max(least, 1) else 0.0


@hookimpl
def rewardkit_rewards() -> list[RewardSpec]:
    """Tell rewardkit about the reward; this module is named as an entry point in pyproject.toml."""
    return [RewardSpec(name="shout", factory="rewardkit_shout:shout", summary="Share of letters that are capitals")]
