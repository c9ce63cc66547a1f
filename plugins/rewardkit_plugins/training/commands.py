"""`rewardkit train-rm`: pairs or ratings into a reward model that the reward `reward_model` reads."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from rewardkit.errors import MissingExtraError

if TYPE_CHECKING:
    from rewardkit_plugins.training.pairs import LeftOut

_PLAIN_EVERY = 10.0
_NAMED = 5  # lines left out that are named


@click.command("train-rm")
@click.argument("pairs", metavar="PAIRS")
@click.option("--model", metavar="PATH", help="What to start from: a directory, or a name on the hub.")
@click.option("--from-scratch", type=click.Choice(["tiny", "small"]), help="A new model instead, of this size.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The new folder to save in.")
@click.option("--objective", type=click.Choice(["pairs", "attributes"]), default="pairs", show_default=True)
@click.option("--epochs", type=float, default=1.0, show_default=True, help="Passes over the examples.")
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True, help="Examples in a step.")
@click.option("--pass-size", type=click.IntRange(min=1), help="Examples in one forward pass. [default: all]")
@click.option("--learning-rate", type=float, help="[default: 1e-5; from scratch 1e-3]")
@click.option("--warmup", type=float, default=0.05, show_default=True, help="Share of the steps in which it rises.")
@click.option("--weight-decay", type=float, default=0.0, show_default=True)
@click.option("--label-smoothing", type=float, default=0.0, show_default=True, help="Share of wrong labels expected.")
@click.option("--centre", type=float, default=0.0, show_default=True, help="Weight of what keeps rewards around 0.")
@click.option(
    "--strength",
    type=click.Choice(["regular", "margin", "scaled"]),
    default="regular",
    show_default=True,
    help="What the field `strength` does: nothing, a margin, or a weight.",
)
@click.option("--eval-share", type=float, default=0.1, show_default=True, help="Share of the examples held out.")
@click.option("--eval-file", metavar="FILE", help="Held-out examples, instead of a share of PAIRS.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--dropout", is_flag=True, help="Leave the model's dropout on.")
@click.option("--bf16", is_flag=True, help="Compute in bfloat16; weights stay in float32.")
@click.option("--gradient-checkpointing", is_flag=True, help="Take less memory and more time.")
@click.option("--device", type=click.Choice(["auto", "cpu"]), default="auto", show_default=True)
@click.option("--revision", metavar="NAME", help="Branch, tag or commit of a model on the hub.")
@click.option("--chat-template", metavar="TEMPLATE", help="chatml, plain, a .jinja file. [default: the model's own]")
@click.option("--max-length", type=click.IntRange(min=1), help="Longest sequence in tokens. [default: the window]")
@click.option(
    "--truncation",
    type=click.Choice(["error", "left"]),
    default="error",
    show_default=True,
    help="Of a longer one: leave the example out, or drop its oldest tokens.",
)
@click.option("--trust-remote-code", is_flag=True, help="Run code that comes with the model.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no summary.")
@click.pass_context
def train_rm(ctx: click.Context, /, pairs: str, output: Path, quiet: bool, **options: Any) -> None:
    """Train a reward model on PAIRS, JSON lines of preferred and rejected answers (or of answers with attributes).

    What was done goes to OUTPUT/rewardkit.json and, as one line of JSON, to standard output. The exit code is 0 when
    every line was used, 1 when some were left out, 2 when the call cannot be right, 130 after Ctrl-C, which leaves
    nothing.
    """
    with redirect_stdout(sys.stderr):
        train, recipe_of = _training()
        recipe = recipe_of(**options)
        try:
            with _Bar(quiet=quiet) as bar:
                trained = train(pairs, output, recipe, on_step=bar.stepped)
        except KeyboardInterrupt:
            click.echo("Stopped: nothing was saved", err=True)
            ctx.exit(130)
    if not quiet:
        _print(trained.record, trained.left_out)
    click.echo(json.dumps({"output": str(output), **{key: trained.record[key] for key in ("train", "held_out")}}))
    ctx.exit(1 if trained.left_out else 0)


def _training() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return `train` and `Recipe`, which bring torch."""
    try:
        from rewardkit_plugins.training.recipe import Recipe, train
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"training needs {error.name!r}: pip install 'agentic-rewardkit[hf]'") from error
    return train, Recipe


class _Bar:
    """Follows the training: a progress bar on a terminal, a plain line every ten seconds otherwise."""

    def __init__(self, *, quiet: bool) -> None:
        console = Console(stderr=True)
        self._plain = not quiet and not console.is_terminal
        self._last_line = time.monotonic()
        columns = (SpinnerColumn(), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
        hidden = quiet or self._plain
        self._bar = Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=hidden)
        self._task = self._bar.add_task("reading", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def stepped(self, step: int, steps: int, loss: float) -> None:
        """Take note of one step."""
        self._bar.update(self._task, completed=step, total=steps, description=f"loss {loss:.4f}")
        if self._plain and (step == steps or time.monotonic() - self._last_line > _PLAIN_EVERY):
            self._last_line = time.monotonic()
            print(f"step {step} of {steps}, loss {loss:.4f}", file=sys.stderr, flush=True)


def _print(record: dict[str, Any], left_out: list[LeftOut]) -> None:
    """Say on standard error what came of it."""

    def say(line: str) -> None:
        print(line, file=sys.stderr)

    if left_out:
        say(f"{len(left_out)} lines were left out:")
        for line in left_out[:_NAMED]:
            say(f"  {line}")
        if len(left_out) > _NAMED:
            say(f"  and {len(left_out) - _NAMED} more")
    if ties := record["input"]["ties"]:
        say(f"{ties} pairs prefer neither answer and were not used")
    trained, held = record["train"], record["held_out"]
    say(f"trained on {trained['examples']} examples in {trained['steps']} steps, loss {trained['loss']:.4f} at the end")
    if held is None:
        say("nothing was held out")
    elif "attributes" in held:
        for name, fit in held["attributes"].items():
            say(f"{name}: error {fit['error']:.3f}, {fit['error_of_mean']:.3f} for the mean ({fit['labels']} labels)")
    else:
        interval = f"{held['accuracy']:.3f} [{held['low']:.3f}, {held['high']:.3f}]"
        say(f"accuracy {interval} with 95 % on {held['pairs']} pairs held out, {held['ties']} ties counted as wrong")
