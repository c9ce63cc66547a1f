"""What runs in a worker process, below its `keeper`: a loop that loads rewards and scores.

Limits are the parent's business; nothing here defends itself.
"""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Any

from rewardkit.executors.board import Board
from rewardkit.executors.orders import (
    Broken,
    Done,
    Load,
    Order,
    Ready,
    Stop,
    Work,
    pack_outcomes,
    unpack_batch,
)
from rewardkit.executors.wire import Stream, pack, unpack
from rewardkit.judging import close_quietly, describe, failure_of, judge
from rewardkit.registry import RewardSpec
from rewardkit.types import Failure

_FLUSH_SECONDS = 0.02


def serve_rewards(sock: socket.socket, board_fd: str) -> None:
    """Load and score what the parent orders, until it orders to stop or hangs up."""
    board = Board(int(board_fd))
    board.close_fd()
    rewards: dict[int, tuple[RewardSpec, Any]] = {}
    with contextlib.suppress(EOFError, ConnectionError):  # the parent hung up: the keeper kills us any moment
        _obey(Stream(sock), board, rewards)
    for _, reward in rewards.values():
        close_quietly(reward)


def _obey(stream: Stream, board: Board, rewards: dict[int, tuple[RewardSpec, Any]]) -> None:
    stream.send(pack(Ready()))
    while True:
        order: Order = unpack(stream.receive(), Order)
        match order:
            case Load(key):
                board.post(-key)
                _load(stream, rewards, order)
                board.post(0)
            case Work(key) if key in rewards:
                _score(stream, board, *rewards[key], order)
            case Stop():
                return


def _load(stream: Stream, rewards: dict[int, tuple[RewardSpec, Any]], order: Load) -> None:
    try:
        reward = order.spec.build(**order.options)
        reward.setup()
    except (Exception, SystemExit) as error:  # noqa: BLE001  a plugin's code, as in `judge`
        stream.send(pack(Broken(order.key, failure_of(order.spec.name, error))))
    else:
        rewards[order.key] = (order.spec, reward)


def _score(stream: Stream, board: Board, spec: RewardSpec, reward: Any, work: Work) -> None:
    """Score the units of `work`, and send what is finished every now and then, for it is lost if a later one kills."""
    done = []
    sent = time.monotonic()
    for number, packed in work.units:
        if number <= board.withdrawn:
            continue
        board.post(number)
        done.append((number, _outcomes(spec, reward, packed)))
        if (now := time.monotonic()) - sent > _FLUSH_SECONDS:
            stream.send(pack(Done(work.key, now - sent, done)))
            done, sent = [], now
    if done:
        stream.send(pack(Done(work.key, time.monotonic() - sent, done)))


def _outcomes(spec: RewardSpec, reward: Any, packed: bytes) -> bytes:
    """Return the packed outcomes of a unit; one Failure stands for all its trajectories."""
    try:
        batch = unpack_batch(packed)
    except (ValueError, RecursionError) as error:
        message = f"not a trajectory that can be sent to a worker: {describe(error)}"
        return pack_outcomes([Failure(reward=spec.name, kind="input", message=message)])
    try:
        return pack_outcomes(judge(spec, reward, batch))
    except (TypeError, ValueError, RecursionError) as error:
        message = f"a Score cannot be sent back, because its metadata is not JSON: {describe(error)}"
        return pack_outcomes([Failure(reward=spec.name, kind="error", message=message)])
