"""What `rewardkit sandbox check` does to a sandbox: attacks as data, a group a module.

They try in earnest, several ways each, and do no lasting harm to a host that nothing protects: bombs are bounded and
end by themselves, signals go only to processes that cannot be the host's, calls that change the machine are made with
arguments that fail after the permission was checked, and what is written bears a mark and is removed.
"""

from __future__ import annotations

from rewardkit_sandbox.attacks import contamination, escape, files, forging, leftovers, network, resources, verdicts
from rewardkit_sandbox.attacks.ground import Ground
from rewardkit_sandbox.attacks.model import Attack, Group

__all__ = ["ATTACKS", "Attack", "Ground", "Group"]

ATTACKS: tuple[Attack, ...] = (
    *network.ATTACKS,
    *files.ATTACKS,
    *escape.ATTACKS,
    *resources.ATTACKS,
    *leftovers.ATTACKS,
    *contamination.ATTACKS,
    *forging.ATTACKS,
    *verdicts.ATTACKS,
)
