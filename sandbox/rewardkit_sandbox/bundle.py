"""The modules of `inside` as text, and the few lines with which a bare interpreter takes them in."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

_PACKAGE = "rewardkit_sandbox.inside"
_MODULES = ("frames", "kernel", "seccomp", "walls", "capture", "runs", "child", "harness", "zygote", "supervisor")
# Runs as `python3 -I -S -X utf8 -c BOOTSTRAP`, and reads what `boot_message` returns from its standard input.
BOOTSTRAP = """
import json, os, sys, types
def take(size):
    kept = b""
    while len(kept) < size:
        piece = os.read(0, size - len(kept))
        if not piece:
            os._exit(0)
        kept += piece
    return kept
boot = json.loads(take(int.from_bytes(take(8), "big")))
for name, text in boot["modules"]:
    module = sys.modules[name] = types.ModuleType(name)
    module.__path__ = []
    exec(compile(text, "<" + name + ">", "exec", dont_inherit=True), module.__dict__)
sys.modules["rewardkit_harness"] = sys.modules["rewardkit_sandbox.inside.harness"]
sys.modules["rewardkit_sandbox.inside.supervisor"].main(boot["config"])
"""


def boot_message(config: dict[str, Any]) -> bytes:
    """Return what a fresh interpreter has to be sent first: the modules, and how to run them."""
    text = json.dumps({"modules": _modules(), "config": config}).encode()
    return len(text).to_bytes(8, "big") + text


def harness_source() -> str:
    """Return the source of `rewardkit_harness`, for sandboxes that are not built on this package."""
    return (resources.files(_PACKAGE) / "harness.py").read_text(encoding="utf-8")


@cache
def _modules() -> list[tuple[str, str]]:
    folder = resources.files(_PACKAGE)
    packages = [(name, "") for name in ("rewardkit_sandbox", _PACKAGE)]
    return [*packages, *((f"{_PACKAGE}.{m}", (folder / f"{m}.py").read_text(encoding="utf-8")) for m in _MODULES)]
