"""The sandbox `remote` against a real HTTP server with a sandbox of lies behind it."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import os
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest

from rewardkit.errors import ConfigError, SandboxError, SandboxUnavailableError
from rewardkit.programs import Execution, Limits, Program
from rewardkit.protocols import Sandbox
from rewardkit_sandbox import retries, serve
from rewardkit_sandbox.remote import RemoteSandbox
from rewardkit_sandbox.serve import SandboxServer

OURS = {"name": "rewardkit", "protocol": 1, "sandbox": "fake", "workers": 2, "limits": {"wall_s": 300}}
BINARY = bytes(range(256))


class FakeSandbox:
    """Answers by `behave(program)` and remembers what it was asked."""

    def __init__(self, behave=lambda program: Execution(exit_code=0)):
        self.behave = behave
        self.asked = []
        self.closed = 0

    def identity(self):
        return "fake:1"

    def run(self, program, /):
        self.asked.append(program)
        if not program.inputs:
            return self.behave(program)
        runs = []
        for stdin in program.inputs:
            runs.append(self.behave(Program(code=program.code, stdin=stdin)))
            if program.stop is not None and program.stop(runs[-1]):
                break
        return Execution(exit_code=runs[-1].exit_code, runs=tuple(runs))

    def run_many(self, programs, /):
        return [self.run(program) for program in programs]

    async def arun(self, program, /):
        return self.run(program)

    def close(self):
        self.closed += 1


@contextmanager
def served(behave=lambda program: Execution(exit_code=0), **options):
    sandbox = FakeSandbox(behave)
    with SandboxServer(sandbox, port=0, **options) as server:
        yield server, sandbox


@contextmanager
def remote(url, **options):
    sandbox = RemoteSandbox(url=url, **options)
    try:
        yield sandbox
    finally:
        sandbox.close()


def post(url, path, body, headers=None):
    """POST as a stranger would; return the status and the JSON that came back."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    connection.request("POST", path, body, {"Content-Type": "application/json", **(headers or {})})
    response = connection.getresponse()
    answer = response.status, json.loads(response.read() or b"null")
    connection.close()
    return answer


@contextmanager
def scripted(*answers, greeting=None):
    """A server that answers `POST` with `answers` in turn (the last one for ever), and `GET` with `greeting`.

    An answer is (status, JSON), bytes that are sent as they are before hanging up, or "hang".
    """
    listener = socket.create_server(("127.0.0.1", 0))
    asked, threads, released = [], [], threading.Event()

    def talk(connection):
        with connection, connection.makefile("rb") as stream:
            while head := stream.readline():
                length = 0
                while (line := stream.readline()) not in (b"\r\n", b""):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                body = stream.read(length)
                if head.startswith(b"GET"):
                    answer = (200, greeting) if greeting else (404, {"detail": "Not Found"})
                else:
                    asked.append(json.loads(body))
                    answer = answers[min(len(asked), len(answers)) - 1]
                if answer == "hang":
                    released.wait(30)
                    return
                if isinstance(answer, bytes):
                    connection.sendall(answer)
                    return
                text = json.dumps(answer[1]).encode()
                connection.sendall(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (answer[0], len(text), text))

    def listen():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=talk, args=(connection,), daemon=True))
            threads[-1].start()

    accepting = threading.Thread(target=listen, daemon=True)
    accepting.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
    finally:
        released.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in [accepting, *threads]:
            thread.join(5)


def ran(**fields):
    """What SandboxFusion answers to a program that ended well; `fields` of the run_result changed."""
    ended = {"status": "Finished", "execution_time": 0.5, "return_code": 0, "stdout": "hi\n", "stderr": "", **fields}
    status = "Success" if ended["return_code"] == 0 else "Failed"
    return {
        "status": status,
        "message": "",
        "compile_result": None,
        "run_result": ended,
        "executor_pod_name": None,
        "files": {},
    }


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(retries, "_LONGEST_PAUSE_S", 0.02)
    monkeypatch.delenv("REWARDKIT_SANDBOX_URL", raising=False)
    monkeypatch.delenv("REWARDKIT_SANDBOX_TOKEN", raising=False)


