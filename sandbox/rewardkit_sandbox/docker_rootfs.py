"""Root file systems for the images, made without a registry: from Debian packages, or from this machine's Python.

Nothing is installed here and no maintainer script runs: packages are downloaded and unpacked. Not covered: compiling
the bytecode and the linker's cache, which the Dockerfile does inside.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rewardkit.errors import SandboxUnavailableError

# What python:3.11-slim has, too: an interpreter, shells, and the tools that commands are made of.
_PYTHON = ("python3", "libc-bin", "dash", "bash", "coreutils", "diffutils", "findutils", "grep", "mawk", "sed")
PACKAGES = {"python": _PYTHON, "full": (*_PYTHON, "gcc", "g++", "libc6-dev", "nodejs")}

_ACCOUNTS = {
    "passwd": "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
    "group": "root:x:0:\nnogroup:x:65534:\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}
# Links that packages make in their maintainer scripts.
_LINKS = {"awk": "mawk", "c++": "g++", "cc": "gcc", "sh": "dash"}
_UNUSED = ("usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian")
_UNUSED_PYTHON = ("test", "idlelib", "tkinter", "ensurepip", "turtledemo", "site-packages", "dist-packages", "config-*")


def has_packages() -> bool:
    """Return whether Debian packages can be unpacked here."""
    return all(map(shutil.which, ("apt-get", "dpkg-deb", "tar")))


def unpack_packages(root: Path, names: Sequence[str], *, timeout_s: float) -> None:
    """Download the packages `names` with all that they depend on, and unpack them into the new directory `root`.

    Needs no privileges. Raises SandboxUnavailableError when a package cannot be had within `timeout_s` seconds.
    """
    archives = root.with_name(root.name + ".debs")
    (archives / "partial").mkdir(parents=True)
    _download(archives, names, timeout_s)
    for directory in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / directory).mkdir(parents=True)
        (root / directory).symlink_to(f"usr/{directory}")
    for archive in sorted(archives.glob("*.deb")):
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE) as packed:
            unpack = ["tar", "-x", "--no-same-owner", "--keep-directory-symlink", "-C", str(root)]
            subprocess.run(unpack, stdin=packed.stdout, check=True)
    shutil.rmtree(archives)
    for unused in _UNUSED:
        shutil.rmtree(root / unused, ignore_errors=True)
    for link, target in _LINKS.items():
        path = root / "usr" / "bin" / link
        if (path.parent / target).exists() and not path.is_symlink():
            path.symlink_to(target)
    _furnish(root)


def copy_host(root: Path) -> None:
    """Copy this machine's Python, its standard library, a shell and the shared libraries of both into `root`.

    Raises SandboxUnavailableError where this is not Linux.
    """
    if sys.platform != "linux":
        raise SandboxUnavailableError(
            f"an image for Docker cannot be made from the Python of {sys.platform}: connect to a registry and run "
            "'docker pull python:3.11-slim'"
        )
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    executable = Path(sys.base_prefix, "bin", f"python{version}").resolve()
    library = Path(sysconfig.get_path("stdlib", vars={"base": sys.base_prefix, "installed_base": sys.base_prefix}))
    shutil.copytree(
        library, _within(root, library), ignore=shutil.ignore_patterns("__pycache__", *_UNUSED_PYTHON), symlinks=False
    )
    programs = [executable, Path("/bin/sh").resolve(), *(Path(found) for found in [shutil.which("ldconfig")] if found)]
    binaries = [*programs, *library.glob("lib-dynload/*.so")]
    shared = sorted(set(_shared_libraries(binaries)))
    for path in [*programs, *shared]:
        _copy(path, root)
    for link, target in {"usr/bin/python3": executable, "bin/sh": programs[1]}.items():
        path = root / link
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.symlink_to(target)
    _furnish(root)
    (root / "etc" / "ld.so.conf").write_text("".join(f"{folder}\n" for folder in sorted({p.parent for p in shared})))


def packed(root: Path) -> subprocess.Popen[bytes]:
    """Return a `tar` that writes `root` to its stdout: all files root's, none setuid."""
    command = ["tar", "-C", str(root), "--owner=0", "--group=0", "--numeric-owner", "--mode=ug-s", "-c", "."]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def _download(archives: Path, names: Sequence[str], timeout_s: float) -> None:
    """Download packages and all that they depend on; with package lists of its own where this machine's do not do."""
    (archives / "status").touch()
    options = {
        "Dir::State::status": archives / "status",  # as if nothing were installed, so that all dependencies come
        "Dir::Cache::archives": archives,
        "Debug::NoLocking": "1",
        "APT::Sandbox::User": "root",
    }
    settings = [part for key, value in options.items() for part in ("-o", f"{key}={value}")]
    install = ["install", "-y", "--download-only", "--no-install-recommends", *names]
    failure = f"the Debian packages {', '.join(names)} cannot be downloaded: see 'apt-get update'"
    try:
        _checked(["apt-get", "-qq", *settings, *install], failure, timeout_s)
    except SandboxUnavailableError:
        (archives / "lists" / "partial").mkdir(parents=True)
        settings += ["-o", f"Dir::State::lists={archives / 'lists'}"]
        _checked(["apt-get", "-qq", *settings, "update"], failure, timeout_s)
        _checked(["apt-get", "-qq", *settings, *install], failure, timeout_s)


def _furnish(root: Path) -> None:
    for directory in ("dev", "etc", "proc", "sys", "tmp", "run", "var/tmp"):
        (root / directory).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    root.chmod(0o755)
    for name, text in _ACCOUNTS.items():
        (root / "etc" / name).write_text(text)


def _shared_libraries(binaries: Iterable[Path]) -> Iterator[Path]:
    """Yield what the linker loads for `binaries`; `ldd` of a static program says nothing of use."""
    for binary in binaries:
        listed = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, check=False, timeout=30)
        yield from (Path(found) for found in re.findall(r"(?:=> |^\s*)(/\S+) \(0x", listed.stdout, re.MULTILINE))


def _copy(path: Path, root: Path) -> None:
    target = _within(root, path)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)  # follows links: a library is there under the name that it is asked for by


def _within(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _checked(command: Sequence[str], failure: str, timeout_s: float) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise SandboxUnavailableError(f"{failure} (nothing after {timeout_s:g} s)") from None
    if done.returncode:
        said = done.stderr.strip() or f"exit status {done.returncode}"
        raise SandboxUnavailableError(f"{failure} ({said.splitlines()[-1]})")
