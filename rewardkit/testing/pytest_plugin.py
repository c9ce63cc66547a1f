"""Fixtures for tests of rewards, there wherever rewardkit and pytest are installed; they import on first use only.

The contract tests are no fixtures: inherit `rewardkit.testing.RewardContract`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from rewardkit.types import RewardResult, Trajectory


@pytest.fixture(scope="session")
def make_trajectory() -> Callable[..., Trajectory]:
    """Return `rewardkit.testing.trajectory`: prompt, completion and references to a trajectory."""
    from rewardkit.testing.fakes import trajectory

    return trajectory


@pytest.fixture(scope="session")
def score() -> Callable[..., RewardResult]:
    """Return `score(reward, trajectory)`; the reward is a spec such as "regex:pattern=x" or an object."""

    def run(reward: Any, trajectory: Trajectory) -> RewardResult:
        from rewardkit.scorer import Scorer

        with Scorer([reward]) as scorer:
            return scorer.score(trajectory)

    return run
