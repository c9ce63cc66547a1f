"""How long the first program takes on a machine that has never run one, and how much room that needs.

Run as root: python benchmarks/fresh_machine.py (half a minute). A Docker daemon of our own with nothing in it stands
for the fresh machine; installing Docker (`apt-get install docker.io`) comes on top. Each first program is one command.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FIRST = """
import logging, sys
from rewardkit.plugins import Plugins
from rewardkit.programs import Program
logging.basicConfig(format="  %(message)s")
sandbox = Plugins.load().sandboxes.get(sys.argv[1]).build()
assert sandbox.run(Program(code="print(6 * 7)")).stdout == b"42\\n"
sandbox.close()
"""


def main() -> int:
    """Print the seconds and the megabytes; return 1 if a first program does not run."""
    times = [first_program("namespace") for _ in range(3)]
    print(f"namespace: first program after {times[0]:.2f} s, later {min(times[1:]):.2f} s (the whole command), 0 MB")
    if os.geteuid() or not all(map(shutil.which, ("dockerd", "docker", "unshare"))):
        print("docker: not run here: needs root, dockerd, docker and unshare")
        return 0
    with empty_daemon() as (url, folder, started):
        first, again = (first_program("docker", DOCKER_HOST=url) for _ in range(2))
        listing = ["docker", "-H", url, "images", "--format", "{{.Repository}}:{{.Tag}} {{.Size}}"]
        images = subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split("\n")
        disk = sum(path.lstat().st_blocks for path in folder.joinpath("data").rglob("*")) * 512 / 1e6
        print(
            f"docker: daemon up after {started:.1f} s; first program after {first:.1f} s, image included; later", end=""
        )
        print(f" {again:.1f} s; {disk:.0f} MB of disk: {', '.join(filter(None, images))}")
    return 0


def first_program(name: str, **environment: str) -> float:
    """Return the seconds of a command that runs one program in a sandbox and ends."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", FIRST, name], env={**os.environ, **environment}, check=True, timeout=600)
    return time.perf_counter() - start


@contextmanager
def empty_daemon() -> Iterator[tuple[str, Path, float]]:
    """Start a Docker daemon with nothing in it; give its address, its folder and the seconds until it answered."""
    with tempfile.TemporaryDirectory(prefix="fresh-", ignore_cleanup_errors=True) as place:
        folder = Path(place)
        url = f"unix://{folder}/docker.sock"
        options = [f"--{name}={folder / path}" for name, path in {"data-root": "data", "exec-root": "exec"}.items()]
        command = ["unshare", "--net", "dockerd", "--bridge=none", "--iptables=false", f"--host={url}", *options]
        start = time.perf_counter()
        with folder.joinpath("log").open("wb") as log:
            daemon = subprocess.Popen([*command, f"--pidfile={folder / 'pid'}"], stdout=log, stderr=log)
        try:
            while subprocess.run(["docker", "-H", url, "version"], capture_output=True, timeout=20).returncode:
                if daemon.poll() is not None or time.perf_counter() - start > 60:
                    raise SystemExit(f"the Docker daemon does not start: {(folder / 'log').read_text()[-500:]}")
                time.sleep(0.02)
            yield url, folder, time.perf_counter() - start
        finally:
            daemon.terminate()
            daemon.wait(60)


if __name__ == "__main__":
    sys.exit(main())
