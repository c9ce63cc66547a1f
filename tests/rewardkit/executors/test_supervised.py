from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
import threading
import time

import pytest

from rewardkit.errors import WorkerDiedError, WorkerError, WorkerTimeoutError
from rewardkit.executors.supervised import SupervisedWorker

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
MIB = 1 << 20


@pytest.fixture
def worker(family):
    with SupervisedWorker("targets_for_tests:behave", memory_limit=300 * MIB) as worker:
        yield worker


@pytest.mark.parametrize(
    "value",
    [None, True, 7, 2**70, -(2**63), 0.1, "", "é\ud800", "\0", [1, ["a"]], {"a": {"b": [None]}}, "x" * 3_000_000],
)
def test_a_payload_comes_back_unchanged(family, value):
    with SupervisedWorker("targets_for_tests:echo") as worker:
        assert worker.call(value, timeout=20) == value


def test_an_object_is_no_payload_and_no_answer(worker):
    with pytest.raises(TypeError):
        worker.call(object(), timeout=5)
    with pytest.raises(WorkerError, match="TypeError"):
        worker.call("answer an object", timeout=5)


def test_a_worker_starts_on_the_first_call_and_is_kept(family):
    with SupervisedWorker("targets_for_tests:behave") as worker:
        assert family() == []
        assert worker.call("pid", timeout=5) == worker.call("pid", timeout=5) != os.getpid()


@pytest.mark.parametrize("deed", ["hang", "hold the GIL", "ignore signals", "stop", "leave children and hang"])
def test_whatever_it_does_a_call_ends_at_its_limit_and_the_next_one_works(worker, family, deed):
    before = worker.call("pid", timeout=10)
    start = time.monotonic()
    with pytest.raises(WorkerTimeoutError, match=r"ran past its limit of 0.3 s and was killed"):
        worker.call(deed, timeout=0.3)
    assert time.monotonic() - start < 1.3
    assert worker.call("pid", timeout=10) != before
    assert len(family()) == 2  # the new worker and its keeper


@pytest.mark.parametrize(
    ("deed", "fate"),
    [
        ("segfault", "killed by SIGSEGV"),
        ("abort", "killed by SIGABRT"),
        ("exit", "ended with exit status 3"),
        ("sys.exit", "ended with exit status 4"),
        ("eat memory", r"memory limit of 0\.293 GiB"),
        ("eat memory in a child", r"memory limit of 0\.293 GiB"),
    ],
)
def test_a_death_says_how_it_came_and_the_next_call_works(worker, deed, fate):
    with pytest.raises(WorkerDiedError, match=fate):
        worker.call(deed, timeout=20)
    assert worker.call("print", timeout=10) == "printed"


def test_forked_children_in_any_number_are_killed(family):
    with SupervisedWorker("targets_for_tests:behave") as worker, pytest.raises(WorkerTimeoutError):
        worker.call("fork many", timeout=0.5)
    assert family() == []


def test_what_the_function_raises_is_named_and_costs_no_worker(worker):
    before = worker.call("pid", timeout=10)
    with pytest.raises(WorkerError, match="ZeroDivisionError: division by zero") as caught:
        worker.call("raise", timeout=5)
    assert type(caught.value) is WorkerError
    assert worker.call("pid", timeout=5) == before


@pytest.mark.parametrize("target", ["no_such_module:f", "targets_for_tests:no_such_function", "nonsense"])
def test_a_target_that_cannot_be_imported_is_a_worker_error(family, target):
    with SupervisedWorker(target) as worker, pytest.raises(WorkerError, match=r"no_such|nonsense|import"):
        worker.call(1, timeout=5)


def test_children_left_by_a_call_go_with_the_worker(family):
    with SupervisedWorker("targets_for_tests:behave") as worker:
        assert worker.call("leave children", timeout=10) == "left"
        assert len(family()) > 4
    assert family() == []


def test_a_worker_that_was_killed_while_idle_is_replaced_without_a_word(worker):
    pid = worker.call("pid", timeout=10)
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.3)
    assert worker.call("pid", timeout=10) != pid


def test_workers_nest_and_a_killed_outer_one_takes_the_inner_one_along(worker, family):
    assert worker.call("nest", timeout=20) is True
    with pytest.raises(WorkerTimeoutError):
        worker.call("nest and hang", timeout=1.5)
    assert len(family()) <= 2


def test_calls_from_many_threads_and_from_asyncio_get_their_own_answers(family):
    async def gather(worker):
        return await asyncio.gather(*(asyncio.to_thread(worker.call, i, timeout=10) for i in range(50)))

    with SupervisedWorker("targets_for_tests:echo") as worker:
        assert asyncio.run(gather(worker)) == list(range(50))
        assert worker.call("in the main thread", timeout=5) == "in the main thread"


def test_the_end_of_the_thread_that_started_a_worker_does_not_end_the_worker(worker):
    pids = []
    thread = threading.Thread(target=lambda: pids.append(worker.call("pid", timeout=10)))
    thread.start()
    thread.join()
    time.sleep(0.2)
    assert [worker.call("pid", timeout=10)] == pids


def test_an_interrupted_call_leaves_no_answer_for_the_next_one(family):
    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with SupervisedWorker("targets_for_tests:behave") as worker:
            worker.call("pid", timeout=10)
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(KeyboardInterrupt):
                worker.call("hang", timeout=30)
            assert worker.call("print", timeout=10) == "printed"
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_worker_that_is_dropped_without_close_goes_away(family):
    worker = SupervisedWorker("targets_for_tests:echo")
    worker.call(1, timeout=10)
    del worker
    assert family() == []


def test_a_forked_copy_of_the_parent_neither_uses_nor_kills_the_worker(worker):
    pid = worker.call("pid", timeout=10)
    child = os.fork()
    if child == 0:
        other = worker.call("pid", timeout=10)
        worker.close()
        os._exit(0 if other != pid else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert worker.call("pid", timeout=10) == pid


def test_what_a_function_prints_does_not_reach_stdout(run_script):
    script = run_script("""
from rewardkit.executors.supervised import SupervisedWorker
print(SupervisedWorker("targets_for_tests:behave").call("print", timeout=10))
""")
    done = subprocess.run(script, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "printed\n", "this is not for stdout\n")


def test_a_worker_imports_what_its_parent_can_from_any_folder(run_script, tmp_path):
    (tmp_path / "beside_the_script.py").write_text("def f(x):\n    return x + 1\n")
    script = run_script("""
import os, sys
sys.path.append("")
from rewardkit.executors.supervised import SupervisedWorker
print(SupervisedWorker("beside_the_script:f").call(1, timeout=10))
""")
    done = subprocess.run(script, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.stdout == "2\n", done.stderr


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("fork", ["", "os.fork() or time.sleep(600)"])
def test_nothing_is_left_when_the_parent_is_killed(run_script, family, number, fork):
    script = run_script(f"""
import os, time
from rewardkit.executors.supervised import SupervisedWorker
worker = SupervisedWorker("targets_for_tests:behave")
worker.call("leave children", timeout=10)
{fork}
print("ready", flush=True)
worker.call("hang", timeout=600)
""")
    with subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        assert select.select([parent.stdout], [], [], 30)[0]
        assert parent.stdout.readline() == b"ready\n"
        os.kill(parent.pid, number)
        parent.wait(10)
    if fork:  # its copy of the parent lives on, and is ours to kill
        deadline = time.monotonic() + 5
        while len(family()) > 1 and time.monotonic() < deadline:
            time.sleep(0.02)
        (copy,) = family()
        os.kill(copy, signal.SIGKILL)
