"""The images of the Docker sandbox: found, or built with or without a registry. Images of users are only looked up."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from rewardkit.errors import ConfigError, SandboxError, SandboxUnavailableError
from rewardkit_sandbox import docker_rootfs
from rewardkit_sandbox.docker_daemon import Daemon

if TYPE_CHECKING:
    from docker import APIClient

ImageName = Literal["python", "full"]
REPOSITORY = "rewardkit-sandbox"
UPSTREAM = "python:3.11-slim"
PULL_S, BUILD_S = 600, 1800  # a pull, and a download of packages or a build, at most
_RECIPE, _BASE = "rewardkit.recipe", "rewardkit.base"
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image that is there: its id (sha256), its size in bytes, and the volumes that it declares."""

    id: str
    size: int
    volumes: tuple[str, ...] = ()


def find_image(daemon: Daemon, image: str | None) -> Image:
    """Return the image of that name; None is our image of Python. Builds ours when it is missing or out of date.

    Raises SandboxUnavailableError when another image is not there, or ours cannot be built.
    """
    name = image or f"{REPOSITORY}:python"
    repository, _, tag = name.partition(":")
    if repository == REPOSITORY and tag in get_args(ImageName):
        return build_image(daemon, tag, say=_logger.warning)  # type: ignore[arg-type]
    found = _inspect(daemon, name)
    if found is None:
        raise SandboxUnavailableError(f"the Docker daemon has no image {name!r}: docker pull {name}")
    return _image(found)


def build_image(
    daemon: Daemon,
    name: ImageName = "python",
    *,
    base: str | None = None,
    fresh: bool = False,
    say: Callable[[str], None] = _logger.info,
) -> Image:
    """Return our image `name`; build it when it is missing, out of date, not from `base`, or is to be `fresh`.

    `base` is any image with a python3; without one it is python:3.11-slim from the registry, else made from Debian
    packages, else (Python alone) from this machine's interpreter. `say` is told what happens. One process builds at a
    time. Raises SandboxUnavailableError, with what to do.
    """
    if name not in get_args(ImageName):
        raise ConfigError(f"the image {name!r} must be one of {', '.join(get_args(ImageName))}")
    tag = f"{REPOSITORY}:{name}"
    if not fresh and (image := current_image(daemon, name, base=base)):
        return image
    with _only_one(lambda: say(f"waiting for the image {tag}: another process builds images")):
        if not fresh and (image := current_image(daemon, name, base=base)):  # another process has built it meanwhile
            return image
        say(f"building the image {tag}: 5 s to a few minutes, once on this machine")
        began = time.monotonic()
        _build(daemon, name, base or _base(daemon, name, say), tag, fresh=fresh)
        image = _image(_inspect(daemon, tag) or {})
        say(f"built {tag} in {time.monotonic() - began:.1f} s, {image.size / 1e6:.0f} MB")
        return image


def current_image(daemon: Daemon, name: ImageName = "python", *, base: str | None = None) -> Image | None:
    """Return our image `name` if it is there, up to date, and built from `base` where one is named; builds nothing."""
    found = _inspect(daemon, f"{REPOSITORY}:{name}")
    labels = (found or {}).get("Config", {}).get("Labels") or {}
    wanted = labels.get(_RECIPE) == _recipe(name) and base in (None, labels.get(_BASE))
    return _image(found) if found and wanted else None


def _recipe(name: ImageName) -> str:
    """Return what decides what our image holds: its Dockerfile, the packages, and how they are unpacked."""
    parts = (_dockerfile(name), repr(docker_rootfs.PACKAGES[name]), Path(docker_rootfs.__file__).read_text())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _dockerfile(name: ImageName) -> str:
    return files("rewardkit_sandbox").joinpath("images", f"{name}.Dockerfile").read_text()


