"""The command `rewardkit`: each subcommand is a module of this package and is imported when it is called.

Exit codes: 0 all is well, 1 some trajectories or checks failed, 2 the call or the configuration cannot be right.
Errors are one sentence on standard error; `--traceback` anywhere on the command line shows where they come from.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

import click

from rewardkit.errors import RewardkitError

if TYPE_CHECKING:
    from rewardkit.registry import CommandSpec, Registry

_COMMANDS = {
    "check": "check:check",
    "doctor": "doctor:doctor",
    "envs": "listing:envs",
    "plugins": "listing:plugins",
    "rewards": "listing:rewards",
    "sandboxes": "listing:sandboxes",
    "score": "score:score",
}


class _LazyGroup(click.Group):
    """A group that imports a subcommand's module only when that subcommand is named; plugins add to it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*_COMMANDS, *(spec.name for spec in _plugin_commands() if spec.name not in _COMMANDS)])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            commands = _plugin_commands()
            return commands.get(cmd_name).load() if cmd_name in commands else None
        module, _, attribute = _COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(f"rewardkit.cli.{module}"), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of subcommands; those of plugins are described by their specs, for they may be heavy."""
        rows = {spec.name: spec.summary for spec in _plugin_commands()}
        for name in _COMMANDS:
            command = self.get_command(ctx, name)
            rows[name] = command.get_short_help_str(limit=100) if command else ""
        with formatter.section("Commands"):
            formatter.write_dl(sorted(rows.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from rewardkit.registry import did_you_mean

            hint = did_you_mean(args[0], self.list_commands(ctx))
            raise click.UsageError(error.message.rstrip(".") + hint, ctx) from None


def _plugin_commands() -> Registry[CommandSpec]:
    from rewardkit.plugins import Plugins

    return Plugins.load().commands


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="agentic-rewardkit", prog_name="rewardkit")
def cli() -> None:
    """One reward, used everywhere: score agents' trajectories with reward plugins."""


def main(prog_name: str = "rewardkit") -> None:
    """Run the command line and exit."""
    arguments = [a for a in sys.argv[1:] if a != "--traceback"]
    try:
        cli.main(args=arguments, prog_name=prog_name)
    except Exception as error:
        if len(arguments) < len(sys.argv) - 1:
            raise
        click.echo(f"Error: {_sentence(error)}", err=True)
        sys.exit(2 if isinstance(error, RewardkitError) else 1)


def _sentence(error: Exception) -> str:
    if isinstance(error, RewardkitError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.strerror}: {str(error.filename)!r}"
    return f"{type(error).__name__}: {error} (--traceback shows where)"
