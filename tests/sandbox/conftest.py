"""Fixtures of the sandboxes: a Docker daemon that answers, or a skip that says why not."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from rewardkit.errors import SandboxUnavailableError


@pytest.fixture(scope="session")
def docker_daemon():
    """A connection to the Docker daemon of this machine."""
    pytest.importorskip("docker", reason="the package docker is not installed: docker tests are SKIPPED")
    from rewardkit_sandbox.docker_daemon import Daemon

    daemon = Daemon()
    try:
        daemon.call(lambda client: client.ping())
    except SandboxUnavailableError as error:
        pytest.skip(f"docker tests are SKIPPED: {error}")
    yield daemon
    daemon.close()


class OwnDaemon:
    """A second Docker daemon with directories, a socket and a network of its own, to be stopped, killed and started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"unix://{folder}/docker.sock"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return when it answers."""
        options = {"data-root": "data", "exec-root": "exec", "pidfile": "docker.pid"}
        command = ["unshare", "-n", "dockerd", "--bridge=none", "--iptables=false", "-H", self.url]
        command += [f"--{name}={self.folder / path}" for name, path in options.items()]
        for leftover in ("docker.pid", "exec/containerd/containerd.pid"):  # a killed one could pass for alive
            (self.folder / leftover).unlink(missing_ok=True)
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(command, stdout=log, stderr=log)
        log.close()
        for _ in range(300):
            if self.docker("version").returncode == 0:
                return
            time.sleep(0.1)
        pytest.skip(f"a second Docker daemon does not start here: {(self.folder / 'log').read_text()[-500:]}")

    def stop(self) -> None:
        """Stop it as an operator does."""
        assert self.process is not None
        self.process.terminate()
        self.process.wait(60)

    def remove(self) -> None:
        """Stop it and remove all that is its."""
        self.stop()
        shims = subprocess.run(["pgrep", "-f", f"containerd-shim.*{self.folder}"], capture_output=True, check=False)
        for pid in shims.stdout.split():  # left when the daemon was killed
            os.kill(int(pid), signal.SIGKILL)
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            if (place := line.split()[1]).startswith(str(self.folder)):
                subprocess.run(["umount", "-l", place], check=True)
        shutil.rmtree(self.folder)

    def docker(self, *arguments: str, stdin: object = None) -> subprocess.CompletedProcess[str]:
        """Run a command against it."""
        return subprocess.run(
            ["docker", "-H", self.url, *arguments], stdin=stdin, capture_output=True, text=True, timeout=60, check=False
        )


@pytest.fixture(scope="session")
def own_daemon(docker_daemon):
    """A second Docker daemon that has our image of Python."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("dockerd", "docker", "unshare"))):
        pytest.skip("a second Docker daemon needs root, dockerd, docker and unshare")
    from rewardkit_sandbox.docker_images import build_image

    build_image(docker_daemon)
    own = OwnDaemon(Path(tempfile.mkdtemp(prefix="rewardkit-dockerd-")))
    try:
        own.start()
        with subprocess.Popen(["docker", "save", "rewardkit-sandbox:python"], stdout=subprocess.PIPE) as saved:
            loaded = own.docker("load", stdin=saved.stdout)
        assert loaded.returncode == 0, loaded.stderr
        yield own
    finally:
        own.remove()
