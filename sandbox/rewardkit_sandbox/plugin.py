"""The built-in sandboxes and the command `rewardkit sandbox` as data. Nothing here imports a sandbox."""

from __future__ import annotations

from rewardkit.hookspecs import hookimpl
from rewardkit.registry import CommandSpec, SandboxSpec


@hookimpl
def rewardkit_sandboxes() -> list[SandboxSpec]:
    """Return the built-in sandboxes."""
    return [
        SandboxSpec(
            name="auto",
            factory="rewardkit_sandbox.auto:open_sandbox",
            summary="docker if a daemon answers, else namespace, else a refusal that says what to do",
        ),
        SandboxSpec(
            name="docker",
            factory="rewardkit_sandbox.docker:DockerSandbox",
            extra="docker",
            summary="Warm hardened containers, one fresh isolated child for each program",
        ),
        SandboxSpec(
            name="namespace",
            factory="rewardkit_sandbox.namespace:NamespaceSandbox",
            summary="The same without Docker, on Linux: user, pid, mount, ipc and net namespaces",
        ),
        SandboxSpec(
            name="remote",
            factory="rewardkit_sandbox.remote:RemoteSandbox",
            summary="A server that speaks SandboxFusion's /run_code",
        ),
    ]


@hookimpl
def rewardkit_commands() -> list[CommandSpec]:
    """Return the command `rewardkit sandbox`."""
    return [
        CommandSpec(
            name="sandbox",
            factory="rewardkit_sandbox.commands:sandbox",
            summary="Check, build and serve sandboxes.",
        )
    ]
