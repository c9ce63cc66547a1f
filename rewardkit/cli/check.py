"""`rewardkit check`: the contract tests against one reward."""

from __future__ import annotations

import click

from rewardkit.plugins import Plugins
from rewardkit.terms import parse_term
from rewardkit.testing.contract import run_contract


@click.command()
@click.argument("spec", metavar="SPEC")
@click.pass_context
def check(ctx: click.Context, spec: str) -> None:
    """Run the contract tests against the reward SPEC, as in `rewardkit score --reward SPEC`."""
    term = parse_term(spec, Plugins.load().rewards)
    outcomes = run_contract(term.spec, term.options)
    for outcome in outcomes:
        mark = {True: "ok  ", False: "FAIL", None: "-   "}[outcome.ok]
        click.echo(f"{mark} {outcome.name}" + (f": {outcome.message}" if outcome.message else ""))
    failed = sum(outcome.ok is False for outcome in outcomes)
    click.echo(f"{len(outcomes) - failed} of {len(outcomes)} checks passed for {spec!r}")
    ctx.exit(1 if failed else 0)