def test_every_field_of_a_program_and_of_an_execution_survives_the_journey():
    program = Program(
        code="print('\ud83d é')",
        argv=("a", "b c"),
        stdin=BINARY,
        files={"d/x.bin": BINARY},
        fetch=("*",),
        env={"K": "v"},
        limits=Limits(wall_s=1.5, memory_mb=64),
        peer=Program(argv=("/bin/judge",), stdin=b"orders", limits=Limits(wall_s=2.5)),
    )
    back = Execution(
        exit_code=-9,
        limit="memory_mb",
        stdout=BINARY,
        stderr=b"\xff",
        truncated=True,
        files={"out": BINARY},
        wall_s=0.25,
        cpu_s=0.125,
        memory_mb=12.5,
        peer=Execution(exit_code=3, phase="compile"),
    )
    with served(lambda _: back) as (server, sandbox), remote(server.url) as client:
        assert isinstance(client, Sandbox)
        assert client.identity() == "remote:fake:1"
        assert client.run(program) == back
        assert sandbox.asked == [program]


def test_programs_without_limits_get_the_clients_and_none_gets_more():
    with served() as (server, sandbox), remote(server.url, limits=Limits(wall_s=3, memory_mb=100)) as client:
        client.run(Program(code="a"))
        client.run(Program(code="b", limits=Limits(wall_s=100, memory_mb=50)))
    assert [p.limits for p in sandbox.asked] == [
        Limits(wall_s=3, memory_mb=100),
        Limits(wall_s=3, memory_mb=50),
    ]


def test_limits_above_the_servers_are_refused_with_the_cure():
    with served(limits=Limits(memory_mb=256)) as (server, sandbox), remote(server.url) as client:
        with pytest.raises(ConfigError, match=r"memory_mb=512.*--limit memory_mb=512"):
            client.run(Program(code="a"))
        assert not sandbox.asked


def test_many_programs_come_back_in_order_with_errors_in_the_place_of_those_that_failed():
    def behave(program):
        if program.code == "7":
            raise SandboxError("no worker came up")
        return Execution(exit_code=int(program.code))

    with served(behave, workers=4) as (server, sandbox), remote(server.url, workers=3) as client:
        outcomes = client.run_many([Program(code=str(n)) for n in range(100)])
    assert [o.exit_code if isinstance(o, Execution) else str(o) for o in outcomes] == [
        "no worker came up" if n == 7 else n for n in range(100)
    ]
    assert len(sandbox.asked) == 100


def test_what_the_servers_sandbox_lacks_is_a_config_error():
    def behave(program):
        raise ConfigError("there is no language 'brainfuck'")

    with served(behave) as (server, _), remote(server.url) as client, pytest.raises(ConfigError, match="brainfuck"):
        client.run(Program(code="+", language="brainfuck"))


def test_inputs_are_run_in_order_until_stop_says_so():
    seen = []

    def stop(run):
        seen.append(run.stdout)
        return run.stdout == b"5"

    def behave(program):
        return Execution(exit_code=0, stdout=program.stdin)

    program = Program(code="x", inputs=tuple(str(n).encode() for n in range(50)), stop=stop)
    with served(behave) as (server, sandbox), remote(server.url) as client:
        execution = client.run(program)
    assert seen == [b"0", b"1", b"2", b"3", b"4", b"5"]
    assert [run.stdout for run in execution.runs] == seen
    assert execution.stdout == b"5"
    assert [len(p.inputs) for p in sandbox.asked] == [1, 2, 4]


def test_inputs_that_fail_are_not_followed_by_others_unless_stop_wants_them():
    def behave(program):
        return Execution(exit_code=int(program.stdin == b"1"))

    program = Program(code="x", inputs=(b"0", b"1", b"2", b"3"), stop=lambda run: False)
    with served(behave) as (server, sandbox), remote(server.url) as client:
        execution = client.run(program)
    assert [run.exit_code for run in execution.runs] == [0, 1, 0, 0]
    assert [p.inputs for p in sandbox.asked] == [(b"0",), (b"1", b"2"), (b"2", b"3")]


