"""The command `rewardkit sandbox serve`."""

from __future__ import annotations

import signal
import threading
from dataclasses import fields, replace
from typing import Any

import click

from rewardkit.errors import ConfigError
from rewardkit.programs import Limits


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; others need a token.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0: any that is free.")
@click.option("--sandbox", "name", default="auto", show_default=True, help="Which sandbox to serve.")
@click.option("--workers", type=click.IntRange(min=1), help="Programs at a time. [default: one a core]")
@click.option("--token", envvar="REWARDKIT_SANDBOX_TOKEN", show_envvar=True, help="What clients have to show.")
@click.option("--limit", "limits", multiple=True, metavar="NAME=NUMBER", help="The most that a program may ask for.")
def serve(host: str, port: int, name: str, workers: int | None, token: str | None, limits: tuple[str, ...]) -> None:
    """Run programs for other machines, over HTTP, until SIGTERM or Ctrl-C.

    Answers SandboxFusion's POST /run_code, so that what can use that can use this, and POST /run for rewardkit's
    sandbox `remote`. The exit code is 0, or 2 when the sandbox cannot be had.
    """
    import os

    from rewardkit.plugins import Plugins
    from rewardkit_sandbox.serve import CEILING, SandboxServer

    ceiling = _ceiling(CEILING, limits)
    workers = workers or len(os.sched_getaffinity(0))
    sandbox = Plugins.load().sandboxes.get(name).build(workers=workers, limits=ceiling)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    try:
        server = SandboxServer(sandbox, host=host, port=port, workers=workers, limits=ceiling, token=token or None)
    except BaseException:
        sandbox.close()
        raise
    with server:
        click.echo(f"serving {server.greeting.sandbox} at {server.url} with {workers} workers; stop with Ctrl-C")
        stopped.wait()
    click.echo("stopped")


def _ceiling(ceiling: Limits, texts: tuple[str, ...]) -> Limits:
    """Return `ceiling` with what `--limit name=number` changes."""
    known = [field.name for field in fields(Limits)]
    for text in texts:
        name, _, number = text.partition("=")
        if name not in known:
            raise ConfigError(f"--limit {text!r}: no limit is called {name!r} (there are: {', '.join(known)})")
        try:
            value: Any = float(number) if name in ("wall_s", "cpu_s") else int(number)
        except ValueError:
            raise ConfigError(f"--limit {text!r} must be {name}= and a number") from None
        ceiling = replace(ceiling, **{name: value})
    return ceiling
