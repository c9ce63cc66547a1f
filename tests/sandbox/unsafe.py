"""A sandbox that protects nothing: programs as plain subprocesses. Only for tests of what must notice that."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from rewardkit.errors import ConfigError
from rewardkit.programs import Execution


class UnsafeSandbox:
    """Keeps the wall limit, and the contract of plain programs as far as that is easy."""

    def __init__(self, **options):
        self.options = options

    def identity(self):
        return "unsafe"

    def run(self, program):
        if program.language != "python":
            raise ConfigError(f"sandbox 'unsafe' does not run {program.language!r}")
        if program.inputs:
            return self._run_inputs(program)
        if program.peer is None:
            return self._run_once(program)
        ours, theirs = socket.socketpair()
        with ours, theirs, ThreadPoolExecutor() as pool:
            candidate = pool.submit(self._run_once, replace(program, peer=None), ours)
            peer = self._run_once(program.peer, theirs)
            return replace(candidate.result(), peer=peer)

    def run_many(self, programs):
        return [self.run(program) for program in programs]

    async def arun(self, program):
        return await asyncio.to_thread(self.run, program)

    def close(self):
        pass

    def _run_inputs(self, program):
        runs = []
        for text in program.inputs:
            runs.append(self._run_once(replace(program, inputs=(), stdin=text)))
            if program.stop is not None and program.stop(runs[-1]):
                break
        return replace(runs[-1], runs=tuple(runs))

    def _run_once(self, program, line=None):
        with tempfile.TemporaryDirectory(prefix="rewardkit-unsafe-", ignore_cleanup_errors=True) as folder:
            for path, content in program.files.items():
                target = Path(folder, path)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
                target.chmod(0o755)
            started = time.monotonic()
            code, out, error, limit = self._wait(program, folder, line)
            files = {path: found for path in program.fetch if (found := self._read(folder, path)) is not None}
            took = time.monotonic() - started
        return Execution(exit_code=code, stdout=out, stderr=error, limit=limit, files=files, wall_s=took)

    def _wait(self, program, folder, line):
        wall = program.limits.wall_s if program.limits else 10.0
        # A group of its own: an attack on its group must not meet the tests.
        command = self._command(program, line)
        if not (Path(folder, command[0]).exists() or shutil.which(command[0])):
            return 127, b"", b"", None
        child = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **program.env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            pass_fds=() if line is None else (line.fileno(),),
        )
        if line is not None:
            line.close()  # the other side is to see its end
        with child:
            try:
                out, error = child.communicate(program.stdin, timeout=wall)
                return child.returncode, out, error, None
            except subprocess.TimeoutExpired:
                child.kill()
                return -9, b"", b"", "wall_s"

    @staticmethod
    def _command(program, line):
        if program.code is None:
            return list(program.argv)
        source = program.code
        if line is not None:
            source = f"import os; os.dup2({line.fileno()}, 3); os.close({line.fileno()})\n" + source
        return [sys.executable, "-c", source, *program.argv]

    @staticmethod
    def _read(folder, path):
        try:
            return Path(folder, path).read_bytes() if Path(folder, path).is_file() else None
        except OSError:
            return None
