"""What authors of rewards test with: the contract, ready trajectories and small fakes; each loads on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rewardkit.testing.contract import CheckOutcome, RewardContract, run_contract
    from rewardkit.testing.fakes import EchoReward, FailingReward, HangingReward, trajectory
    from rewardkit.testing.samples import sample_trajectories

__all__ = [
    "CheckOutcome",
    "EchoReward",
    "FailingReward",
    "HangingReward",
    "RewardContract",
    "run_contract",
    "sample_trajectories",
    "trajectory",
]
_MODULES = {
    "CheckOutcome": "contract",
    "RewardContract": "contract",
    "run_contract": "contract",
    "sample_trajectories": "samples",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'rewardkit.testing' has no attribute {name!r}")
    module = _MODULES.get(name, "fakes")
    return getattr(importlib.import_module(f"rewardkit.testing.{module}"), name)
