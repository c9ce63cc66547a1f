"""The pool of workers: what happens when they break, are busy, grow old, or are asked for what cannot be."""

from __future__ import annotations

import asyncio
import os
import pickle
import threading
import time

import pytest

from rewardkit.errors import ConfigError, SandboxError, SandboxUnavailableError
from rewardkit.programs import Execution, Limits, Program
from rewardkit_sandbox.namespace import NamespaceSandbox

ONE = Program(code="print(1)")


def open_namespace(**options) -> NamespaceSandbox:
    sandbox = NamespaceSandbox(**options)
    try:
        sandbox.identity()
    except SandboxUnavailableError as error:
        pytest.skip(f"the namespace sandbox is NOT tested: {error}")
    return sandbox


@pytest.fixture
def sandbox():
    with open_namespace(workers=2) as sandbox:
        yield sandbox


def test_a_worker_that_is_killed_costs_no_program(sandbox) -> None:
    sandbox.start()
    for worker in list(sandbox._idle):
        worker.transport._launcher.kill()
    assert [end.stdout for end in sandbox.run_many([ONE] * 6)] == [b"1\n"] * 6


def test_workers_that_never_start_are_an_error_of_the_sandbox(sandbox, monkeypatch) -> None:
    monkeypatch.setattr("rewardkit_sandbox.namespace._interpreter", lambda: "/bin/false")
    with pytest.raises(SandboxError, match="a worker did not start"):
        sandbox.run(ONE)
    assert all(isinstance(end, SandboxError) for end in sandbox.run_many([ONE, ONE]))


def test_a_worker_is_replaced_when_it_is_old() -> None:
    show = Program(code="print(open('/proc/self/mountinfo').readline().split()[0])")  # the number of a mount
    with open_namespace(workers=1, recycle_after=2) as sandbox:
        first = sandbox._take()
        sandbox._put_back(first)
        for _ in range(2):
            assert sandbox.run(show).ok
        assert sandbox._take() is not first


def test_no_more_programs_run_at_a_time_than_there_are_workers(sandbox) -> None:
    nap = Program(code="import time; start = time.time(); time.sleep(0.3); print(start, time.time())")
    spans = [tuple(map(float, end.stdout.split())) for end in sandbox.run_many([nap] * 6)]
    at_once = max(sum(start <= moment < end for start, end in spans) for moment, _ in spans)
    assert at_once == 2


def test_outcomes_come_back_in_the_order_of_the_programs(sandbox) -> None:
    programs = [Program(code=f"import time; time.sleep({0.05 * (i % 3)}); print({i})") for i in range(9)]
    assert [int(end.stdout) for end in sandbox.run_many(programs)] == list(range(9))


def test_an_event_loop_goes_on_while_programs_run(sandbox) -> None:
    async def both() -> tuple[int, list[Execution]]:
        runs = asyncio.gather(*(sandbox.arun(Program(code="import time; time.sleep(0.2); print(2)")) for _ in range(4)))
        ticks = 0
        while not runs.done():
            await asyncio.sleep(0.01)
            ticks += 1
        return ticks, await runs

    ticks, ended = asyncio.run(both())
    assert [end.stdout for end in ended] == [b"2\n"] * 4
    assert ticks > 10
    assert [end.stdout for end in asyncio.run(sandbox.arun_many([ONE, ONE]))] == [b"1\n"] * 2


def test_closing_ends_what_runs_and_refuses_what_comes(sandbox) -> None:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            sandbox.run(Program(code="import time; time.sleep(30)"))
        except SandboxError as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.5)
    sandbox.close()
    sandbox.close()
    thread.join(10)
    assert not thread.is_alive()
    assert len(failures) == 1
    with pytest.raises(SandboxError, match="is closed"):
        sandbox.run(ONE)


def test_three_thousand_programs_leave_no_descriptor_open() -> None:
    with open_namespace(workers=2) as sandbox:
        sandbox.run_many([ONE] * 20)
        before = len(os.listdir("/proc/self/fd"))
        sandbox.run_many([ONE] * 300)
        worker = sandbox._idle[0]
        inside = _descriptors_inside(worker)
        sandbox.run_many([ONE] * 300)
        assert len(os.listdir("/proc/self/fd")) == before
        assert _descriptors_inside(worker) <= inside + 8  # a program that has just ended may still have one


