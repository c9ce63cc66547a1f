"""The sandboxes of rewardkit that can be had on this machine, for the benchmarks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rewardkit.errors import RewardkitError
from rewardkit.plugins import Plugins
from rewardkit.protocols import Sandbox

WORKERS = 2


def sandboxes_here(names: Sequence[str] = ()) -> Iterator[tuple[str, Sandbox]]:
    """Yield each sandbox by name, not yet started, with two workers; say why one is left out. The caller closes it."""
    known = Plugins.load().sandboxes
    for name in names or ("namespace", "docker"):
        try:
            sandbox: Sandbox = known.get(name).build(workers=WORKERS)
            sandbox.identity()
        except RewardkitError as reason:
            print(f"not run here: {name}: {reason}")
        else:
            yield name, sandbox
