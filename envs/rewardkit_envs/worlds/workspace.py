"""A workspace as a value: files and what a dictionary of files does not say. Names come from policies and are checked.

Running commands in one is `shell`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rewardkit.errors import ConfigError

SHELF = ".workspace.json"
"""The file in which the runner of a command leaves what a dictionary of files does not say."""

MOST_FILES = 500
MOST_BYTES = 2 << 20
LONGEST_TEXT = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """Files by path, and what a dictionary of files does not say: empty directories, links, which may be executed."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    directories: tuple[str, ...] = ()
    executable: tuple[str, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)


def files_of(described: Any, what: str) -> dict[str, bytes]:
    """Return files by path from text or {"base64": text}; raises ConfigError that begins with `what`."""
    try:
        files = {
            path: content.encode() if isinstance(content, str) else base64.b64decode(content["base64"], validate=True)
            for path, content in described.items()
        }
    except (AttributeError, TypeError, KeyError, ValueError) as error:
        raise ConfigError(f"{what} must map paths to text or {{'base64': text}} ({error!r})") from error
    if problem := next(filter(None, map(path_problem, files)), ""):
        raise ConfigError(f"{what}: {problem}")
    return files


def path_problem(path: str) -> str:
    """Return what is wrong with a normalised path, or "" where nothing is."""
    parts = path.split("/")
    if path[:1] in ("", "/") or "\0" in path or parts[0] in (".", "..", SHELF):
        return f"The path {path[:80]!r} must be relative to the workspace and stay in it."
    if len(path.encode()) > 1000 or any(len(part.encode()) > 200 for part in parts):
        return "The path is too long."
    return ""


def written(workspace: Workspace, path: str, content: str) -> tuple[str, Workspace]:
    """Return what to say of writing a file, and the workspace after it."""
    taken = {*workspace.files, *workspace.links}
    parents = {path[:i] for i, letter in enumerate(path) if letter == "/"}
    below = [
        other for other in (*taken, *workspace.directories) if f"{other}/".startswith(f"{path}/") and other != path
    ]
    if below or path in workspace.directories or path in workspace.links or parents & taken:
        return f"The file {path!r} cannot be written: something else has that name.", workspace
    files = {**workspace.files, path: content.encode()}
    if len(files) > MOST_FILES or sum(map(len, files.values())) > MOST_BYTES:
        return f"Not written: the workspace may hold {MOST_FILES} files and {MOST_BYTES} bytes.", workspace
    directories = tuple(name for name in workspace.directories if name not in parents)
    return f"Wrote {len(files[path])} bytes to {path}.", replace(workspace, files=files, directories=directories)


def overlaid(files: Mapping[str, bytes], above: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return `files` with those `above` in the place of whatever is in their way."""
    kept = {
        path: content
        for path, content in files.items()
        if not any(f"{path}/".startswith(f"{name}/") or f"{name}/".startswith(f"{path}/") for name in above)
    }
    return {**kept, **above}


def after(fetched: Mapping[str, bytes], before: Workspace) -> Workspace:
    """Return the workspace after a command; what the runner leaves is a policy's to forge, so it is checked."""
    files = {path: content for path, content in fetched.items() if path.isprintable() and not path_problem(path)}
    try:
        shelf = json.loads(fetched[SHELF])
        names = {key: [name for name in shelf[key] if _is_name(name)] for key in ("directories", "executable")}
        links = {k: v for k, v in shelf["links"].items() if _is_name(k) and _is_name(v, link=True) and k not in files}
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return Workspace(files=files, executable=tuple(name for name in before.executable if name in files))
    taken = {*files, *links}
    directories = [name for name in names["directories"] if not any(f"{name}/".startswith(f"{t}/") for t in taken)]
    executable = [name for name in names["executable"] if name in files]
    return Workspace(
        files=files,
        directories=tuple(directories[:MOST_FILES]),
        executable=tuple(executable),
        links=dict(list(links.items())[:MOST_FILES]),
    )


def _is_name(name: Any, *, link: bool = False) -> bool:
    return isinstance(name, str) and name.isprintable() and (0 < len(name) < 1000 if link else not path_problem(name))


def saved(content: bytes) -> Any:
    """Return a file as evidence: its text, or, where it is long or no text, its digest."""
    if len(content) <= LONGEST_TEXT:
        try:
            return content.decode()
        except UnicodeDecodeError:
            pass
    return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
