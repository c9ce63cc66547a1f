from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError, wait

import pytest

from rewardkit import Failure, Message, RewardSpec, Score, Step, Task, Trajectory
from rewardkit.errors import ConfigError, WorkerError
from rewardkit.executors.process import ProcessExecutor
from rewardkit.executors.serial import SerialExecutor
from rewardkit.protocols import Executor

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
MIB = 1 << 20
COUNT = RewardSpec(name="count", factory="rewards_for_workers:count")
BATCHED = RewardSpec(name="batched", factory="rewards_for_workers:Batched", batch_size=8)
GROUP = RewardSpec(name="group", factory="rewards_for_workers:Batched", needs=frozenset({"group"}))
SLOW = RewardSpec(name="slow", factory="rewards_for_workers:Slow")
DETAILED = RewardSpec(name="detailed", factory="rewards_for_workers:Detailed")
BAD_SETUP = RewardSpec(name="bad_setup", factory="rewards_for_workers:BadSetup")


def say(text, **kwargs):
    return Trajectory(task=Task(), steps=(Step(action=Message(role="assistant", content=text)),), **kwargs)


def values(outcomes):
    return [o.value if isinstance(o, Score) else o.kind for o in outcomes]


@pytest.fixture
def executor(family):
    with ProcessExecutor(2, memory_limit=300 * MIB) as executor:
        yield executor


def run(executor, spec, texts, *, timeout=20.0, **options):
    return executor.submit(spec, options, [say(text) for text in texts], timeout=timeout).result(60)


def test_outcomes_come_in_order_with_the_options_applied(executor):
    assert isinstance(executor, Executor)
    outcomes = run(executor, COUNT, ["a " * n for n in range(500)], scale=0.5)
    assert values(outcomes) == [0.5 * n for n in range(500)]
    assert run(executor, COUNT, []) == []


def test_scores_are_the_same_as_those_of_the_serial_executor(executor):
    huge = {"n": 2**80, "text": "\ud800 \0 é", "deep": [[[{"a": None}]]], "float": 1e-320, "inf": float("inf")}
    batch = [say("a b"), say("abstain"), say("", metadata=huge), say("\udfff"), say("x" * 2_000_000)]
    serial = SerialExecutor().submit(DETAILED, {}, batch, timeout=None).result()
    assert all(isinstance(outcome, Score) for outcome in serial)
    assert executor.submit(DETAILED, {}, batch, timeout=20).result(60) == serial


def test_what_cannot_travel_fails_alone(executor):
    batch = [say("a"), say("b", metadata={"lock": threading.Lock()}), say("a path"), say(7), say("c")]
    outcomes = executor.submit(DETAILED, {}, batch, timeout=20).result(60)
    assert values(outcomes) == [0.1, "input", 0.1, "input", 0.1]
    batched = executor.submit(BATCHED, {}, batch, timeout=20).result(60)
    assert values(batched) == [1.0, "input", 2.0, "input", 1.0]


HOSTILE = {
    "hang": "timeout",
    "hold the GIL": "timeout",
    "leave children and hang": "timeout",
    "ignore signals": "timeout",
    "stop": "timeout",
    "nest and hang": "timeout",
    "eat memory": "killed",
    "eat memory in a child": "killed",
    "fork many": "killed",
    "segfault": "killed",
    "abort": "killed",
    "exit": "killed",
    "sys.exit": "error",
    "raise": "error",
    "NaN": "error",
}


@pytest.mark.parametrize(("deed", "kind"), HOSTILE.items())
def test_one_hostile_trajectory_harms_no_other(executor, deed, kind):
    texts = ["a " * n for n in range(40)]
    texts[13] = deed
    outcomes = run(executor, COUNT, texts, timeout=0.7 if kind == "timeout" else 20)
    expected = [float(n) for n in range(40)]
    expected[13] = kind
    assert values(outcomes) == expected, outcomes[13]
    assert outcomes[13].reward == "count"


def test_two_hundred_healthy_ones_among_all_kinds_of_hostile_ones_are_scored_and_nothing_is_left(family):
    texts = ["a " * n for n in range(200)] + ["leave children"]
    deeds = ("hang", "hold the GIL", "eat memory", "segfault", "exit", "sys.exit", "raise", "NaN")
    for place, deed in zip((3, 30, 31, 77, 100, 150, 151, 199), deeds, strict=True):
        texts.insert(place, deed)
    expected = [HOSTILE.get(text, float(len(text.split()))) for text in texts]
    limit = 3.0
    with ProcessExecutor(2, memory_limit=300 * MIB) as executor:
        run(executor, COUNT, ["warm", "up"])
        start = time.monotonic()
        assert values(run(executor, COUNT, texts, timeout=limit)) == expected
        assert time.monotonic() - start < 2 * limit  # two hang, at the same time
    assert family() == []


