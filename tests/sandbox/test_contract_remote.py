"""The remote sandbox keeps every promise of the contract; the attacks are tried on the sandboxes behind it."""

from __future__ import annotations

import pytest

from rewardkit.errors import SandboxUnavailableError
from rewardkit_sandbox.namespace import NamespaceSandbox
from rewardkit_sandbox.promises import PROMISES
from rewardkit_sandbox.remote import RemoteSandbox
from rewardkit_sandbox.serve import CEILING, SandboxServer


@pytest.fixture(scope="module")
def remote():
    behind = NamespaceSandbox(workers=2, limits=CEILING)
    try:
        behind.identity()
    except SandboxUnavailableError as error:
        pytest.skip(f"the remote sandbox is NOT tested: {error}")
    with SandboxServer(behind, port=0, workers=2) as server, RemoteSandbox(url=server.url) as sandbox:
        yield sandbox


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.name)
def test_what_every_sandbox_promises_the_remote_one_keeps(remote, promise):
    promise.keep(remote)