def test_inputs_without_stop_travel_together():
    with served() as (server, sandbox), remote(server.url) as client:
        assert len(client.run(Program(code="x", inputs=(b"",) * 40)).runs) == 40
    assert [len(p.inputs) for p in sandbox.asked] == [32, 8]


@pytest.mark.parametrize("stop", [None, lambda run: False])
def test_a_program_that_does_not_compile_is_not_tried_on_the_next_input(stop):
    broken = Execution(exit_code=1, phase="compile")

    class Broken(FakeSandbox):
        def run(self, program, /):
            self.asked.append(program)
            return replace(broken, runs=(broken,))

    sandbox = Broken()
    with SandboxServer(sandbox, port=0) as server, remote(server.url) as client:
        execution = client.run(Program(code="(", inputs=(b"1", b"2"), stop=stop))
    assert execution == replace(broken, runs=(broken,))
    assert len(sandbox.asked) == 1


def test_arun_leaves_the_event_loop_free():
    async def both(client):
        return await asyncio.gather(*(client.arun(Program(code=c)) for c in "12"))

    barrier = threading.Barrier(2, timeout=10)

    def behave(program):
        barrier.wait()
        return Execution(exit_code=int(program.code))

    with served(behave) as (server, _), remote(server.url) as client:
        assert [e.exit_code for e in asyncio.run(both(client))] == [1, 2]


def test_connections_are_kept_and_a_closed_one_is_replaced_unnoticed(monkeypatch):
    monkeypatch.setattr(retries, "_TRIES", 1)
    monkeypatch.setattr(serve._Handler, "timeout", 0.2)
    with served() as (server, sandbox), remote(server.url) as client:
        client.run(Program(code="a"))
        (kept,) = client._client._connections._idle
        client.run(Program(code="b"))
        assert client._client._connections._idle == [kept]
        time.sleep(0.5)  # the server hangs up
        client.run(Program(code="c"))
    assert [p.code for p in sandbox.asked] == ["a", "b", "c"]


def test_a_forked_copy_uses_connections_of_its_own():
    both = threading.Barrier(2, timeout=10)  # passed only if the two are not on one connection

    def behave(program):
        if program.stdin:
            both.wait()
        return Execution(exit_code=0, stdout=program.stdin)

    with served(behave, workers=2) as (server, _), remote(server.url) as client:
        client.run_many([Program(code="a")])
        child = os.fork()
        if child == 0:
            (outcome,) = client.run_many([Program(code="x", stdin=b"child")])
            os._exit(0 if getattr(outcome, "stdout", b"") == b"child" else 1)
        assert client.run(Program(code="x", stdin=b"parent")).stdout == b"parent"
        assert os.waitpid(child, 0)[1] == 0


def test_a_server_restarted_on_its_port_goes_on_serving():
    sandbox = FakeSandbox()
    with SandboxServer(sandbox, port=0) as server, remote(server.url) as client:
        client.run(Program(code="a"))
        port = int(server.url.rpartition(":")[2])
        server.close()
        with SandboxServer(sandbox, port=port):
            assert client.run(Program(code="b")).ok
    assert sandbox.closed == 2


def test_nothing_that_answers_is_unavailable_and_named():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with remote(f"http://127.0.0.1:{port}/run_code") as client:
        for ask in (client.identity, lambda: client.run(Program(code="a"))):
            with pytest.raises(SandboxUnavailableError, match=rf"http://127.0.0.1:{port} .*rewardkit sandbox serve"):
                ask()
        (outcome,) = client.run_many([Program(code="a")])
        assert isinstance(outcome, SandboxUnavailableError)


@pytest.mark.parametrize("url", ["host:80", "ftp://x", "http://", "http://h:port", "http://h/?q"])
def test_addresses_that_cannot_be_right_are_refused(url):
    with pytest.raises(ConfigError, match="url="):
        RemoteSandbox(url=url)


def test_the_address_may_come_from_the_environment(monkeypatch):
    with pytest.raises(ConfigError, match="REWARDKIT_SANDBOX_URL"):
        RemoteSandbox()
    with served() as (server, _):
        monkeypatch.setenv("REWARDKIT_SANDBOX_URL", server.url)
        with remote(None) as client:
            assert client.identity() == "remote:fake:1"


