"""`rewardkit score`: from files to scores."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import click

from rewardkit.cli.report import Report
from rewardkit.errors import ConfigError
from rewardkit.executors import EXECUTORS, open_executor
from rewardkit.offline import score_files
from rewardkit.output import beside
from rewardkit.plugins import Plugins
from rewardkit.scorer import DEFAULT_TIMEOUT, Scorer
from rewardkit.terms import Term, parse_term, read_config, read_terms


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("-r", "--reward", "specs", multiple=True, metavar="SPEC", help="[WEIGHT*]NAME[:option=value,...]")
@click.option("--config", type=click.Path(path_type=Path), help="A rewards.toml with weights, gates and options.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="OUT.jsonl, .jsonl.gz, .jsonl.zst or .parquet.")
@click.option("--executor", type=click.Choice(list(EXECUTORS)), default="process", show_default=True)
@click.option("--workers", type=click.IntRange(min=1), help="Worker processes. [default: one a core]")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=DEFAULT_TIMEOUT,
    show_default=True,
    metavar="S",
    help="Seconds that one reward may spend on one trajectory.",
)
@click.option("--memory", type=click.FloatRange(min=0, min_open=True), metavar="GIB", help="Memory limit of a worker.")
@click.option("--sandbox", metavar="NAME", help="Where rewards run programs ('rewardkit sandboxes' lists them).")
@click.option("--resume", is_flag=True, help="Take over what an earlier run with the same output has scored.")
@click.option("--retry-failures", is_flag=True, help="With --resume: try again what failed.")
@click.option("--table", is_flag=True, help="Show a table of the scores on standard output.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no summary.")
@click.pass_context
def score(
    ctx: click.Context,
    files: tuple[str, ...],
    specs: tuple[str, ...],
    config: Path | None,
    output: Path | None,
    executor: str,
    workers: int | None,
    timeout: float,
    memory: float | None,
    sandbox: str | None,
    resume: bool,
    retry_failures: bool,
    table: bool,
    quiet: bool,
) -> None:
    """Score the trajectories in FILEs ("-": standard input) with one or more rewards.

    Results are JSON lines in input order, on standard output unless -o names a file. The exit code is 0 when
    everything was scored, 1 when something failed, 2 when the call cannot be right, 130 after Ctrl-C.
    """
    if retry_failures and not resume:
        raise ConfigError("--retry-failures goes with --resume")
    if executor == "serial" and (workers or memory):
        raise ConfigError("--workers and --memory go with --executor process")
    if memory is not None and not 2**-10 <= memory < 2**20:
        raise ConfigError(f"--memory {memory:g} cannot be right: it is GiB for each worker, such as 0.5")
    with redirect_stdout(sys.stderr):  # standard output is for results, whatever a plugin prints on import
        plugins = Plugins.load()
        scorer = Scorer(
            _terms(specs, config, sandbox, plugins),
            executor=open_executor(executor, workers=workers, memory_limit=int(memory * 2**30) if memory else None),
            timeout=timeout,
            plugins=plugins,
        )
    report = Report(files, [term.name for term in scorer.terms], table=table, quiet=quiet)
    try:
        with scorer, report:
            summary = score_files(
                scorer,
                files,
                output=output,
                to_stdout=output is None and not table,
                resume=resume,
                retry_failures=retry_failures,
                on_scored=report.scored,
            )
    except KeyboardInterrupt:
        kept = f": what was scored is kept in {str(beside(output, '.partial'))!r}, --resume goes on" if output else ""
        click.echo(f"Stopped{kept}", err=True)
        ctx.exit(130)
    report.finish(summary, scorer.signature)
    ctx.exit(1 if summary.failed_lines else 0)


def _terms(specs: tuple[str, ...], config: Path | None, sandbox: str | None, plugins: Plugins) -> list[Term]:
    """Return the terms of --config and --reward, with `sandbox` as an option of those that need one."""
    terms = read_terms(read_config(config), plugins.rewards) if config else []
    terms += [parse_term(spec, plugins.rewards) for spec in specs]
    if not terms:
        raise ConfigError(
            "name at least one reward: --reward SPEC or --config rewards.toml ('rewardkit rewards' lists them)"
        )
    if sandbox is None:
        return terms
    if not any("sandbox" in term.spec.needs for term in terms):
        raise ConfigError(f"--sandbox {sandbox}: none of the rewards runs programs; leave it out")
    plugins.sandboxes.get(sandbox)
    return [
        replace(term, options={**term.options, "sandbox": sandbox}) if "sandbox" in term.spec.needs else term
        for term in terms
    ]
