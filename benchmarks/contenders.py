"""What people run small programs in, each as a function from a program and its input to its output.

They are what the sandboxes are measured against; none is used by rewardkit. What is not installed is left out with
its reason. SandboxFusion has no package: put its repository where $SANDBOX_FUSION points, with its dependencies in
`.venv` there and an empty folder `.venv/condabin` (it looks for Conda). It is started with its `local` settings only,
and only if those leave the machine alone: with others it kills every process whose name it does not like.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import rewardkit_sandbox

Run = Callable[[str, bytes], bytes]
Opening = Callable[[], AbstractContextManager[Run]]
PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable  # Debian's starts fastest
LOCKED = [
    *("--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
    *("--user", "65534:65534", "--pids-limit", "64", "--memory", "512m", "--memory-swap", "512m"),
    *("--tmpfs", "/tmp:rw,nosuid,nodev,size=64m", "--log-driver", "none", "--label", "rewardkit.bench=1"),
]


class NotHereError(Exception):
    """Something to compare with is not installed; the message says what is missing."""


class WarmFork:
    """The floor: an interpreter, warm as the sandbox's own, that forks for each program and does nothing else.

    The child compiles the program, runs it, prints through a pipe and exits; the parent reaps it and keeps the time.
    """

    SOURCE = """
import gc, json, os, sys, time
sys.path.insert(0, sys.argv[1])
from rewardkit_sandbox.inside import zygote
zygote.preload()
gc.collect()
gc.freeze()
for line in sys.stdin:
    count, rest = line.split()
    seconds = []
    for _ in range(int(count)):
        time.sleep(float(rest))
        start = time.perf_counter()
        outlet, inlet = os.pipe()
        child = os.fork()
        if not child:
            os.dup2(inlet, 1)
            exec(compile(sys.argv[2], "program", "exec"), {"__name__": "__main__"})
            sys.stdout.flush()
            os._exit(0)
        os.close(inlet)
        printed = b""
        while chunk := os.read(outlet, 65536):
            printed += chunk
        os.close(outlet)
        assert os.waitpid(child, 0)[1] == 0 and printed.decode() == sys.argv[3], printed
        seconds.append(time.perf_counter() - start)
    print(json.dumps(seconds), flush=True)
"""

    def __init__(self, code: str, expected: bytes) -> None:
        place = str(Path(rewardkit_sandbox.__file__).parents[1])
        command = [PYTHON, "-I", "-S", "-c", self.SOURCE, place, code, expected.decode()]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> WarmFork:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def seconds(self, count: int, *, rest: float = 0.0) -> list[float]:
        """Fork `count` times, after a `rest` (seconds) each, and return the seconds of each."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{count} {rest}\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@contextmanager
def plain_subprocess() -> Iterator[Run]:
    """Start an interpreter for each program, with no isolation at all."""
    yield lambda code, stdin: output([PYTHON, "-I", "-S", "-c", code], stdin)


@contextmanager
def bubblewrap() -> Iterator[Run]:
    """Start bubblewrap for each program."""
    if shutil.which("bwrap") is None:
        raise NotHereError("bubblewrap: apt-get install bubblewrap")
    places = ["--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--chdir", "/tmp"]
    for link in ("lib", "lib64", "bin"):
        places += ["--symlink", f"usr/{link}", f"/{link}"]
    command = ["env", "-i", "bwrap", "--unshare-all", "--die-with-parent", "--new-session", *places]
    yield lambda code, stdin: output([*command, PYTHON, "-I", "-S", "-c", code], stdin)


def docker_exec(image: str) -> Opening:
    """Run each program by `docker exec` in one warm, locked-down container."""

    @contextmanager
    def opening() -> Iterator[Run]:
        name = f"rewardkit-bench-{uuid.uuid4().hex[:8]}"
        sleep = ["python3", "-c", "import time; time.sleep(86400)"]
        output([*docker(image), "run", "--detach", "--rm", "--name", name, *LOCKED, image, *sleep])
        try:
            command = [*docker(image), "exec", "--interactive", name, "python3", "-I", "-S", "-c"]
            yield lambda code, stdin: output([*command, code], stdin)
        finally:
            output([*docker(image), "rm", "--force", name])

    return opening


def docker_run(image: str) -> Opening:
    """Run each program by a locked-down `docker run --rm`."""

    @contextmanager
    def opening() -> Iterator[Run]:
        command = [*docker(image), "run", "--interactive", "--rm", *LOCKED, image, "python3", "-I", "-S", "-c"]
        yield lambda code, stdin: output([*command, code], stdin)

    return opening


