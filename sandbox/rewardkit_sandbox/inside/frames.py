"""Frames: a JSON header and a payload of bytes, each with its length in front; the same on every stream inside."""

from __future__ import annotations

import json
import os
import struct
from typing import Any

_LENGTHS = struct.Struct(">II")
PREFIX = _LENGTHS.size


def lengths(prefix: bytes | bytearray) -> tuple[int, int]:
    """Return how long the header and the payload of a frame are that starts with `prefix`."""
    first, second = _LENGTHS.unpack(prefix)
    return first, second


def pack(header: dict[str, Any], *payload: bytes) -> bytes:
    """Return one frame; `payload` parts are joined."""
    text = json.dumps(header, separators=(",", ":")).encode()
    return b"".join([_LENGTHS.pack(len(text), sum(map(len, payload))), text, *payload])


def unpack(buffer: bytearray) -> tuple[dict[str, Any], bytes] | None:
    """Take the first whole frame off `buffer`; None while there is none."""
    if len(buffer) < _LENGTHS.size:
        return None
    first, second = _LENGTHS.unpack_from(buffer)
    end = _LENGTHS.size + first + second
    if len(buffer) < end:
        return None
    header = json.loads(buffer[_LENGTHS.size : _LENGTHS.size + first])
    payload = bytes(memoryview(buffer)[_LENGTHS.size + first : end])
    del buffer[:end]
    return header, payload


def wanted(buffer: bytearray) -> int:
    """Return how many more bytes the first frame of `buffer` needs, at least 1."""
    if len(buffer) < _LENGTHS.size:
        return _LENGTHS.size - len(buffer)
    return max(1, _LENGTHS.size + sum(lengths(buffer[: _LENGTHS.size])) - len(buffer))


def read(descriptor: int, buffer: bytearray) -> tuple[dict[str, Any], bytes]:
    """Return the next frame of a blocking stream; raises EOFError at its end."""
    while (frame := unpack(buffer)) is None:
        fill(descriptor, buffer)
    return frame


def fill(descriptor: int, buffer: bytearray) -> None:
    """Read once into `buffer`; raises EOFError at the end of the stream."""
    piece = os.read(descriptor, min(max(wanted(buffer), 1 << 16), 1 << 20))
    if not piece:
        raise EOFError("the stream ended")
    buffer += piece


def write(descriptor: int, content: bytes) -> None:
    """Write all of `content` to a blocking stream."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def split(payload: bytes, sizes: list[int]) -> list[bytes]:
    """Cut `payload` into parts of these sizes."""
    parts, start = [], 0
    for size in sizes:
        parts.append(payload[start : start + size])
        start += size
    return parts
