"""`rewardkit rewards | plugins | envs | sandboxes`: what is installed, from where, what it needs, what is broken."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from rewardkit.cli.tables import add_row, new_table, print_table
from rewardkit.errors import RewardkitError
from rewardkit.plugins import Plugins
from rewardkit.registry import Registry, RewardSpec, SandboxSpec, option_parameters
from rewardkit.terms import parse_term

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command()
@click.argument("name", required=False)
@_json_option
def rewards(name: str | None, as_json: bool) -> None:
    """List the rewards, or show one with its options."""
    loaded = Plugins.load()
    if name is not None:
        _show_reward(parse_term(name, loaded.rewards).spec, as_json=as_json)
        return
    if as_json:
        _print_json([spec.to_json() for spec in loaded.rewards])
        return
    rows = [
        (spec.name, spec.summary, ", ".join(sorted(spec.needs)) or "-", spec.extra or "-", spec.owner)
        for spec in loaded.rewards
    ]
    _print_table(("reward", "what it rewards", "needs", "extra", "from"), rows)
    _print_problems(loaded)


@click.command()
@_json_option
def plugins(as_json: bool) -> None:
    """List the plugins that were found, and what is wrong with those that do not load."""
    found = Plugins.load().found
    if as_json:
        _print_json([{key: getattr(p, key) for key in p.__slots__} for p in found])
        return
    rows = [
        (p.name, f"{p.distribution} {p.version}", p.module, p.problem or ", ".join(p.hooks) or "no hooks")
        for p in found
    ]
    _print_table(("plugin", "from", "module", "hooks or problem"), rows)


@click.command()
@_json_option
def envs(as_json: bool) -> None:
    """List the Gymnasium environments."""
    _list_specs(Plugins.load().envs, as_json=as_json)


@click.command()
@_json_option
def sandboxes(as_json: bool) -> None:
    """List the sandboxes, and say which work here. Starts and builds none."""
    found = [(spec, *try_sandbox(spec)) for spec in Plugins.load().sandboxes]
    if as_json:
        keys = SandboxSpec.__slots__
        _print_json([{**{key: getattr(s, key) for key in keys}, "works": w, "finding": f} for s, w, f in found])
        return
    marks = {True: "yes", False: "no", None: "-"}
    rows = [(spec.name, spec.summary, marks[works], finding, spec.owner) for spec, works, finding in found]
    _print_table(("sandbox", "summary", "works", "as, or why not", "from"), rows)


def try_sandbox(spec: SandboxSpec) -> tuple[bool | None, str]:
    """Return whether a sandbox can be had here (None: not without more) and what it is, or what keeps it."""
    try:
        target = spec.load()
        if missing := [p.name for p in option_parameters(target) if p.default is p.empty and p.kind is p.KEYWORD_ONLY]:
            return None, f"needs the option {missing[0]!r}"
        if not isinstance(target, type):
            return None, "chooses when it is used"
        sandbox = spec.build()
        try:
            return True, str(getattr(sandbox, "status", sandbox.identity)())
        finally:
            sandbox.close()
    except RewardkitError as error:
        return False, str(error)


def _show_reward(spec: RewardSpec, *, as_json: bool) -> None:
    options = {p.name: "(required)" if p.default is p.empty else p.default for p in option_parameters(spec.load())}
    options |= dict(spec.defaults)
    if as_json:
        _print_json({**spec.to_json(), "options": options})
        return
    click.echo(f"{spec.name}: {spec.summary}")
    click.echo(f"needs {', '.join(sorted(spec.needs)) or 'nothing'}; from {spec.owner} {spec.version}; {spec.factory}")
    if spec.extra:
        click.echo(f"extra: pip install '{spec.owner}[{spec.extra}]'")
    for option, default in options.items():
        click.echo(f"  {option} = {default if default == '(required)' else json.dumps(default, default=str)}")


def _list_specs(registry: Registry[Any], *, as_json: bool) -> None:
    specs = list(registry)
    if as_json:
        _print_json([{key: getattr(spec, key) for key in spec.__slots__} for spec in specs])
    elif not specs:
        click.echo(f"no {registry.kind} is installed")
    else:
        _print_table((registry.kind, "summary", "from"), [(s.name, s.summary, s.owner) for s in specs])


def _print_problems(loaded: Plugins) -> None:
    for plugin in loaded.found:
        if plugin.problem:
            click.echo(f"plugin {plugin.name!r} of {plugin.distribution!r} is not in use: {plugin.problem}", err=True)


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, default=str))


def _print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = new_table(header)
    for row in rows:
        add_row(table, *row)
    print_table(table)