def test_several_hangs_cost_the_others_hardly_more_than_one(family):
    texts = ["a " * n for n in range(100)]
    for place in (10, 30, 50, 70):
        texts[place] = "hang"
    limit = 3.0
    with ProcessExecutor(2) as executor:
        run(executor, COUNT, ["warm", "up"])
        start = time.monotonic()
        outcomes = run(executor, COUNT, texts, timeout=limit)
        assert time.monotonic() - start < 1.9 * limit  # two workers without relief would need two limits
    assert values(outcomes) == ["timeout" if text == "hang" else float(len(text.split())) for text in texts]


def test_a_failure_says_what_happened(executor):
    timeout, killed, eaten = run(executor, COUNT, ["hang", "segfault", "eat memory"], timeout=0.5 + 1.5)
    assert timeout == Failure(
        reward="count", kind="timeout", message="it ran past its limit of 2 s and was killed", retryable=True
    )
    assert killed == Failure(reward="count", kind="killed", message="the worker was killed by SIGSEGV")
    assert "memory limit of 0.293 GiB" in eaten.message


def test_each_trajectory_has_its_own_limit_however_many_share_a_worker(family):
    with ProcessExecutor(1) as executor:
        assert values(run(executor, SLOW, ["0.25"] * 6, timeout=0.5)) == [0.25] * 6
        start = time.monotonic()
        assert values(run(executor, SLOW, ["0", "0.3", "9", "0.3", "0"], timeout=0.6)) == [0, 0.3, "timeout", 0.3, 0]
        assert time.monotonic() - start < 0.3 + 0.6 + 0.3 + 1.0


def test_others_are_scored_while_one_hangs(executor):
    run(executor, COUNT, ["warm", "up"])
    hanging = executor.submit(COUNT, {}, [say("hang")], timeout=3)
    start = time.monotonic()
    assert len(run(executor, COUNT, ["a"] * 100)) == 100
    assert time.monotonic() - start < 2
    assert not hanging.done()
    assert values(hanging.result(20)) == ["timeout"]


def test_without_a_limit_a_long_one_is_waited_for(executor):
    assert values(run(executor, SLOW, ["1.2"], timeout=None)) == [1.2]


@pytest.mark.parametrize("deed", ["hang", "segfault", "raise"])
def test_a_batch_that_fails_is_halved_until_the_culprit_stands_alone(executor, deed):
    texts = ["a " * n for n in range(20)]
    texts[11] = deed
    expected = [float(n) for n in range(20)]
    expected[11] = HOSTILE[deed]
    assert values(run(executor, BATCHED, texts, timeout=0.5)) == expected


def test_a_batch_with_the_wrong_number_of_scores_is_halved(executor):
    assert values(run(executor, BATCHED, ["a", "b c", "lose one", "d"])) == [1.0, 2.0, "error", 1.0]


def test_a_reward_gets_batches_of_its_size_and_a_group_reward_the_whole_group(executor, tmp_path):
    log = tmp_path / "log"
    run(executor, BATCHED, ["a"] * 20, log=str(log))
    assert sorted(line.rsplit(" ", 1)[0] for line in log.read_text().splitlines() if "batch" in line) == [
        "batch 4",
        "batch 8",
        "batch 8",
    ]
    assert values(run(executor, GROUP, ["a", "a b c", "a b"] * 10)) == [0.0, 1.0, 0.0] * 10
    assert values(run(executor, GROUP, ["a", "hang", "b"], timeout=0.5)) == ["timeout"] * 3
    assert values(run(executor, GROUP, ["a", "segfault"], timeout=20)) == ["killed"] * 2


def test_a_worker_sets_a_reward_up_once_and_closes_it_at_the_end(family, tmp_path):
    log = tmp_path / "log"
    with ProcessExecutor(1) as executor:
        for _ in range(3):
            run(executor, BATCHED, ["a"], log=str(log))
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["setup", "batch", "batch", "batch", "close"]


@pytest.mark.parametrize(
    ("deed", "kind", "message"),
    [
        ("raise", "error", "ZeroDivisionError: division by zero"),
        ("hang", "timeout", "setting up ran past its limit of 2.5 s"),
        ("segfault", "killed", "in its setup: the worker was killed by SIGSEGV"),
    ],
)
def test_a_setup_that_fails_fails_the_trajectories_and_is_not_tried_for_each(family, tmp_path, deed, kind, message):
    log = tmp_path / "log"
    with ProcessExecutor(2, setup_timeout=2.5 if deed == "hang" else 20) as executor:
        outcomes = run(executor, BAD_SETUP, ["a"] * 50, deed=deed, log=str(log))
        assert values(outcomes) == [kind] * 50
        assert message in outcomes[0].message
        assert values(run(executor, BAD_SETUP, ["a"] * 50, deed=deed, log=str(log))) == [kind] * 50
        assert values(run(executor, COUNT, ["a b"])) == [2.0]
    assert len(log.read_text().splitlines()) <= 2  # at most once in each worker


def test_a_reward_that_is_not_there_fails_its_trajectories(executor):
    spec = RewardSpec(name="ghost", factory="no_such_module:ghost")
    (outcome,) = run(executor, spec, ["a"])
    assert outcome.kind == "error"
    assert "no_such_module" in outcome.message