def llm_sandbox(image: str) -> Opening:
    """Run each program in one open session of llm-sandbox. It passes no input on, so the program brings its own."""

    @contextmanager
    def opening() -> Iterator[Run]:
        docker(image)
        try:
            from llm_sandbox import SandboxSession
        except ImportError:
            raise NotHereError("llm-sandbox: pip install 'llm-sandbox[docker]'") from None
        prepare = "import os; os.makedirs('/sandbox', exist_ok=True); os.symlink('python3', '/usr/bin/python')"
        recipe = f'FROM {image}\nUSER root\nRUN ["python3", "-c", "{prepare}"]\nCMD ["python3"]\n'
        build = [*docker(image), "build", "--quiet", "--label", "rewardkit.bench=1", "-"]
        ours = output(build, recipe.encode(), DOCKER_BUILDKIT="0").decode().strip()

        def run(code: str, stdin: bytes) -> bytes:
            given = f"import io, sys\nsys.stdin = io.StringIO({stdin.decode()!r})\n" if stdin else ""
            return session.run(given + code.replace("open(0)", "sys.stdin")).stdout.replace("\r\n", "\n").encode()

        options = {"network_mode": "none"}
        try:
            with SandboxSession(
                lang="python", image=ours, skip_environment_setup=True, runtime_configs=options
            ) as session:
                yield run
        finally:
            output([*docker(image), "image", "rm", "--force", ours])

    return opening


@contextmanager
def sandbox_fusion() -> Iterator[Run]:
    """Post each program to a SandboxFusion server of our own that isolates nothing (its default)."""
    home = Path(os.environ.get("SANDBOX_FUSION", ""))
    python, settings = home / ".venv" / "bin" / "python", home / "sandbox" / "configs" / "local.yaml"
    if not (python.exists() and settings.exists()):
        raise NotHereError("SandboxFusion: $SANDBOX_FUSION is no checkout with a .venv (see contenders.py)")
    text = settings.read_text()
    if "cleanup_process: false" not in text or "restore_bash: false" not in text:
        raise NotHereError("SandboxFusion: its settings would kill processes and replace /bin/bash")
    with socket.socket() as free, tempfile.TemporaryFile() as log:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        serve = ["-m", "uvicorn", "sandbox.server.server:app", f"--port={port}", "--timeout-keep-alive=600"]
        command = [str(python), *serve, "--log-level=error"]
        environment = {**os.environ, "SANDBOX_CONFIG": "local"}
        server = subprocess.Popen(command, cwd=home, env=environment, stdout=log, stderr=log)
        try:
            wait_for(port, server)
            yield post_to(port)
        finally:
            server.kill()
            server.wait()


def post_to(port: int) -> Run:
    """Return a function that posts a program to /run_code over a connection that each thread keeps."""
    threads = threading.local()

    def run(code: str, stdin: bytes) -> bytes:
        if not hasattr(threads, "connection"):
            threads.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        request = {"code": code, "language": "python", "stdin": stdin.decode(), "run_timeout": 20}
        threads.connection.request("POST", "/run_code", json.dumps(request), {"Content-Type": "application/json"})
        answer: dict[str, Any] = json.load(threads.connection.getresponse())
        return str((answer["run_result"] or {}).get("stdout")).encode()

    return run


def wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    """Wait until a server answers on a port of this machine."""
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
            if server.poll() is not None:
                raise NotHereError(f"SandboxFusion: its server ended with {server.returncode}") from None
        else:
            return
    raise NotHereError("SandboxFusion: its server does not answer")


def docker(image: str) -> list[str]:
    """Return the Docker command, or raise NotHereError when no daemon answers or there is no image."""
    if not shutil.which("docker"):
        raise NotHereError("docker: not installed")
    if subprocess.run(["docker", "version"], capture_output=True, timeout=20).returncode:
        raise NotHereError("docker: no daemon answers")
    if not image:
        raise NotHereError("docker: our image could not be built")
    return ["docker"]


def output(command: list[str], stdin: bytes = b"", **environment: str) -> bytes:
    """Run a command and return what it prints."""
    given = {**os.environ, **environment} if environment else None
    return subprocess.run(command, input=stdin, capture_output=True, timeout=120, env=given).stdout


def versions(*packages: str) -> str:
    """Return the versions of Python, of the tools, and of those packages that are installed."""
    found = [output([PYTHON, "--version"]).decode().strip()]
    if shutil.which("bwrap"):
        found.append(output(["bwrap", "--version"]).decode().strip())
    if shutil.which("docker"):
        found.append("Docker " + output(["docker", "version", "--format", "{{.Server.Version}}"]).decode().strip())
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)
