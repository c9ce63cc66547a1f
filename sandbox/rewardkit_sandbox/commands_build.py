"""`rewardkit sandbox build`: make the images of the Docker sandbox, with or without a registry."""

from __future__ import annotations

from typing import get_args

import click

from rewardkit_sandbox.docker_daemon import Daemon
from rewardkit_sandbox.docker_images import ImageName, build_image


@click.command()
@click.option("--image", "name", type=click.Choice(get_args(ImageName)), default="python", show_default=True)
@click.option("--base", metavar="IMAGE", help="Any image with python3 to build on, instead of python:3.11-slim.")
@click.option("--fresh", is_flag=True, help="Build it even if it is there and up to date.")
def build(name: ImageName, base: str | None, fresh: bool) -> None:
    """Build the image in which programs run: `python`, or `full` with C, C++, Node and bash as well.

    Where no registry is reached, it is made from Debian packages, else (Python alone) from this machine's interpreter.
    """
    image = build_image(Daemon(), name, base=base, fresh=fresh, say=lambda line: click.echo(line, err=True))
    click.echo(f"rewardkit-sandbox:{name} {image.id} {image.size / 1e6:.0f} MB")
