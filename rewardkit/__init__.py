"""One reward, used everywhere: in `env.step()`, inside any trainer, and over saved trajectories.

The names below are the public API; everything else is imported from its module. `Scorer` loads on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rewardkit.errors import RewardError, RewardkitError
from rewardkit.function import reward
from rewardkit.protocols import Executor, GroupReward, Reward, Transform
from rewardkit.registry import RewardSpec
from rewardkit.types import Failure, Message, RewardResult, Score, Step, Task, Tokens, ToolCall, Trajectory

if TYPE_CHECKING:
    from rewardkit.scorer import Scorer

__version__ = "0.1.0"

__all__ = [
    "Executor",
    "Failure",
    "GroupReward",
    "Message",
    "Reward",
    "RewardError",
    "RewardResult",
    "RewardSpec",
    "RewardkitError",
    "Score",
    "Scorer",
    "Step",
    "Task",
    "Tokens",
    "ToolCall",
    "Trajectory",
    "Transform",
    "reward",
]


def __getattr__(name: str) -> Any:
    if name == "Scorer":
        from rewardkit.scorer import Scorer

        return Scorer
    raise AttributeError(f"module 'rewardkit' has no attribute {name!r}")
