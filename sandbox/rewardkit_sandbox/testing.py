"""The contract tests of sandboxes: inherit `SandboxContract` in a test file, and give it the fixture `sandbox`.

    @pytest.fixture(scope="module")
    def sandbox():
        with contextlib.closing(MySandbox(workers=1)) as sandbox:
            yield sandbox

    class TestMine(SandboxContract):
        pass

What is tested is `promises` (plain programs) and `attacks` (programs that mean harm), one test for each.
"""

from __future__ import annotations

from collections.abc import Callable

from rewardkit.protocols import Sandbox
from rewardkit_sandbox.attacks import Attack
from rewardkit_sandbox.check import ITEMS, findings
from rewardkit_sandbox.promises import Promise


class SandboxContract:
    """Tests that every sandbox must pass. The fixture `sandbox` gives one; with one worker, it is attacked best."""


def _test_of(item: Attack | Promise) -> Callable[[SandboxContract, Sandbox], None]:
    def test(_: SandboxContract, sandbox: Sandbox) -> None:
        for finding in findings(sandbox, only=item.name):
            if not finding.held:
                raise AssertionError(f"{finding.group}, {finding.name!r} ({finding.summary}): {finding.detail}")

    test.__doc__ = item.summary
    return test


for _item in ITEMS:
    _kind = "promise" if isinstance(_item, Promise) else f"attack_{_item.group}"
    _words = _item.name.replace("'", "").replace("-", "_").replace(" ", "_")
    setattr(SandboxContract, f"test_{_kind}_{_words}", _test_of(_item))
