"""Files and a shell in the sandbox: the workspace is a value in the episode's memory, each command a fresh program.

So a command cannot leave a process, an environment variable or a current directory to the next one; files, empty
directories, links and executable bits stay. Not covered: interactive programs, the network.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rewardkit.errors import ConfigError
from rewardkit.programs import Execution, Limits, Program
from rewardkit.protocols import Sandbox
from rewardkit.types import Task
from rewardkit_envs.calls import Call
from rewardkit_envs.sandboxes import LazySandbox
from rewardkit_envs.tasks import TaskList, TaskSource
from rewardkit_envs.worlds.shell_tasks import shell_tasks
from rewardkit_envs.worlds.workspace import (
    LONGEST_TEXT,
    MOST_BYTES,
    MOST_FILES,
    Workspace,
    after,
    files_of,
    overlaid,
    path_problem,
    saved,
    written,
)
from rewardkit_envs.worlds.world import Reply, Tool, goal_of, takes

_TOOLS = (
    Tool(
        name="run",
        description="Run a shell command in the workspace. It starts in the workspace's top directory each time.",
        parameters=takes(command="the command"),
    ),
    Tool(name="read_file", description="Show a file of text.", parameters=takes(path="relative to the workspace")),
    Tool(
        name="write_file",
        description="Write a file of text; what was there is replaced, and directories are made.",
        parameters=takes(path="relative to the workspace", content="all of the text"),
    ),
    Tool(name="list_files", description="List all files.", parameters=takes()),
)


class ShellWorld:
    """A workspace of files with a shell.

    A task's metadata may hold `files` (path to text, or to {"base64": ...}) to begin with, and `goal`, which the reward
    `goal_state` judges: see its page. `limits` hold for each command; `shown` is how many characters of an output the
    agent sees.
    """

    tools = _TOOLS
    pays = False

    def __init__(self, *, sandbox: str | Sandbox = "auto", limits: Limits | None = None, shown: int = 4000) -> None:
        self.sandbox = LazySandbox(sandbox)
        self.limits = limits or Limits(disk_mb=8, files=1000)
        self.shown = shown

    def tasks(self) -> TaskSource:
        """Return a dozen small tasks."""
        return TaskList(shell_tasks())

    def start(self, task: Task) -> tuple[Workspace, str]:
        """Return the workspace that the task describes; the goal's files are read now, so that it fails early."""
        _hidden(task)
        _commands(task)
        files = files_of(task.metadata.get("files", {}), f"task {task.id!r}: files")
        return Workspace(files=files), ""

    def call(self, task: Task, memory: Workspace, name: str, arguments: Mapping[str, Any]) -> Reply:  # noqa: ARG002
        """Run a command, or read, write or list files."""
        if name == "run":
            return self._run(memory, arguments["command"])
        if name == "list_files":
            return Reply(text="\n".join(sorted(memory.files)) or "(no files)", memory=memory)
        path = posixpath.normpath(arguments["path"])
        if problem := path_problem(path):
            return Reply(text=problem, memory=memory)
        if name == "read_file":
            return Reply(text=self._read(memory, path), memory=memory)
        text, changed = written(memory, path, arguments["content"])
        return Reply(text=text, memory=changed)

    def evidence(self, task: Task, memory: Workspace) -> Mapping[str, Any]:
        """Return the files, and how the goal's commands end, each in a place of its own, on the final workspace."""
        found: dict[str, Any] = {"files": {path: saved(content) for path, content in sorted(memory.files.items())}}
        if commands := _commands(task):
            checked = replace(memory, files=overlaid(memory.files, _hidden(task)))
            found["commands"] = [self._check(checked, command) for command in commands]
        return found

    def gold(self, task: Task, memory: Workspace) -> Call | None:  # noqa: ARG002  the task's own plan it is
        """Return None."""
        return None

    def close(self) -> None:
        """Close the sandbox."""
        self.sandbox.close()

    def _run(self, workspace: Workspace, command: str) -> Reply:
        ended = self._execute(workspace, command)
        changed = after(ended.files, workspace)
        text = _output(ended, self.shown)
        size = sum(map(len, changed.files.values()))
        if len(changed.files) > MOST_FILES or size > MOST_BYTES:
            most = f"{MOST_FILES} files and {MOST_BYTES} bytes"
            return Reply(text=f"{text}\n[undone: the workspace may hold {most}]".lstrip(), memory=workspace)
        return Reply(text=text, memory=changed)

    def _check(self, workspace: Workspace, command: str) -> dict[str, Any]:
        ended = self._execute(workspace, command)
        stdout = ended.stdout.decode("utf-8", "replace")[:LONGEST_TEXT]
        limit = {"limit": ended.limit} if ended.limit else {}
        return {"command": command, "exit_code": ended.exit_code, "stdout": stdout, **limit}

    def _execute(self, workspace: Workspace, command: str) -> Execution:
        orders = {
            "command": command,
            "directories": workspace.directories,
            "executable": workspace.executable,
            "links": dict(workspace.links),
        }
        program = Program(
            code=_RUNNER,
            stdin=json.dumps(orders).encode(),
            files=workspace.files,
            fetch=("*",),
            env={"PYTHONDONTWRITEBYTECODE": "1"},
            limits=self.limits,
        )
        return self.sandbox.run(program)

    def _read(self, workspace: Workspace, path: str) -> str:
        if path not in workspace.files:
            return f"There is no file {path!r}."
        try:
            return _cut(workspace.files[path].decode(), self.shown)
        except UnicodeDecodeError:
            return f"The file {path!r} holds {len(workspace.files[path])} bytes that are no text."


