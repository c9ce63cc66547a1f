"""The sandbox `docker`: each worker is a container that lives long and can do nothing, each program a child of its own.

Not covered: what runs inside (`inside`), and which worker runs what (`pool`).
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from rewardkit.errors import SandboxError, SandboxUnavailableError
from rewardkit.programs import Limits
from rewardkit_sandbox.bundle import ENVIRONMENT, command
from rewardkit_sandbox.docker_daemon import Daemon
from rewardkit_sandbox.docker_images import Image, current_image, find_image
from rewardkit_sandbox.docker_owner import is_dead, this_process
from rewardkit_sandbox.docker_transport import DockerTransport, remove
from rewardkit_sandbox.pool import WarmSandbox, Worker

if TYPE_CHECKING:
    from docker import APIClient

OWNER = "rewardkit.owner"
_NOBODY = 65534
_WALL_BUILDER = ("KILL", "SETGID", "SETUID", "SYS_ADMIN", "SYS_PTRACE")
_SERVER_MB, _SERVER_PROCESSES = 64, 16  # what the fork server needs beside the programs
_AT_ONCE = 2  # a program and its peer
_logger = logging.getLogger(__name__)


class DockerSandbox(WarmSandbox):
    """Runs programs in hardened containers.

    `image` is any image with python3 >= 3.9 that the daemon has; None is ours (`rewardkit sandbox build`), built when
    it is missing. `runtime` is an OCI runtime that the daemon knows ("runsc" for gVisor); None is its default. `cpus`
    is how many cores a worker may use at a time. A daemon that restarts is waited for, `reconnect_s` seconds at most.
    """

    name = "docker"

    def __init__(
        self,
        *,
        workers: int | None = None,
        limits: Limits | None = None,
        recycle_after: int = 5000,
        image: str | None = None,
        runtime: str | None = None,
        cpus: float = 2.0,
        reconnect_s: float = 60.0,
    ) -> None:
        super().__init__(workers=workers, limits=limits, recycle_after=recycle_after)
        self._image_name = image
        self._runtime = runtime
        self._cpus = cpus
        self._daemon = Daemon(reconnect_s=reconnect_s)
        self._image: Image | None = None
        self._image_lock = threading.Lock()
        self._identity = ""
        self._user: int | None = None  # whom programs become where there are no user namespaces for them

    def identity(self) -> str:
        """Return "docker", the image's id and the runtime. Starts no container, but may build the image."""
        if not self._identity:
            runtime = self._checked_runtime()
            self._identity = f"docker:{self._found_image().id}:{runtime}"
        return self._identity

    def status(self) -> str:
        """Return the identity, or that the image is still to be built; builds nothing."""
        self._checked_runtime()
        if self._image_name is None and current_image(self._daemon) is None:
            return "docker: its image is built at the first use, or by 'rewardkit sandbox build'"
        return self.identity()

    def start_worker(self) -> DockerTransport:
        """Start a container and return the stream to its fork server."""
        cores = float(self._daemon.call(lambda client: client.info()).get("NCPU") or 1)
        cpus = min(self._cpus, cores)  # the daemon refuses more than it has
        config = container_config(self._found_image(), self.limits, command("python3"), cpus=cpus)
        config["HostConfig"]["Runtime"] = self._runtime
        if self._user is not None:
            config["User"] = "0:0"
            config["HostConfig"]["CapAdd"] = list(_WALL_BUILDER)
        name = f"rewardkit-{uuid.uuid4().hex[:16]}"

        def start(client: APIClient) -> DockerTransport:
            remove(client, name)  # an earlier attempt may have come halfway
            client.create_container_from_config(config, name)
            try:
                attached = client.attach_socket(name, {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
                client.start(name)
            except BaseException:
                remove(client, name)
                raise
            return DockerTransport(self._daemon, name, attached)

        try:
            return self._daemon.call(start)
        except SandboxUnavailableError:
            raise
        except SandboxError:
            self._checked_runtime()  # says so if that is the reason
            raise

    def boot_config(self) -> dict[str, Any]:
        """Return that there is a container, and whom programs become if they cannot have user namespaces."""
        return {"outer": "container", "user": self._user}

    def _new_worker(self) -> Worker:
        """Start a worker; a kernel that refuses user namespaces gets one whose fork server builds walls as root.

        Ubuntu 24.04 is such a one. The fork server runs no program, and programs get none of its rights.
        """
        try:
            return super()._new_worker()
        except SandboxUnavailableError as error:
            if self._user is not None or "wall cannot be built" not in str(error):
                raise
            _logger.warning("no user namespaces in containers (%s): the fork server builds walls as root", error)
            self._user = _NOBODY
        return super()._new_worker()

    def sweep(self) -> None:
        """Remove the containers of processes of this machine that have ended without doing it themselves."""

        def sweep(client: APIClient) -> None:
            for container in client.containers(all=True, filters={"label": OWNER}):
                if is_dead(container["Labels"][OWNER]):
                    _logger.info("removing the container %s of a dead process", container["Id"][:12])
                    remove(client, container["Id"])

        self._daemon.call(sweep)

    def close(self) -> None:
        """Remove the containers, and let go of the daemon. Idempotent."""
        super().close()
        self._daemon.close()

    def _checked_runtime(self) -> str:
        """Return the runtime's name; raises SandboxUnavailableError where the daemon does not know it."""
        found = self._daemon.call(lambda client: client.info())
        known = sorted(found.get("Runtimes") or ())
        wanted = self._runtime or str(found.get("DefaultRuntime") or "runc")
        if wanted not in known and not wanted.startswith("io.containerd."):
            raise SandboxUnavailableError(
                f"the Docker daemon has no runtime {wanted!r}, only {', '.join(known)}: install it and name it in "
                "/etc/docker/daemon.json"
            )
        return wanted

    def _found_image(self) -> Image:
        with self._image_lock:
            if self._image is None:
                self._image = find_image(self._daemon, self._image_name)
            return self._image


def container_config(image: Image, limits: Limits, arguments: Sequence[str], *, cpus: float) -> dict[str, Any]:
    """Return what Docker's API is asked for: a container that reaches nothing, sized for a program and its peer.

    The inner wall needs two things that Docker's defaults refuse: `mount` and `unshare` in namespaces of its own (our
    seccomp profile; Docker's AppArmor profile has no way to allow it), and a `/proc` without anything mounted over it.
    """
    memory = (_AT_ONCE * (limits.memory_mb + 2 * limits.disk_mb) + _SERVER_MB) << 20  # /tmp and /dev/shm are memory
    scratch = f"nosuid,nodev,noexec,mode=1777,size={limits.disk_mb}m,nr_inodes={limits.files + 16}"
    seccomp = files("rewardkit_sandbox").joinpath("images", "seccomp.json").read_text()
    return {
        "Image": image.id,
        "Entrypoint": list(arguments),
        "Env": [f"{name}={value}" for name, value in ENVIRONMENT.items()],
        "User": f"{_NOBODY}:{_NOBODY}",
        "WorkingDir": "/",
        "Hostname": "sandbox",
        "Labels": {OWNER: this_process()},
        "Healthcheck": {"Test": ["NONE"]},
        "StopSignal": "SIGKILL",  # the first process of a container ignores the others: a daemon that stops waits 10 s
        "NetworkDisabled": True,
        **dict.fromkeys(("OpenStdin", "StdinOnce", "AttachStdin", "AttachStdout", "AttachStderr"), True),
        "HostConfig": {
            "AutoRemove": True,
            "NetworkMode": "none",
            "IpcMode": "private",
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges", f"seccomp={seccomp}", "apparmor=unconfined"],
            "MaskedPaths": ["/sys/firmware"],
            "ReadonlyPaths": [],
            "PidsLimit": _AT_ONCE * limits.processes + _SERVER_PROCESSES,
            "Memory": memory,
            "MemorySwap": memory,
            "NanoCpus": int(cpus * 1e9),
            "OomScoreAdj": 500,  # before the trainer beside it
            "Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}],
            "Tmpfs": {"/tmp": scratch, **dict.fromkeys(image.volumes, "ro,size=4k")},  # noqa: S108
            "ShmSize": limits.disk_mb << 20,
            "LogConfig": {"Type": "none"},
            "Init": False,
        },
    }