def test_options_that_are_not_json_and_no_workers_are_refused(executor):
    with pytest.raises(ConfigError, match="must be JSON"):
        executor.submit(COUNT, {"scale": object()}, [say("a")], timeout=1)
    with pytest.raises(ConfigError, match="at least 1 worker"):
        ProcessExecutor(0)


def test_the_idle_executor_starts_nothing_and_the_idle_worker_uses_no_time(family):
    with ProcessExecutor(1) as executor:
        assert family() == []
        run(executor, COUNT, ["a"])
        time.sleep(0.3)
        before = {pid: cpu_time(pid) for pid in family()}
        switches = own_switches()
        time.sleep(1.0)
        assert {pid: cpu_time(pid) for pid in family()} == before
        assert own_switches() - switches < 10


def cpu_time(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()[11:13]


def own_switches():
    """How often the threads of this process have gone to sleep."""
    total = 0
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/status") as file:
            total += sum(int(line.split()[1]) for line in file if line.startswith("voluntary"))
    return total


def test_a_worker_that_dies_idle_is_replaced(executor, family):
    run(executor, COUNT, ["a"])
    for pid in family():
        os.kill(pid, signal.SIGKILL)
    time.sleep(0.2)
    assert values(run(executor, COUNT, ["a b"])) == [2.0]


def test_submitting_from_many_threads_and_from_asyncio_works(executor):
    async def gather():
        calls = [executor.submit(COUNT, {}, [say("a " * n)], timeout=20) for n in range(60)]
        return await asyncio.gather(*map(asyncio.wrap_future, calls))

    assert asyncio.run(gather()) == [[Score(value=float(n))] for n in range(60)]
    found = {}

    def submit(n):
        found[n] = values(run(executor, COUNT, ["a " * n] * 20))

    threads = [threading.Thread(target=submit, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: [float(n)] * 20 for n in range(8)}


def test_a_cancelled_future_stops_what_has_not_begun(family):
    with ProcessExecutor(1) as executor:
        running = executor.submit(SLOW, {}, [say("0.5")], timeout=20)
        dropped = executor.submit(SLOW, {}, [say("9")] * 100, timeout=20)
        assert dropped.cancel()
        assert values(run(executor, SLOW, ["0.1"])) == [0.1]
        assert values(running.result(20)) == [0.5]
        assert wait([dropped], timeout=5).done == {dropped}


def test_close_cancels_what_is_pending_and_is_final(family):
    executor = ProcessExecutor(2)
    pending = [executor.submit(SLOW, {}, [say("60")] * 3, timeout=None) for _ in range(2)]
    time.sleep(0.5)
    start = time.monotonic()
    executor.close()
    executor.close()
    assert time.monotonic() - start < 2
    assert family() == []
    for future in pending:
        with pytest.raises(CancelledError):
            future.result(1)
    with pytest.raises(WorkerError, match="closed"):
        executor.submit(SLOW, {}, [say("1")], timeout=1)


def test_an_executor_that_is_dropped_without_close_goes_away(family):
    executor = ProcessExecutor(2)
    run(executor, COUNT, ["a", "b"])
    del executor
    assert family() == []


def test_a_forked_copy_of_the_parent_has_workers_of_its_own(executor):
    run(executor, COUNT, ["a", "b"])
    copy = os.fork()
    if copy == 0:
        right = values(run(executor, COUNT, ["a b"])) == [2.0]
        executor.close()
        os._exit(0 if right else 1)
    assert os.waitpid(copy, 0)[1] == 0
    assert values(run(executor, COUNT, ["a b c"])) == [3.0]


def test_workers_that_cannot_start_fail_the_work_instead_of_hanging(family, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with ProcessExecutor(2) as executor:
        (outcome,) = run(executor, COUNT, ["a"])
    assert (outcome.kind, outcome.retryable) == ("killed", True)
    assert "no worker can be started: the worker ended with exit status 1" in outcome.message
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with ProcessExecutor(2) as executor:
        (outcome,) = run(executor, COUNT, ["a"])
    assert "no worker can be started" in outcome.message


SUBMIT = """
from rewardkit import *
from rewardkit.executors.process import ProcessExecutor
spec = RewardSpec(name="count", factory="rewards_for_workers:count")
hang = Trajectory(task=Task(), steps=(Step(action=Message(role="assistant", content="leave children and hang")),))
executor = ProcessExecutor(2)
future = executor.submit(spec, {}, [hang] * 5, timeout=None)
import time; time.sleep(1)
"""


def test_the_interpreter_ends_with_work_pending(run_script):
    start = time.monotonic()
    done = subprocess.run(run_script(SUBMIT), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert time.monotonic() - start < 15


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_when_the_parent_is_interrupted_or_killed(run_script, number):
    script = run_script(SUBMIT + "print('ready', flush=True)\nfuture.result()\n")
    with subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        assert parent.stdout.readline() == b"ready\n"
        os.kill(parent.pid, number)
        parent.wait(20)
