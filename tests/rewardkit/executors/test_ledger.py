from __future__ import annotations

import pytest

from rewardkit import Failure, RewardSpec, Score, Task, Trajectory
from rewardkit.executors.ledger import Job, Ledger


def job(size, *, key=1, needs=(), batch_size=1):
    spec = RewardSpec(name="r", factory="m:r", needs=frozenset(needs), batch_size=batch_size)
    return Job(key, spec, {}, [Trajectory(id=str(i), task=Task()) for i in range(size)], 1.0)


def ledger_with(*jobs):
    ledger = Ledger()
    for each in jobs:
        ledger.accept(each)
    return ledger


def indices(units):
    return [list(unit.indices) for unit in units]


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [
        ({}, [[0], [1], [2], [3], [4]]),
        ({"batch_size": 2}, [[0, 1], [2, 3], [4]]),
        ({"batch_size": 2, "needs": ["group"]}, [[0, 1, 2, 3, 4]]),
    ],
)
def test_a_batch_is_cut_into_what_one_call_scores(kwargs, expected):
    assert indices(job(5, **kwargs).units()) == expected


def test_units_are_taken_in_order_and_never_of_two_rewards_at_once():
    ledger = ledger_with(job(3, key=1), job(2, key=2))
    assert indices(ledger.take(2)) == [[0], [1]]
    assert indices(ledger.take(9)) == [[2]]
    assert indices(ledger.take(9)) == [[0], [1]]
    assert ledger.take(9) == []


def test_what_is_put_back_is_next_and_keeps_its_order():
    ledger = ledger_with(job(4))
    first = ledger.take(2)
    ledger.put_back(first)
    assert indices(ledger.take(4)) == [[0], [1], [2], [3]]


def test_a_job_is_done_when_its_last_unit_is():
    this = job(2)
    ledger = ledger_with(this)
    first, second = ledger.take(2)
    ledger.finish(second, [Score(value=2.0)])
    assert not this.future.done()
    ledger.finish(first, [Score(value=1.0)])
    assert this.future.result(0) == [Score(value=1.0), Score(value=2.0)]


def test_a_timeout_is_final_and_a_death_is_not_until_it_comes_twice():
    this = job(2)
    ledger = ledger_with(this)
    slow, deadly = ledger.take(2)
    ledger.blame(slow, "timeout", "too long")
    ledger.blame(deadly, "killed", "SIGSEGV")
    assert ledger.take(2) == [deadly]
    ledger.blame(deadly, "killed", "SIGSEGV")
    assert this.future.result(0) == [
        Failure(reward="r", kind="timeout", message="too long", retryable=True),
        Failure(reward="r", kind="killed", message="SIGSEGV", retryable=False),
    ]


def test_blame_halves_a_unit_of_several_but_not_a_group():
    ledger = ledger_with(job(5, batch_size=5))
    ledger.blame(*ledger.take(1), "timeout", "too long")
    assert indices(ledger.take(9)) == [[0, 1], [2, 3, 4]]
    group = job(3, needs=["group"])
    ledger = ledger_with(group)
    ledger.blame(*ledger.take(1), "timeout", "too long")
    assert [failure.kind for failure in group.future.result(0)] == ["timeout"] * 3


def test_a_broken_reward_fails_what_waits_for_it_and_nothing_else():
    broken, sound = job(2, key=1), job(1, key=2)
    ledger = ledger_with(broken, sound)
    failure = Failure(reward="r", kind="error", message="no such model")
    ledger.break_reward(1, failure)
    assert ledger.front() is not None
    assert broken.future.result(0) == [failure] * 2
    assert [unit.job for unit in ledger.take(9)] == [sound]


def test_a_cancelled_job_is_passed_over():
    cancelled, wanted = job(3), job(1)
    ledger = ledger_with(cancelled, wanted)
    cancelled.future.cancel()
    assert [unit.job for unit in ledger.take(9)] == [wanted]