FAILURES = {
    "dies in the middle": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n[{",
    "dies before the end": b'HTTP/1.1 200 OK\r\nContent-Length: 35\r\n\r\n[{"execution": {"exit_code": 6}}]',
    "dies at once": b"",
    "no http": b"SSH-2.0-OpenSSH_9.2\r\n",
    "rubbish": (200, "pong"),
    "another shape": (200, [{"execution": {"exit_code": "zero"}}]),
    "too few answers": (200, []),
    "500": (500, {"detail": "boom"}),
    "502": (502, {}),
    "504": (504, {}),
    "429": (429, {}),
    "503": (503, {}),
    "busy": (200, [{"error": "busy"}]),
}
FINE = (200, [{"execution": {"exit_code": 5}}])


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_a_failure_that_passes_is_never_seen(failure):
    with scripted(failure, failure, FINE, greeting=OURS) as (url, asked), remote(url) as client:
        assert client.run(Program(code="a")).exit_code == 5
        assert len(asked) == 3


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_a_failure_that_stays_is_an_error_and_never_an_execution(failure):
    with scripted(failure, greeting=OURS) as (url, asked), remote(url, patience=0.5) as client:
        with pytest.raises(SandboxError, match=url):
            client.run(Program(code="a"))
        assert len(asked) >= 4
        assert isinstance(client.run_many([Program(code="a")])[0], SandboxError)


def test_a_server_that_hangs_is_given_up_after_two_time_limits():
    with scripted("hang", greeting=OURS) as (url, asked):
        with remote(url, limits=Limits(wall_s=0.1), timeout=0.2) as client:
            started = time.monotonic()
            with pytest.raises(SandboxError, match="timed out"):
                client.run(Program(code="a"))
            assert 0.8 <= time.monotonic() - started < 3
        assert len(asked) == 2


def test_closing_ends_what_is_under_way():
    with scripted("hang", greeting=OURS) as (url, asked), remote(url) as client:
        ended = []
        thread = threading.Thread(target=lambda: ended.extend(client.run_many([Program(code="a")] * 3)))
        thread.start()
        while not asked:
            time.sleep(0.01)
        client.close()
        thread.join(5)
        assert [type(outcome) for outcome in ended] == [SandboxError] * 3
        with pytest.raises(SandboxError, match="closed"):
            client.run(Program(code="a"))


def test_a_server_of_another_protocol_is_refused():
    newer = {**OURS, "protocol": 2, "version": "9"}
    message = "rewardkit 9 and speaks protocol 2"
    with (
        scripted(greeting=newer) as (url, _),
        remote(url) as client,
        pytest.raises(SandboxUnavailableError, match=message),
    ):
        client.identity()


def test_sandboxfusion_is_asked_in_its_own_words():
    program = Program(
        code="int main(){}", language="cpp", stdin=b"1 2\n", files={"a.txt": b"\x00"}, fetch=("out",), limits=Limits()
    )
    answer = ran(stdout="3\n", cpu_time=0.25)
    answer["files"] = {"out": base64.b64encode(BINARY).decode()}
    with scripted((200, answer)) as (url, asked), remote(f"{url}/run_code") as client:
        assert client.identity() == f"remote:{url}"
        execution = client.run(program)
    assert execution == Execution(exit_code=0, stdout=b"3\n", wall_s=0.5, cpu_s=0.25, files={"out": BINARY})
    assert asked == [
        {
            "code": "int main(){}",
            "language": "cpp",
            "stdin": "1 2\n",
            "files": {"a.txt": "AA=="},
            "fetch_files": ["out"],
            "args": [],
            "compile_timeout": 10.0,
            "run_timeout": 10.0,
            "memory_limit_MB": 512,
        }
    ]


def late(stage):
    ended = {"status": "TimeLimitExceeded", "execution_time": 10.0, "return_code": None, "stdout": "x", "stderr": ""}
    return {**ran(), "status": "Failed", "run_result": None, stage: ended}


FUSION = {
    "exit status": (ran(return_code=3), {"exit_code": 3}),
    "signal": (ran(return_code=-11), {"exit_code": -11}),
    "time": (late("run_result"), {"exit_code": -9, "limit": "wall_s", "stdout": b"x", "wall_s": 10.0}),
    "compile time": (
        late("compile_result"),
        {"exit_code": -9, "limit": "wall_s", "phase": "compile", "stdout": b"x", "wall_s": 10.0},
    ),
    "compile error": (
        {**ran(), "compile_result": {**ran(return_code=1, stderr="no ;")["run_result"]}, "run_result": None},
        {"exit_code": 1, "phase": "compile", "stderr": b"no ;"},
    ),
    "compiled": ({**ran(), "compile_result": ran()["run_result"]}, {"exit_code": 0}),
    "capture": (ran(stdout="x" * 2**20), {"exit_code": 0, "stdout": b"x" * 2**20, "truncated": True}),
    "flood": (
        ran(stdout="x" * 3_000_000),
        {"exit_code": 0, "stdout": b"x" * 2**20, "truncated": True, "limit": "output_kb"},
    ),
}


@pytest.mark.parametrize(("answer", "fields"), FUSION.values(), ids=FUSION)
def test_what_sandboxfusion_says_of_a_program_is_an_execution(answer, fields):
    with scripted((200, answer)) as (url, _), remote(url) as client:
        expected = {"stdout": b"hi\n", "wall_s": 0.5, **fields}
        assert client.run(Program(code="a")) == Execution(**expected)


@pytest.mark.parametrize(
    "answer",
    [
        {**ran(), "status": "SandboxError", "message": "no cgroup"},
        ran(status="Error", return_code=None),
        ran(return_code=None),
        {**ran(), "run_result": None},
        {**ran(), "files": {"a": "*"}},
        {},
    ],
)
def test_a_sandboxfusion_that_fails_is_an_error_and_never_an_execution(answer):
    with scripted((200, answer)) as (url, asked), remote(url) as client:
        with pytest.raises(SandboxError):
            client.run(Program(code="a"))
        assert len(asked) == 4


def test_sandboxfusion_gets_one_request_for_each_input_until_stop():
    answers = [(200, ran(stdout=str(n))) for n in range(3)]
    with scripted(*answers) as (url, asked), remote(url) as client:
        program = Program(code="a", inputs=(b"i0", b"i1", b"i2", b"i3"), stop=lambda run: run.stdout == b"1")
        execution = client.run(program)
    assert [request["stdin"] for request in asked] == ["i0", "i1"]
    assert [run.stdout for run in execution.runs] == [b"0", b"1"]
    assert execution.stdout == b"1"


@pytest.mark.parametrize(
    ("program", "lack"),
    [
        (Program(code="a", peer=Program(code="b")), "peer"),
        (Program(argv=("ls",)), "command without code"),
        (Program(code="a", argv=("x",)), "argv"),
        (Program(code="a", env={"A": "b"}), "env"),
        (Program(code="a", fetch=("*",)), r"fetch '\*'"),
        (Program(code="a", stdin=b"\xff"), "no UTF-8"),
    ],
)
def test_what_sandboxfusion_cannot_do_is_refused_with_the_cure(program, lack):
    with scripted((200, ran())) as (url, asked), remote(url) as client:
        with pytest.raises(ConfigError, match=f"{lack}.*rewardkit sandbox serve"):
            client.run(program)
        assert not asked


def test_a_request_that_the_server_refuses_is_not_sent_again():
    with scripted((422, {"detail": "Input should be 'python'"})) as (url, asked), remote(url) as client:
        with pytest.raises(ConfigError, match="422: Input should be 'python'"):
            client.run(Program(code="a", language="elixir"))
        assert len(asked) == 1


def test_an_address_without_a_sandbox_is_unavailable():
    with scripted((404, {"detail": "Not Found"})) as (url, asked), remote(url) as client:
        with pytest.raises(SandboxUnavailableError, match=f"no sandbox server at {url}"):
            client.run(Program(code="a"))
        assert len(asked) == 1
