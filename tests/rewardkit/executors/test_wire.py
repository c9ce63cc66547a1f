from __future__ import annotations

import socket

import pytest

from rewardkit.executors.tree import total_memory
from rewardkit.executors.wire import Channel, Stream, pack, unpack


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Channel(ours), theirs


@pytest.mark.parametrize("value", [{"a": [1, None, "é"]}, "\ud800", 2**64, -(2**80), [float("inf")]])
def test_values_survive(value):
    assert unpack(pack(value)) == value


def test_a_frame_that_comes_in_pieces_is_read_once_it_is_whole(ends):
    channel, other = ends
    frame = (5).to_bytes(8, "little") + b"hello"
    for byte in frame[:-1]:
        other.send(bytes([byte]))
        assert channel.read() == []
    other.send(frame[-1:] + frame + frame[:3])
    assert channel.read() == [b"hello", b"hello"]


def test_frames_that_came_before_the_end_are_read_first(ends):
    channel, other = ends
    Stream(other).send(b"last words")
    other.shutdown(socket.SHUT_RDWR)
    assert channel.read() == [b"last words"]
    with pytest.raises(EOFError):
        channel.read()


def test_writing_never_blocks_though_nobody_reads(ends):
    channel, other = ends
    channel.queue(b"x" * 10_000_000)
    channel.write()
    assert channel.has_outgoing
    other.setblocking(False)
    received = 0
    while received < 8 + 10_000_000:
        received += len(other.recv(1 << 20))
        channel.write()
    assert not channel.has_outgoing


def test_the_memory_there_is_is_more_than_nothing_and_not_more_than_the_machine_has():
    assert 1 << 28 < total_memory() < 1 << 50
