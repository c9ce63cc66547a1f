"""The modules of `inside` as text, and the few lines with which a bare interpreter takes them in."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

_PACKAGE = "rewardkit_sandbox.inside"
# The whole environment of a worker. With a fixed seed, sets of strings have the same order in every run.
ENVIRONMENT = {"LANG": "C.UTF-8", "PATH": "/usr/local/bin:/usr/bin:/bin", "PYTHONHASHSEED": "0"}
# Runs in a bare interpreter (see `command`), and reads what `boot_message` returns from its standard input.
BOOTSTRAP = """
import json, os, sys
sys.path[:] = [path for path in sys.path if path]
def take(size):
    kept = b""
    while len(kept) < size:
        piece = os.read(0, size - len(kept))
        if not piece:
            os._exit(0)
        kept += piece
    return kept
boot = json.loads(take(int.from_bytes(take(8), "big")))
class Sent:
    def find_spec(name, path=None, target=None):
        if name in boot["modules"]:
            return spec_type(name, Sent, is_package="." not in name or name.endswith("inside"))
    def create_module(spec):
        return None
    def exec_module(module):
        name = module.__name__
        exec(compile(boot["modules"][name], "<" + name + ">", "exec", dont_inherit=True), module.__dict__)
spec_type = type(sys.__spec__)
sys.meta_path.insert(0, Sent)
try:
    from rewardkit_sandbox.inside import harness, supervisor
    sys.modules["rewardkit_harness"] = harness
except BaseException as error:
    text = json.dumps({"error": "the modules of a worker do not load: " + repr(error)}).encode()
    os.write(1, len(text).to_bytes(4, "big") + bytes(4) + text)
    os._exit(70)
sys.meta_path.remove(Sent)
supervisor.main(boot["config"])
"""


def command(interpreter: str) -> list[str]:
    """Return how a worker is started, in an environment that is `ENVIRONMENT` and nothing else."""
    return [interpreter, "-s", "-S", "-B", "-X", "utf8", "-c", BOOTSTRAP]


def boot_message(config: dict[str, Any]) -> bytes:
    """Return what a fresh interpreter has to be sent first: the modules, and how to run them."""
    text = json.dumps({"modules": _modules(), "config": config}).encode()
    return len(text).to_bytes(8, "big") + text


def harness_source() -> str:
    """Return the source of `rewardkit_harness`, for sandboxes that are not built on this package."""
    return (resources.files(_PACKAGE) / "harness.py").read_text(encoding="utf-8")


@cache
def _modules() -> dict[str, str]:
    inside = [entry for entry in resources.files(_PACKAGE).iterdir() if entry.name.endswith(".py")]
    texts = {f"{_PACKAGE}.{entry.name[:-3]}": entry.read_text(encoding="utf-8") for entry in inside}
    return {"rewardkit_sandbox": "", _PACKAGE: "", **texts}
