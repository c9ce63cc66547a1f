"""`rewardkit sandbox check | build | serve`; each subcommand but `check` is imported when it is called."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from rewardkit.errors import ConfigError
from rewardkit.plugins import Plugins
from rewardkit.registry import SandboxSpec, option_parameters

if TYPE_CHECKING:
    from rewardkit_sandbox.check import Finding

_LAZY = {"build": "rewardkit_sandbox.commands_build", "serve": "rewardkit_sandbox.commands_serve"}


class _LazyGroup(click.Group):
    """A group that imports a subcommand's module only when that subcommand is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *_LAZY])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _LAZY:
            return super().get_command(ctx, cmd_name)
        command: click.Command = getattr(importlib.import_module(_LAZY[cmd_name]), cmd_name)
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
def sandbox() -> None:
    """Check, build and serve sandboxes."""


@sandbox.command()
@click.argument("name", default="auto")
@click.option("--only", metavar="GROUP", help="Only this group of attacks (network, escape, ...), or one by its name.")
@click.option("--option", "options", metavar="KEY=VALUE", multiple=True, help="An option of the sandbox; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def check(ctx: click.Context, name: str, only: str | None, options: Sequence[str], as_json: bool) -> None:
    """Attack the sandbox NAME and say what got through.

    Exit code 1 when something did, 2 when the sandbox cannot be had. The attacks do no lasting harm to a machine that
    nothing protects, but take seconds of its time and about 1 GB of its memory.
    """
    from rewardkit_sandbox.check import findings

    built = _build(Plugins.load().sandboxes.get(name), dict(map(_parsed, options)))
    try:
        identity, found = built.identity(), []
        for finding in findings(built, only=only):
            found.append(finding)
            if sys.stderr.isatty():
                click.echo(f"\r{len(found)} tried, last: {finding.name:<20}", nl=False, err=True)
    finally:
        built.close()
    if sys.stderr.isatty():
        click.echo(f"\r{'':<50}\r", nl=False, err=True)
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in found], indent=2))
    else:
        _print(name, identity, found)
    ctx.exit(0 if all(finding.held for finding in found) else 1)


def _build(spec: SandboxSpec, options: dict[str, Any]) -> Any:
    """Return the sandbox, with one worker where it has workers: the next program is to meet what one left behind."""
    parameters = [parameter.name for parameter in option_parameters(spec.load())]
    one = {"workers": 1} if "workers" in parameters else {}
    return spec.build(**{**one, **options})


def _parsed(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(f"the option {text!r} must be KEY=VALUE")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _print(name: str, identity: str, found: Sequence[Finding]) -> None:
    from rewardkit.cli.tables import add_row, new_table, print_table

    table = new_table(("", "group", "attack", "what it tries"), ("s",), ("what got through",))
    for each in found:
        mark, seconds = "ok" if each.held else "OPEN", f"{each.seconds:.2f}"
        add_row(table, mark, each.group, each.name, each.summary, seconds, each.detail[:500])
    print_table(table)
    held = sum(each.held for each in found)
    click.echo(f"{name} ({identity}): {held} of {len(found)} held in {sum(each.seconds for each in found):.0f} s")
