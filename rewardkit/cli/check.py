"""`rewardkit check`: the contract tests against one reward."""

from __future__ import annotations

import click

from rewardkit.errors import ConfigError
from rewardkit.plugins import Plugins
from rewardkit.serialize import read_trajectories
from rewardkit.terms import parse_term
from rewardkit.testing.contract import run_contract
from rewardkit.types import Failure, Trajectory


@click.command()
@click.argument("spec", metavar="SPEC")
@click.option("--samples", metavar="FILE", help="Attempts that deserve a high score, instead of the built-in ones.")
@click.pass_context
def check(ctx: click.Context, spec: str, samples: str | None) -> None:
    """Run the contract tests against the reward SPEC, as in `rewardkit score --reward SPEC`."""
    term = parse_term(spec, Plugins.load().rewards)
    outcomes = run_contract(term.spec, term.options, None if samples is None else _read_samples(samples))
    for outcome in outcomes:
        mark = {True: "ok  ", False: "FAIL", None: "-   "}[outcome.ok]
        click.echo(f"{mark} {outcome.name}" + (f": {outcome.message}" if outcome.message else ""))
    counts = {ok: sum(outcome.ok is ok for outcome in outcomes) for ok in (True, False, None)}
    skipped = f", {counts[None]} say nothing about it" if counts[None] else ""
    click.echo(f"{spec}: {counts[True]} checks passed, {counts[False]} failed{skipped}")
    ctx.exit(1 if counts[False] else 0)


def _read_samples(path: str) -> list[Trajectory]:
    contents = [line.content for line in read_trajectories(path)]
    for content in contents:
        if isinstance(content, Failure):
            raise ConfigError(content.message)
    if not contents:
        raise ConfigError(f"{path!r} holds no trajectory")
    return [content for content in contents if isinstance(content, Trajectory)]
