"""The Docker sandbox keeps the contract and holds every attack."""

from __future__ import annotations

import contextlib

import pytest

from rewardkit_sandbox.testing import SandboxContract

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def sandbox(docker_daemon):
    from rewardkit_sandbox.docker import DockerSandbox

    with contextlib.closing(DockerSandbox(workers=1)) as sandbox:
        yield sandbox


class TestDockerSandbox(SandboxContract):
    pass