def _descriptors_inside(worker) -> int:
    """Return how many descriptors the supervisor of a worker has open (0 where that cannot be seen)."""
    launcher = worker.transport._launcher.pid
    try:
        with open(f"/proc/{launcher}/task/{launcher}/children", encoding="ascii") as file:
            return len(os.listdir(f"/proc/{file.read().split()[0]}/fd"))
    except (OSError, IndexError):
        return 0


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        (Program(code="1", language="cobol"), "does not run 'cobol'"),
        (Program(code="1", files={"a": b"x" * (65 << 20)}), "files of 68157440 bytes"),
        (Program(code="1", files={f"f{i}": b"" for i in range(4200)}), "4200 files"),
        (Program(code="1", files={f"d{i}/f": b"" for i in range(3000)}), "3001 folders"),
        (Program(code="1", files={"a" * 256: b""}), "longer than 255 bytes"),
        (Program(code="1", fetch=("*",), peer=ONE), "a program with a peer"),
        (Program(code="int main(){}", language="c", peer=ONE), "a program with a peer"),
    ],
)
def test_what_cannot_be_run_is_said_at_once(sandbox, program, problem) -> None:
    with pytest.raises(ConfigError, match=problem):
        sandbox.run(program)
    assert sandbox.run(ONE).ok


def test_text_is_no_program(sandbox) -> None:
    with pytest.raises(ConfigError, match="runs a Program"):
        sandbox.run("print(1)")


def test_options_that_cannot_be_right_are_refused() -> None:
    with pytest.raises(ConfigError, match="workers=0"):
        NamespaceSandbox(workers=0)
    for wrong in ({"workers": "2"}, {"workers": 1.5}, {"recycle_after": True}):
        with pytest.raises(ConfigError, match="must be a whole number of at least 1"):
            NamespaceSandbox(**wrong)
    with pytest.raises(ConfigError, match="must be Limits"):
        NamespaceSandbox(limits={"wall_s": 1})
    with pytest.raises(ConfigError, match="is no folder"):
        NamespaceSandbox(packages=["/no/such/folder"])
    with pytest.raises(ConfigError, match="wall_s=-1"):
        Limits(wall_s=-1)


def test_a_fork_is_refused_and_takes_nothing_along_when_it_ends(sandbox) -> None:
    before = set(sandbox._live)
    if (fork := os.fork()) == 0:
        try:
            sandbox.run(ONE)
        except SandboxError as error:
            sandbox.close()
            os._exit(7 if "make one in the fork" in str(error) else 1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]) == 7
    assert sandbox.run(ONE).ok
    assert set(sandbox._live) >= before


def test_a_running_sandbox_cannot_be_pickled(sandbox) -> None:
    with pytest.raises(TypeError, match="build 'namespace' where it is used"):
        pickle.dumps(sandbox)


def test_limits_of_a_program_only_lower_those_of_the_sandbox() -> None:
    with open_namespace(workers=1, limits=Limits(wall_s=0.5)) as sandbox:
        ended = sandbox.run(Program(code="while True: pass", limits=Limits(wall_s=60)))
    assert ended.limit == "wall_s"
    assert ended.wall_s < 2


def test_programs_import_from_folders_that_are_named(tmp_path) -> None:
    (tmp_path / "answer.py").write_text("VALUE = 42\n")
    tmp_path.chmod(0o755)
    with open_namespace(workers=1, packages=[tmp_path]) as sandbox:
        assert sandbox.run(Program(code="import answer; print(answer.VALUE)")).stdout == b"42\n"
    with open_namespace(workers=1) as sandbox:
        assert b"ModuleNotFoundError" in sandbox.run(Program(code="import answer")).stderr


def test_a_fork_of_a_program_does_not_end_it() -> None:
    code = "import os\nif os.fork() == 0:\n    raise SystemExit(3)\nos.wait()\nprint('still here')"
    with open_namespace(workers=1) as sandbox:
        assert sandbox.run(Program(code=code)).stdout == b"still here\n"
