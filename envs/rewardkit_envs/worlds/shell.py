"""Files and a shell in the sandbox: the workspace is a value in the episode's memory, each command a fresh program.

So a command cannot leave a process, an environment variable or a current directory to the next one; files, empty
directories, links and executable bits stay. Not covered: interactive programs, the network.
"""

from __future__ import annotations

import base64
import hashlib
import json
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rewardkit.errors import ConfigError
from rewardkit.programs import Execution, Limits, Program
from rewardkit.protocols import Sandbox
from rewardkit.types import Task
from rewardkit_envs.calls import Call
from rewardkit_envs.sandboxes import LazySandbox
from rewardkit_envs.tasks import TaskList, TaskSource
from rewardkit_envs.worlds.shell_tasks import shell_tasks
from rewardkit_envs.worlds.world import Reply, Tool, takes

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
_SHELF = ".workspace.json"  # what a dictionary of files cannot hold, as the runner leaves it
_LONGEST_TEXT = 65_536
_MOST_FILES = 500
_MOST_BYTES = 2 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """Files by path, and what a dictionary of files does not say: empty directories, links, which may be executed."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    directories: tuple[str, ...] = ()
    executable: tuple[str, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)


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

    def start(self, task: Task, seed: int) -> tuple[Workspace, str]:  # noqa: ARG002  nothing is left to chance here
        """Return the workspace that the task describes."""
        files = files_of(task.metadata.get("files", {}), f"task {task.id!r}: files")
        return Workspace(files=files), ""

    def call(self, task: Task, memory: Workspace, name: str, arguments: Mapping[str, Any]) -> Reply:  # noqa: ARG002
        """Run a command, or read, write or list files."""
        if name == "run":
            return self._run(memory, arguments["command"])
        if name == "list_files":
            return Reply(text="\n".join(sorted(memory.files)) or "(no files)", memory=memory)
        path = posixpath.normpath(arguments["path"])
        if problem := _path_problem(path):
            return Reply(text=problem, memory=memory)
        if name == "read_file":
            return Reply(text=self._read(memory, path), memory=memory)
        return _write(memory, path, arguments["content"])

    def evidence(self, task: Task, memory: Workspace) -> Mapping[str, Any]:
        """Return the files, and how the goal's commands end, each in a place of its own, on the final workspace."""
        goal = task.metadata.get("goal", {})
        found: dict[str, Any] = {"files": {path: _saved(content) for path, content in sorted(memory.files.items())}}
        if commands := goal.get("commands"):
            hidden = files_of(goal.get("check_files", {}), f"task {task.id!r}: check_files")
            checked = replace(memory, files=_overlaid(memory.files, hidden))
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
        after = _workspace(ended, workspace)
        text = _output(ended, self.shown)
        size = sum(map(len, after.files.values()))
        if len(after.files) > _MOST_FILES or size > _MOST_BYTES:
            most = f"{_MOST_FILES} files and {_MOST_BYTES} bytes"
            return Reply(text=f"{text}\n[undone: the workspace may hold {most}]".lstrip(), memory=workspace)
        return Reply(text=text, memory=after)

    def _check(self, workspace: Workspace, command: Mapping[str, Any]) -> dict[str, Any]:
        ended = self._execute(workspace, command["command"])
        stdout = ended.stdout.decode("utf-8", "replace")[:_LONGEST_TEXT]
        limit = {"limit": ended.limit} if ended.limit else {}
        return {"command": command["command"], "exit_code": ended.exit_code, "stdout": stdout, **limit}

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


def files_of(described: Any, what: str) -> dict[str, bytes]:
    """Return files by path from text or {"base64": text}; raises ConfigError that begins with `what`."""
    try:
        return {
            path: content.encode() if isinstance(content, str) else base64.b64decode(content["base64"], validate=True)
            for path, content in described.items()
        }
    except (AttributeError, TypeError, KeyError, ValueError) as error:
        raise ConfigError(f"{what} must map paths to text or {{'base64': text}} ({error!r})") from error


def _path_problem(path: str) -> str:
    parts = path.split("/")
    if path[:1] in ("", "/") or "\0" in path or parts[0] in (".", "..", _SHELF):
        return f"The path {path[:80]!r} must be relative to the workspace and stay in it."
    if len(path.encode()) > 1000 or any(len(part.encode()) > 200 for part in parts):
        return "The path is too long."
    return ""


def _write(workspace: Workspace, path: str, content: str) -> Reply:
    taken = {*workspace.files, *workspace.links}
    parents = {path[:i] for i, letter in enumerate(path) if letter == "/"}
    below = [
        other for other in (*taken, *workspace.directories) if f"{other}/".startswith(f"{path}/") and other != path
    ]
    if below or path in workspace.directories or path in workspace.links or parents & taken:
        return Reply(text=f"The file {path!r} cannot be written: something else has that name.", memory=workspace)
    files = {**workspace.files, path: content.encode()}
    if len(files) > _MOST_FILES or sum(map(len, files.values())) > _MOST_BYTES:
        text = f"Not written: the workspace may hold {_MOST_FILES} files and {_MOST_BYTES} bytes."
        return Reply(text=text, memory=workspace)
    directories = tuple(name for name in workspace.directories if name not in parents)
    after = replace(workspace, files=files, directories=directories)
    return Reply(text=f"Wrote {len(files[path])} bytes to {path}.", memory=after)


def _overlaid(files: Mapping[str, bytes], above: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return `files` with those `above` in the place of whatever is in their way."""
    kept = {
        path: content
        for path, content in files.items()
        if not any(f"{path}/".startswith(f"{name}/") or f"{name}/".startswith(f"{path}/") for name in above)
    }
    return {**kept, **above}


def _workspace(ended: Execution, before: Workspace) -> Workspace:
    """Return the workspace after a command; what the runner leaves is a policy's to forge, so it is checked."""
    files = {path: content for path, content in ended.files.items() if not _path_problem(path) and path.isprintable()}
    try:
        shelf = json.loads(ended.files[_SHELF])
        names = {key: [name for name in shelf[key] if _is_name(name)] for key in ("directories", "executable")}
        links = {k: v for k, v in shelf["links"].items() if _is_name(k) and _is_name(v, link=True) and k not in files}
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return Workspace(files=files, executable=tuple(name for name in before.executable if name in files))
    taken = {*files, *links}
    directories = [name for name in names["directories"] if not any(f"{name}/".startswith(f"{t}/") for t in taken)]
    executable = [name for name in names["executable"] if name in files]
    return Workspace(
        files=files,
        directories=tuple(directories[:_MOST_FILES]),
        executable=tuple(executable),
        links=dict(list(links.items())[:_MOST_FILES]),
    )


def _is_name(name: Any, *, link: bool = False) -> bool:
    return isinstance(name, str) and name.isprintable() and (0 < len(name) < 1000 if link else not _path_problem(name))


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


def _saved(content: bytes) -> Any:
    """Return a file as evidence: its text, or, where it is long or no text, its digest."""
    if len(content) <= _LONGEST_TEXT:
        try:
            return content.decode()
        except UnicodeDecodeError:
            pass
    return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}


# What runs in the sandbox, around the agent's command.
_RUNNER = r"""
import json, os, subprocess, sys

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