def _base(daemon: Daemon, name: ImageName, say: Callable[[str], None]) -> str:
    """Return an image to build on: from the registry, or else a new one made here."""
    if _inspect(daemon, UPSTREAM) or _pulled(daemon, UPSTREAM, say):
        return UPSTREAM
    with tempfile.TemporaryDirectory(prefix="rewardkit-image-") as folder:
        root = Path(folder, "root")
        root.mkdir()
        if docker_rootfs.has_packages():
            say("unpacking Debian packages")
            try:
                docker_rootfs.unpack_packages(root, docker_rootfs.PACKAGES[name], timeout_s=BUILD_S)
                return _imported(daemon, root)
            except SandboxUnavailableError as error:
                say(str(error))
        if name != "python":
            raise SandboxUnavailableError(
                f"the image {name!r} needs a registry or apt-get, and neither is here: build it elsewhere, then "
                "'docker save' and 'docker load', or name a --base"
            )
        say("copying the Python of this machine")
        docker_rootfs.copy_host(root)
        return _imported(daemon, root)


def _pulled(daemon: Daemon, name: str, say: Callable[[str], None]) -> bool:
    """Pull an image; False when the registry is out of reach or has not sent it in PULL_S seconds."""
    said: list[str] = []

    def pull(client: APIClient) -> str:
        lines = list(client.pull(name, stream=True, decode=True))
        return next((str(line["error"]) for line in lines if "error" in line), "")

    def try_it() -> None:
        try:
            said.append(daemon.call(pull, wait=False))
        except SandboxError as error:
            said.append(str(error))

    say(f"pulling {name}")
    thread = threading.Thread(target=try_it, daemon=True)  # the daemon may say nothing for as long as it likes
    thread.start()
    thread.join(PULL_S)
    trouble = said[0] if said else f"not there after {PULL_S} s"
    if trouble:
        say(f"{name} cannot be pulled ({trouble})")
    return not trouble


def _imported(daemon: Daemon, root: Path) -> str:
    """Make an image without a name out of a directory, and return its id."""

    def load(client: APIClient) -> str:
        with docker_rootfs.packed(root) as tar:
            answer = client.import_image_from_stream(tar.stdout)
        if tar.returncode:
            raise SandboxError(f"tar failed with {tar.returncode} while it packed the root of an image")
        return str(json.loads(answer.splitlines()[-1])["status"])

    return daemon.call(load, wait=False)


def _build(daemon: Daemon, name: ImageName, base: str, tag: str, *, fresh: bool) -> None:
    def build(client: APIClient) -> str:
        with tempfile.TemporaryDirectory(prefix="rewardkit-image-") as folder:
            Path(folder, "Dockerfile").write_text(_dockerfile(name))
            lines = client.build(
                path=folder,
                tag=tag,
                decode=True,
                nocache=fresh,
                rm=True,
                forcerm=True,
                timeout=BUILD_S,
                buildargs={"BASE": base},
                labels={_RECIPE: _recipe(name), _BASE: base},
                network_mode="none" if name == "python" else None,
            )
            spoken = [line.get("error") or line.get("stream", "") for line in lines]
        return "" if spoken and "Successfully" in "".join(spoken[-3:]) else " ".join("".join(spoken[-8:]).split())

    if trouble := daemon.call(build, wait=False):
        raise SandboxUnavailableError(f"the image {tag} cannot be built on {base!r}: {trouble}")


def _inspect(daemon: Daemon, name: str) -> Mapping[str, Any] | None:
    from docker.errors import ImageNotFound

    def inspect(client: APIClient) -> Mapping[str, Any] | None:
        try:
            found: Mapping[str, Any] = client.inspect_image(name)
            return found
        except ImageNotFound:
            return None

    return daemon.call(inspect)


def _image(found: Mapping[str, Any]) -> Image:
    volumes = (found.get("Config") or {}).get("Volumes") or {}
    return Image(id=found["Id"], size=found["Size"], volumes=tuple(volumes))


@contextmanager
def _only_one(on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock under which images are built by this user on this machine; `on_wait` is called if it is held."""
    path = Path(tempfile.gettempdir(), f"rewardkit-images-{os.getuid()}.lock")
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
