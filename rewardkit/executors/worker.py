"""What runs in a worker process, below its `keeper`: a loop that serves calls, and one that scores.

Limits are the parent's business; nothing here defends itself.
"""

from __future__ import annotations

import importlib
import socket
from collections.abc import Callable
from typing import Any

from rewardkit.executors.wire import Stream, pack, unpack


def serve_calls(sock: socket.socket, target: str) -> None:
    """Import `target`, say so, and answer calls until the parent hangs up.

    Every frame sent is a pair: True and the value, or False and what was raised.
    """
    stream = Stream(sock)
    try:
        function = load(target)
    except Exception as error:  # noqa: BLE001  importing runs somebody else's code
        stream.send(pack((False, describe(error))))
        return
    stream.send(pack((True, None)))
    while True:
        try:
            request = stream.receive()
        except EOFError:
            return
        stream.send(_answer(function, request))


def load(target: str) -> Any:
    """Return what "pkg.mod:name" names."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def _answer(function: Callable[[Any], Any], request: bytes) -> bytes:
    try:
        return pack((True, function(unpack(request))))
    except Exception as error:  # noqa: BLE001  the function is somebody else's: whatever it raises is its answer
        return pack((False, describe(error)))


def describe(error: BaseException) -> str:
    """Return the type and the text of `error` on one line."""
    text = " ".join(str(error).split())[:500]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
