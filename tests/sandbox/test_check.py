"""`check` attacks: what protects nothing is found out, what goes wrong is told, and nothing is left behind."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from rewardkit.errors import ConfigError, SandboxError, SandboxUnavailableError
from rewardkit.programs import Execution, Program
from rewardkit_sandbox.attacks import ATTACKS, Ground
from rewardkit_sandbox.attacks.ground import of_the_host
from rewardkit_sandbox.attacks.prelude import IPC_KEYS, PLACES, PROBE
from rewardkit_sandbox.check import GROUPS, check
from rewardkit_sandbox.promises import PROMISES

# Attacks that take no longer than a second or two where nothing stops them, and some of the others.
QUICK = [
    *("outside", "host-ports", "host-sockets", "socket-kinds", "secrets", "environment", "writing", "brought-back"),
    *("namespaces", "mounts", "other-processes", "own-init", "killing", "privileges", "kernel", "descriptors"),
    *("thread-bomb", "disk", "many-files", "daemon", "orphans", "left-files", "left-memory", "runs"),
    *("nohup", "left-ipc", "canaries"),
]
SLOW = ["memory", "shared-memory", "cpu-together", "flood", "fork-bomb", "judge-left", "crash"]


@pytest.fixture
def unsafe(request):
    import importlib.util

    spec = importlib.util.spec_from_file_location("unsafe", Path(__file__).parent / "unsafe.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.UnsafeSandbox()


class Answering:
    """A sandbox that answers each program with what `answer` says."""

    def __init__(self, answer):
        self.answer = answer

    def identity(self):
        return "answering"

    def run(self, program):
        return self.answer(program)

    def run_many(self, programs):
        return [self.run(program) for program in programs]

    def close(self):
        pass


def is_probe(program):
    return program.code.endswith(PROBE)


def probed(program):
    """Answer as a sandbox would in which nothing is strange, and no attack gets anywhere."""
    return Execution(exit_code=0, stdout=b'\n{"answer": 1}\n' if is_probe(program) else b"{}\n")


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_an_attack_gets_through_where_nothing_protects(unsafe, name):
    (finding,) = check(unsafe, only=name)
    assert not finding.held
    assert not finding.detail.startswith("the next program finds another world")  # as is true on any shared machine


def test_an_attack_leaves_nothing_on_a_machine_that_nothing_protects(unsafe, monkeypatch):
    marks = iter(("rktest1", "rktest2"))
    monkeypatch.setattr("rewardkit_sandbox.attacks.ground.new_mark", lambda: next(marks))
    before = dict(os.environ)
    check(unsafe, only="writing")
    check(unsafe, only="left-ipc")
    assert dict(os.environ) == before
    places = [Path(place) for place in (*PLACES, Path.home()) if os.path.isdir(place)]
    assert not [path for place in places for path in place.iterdir() if "rktest" in path.name]
    listed = [Path(f"/proc/sysvipc/{kind}").read_text().split() for kind in ("shm", "sem", "msg")]
    assert not any(str(key) in words for words in listed for key in IPC_KEYS)


def test_an_attack_that_does_not_run_is_not_held():
    def answer(program):
        return probed(program) if is_probe(program) else Execution(exit_code=0)

    (finding,) = check(Answering(answer), only="namespaces")
    assert "did not report: exit code 0" in finding.detail


def test_what_an_attack_reports_got_through():
    def answer(program):
        said = b'{"way": "what", "_remark": 1}'
        return probed(program) if is_probe(program) else Execution(exit_code=0, stdout=said)

    (finding,) = check(Answering(answer), only="namespaces")
    assert finding.detail == "way: what"


def test_a_next_program_that_finds_another_world_is_told():
    worlds = iter([{"answer": 1, "left": []}, {}, {"answer": 1, "left": ["x"]}])
    sandbox = Answering(lambda _: Execution(exit_code=0, stdout=json.dumps(next(worlds)).encode()))
    (finding,) = check(sandbox, only="mounts")
    assert finding.detail == "the next program finds another world: left ['x']"


def test_a_sandbox_that_fails_under_attack_is_a_finding():
    def answer(program):
        if not is_probe(program):
            raise SandboxError("it broke")
        return probed(program)

    (finding,) = check(Answering(answer), only="namespaces")
    assert (finding.held, finding.detail) == (False, "the sandbox failed: SandboxError: it broke")


def test_a_sandbox_that_refuses_a_kind_of_program_holds():
    def answer(program):
        if program.peer is not None:
            raise ConfigError("no peers here")
        return probed(program)

    assert all(finding.held for finding in check(Answering(answer), only="judge"))


def test_a_sandbox_that_cannot_be_had_is_no_finding():
    class Absent(Answering):
        def identity(self):
            raise SandboxUnavailableError("absent")

    with pytest.raises(SandboxUnavailableError, match="absent"):
        check(Absent(probed))


def test_an_unknown_attack_is_refused_with_the_groups():
    with pytest.raises(ConfigError, match=r"'netwrok'; did you mean 'network'\?.* network, files"):
        check(Answering(probed), only="netwrok")


def test_names_are_unique_and_every_attack_says_what_it_tries():
    names = [item.name for item in (*PROMISES, *ATTACKS)]
    assert len(set(names)) == len(names)
    assert not set(names) & set(GROUPS)
    assert all(item.summary for item in (*PROMISES, *ATTACKS))


def test_every_secret_is_another_and_none_comes_back_unseen():
    with Ground() as ground:
        program = ground.arm(Program(code="'@SECRET@', '@SECRET@'", stdin=b"@SECRET@"), "a program")
        secrets = [secret for secret, place in ground.secrets.items() if "a program" in place]
        assert len(set(secrets)) == 3
        assert "@SECRET@" not in program.code
        for secret in secrets:
            assert ground.traces([Execution(exit_code=0, stderr=secret.encode())])
            assert ground.traces([Execution(exit_code=0, files={"f": b"x" + secret.encode()})])
        assert ground.traces([Execution(exit_code=0, stdout=b"RKSECRET-" + b"0" * 32)]) is None
        assert not any(secret in ground.facts() for secret in ground.secrets)


def test_variables_of_the_host_are_told_from_harmless_ones(monkeypatch):
    monkeypatch.setenv("API_KEY", "secret-value")
    assert of_the_host({"API_KEY": "secret-value", "PATH": os.environ["PATH"], "OTHER": "x"}) == ["API_KEY"]
    assert of_the_host({"API_KEY": "another"}) == []


def test_the_command_prints_findings_and_fails_when_something_got_through(monkeypatch):
    from rewardkit.registry import SandboxSpec
    from rewardkit_sandbox import commands

    for answer, code, mark in (
        (probed, 0, "ok"),
        (lambda p: Execution(exit_code=0, stdout=b'{"answer": 1, "a": 3}'), 1, "OPEN"),
    ):
        monkeypatch.setattr(SandboxSpec, "build", lambda *_, answer=answer, **__: Answering(answer))
        ran = CliRunner().invoke(commands.sandbox, ["check", "namespace", "--only", "mounts"])
        assert (ran.exit_code, f"{mark} " in ran.stdout) == (code, True), ran.output
        ran = CliRunner().invoke(commands.sandbox, ["check", "namespace", "--only", "mounts", "--json"])
        assert [finding["held"] for finding in json.loads(ran.stdout)] == [code == 0]


@pytest.mark.parametrize("name", ["auto", "docker", "namespace", "remote"])
@pytest.mark.parametrize(
    ("option", "message"),
    [("wrokers=2", "no option 'wrokers'; did you mean 'workers'"), ("workers=two", "workers='two' cannot be right")],
)
def test_an_option_that_a_sandbox_cannot_have_is_refused_by_name(name, option, message):
    from rewardkit_sandbox import commands

    asked = CliRunner().invoke(commands.sandbox, ["check", name, "--option", option])
    assert isinstance(asked.exception, ConfigError)
    assert f"sandbox {name!r}" in str(asked.exception)
    assert message in str(asked.exception)
