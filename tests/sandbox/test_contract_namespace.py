"""The namespace sandbox keeps the contract and holds every attack."""

from __future__ import annotations

import contextlib

import pytest

from rewardkit.errors import SandboxUnavailableError
from rewardkit_sandbox.namespace import NamespaceSandbox
from rewardkit_sandbox.testing import SandboxContract


@pytest.fixture(scope="module")
def sandbox():
    with contextlib.closing(NamespaceSandbox(workers=1)) as sandbox:
        try:
            sandbox.identity()
        except SandboxUnavailableError as error:
            pytest.skip(f"the namespace sandbox is NOT tested: {error}")
        yield sandbox


class TestNamespaceSandbox(SandboxContract):
    pass
