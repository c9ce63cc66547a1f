"""The server: SandboxFusion's `/run_code` to the letter, tokens, refusals, queues, and its end."""

from __future__ import annotations

import base64
import http.client
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from rewardkit.errors import ConfigError, SandboxError, SandboxUnavailableError
from rewardkit.programs import Execution, Limits, Program
from rewardkit_sandbox import serve
from rewardkit_sandbox.namespace import NamespaceSandbox
from rewardkit_sandbox.remote import RemoteSandbox
from rewardkit_sandbox.serve import CEILING, SandboxServer

# What verl sends: verl 0.9.1, verl/utils/reward_score/sandbox_fusion/utils.py, call_sandbox_api.
VERL = {
    "compile_timeout": 10,
    "run_timeout": 10,
    "code": "print(sum(map(int, input().split())))",
    "stdin": "1 2\n",
    "memory_limit_MB": 1024,
    "language": "python",
    "files": {},
    "fetch_files": [],
}


class FakeSandbox:
    def __init__(self, behave):
        self.behave = behave
        self.asked = []
        self.closed = 0

    def identity(self):
        return "fake:1"

    def run(self, program, /):
        self.asked.append(program)
        return self.behave(program)

    def close(self):
        self.closed += 1


def fine(program):
    return Execution(exit_code=0, stdout=b"3\n", wall_s=0.5, cpu_s=0.25)


@contextmanager
def served(behave=fine, **options):
    sandbox = FakeSandbox(behave)
    with SandboxServer(sandbox, port=0, **options) as server:
        yield server, sandbox


