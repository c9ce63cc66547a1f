"""`rewardkit rollout`: play episodes into a file that `rewardkit score` reads."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Self

import click
import gymnasium
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from rewardkit.cli.tables import add_row, new_table, print_table
from rewardkit.errors import ConfigError
from rewardkit.executors import EXECUTORS, open_executor
from rewardkit.plugins import Plugins
from rewardkit_envs.policies import PolicyError, open_policy
from rewardkit_envs.rollouts import Played, Player, RolloutSummary
from rewardkit_envs.rollouts import rollout as play

_PLAIN_EVERY = 10.0


@click.command()
@click.argument("env", metavar="ENV")
@click.option("--policy", required=True, metavar="POLICY", help="gold, noisy[:P], random, openai:URL or hf:PATH.")
@click.option("-n", "--episodes", type=click.IntRange(min=1), required=True, metavar="N", help="How many episodes.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="OUT.jsonl, one episode a line.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the first episode.")
@click.option("--concurrency", type=click.IntRange(min=1), default=8, show_default=True, help="Episodes at once.")
@click.option("--env-option", "env_options", multiple=True, metavar="KEY=VALUE", help="An option of ENV; repeatable.")
@click.option("--policy-option", "policy_options", multiple=True, metavar="KEY=VALUE", help="One of the policy.")
@click.option(
    "-r", "--reward", "rewards", multiple=True, metavar="SPEC", help="What pays, instead of ENV's own reward."
)
@click.option("--executor", type=click.Choice(list(EXECUTORS)), default="process", show_default=True)
@click.option("--resume", is_flag=True, help="Play only the episodes that OUT does not have.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no summary.")
@click.pass_context
def rollout(
    ctx: click.Context,
    env: str,
    policy: str,
    episodes: int,
    output: Path,
    seed: int,
    concurrency: int,
    env_options: tuple[str, ...],
    policy_options: tuple[str, ...],
    rewards: tuple[str, ...],
    executor: str,
    resume: bool,
    quiet: bool,
) -> None:
    """Play N episodes of ENV, an id of gymnasium such as rewardkit/Math-v0 or my_module:My/Env-v0.

    Episode i has the seed SEED + i: the same call plays the same episodes, in whatever order they end. The exit code is
    0 when all were played and paid, 1 when some failed or have no reward (--resume tries those that failed again), 2
    when the call cannot be right, 130 after Ctrl-C.
    """
    options, policy_given = _parsed(env_options), _parsed(policy_options)
    named = "openai" if policy.startswith("openai:") else policy  # a server may move
    metadata = {"env": env, "env_options": options, "policy": named, "policy_options": policy_given}
    with redirect_stdout(sys.stderr):
        _find(env)
        player = Player(
            lambda: _make(env, options),
            open_policy(policy, **policy_given),
            rewards=list(rewards),
            executor=open_executor(executor),
            concurrency=min(concurrency, episodes),
            metadata={**metadata, "rewards": list(rewards)},
        )
        bar = _Bar(episodes, quiet=quiet)
        try:
            with bar:
                done = play(player, output, episodes=episodes, seed=seed, resume=resume, on_played=bar.played)
        except KeyboardInterrupt:
            click.echo(f"Stopped: what was played is in {str(output)!r}, --resume goes on", err=True)
            ctx.exit(130)
        except PolicyError as error:
            raise PolicyError(f"{error} (what was played is in {str(output)!r}, --resume goes on)") from error
        finally:
            player.close()
    if not quiet:
        _print(done)
    ctx.exit(1 if done.failed or done.missing else 0)


class _Bar:
    """Follows a rollout: a progress bar on a terminal, a plain line every ten seconds otherwise."""

    def __init__(self, episodes: int, *, quiet: bool) -> None:
        self._console = Console(stderr=True)
        self._plain = not quiet and not self._console.is_terminal
        self._count = RolloutSummary()
        self._last_line = time.monotonic()
        columns = (SpinnerColumn(), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
        hidden = quiet or self._plain
        self._bar = Progress(*columns, TimeRemainingColumn(), console=self._console, transient=True, disable=hidden)
        self._task = self._bar.add_task("", total=episodes)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def played(self, played: Played) -> None:
        """Take note of one episode."""
        self._count.count(played)
        done, failed = self._count.played, self._count.failed
        self._bar.update(self._task, completed=done + failed, description=f"{failed} failed")
        if self._plain and time.monotonic() - self._last_line > _PLAIN_EVERY:
            self._last_line = time.monotonic()
            print(f"{done} played, {failed} failed", file=sys.stderr, flush=True)


def _parsed(options: Sequence[str]) -> dict[str, Any]:
    """Return options by name; values are JSON, else text."""
    parsed: dict[str, Any] = {}
    for text in options:
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier():
            raise ConfigError(f"the option {text!r} must be KEY=VALUE")
        try:
            parsed[key] = json.loads(value)
        except ValueError:
            parsed[key] = value
    return parsed


def _find(env: str) -> None:
    """Let gymnasium know an environment that only a plugin names."""
    import rewardkit_envs  # noqa: F401  registers ours

    if ":" in env:  # my_module:My/Env-v0 is often a file of the folder where one is
        sys.path.append(os.getcwd())
    known = Plugins.load().envs
    if env not in gymnasium.registry and env in known:
        spec = known.get(env)
        gymnasium.register(env, entry_point=spec.entry_point, kwargs=dict(spec.kwargs))


def _make(env: str, options: dict[str, Any]) -> gymnasium.Env[str, str]:
    try:
        return gymnasium.make(env, disable_env_checker=True, **options)
    except (gymnasium.error.Error, ModuleNotFoundError) as error:
        raise ConfigError(f"cannot make {env!r}: {error} ('rewardkit envs' lists ours)") from error
    except TypeError as error:
        raise ConfigError(f"cannot make {env!r} with {options!r}: {error.__cause__ or error}") from error


def _print(done: RolloutSummary) -> None:
    """Print the summary on standard error."""
    table = new_table([], ["played", "mean return", "sd", "no reward", "failed", "steps"])
    mean, deviation = (f"{f(done.returns):.4g}" if done.returns else "-" for f in (np.mean, np.std))
    add_row(table, str(done.played), mean, deviation, str(done.missing), str(done.failed), str(done.steps))
    print_table(table, stderr=True)
    if done.first_failure:
        print(f"first failure: {done.first_failure}", file=sys.stderr)
    there = f", {done.reused} were there already" if done.reused else ""
    print(f"{done.played} episodes in {done.seconds:.1f} s{there}", file=sys.stderr)
