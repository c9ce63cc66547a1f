import os
import time

from rewardkit.executors.board import Board


def test_a_reader_never_sees_a_time_that_is_half_written():
    board = Board()
    start = time.monotonic()
    board.post(1)
    writer = os.fork()
    if writer == 0:
        while time.monotonic() < start + 0.5:
            board.post(2)
        os._exit(0)
    try:
        seen = [board.read() for _ in range(20_000)]
        while time.monotonic() < start + 0.5:
            seen.append(board.read())
    finally:
        os.waitpid(writer, 0)
    assert all(since >= start for _, since in seen)
    assert {what for what, _ in seen} <= {1, 2}