def ask(url, method, path, body=None, headers=None):
    """Return the status, the JSON and whether the server keeps the connection."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    connection.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
    response = connection.getresponse()
    said = response.read()
    connection.close()
    return response.status, json.loads(said) if said else None, not response.will_close


def run_code(url, **fields):
    status, said, _ = ask(url, "POST", "/run_code", json.dumps({**VERL, **fields}))
    return status, said


def test_run_code_answers_with_the_fields_of_sandboxfusion():
    with served() as (server, sandbox):
        assert run_code(server.url) == (
            200,
            {
                "status": "Success",
                "message": "",
                "compile_result": None,
                "run_result": {
                    "status": "Finished",
                    "execution_time": 0.5,
                    "cpu_time": 0.25,
                    "return_code": 0,
                    "stdout": "3\n",
                    "stderr": "",
                    "limit": None,
                    "truncated": False,
                },
                "executor_pod_name": None,
                "files": {},
            },
        )
    (program,) = sandbox.asked
    assert (program.code, program.stdin, program.language) == (VERL["code"], b"1 2\n", "python")
    assert (program.limits.wall_s, program.limits.memory_mb) == (10, 1024)
    assert program.limits.output_kb == CEILING.output_kb


def test_run_code_takes_files_both_ways_and_leaves_out_those_without_content():
    def behave(program):
        return Execution(exit_code=0, files={"out.bin": program.files["d/in.bin"]})

    content = base64.b64encode(bytes(range(256))).decode()
    with served(behave) as (server, sandbox):
        _, said = run_code(server.url, files={"d/in.bin": content, "none": None}, fetch_files=["out.bin", "gone"])
    assert said["files"] == {"out.bin": content}
    assert sandbox.asked[0].fetch == ("out.bin", "gone")


def test_run_code_needs_code_and_language_only():
    with served() as (server, sandbox):
        assert ask(server.url, "POST", "/run_code", b'{"code": "x", "language": "nodejs", "stdin": null}')[0] == 200
    (program,) = sandbox.asked
    assert (program.language, program.stdin, program.limits.wall_s) == ("javascript", b"", 10)
    assert program.limits.memory_mb == CEILING.memory_mb


VERDICTS = {
    "exit status": (Execution(exit_code=3), "run_result", ("Finished", 3, None)),
    "signal": (Execution(exit_code=-11), "run_result", ("Finished", -11, None)),
    "wall clock": (Execution(exit_code=-9, limit="wall_s"), "run_result", ("TimeLimitExceeded", None, "wall_s")),
    "cpu time": (Execution(exit_code=-24, limit="cpu_s"), "run_result", ("TimeLimitExceeded", None, "cpu_s")),
    "memory": (Execution(exit_code=-9, limit="memory_mb"), "run_result", ("Finished", -9, "memory_mb")),
    "exit 0 at a limit": (Execution(exit_code=0, limit="output_kb"), "run_result", ("Finished", -9, "output_kb")),
    "compile error": (Execution(exit_code=1, phase="compile"), "compile_result", ("Finished", 1, None)),
    "compile time": (
        Execution(exit_code=-9, phase="compile", limit="wall_s"),
        "compile_result",
        ("TimeLimitExceeded", None, "wall_s"),
    ),
}


@pytest.mark.parametrize(("execution", "stage", "ended"), VERDICTS.values(), ids=VERDICTS)
def test_a_program_that_fails_is_failed_in_the_stage_where_it_did(execution, stage, ended):
    with served(lambda _: execution) as (server, _):
        status, said = run_code(server.url)
    assert (status, said["status"]) == (200, "Failed")
    assert {key for key in ("compile_result", "run_result") if said[key]} == {stage}
    assert (said[stage]["status"], said[stage]["return_code"], said[stage]["limit"]) == ended


def test_output_that_is_no_utf8_or_was_cut_is_said_to_be():
    cut = Execution(exit_code=0, limit="output_kb", stdout=b"a\xff", stderr=b"\xe2\x82", truncated=True)
    with served(lambda _: cut) as (server, _):
        ended = run_code(server.url)[1]["run_result"]
    assert (ended["stdout"], ended["stderr"], ended["truncated"]) == ("a\ufffd", "\ufffd", True)


def test_a_sandbox_that_fails_is_a_sandbox_error_and_no_verdict():
    def behave(program):
        raise SandboxError("no worker came up")

    with served(behave) as (server, _):
        status, said = run_code(server.url)
    assert (status, said["status"], said["message"]) == (200, "SandboxError", "no worker came up")
    assert said["run_result"] is None


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"run_timeout": 301}, "wall_s=301 is above this server's 300"),
        ({"memory_limit_MB": 8192}, "memory_mb=8192.*--limit memory_mb=8192"),
        ({"run_timeout": 0}, "wall_s=0.0 must be a positive number"),
        ({"code": 1}, r"Expected `str`, got `int` - at `\$.code`"),
        ({"files": {"../x": ""}}, "must be a relative path"),
        ({"files": {"x": "*"}}, "base64"),
    ],
)
def test_what_cannot_be_right_is_refused_and_not_run(fields, detail):
    with served() as (server, sandbox):
        status, said = run_code(server.url, **fields)
        assert status == 422
        assert re.search(detail, said["detail"])
        assert not sandbox.asked


def test_what_the_sandbox_lacks_is_refused():
    def behave(program):
        raise ConfigError("there is no language 'lean'")

    with served(behave) as (server, _):
        assert run_code(server.url, language="lean") == (422, {"detail": "there is no language 'lean'"})


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("GET", "/nothing", {}, None, 404),
        ("POST", "/submit", {}, b"{}", 404),
        ("POST", "/run_code", {"Content-Type": "text/plain"}, b"{}", 415),
        ("POST", "/run_code", {"Content-Length": "x"}, b"{}", 411),
        ("POST", "/run_code", {"Content-Length": "-1"}, b"{}", 411),
        ("POST", "/run_code", {"Transfer-Encoding": "chunked"}, b"0\r\n\r\n", 411),
        ("POST", "/run_code", {"Content-Length": str(10**12)}, b"{}", 413),
        ("POST", "/run_code", {"Content-Length": "9" * 5000}, b"{}", 413),
        ("POST", "/run_code", {}, b"{", 422),
        ("POST", "/run_code", {}, b"\xff", 422),
        ("POST", "/run_code", {}, b"[" * 100_000, 422),
        ("POST", "/run", {}, b'{"programs": [{}]}', 422),
        ("PUT", "/run", {}, b"{}", 501),
    ],
)
def test_a_request_that_is_none_gets_an_answer_and_the_next_is_served(method, path, headers, body, status):
    with served() as (server, sandbox):
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=10)
        connection.putrequest(method, path)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(body or b"")),
            **headers,
        }.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        assert connection.getresponse().status == status
        connection.close()
        assert run_code(server.url)[0] == 200
        assert len(sandbox.asked) == 1


def test_a_client_that_leaves_in_the_middle_harms_nobody():
    with served() as (server, sandbox):
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as left:
            left.sendall(b"POST /run_code HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{")
        assert run_code(server.url)[0] == 200
        assert len(sandbox.asked) == 1


def test_a_bug_is_an_answer_too(caplog):
    def behave(program):
        raise ZeroDivisionError("oops")

    with served(behave) as (server, _):
        assert ask(server.url, "POST", "/run_code", json.dumps(VERL)) == (
            500,
            {"detail": "ZeroDivisionError: oops"},
            False,
        )
    assert "a request of" in caplog.text


def test_a_token_is_wanted_as_bearer_or_as_the_password_in_the_address(monkeypatch):
    basic = base64.b64encode(b"anyone:s3cret").decode()
    with served(token="s3cret") as (server, sandbox):
        for right in ("Bearer s3cret", f"Basic {basic}"):
            assert ask(server.url, "POST", "/run_code", json.dumps(VERL), {"Authorization": right})[0] == 200
        for wrong in ("", "Bearer s3cre", "Bearer s3cret2", "Basic !", "Basic czNjcmV0", "Bearer \xe9"):
            for page in (("POST", "/run_code"), ("POST", "/run"), ("GET", "/")):
                assert ask(server.url, *page, json.dumps(VERL), {"Authorization": wrong}) == (
                    401,
                    {"detail": "the token is missing or wrong"},
                    False,
                )
        assert ask(server.url, "GET", "/health")[:2] == (200, {"status": "ok"})
        with RemoteSandbox(url=server.url, token="s3cret") as client:
            assert client.run(Program(code="x")).ok
        with RemoteSandbox(url=server.url.replace("//", "//me:s3cret@")) as client:
            assert client.run(Program(code="x")).ok
            assert "s3cret" not in client.identity()
        with (
            RemoteSandbox(url=server.url, token="wrong") as client,
            pytest.raises(SandboxUnavailableError, match="token"),
        ):
            client.identity()
    assert len(sandbox.asked) == 4


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", "example.org", ""])
def test_others_than_this_machine_need_a_token(host):
    with pytest.raises(ConfigError, match="token"):
        SandboxServer(FakeSandbox(fine), host=host, port=0)


def test_a_port_that_is_taken_is_named():
    with served() as (server, _), pytest.raises(ConfigError, match=r"port=.*in use"):
        SandboxServer(FakeSandbox(fine), port=int(server.url.rpartition(":")[2]))


def test_who_is_there_is_said_to_those_who_ask():
    with served(workers=3) as (server, _):
        _, said, kept = ask(server.url, "GET", "/")
        assert kept
        assert (said["name"], said["protocol"], said["sandbox"], said["workers"]) == ("rewardkit", 1, "fake:1", 3)
        assert said["limits"]["memory_mb"] == 4096
        assert ask(server.url, "GET", "/v1/ping")[:2] == (200, "pong")


def test_no_more_programs_run_than_there_are_workers_and_the_rest_is_told_to_come_again(monkeypatch):
    monkeypatch.setattr(serve, "_QUEUE_S", 0.3)
    running, most, go = [], [], threading.Event()

    def behave(program):
        running.append(program)
        most.append(len(running))
        go.wait(10)
        running.remove(program)
        return Execution(exit_code=0)

    statuses = []
    with served(behave, workers=2) as (server, sandbox):
        threads = [threading.Thread(target=lambda: statuses.append(run_code(server.url)[0])) for _ in range(5)]
        for thread in threads:
            thread.start()
        while len(statuses) < 3:
            time.sleep(0.01)
        assert statuses == [504, 504, 504]
        (status, answers, _) = ask(server.url, "POST", "/run", b'{"programs": [{"code": "a"}, {"code": "b"}]}')
        assert (status, [answer["error"] for answer in answers]) == (200, ["busy", "busy"])
        go.set()
        for thread in threads:
            thread.join()
    assert sorted(statuses) == [200, 200, 504, 504, 504]
    assert max(most) == 2
    assert len(sandbox.asked) == 2


def test_a_client_of_ours_waits_until_a_busy_server_has_time(monkeypatch):
    monkeypatch.setattr(serve, "_QUEUE_S", 0.05)

    def behave(program):
        time.sleep(0.1)
        return Execution(exit_code=0, stdout=program.stdin)

    with served(behave, workers=1) as (server, _), RemoteSandbox(url=server.url, workers=3) as client:
        outcomes = client.run_many([Program(code="x", stdin=str(n).encode()) for n in range(12)])
    assert [outcome.stdout for outcome in outcomes] == [str(n).encode() for n in range(12)]


def test_connections_beyond_the_limit_are_sent_away(monkeypatch):
    monkeypatch.setattr(serve, "_CONNECTIONS", 1)
    with served() as (server, _):
        first = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=10)
        first.request("GET", "/health")
        assert first.getresponse().read()
        assert ask(server.url, "GET", "/health")[0] == 503
        first.close()
        while ask(server.url, "GET", "/health")[0] != 200:
            time.sleep(0.01)


def test_the_end_waits_for_what_is_under_way_and_takes_nothing_new():
    begun, go, answers = threading.Event(), threading.Event(), []

    def behave(program):
        begun.set()
        go.wait(10)
        return Execution(exit_code=0, stdout=b"done")

    sandbox = FakeSandbox(behave)
    server = SandboxServer(sandbox, port=0)
    kept = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=10)
    kept.request("GET", "/health")
    kept.getresponse().read()
    asking = threading.Thread(target=lambda: answers.append(run_code(server.url)[1]["run_result"]["stdout"]))
    asking.start()
    begun.wait(10)
    closing = threading.Thread(target=server.close)
    closing.start()
    time.sleep(0.3)
    kept.request("POST", "/run_code", json.dumps(VERL), {"Content-Type": "application/json"})
    assert kept.getresponse().status == 503
    kept.close()
    with pytest.raises(ConnectionRefusedError):
        ask(server.url, "GET", "/health")
    assert (answers, sandbox.closed) == ([], 0)
    go.set()
    closing.join(10)
    asking.join(10)
    assert (answers, sandbox.closed) == (["done"], 1)
    server.close()
    assert sandbox.closed == 1


def test_a_sandbox_that_cannot_be_had_is_not_served():
    class Absent(FakeSandbox):
        def identity(self):
            raise SandboxUnavailableError("start Docker")

    with pytest.raises(SandboxUnavailableError, match="start Docker"):
        SandboxServer(Absent(fine), port=0)


# From here on with programs that really run.


@pytest.fixture(scope="module")
def real():
    sandbox = NamespaceSandbox(workers=2, limits=CEILING)
    try:
        sandbox.identity()
    except SandboxUnavailableError as error:
        pytest.skip(str(error))
    with SandboxServer(sandbox, port=0, workers=2) as server:
        yield server


@pytest.fixture(scope="module")
def client(real):
    with RemoteSandbox(url=real.url, limits=Limits(output_kb=4096)) as sandbox:
        yield sandbox


def test_everything_a_sandbox_can_do_it_does_remotely(client):
    copying = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"
    assert client.identity().startswith("remote:namespace:")
    assert client.run(Program(code=copying, stdin=bytes(range(256)))).stdout == bytes(range(256))
    ended = client.run(
        Program(
            argv=("sh", "-c", 'echo "$K" "$1"; cat in/a > b; exit 3', "sh", "x y"),
            env={"K": "v"},
            files={"in/a": b"\0\xff"},
            fetch=("*",),
        )
    )
    assert (ended.exit_code, ended.stdout, ended.files["b"]) == (3, b"v x y\n", b"\0\xff")


def test_a_pair_of_programs_talks_remotely(client):
    speak = "import socket; s = socket.socket(fileno=3); s.sendall(b'question'); print(s.recv(99)); s.close()"
    judge = "import socket; s = socket.socket(fileno=3); print(s.recv(99)); s.sendall(b'answer'); s.recv(1)"
    ended = client.run(Program(code=speak, peer=Program(code=judge)))
    assert ended.peer.stdout == b"b'question'\n"
    assert ended.stdout == b"b'answer'\n"


def test_inputs_are_run_remotely_until_stop(client):
    program = Program(
        code="print(int(input()) ** 2)",
        inputs=tuple(b"%d\n" % n for n in range(10)),
        stop=lambda run: run.stdout == b"25\n",
    )
    assert [run.stdout for run in client.run(program).runs] == [b"%d\n" % n**2 for n in range(6)]


def test_three_megabytes_of_output_are_a_result(real):
    status, said = run_code(real.url, code="print('x' * 3_000_000)")
    assert (status, said["status"]) == (200, "Success")
    assert said["run_result"]["stdout"] == "x" * 3_000_000 + "\n"
    assert not said["run_result"]["truncated"]
    status, said = run_code(real.url, code="while True: print('x' * 1_000_000)")
    assert (said["status"], said["run_result"]["status"], said["run_result"]["limit"]) == (
        "Failed",
        "Finished",
        "output_kb",
    )
    assert said["run_result"]["truncated"]


def test_links_are_not_followed_out_of_the_sandbox(real, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("canary")
    code = f"import os; os.symlink({str(secret)!r}, 'a'); os.symlink('/etc/hostname', 'b'); open('c', 'w').write('own')"
    _, said = run_code(real.url, code=code, fetch_files=["a", "b", "c"])
    assert said["files"] == {"c": base64.b64encode(b"own").decode()}


@pytest.mark.parametrize(
    ("fields", "status", "stdout"),
    [
        ({}, "Success", "3\n"),
        ({"language": "bash", "code": "read a b; echo $((a + b))"}, "Success", "3\n"),
        ({"code": "import sys; print(1); sys.exit(2)"}, "Failed", "1\n"),
        ({"code": "while True: pass", "run_timeout": 0.5}, "Failed", ""),
    ],
)
def test_run_code_runs_code(real, fields, status, stdout):
    _, said = run_code(real.url, **fields)
    assert (said["status"], said["run_result"]["stdout"]) == (status, stdout)


@pytest.fixture
def verl_client():
    """verl's own client, loaded from its file: importing verl takes Ray and torch."""
    found = importlib.util.find_spec("verl")
    if found is None or not found.origin:
        pytest.skip("verl is not installed: its real client is not tried")
    file = Path(found.origin).parent / "utils/reward_score/sandbox_fusion/utils.py"
    spec = importlib.util.spec_from_file_location("verl_sandbox_fusion", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_verls_own_client_scores_with_this_server(real, verl_client):
    def check(code, **options):
        sums = {"inputs": ["1 2\n", "3 4\n"], "outputs": ["3\n", "7\n"], **options}
        return verl_client.check_correctness(f"{real.url}/run_code", sums, code, timeout=2)[0]

    assert check("print(sum(map(int, input().split())))") == [True, True]
    assert check("print(3)") == [True, False]
    assert check("raise SystemExit(1)") == [-2, -2]
    assert check("while True: pass") == [-3, -3]
    functions = {"inputs": ["1\n2", "3\n4"], "outputs": ["3", "7"], "fn_name": "add"}
    assert check("def add(a, b): return a + b", **functions) == [True, True]


def test_the_command_serves_until_it_is_told_to_stop():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", "from rewardkit_sandbox.commands_serve import serve; serve()"]
    with subprocess.Popen(
        [*command, "--port", "0", "--sandbox", "namespace", "--workers", "1", "--limit", "wall_s=5"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        line = process.stdout.readline()
        url = line.split(" at ")[1].split()[0]
        try:
            assert line == f"serving {NamespaceSandbox().identity()} at {url} with 1 workers; stop with Ctrl-C\n"
            assert run_code(url, run_timeout=5)[1]["run_result"]["stdout"] == "3\n"
            assert run_code(url, run_timeout=6)[0] == 422
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.stdout.read() == "stopped\n"
