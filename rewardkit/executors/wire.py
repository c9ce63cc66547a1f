"""What passes between a parent and its worker: values as bytes, bytes as length-prefixed frames.

Which messages there are is decided in `orders`. Values are JSON-like or our dataclasses; no
code and no pickle crosses.
"""

from __future__ import annotations

import functools
import json
import socket
import struct
from typing import Any

import msgspec

_LENGTH = struct.Struct("<Q")
_READ_SIZE = 1 << 18


def pack(value: Any) -> bytes:
    """Return `value` as bytes; raises TypeError, ValueError or RecursionError when it is not JSON-like."""
    try:
        return b"m" + msgspec.msgpack.encode(value)
    except (OverflowError, UnicodeEncodeError):
        # MessagePack has no integers beyond 64 bits and no lone surrogates; JSON with escapes has both.
        return b"j" + json.dumps(msgspec.to_builtins(value)).encode()


def unpack(packed: bytes, as_type: Any = Any) -> Any:
    """Return the value that `pack` packed; raises msgspec.ValidationError (a ValueError) when it is no `as_type`."""
    if packed[:1] == b"m":
        return _decoder(as_type).decode(memoryview(packed)[1:])
    return msgspec.convert(json.loads(packed[1:]), as_type)


class Channel:
    """The parent's end of a socket; it never blocks, for the worker at the other end may have stopped reading."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.socket = sock
        self._incoming = bytearray()
        self._outgoing = bytearray()

    @property
    def has_outgoing(self) -> bool:
        """Whether `write` has more to do."""
        return bool(self._outgoing)

    def queue(self, frame: bytes) -> None:
        """Add a frame to what `write` sends."""
        self._outgoing += _LENGTH.pack(len(frame))
        self._outgoing += frame

    def write(self) -> None:
        """Send what the other end takes now; raises EOFError when it is gone."""
        try:
            while self._outgoing:
                sent = self.socket.send(self._outgoing)
                del self._outgoing[:sent]
        except BlockingIOError:
            pass
        except OSError as error:
            raise EOFError from error

    def read(self) -> list[bytes]:
        """Return the frames that are complete; raises EOFError when there is none and the other end is gone."""
        closed = self._fill()
        frames = []
        while (end := self._end_of_frame()) <= len(self._incoming):
            frames.append(bytes(self._incoming[_LENGTH.size : end]))
            del self._incoming[:end]
        if closed and not frames:
            raise EOFError
        return frames

    def _fill(self) -> bool:
        try:
            while received := self.socket.recv(_READ_SIZE):
                self._incoming += received
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def _end_of_frame(self) -> int:
        if len(self._incoming) < _LENGTH.size:
            return _LENGTH.size
        length: int = _LENGTH.unpack_from(self._incoming)[0]
        return _LENGTH.size + length


class Stream:
    """The worker's end of a socket; it blocks."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._reader = sock.makefile("rb", buffering=_READ_SIZE)

    def send(self, frame: bytes) -> None:
        """Send one frame."""
        self._socket.sendall(_LENGTH.pack(len(frame)) + frame)

    def receive(self) -> bytes:
        """Wait for one frame; raises EOFError when the other end is gone."""
        (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size))
        return self._exactly(length)

    def _exactly(self, size: int) -> bytes:
        received: bytes = self._reader.read(size)
        if len(received) < size:
            raise EOFError
        return received


@functools.lru_cache(maxsize=32)
def _decoder(as_type: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(as_type)