def _hidden(task: Task) -> dict[str, bytes]:
    """Return the files that only the goal's commands find."""
    return files_of(goal_of(task).get("check_files", {}), f"task {task.id!r}: check_files")


def _commands(task: Task) -> list[str]:
    """Return the commands that the goal asks to end well."""
    listed = goal_of(task).get("commands", [])
    if not isinstance(listed, list) or not all(
        isinstance(one, dict) and isinstance(one.get("command"), str) for one in listed
    ):
        raise ConfigError(f"task {task.id!r}: the goal's commands must be a list of objects, each with a command")
    return [one["command"] for one in listed]


def _output(ended: Execution, shown: int) -> str:
    pieces = [stream.decode("utf-8", "replace").rstrip("\n") for stream in (ended.stdout, ended.stderr)]
    text = _cut("\n".join(piece for piece in pieces if piece), shown)
    if ended.limit:
        return f"{text}\n[stopped: it ran into its limit {ended.limit}]".lstrip()
    if ended.exit_code:
        return f"{text}\n[exit status {ended.exit_code}]".lstrip()
    return text or "(no output)"


def _cut(text: str, longest: int) -> str:
    """Return `text`, or its beginning and end where it is too long."""
    if len(text) <= longest:
        return text
    half = longest // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"


# What runs in the sandbox, around the agent's command.
_RUNNER = r"""
import os, sys

sys.path[:] = [path for path in sys.path if path not in ("", os.getcwd())]  # or the agent's subprocess.py would run
import json, subprocess

orders = json.load(sys.stdin)
for path in orders["directories"]:
    os.makedirs(path, exist_ok=True)
for path in orders["executable"]:
    os.chmod(path, 0o755)
for path, target in orders["links"].items():
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    os.symlink(target, path)
shell = "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh"
try:
    code = subprocess.run([shell, "-c", orders["command"]], stdin=subprocess.DEVNULL).returncode
except (OSError, ValueError) as error:
    sys.exit(f"the command cannot be run: {error}")
shelf = {"directories": [], "executable": [], "links": {}}
for top, directories, files in os.walk("."):
    top = os.path.relpath(top, ".")
    if not directories and not files and top != ".":
        shelf["directories"].append(top)
    for name in [*directories, *files]:
        path = os.path.normpath(os.path.join(top, name))
        if os.path.islink(path):
            shelf["links"][path] = os.readlink(path)
        elif name in files and os.access(path, os.X_OK):
            shelf["executable"].append(path)
with open(".workspace.json", "w") as file:
    json.dump(shelf, file)
sys.exit(code if code >= 0 else 128 - code)
"""
