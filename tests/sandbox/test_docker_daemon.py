"""The connection to the Docker daemon: cures for what is missing, and daemons that hang, stop and come back."""

import gc
import signal
import socket
import threading
import time

import pytest

from rewardkit.errors import SandboxError, SandboxUnavailableError
from rewardkit.programs import Program
from rewardkit_sandbox.docker import DockerSandbox
from rewardkit_sandbox.docker_daemon import Daemon, _cure

pytest.importorskip("docker")


# docker-py does not close the sockets of calls that fail.
LEAKY = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def ask(daemon):
    return daemon.call(lambda client: client.ping())


def test_no_daemon_is_said_with_how_to_start_and_install_one(monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(
        SandboxUnavailableError, match=r"none\.sock.*systemctl start docker.*apt-get install docker\.io"
    ):
        ask(Daemon())


def test_a_refused_permission_is_said_with_the_group():
    error = RuntimeError("no")
    error.__context__ = PermissionError(13, "Permission denied")
    assert "usermod -aG docker" in _cure(error, "unix:///var/run/docker.sock")


@LEAKY
def test_a_daemon_that_never_answers_is_given_up(monkeypatch, tmp_path):
    path = f"{tmp_path}/silent.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        began = time.monotonic()
        with pytest.raises(SandboxUnavailableError, match="does not answer"):
            ask(Daemon(timeout_s=1))
    assert time.monotonic() - began < 10


def test_a_daemon_that_was_never_there_is_not_waited_for(monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    began = time.monotonic()
    with pytest.raises(SandboxUnavailableError):
        ask(Daemon(reconnect_s=60))
    assert time.monotonic() - began < 5


@pytest.mark.docker
def test_what_the_daemon_refuses_is_an_error_with_its_words(docker_daemon):
    with pytest.raises(SandboxError, match="No such container: rewardkit-none"):
        docker_daemon.call(lambda client: client.start("rewardkit-none"))


@pytest.fixture
def moved(own_daemon, monkeypatch):
    """Our second daemon as the one that everybody talks to."""
    monkeypatch.setenv("DOCKER_HOST", own_daemon.url)
    yield own_daemon
    gc.collect()  # now, while LEAKY holds


def keep_running(sandbox, done, outcomes):
    while not done.is_set():
        outcomes.extend(sandbox.run_many([Program(code=f"print({n})") for n in range(10)]))


@LEAKY
@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_programs_outlive_a_restart_of_the_daemon(moved, end):
    done, outcomes = threading.Event(), []
    with DockerSandbox(workers=2) as sandbox:
        sandbox.start()
        runner = threading.Thread(target=keep_running, args=(sandbox, done, outcomes))
        runner.start()
        time.sleep(1)
        before = len(outcomes)
        getattr(moved.process, end)()
        moved.process.wait(60)
        time.sleep(1)
        moved.start()
        time.sleep(3)
        during = len(outcomes)
        done.set()
        runner.join()
    assert 0 < before < during
    assert [getattr(o, "stdout", o) for o in outcomes] == [b"%d\n" % n for n in range(10)] * (len(outcomes) // 10)
    assert moved.docker("ps", "-aq").stdout == ""


@LEAKY
@pytest.mark.docker
@pytest.mark.slow
def test_a_daemon_that_stays_away_is_not_waited_for_for_ever(moved):
    with DockerSandbox(workers=1, reconnect_s=2) as sandbox:
        sandbox.run(Program(code="print(1)"))
        moved.stop()
        try:
            began = time.monotonic()
            with pytest.raises(SandboxUnavailableError, match="no Docker daemon answers"):
                sandbox.run(Program(code="print(2)"))
            assert 1 < time.monotonic() - began < 20
        finally:
            moved.start()


@LEAKY
@pytest.mark.docker
@pytest.mark.slow
def test_a_daemon_that_hangs_does_not_hold_up_a_kill(moved):
    with DockerSandbox(workers=1) as sandbox:
        sandbox._daemon = Daemon(timeout_s=2)
        transport = sandbox.start_worker()
        moved.process.send_signal(signal.SIGSTOP)
        try:
            began = time.monotonic()
            transport.kill()
            assert time.monotonic() - began < 10
        finally:
            moved.process.send_signal(signal.SIGCONT)
    end = time.monotonic() + 10
    while moved.docker("ps", "-aq").stdout and time.monotonic() < end:
        time.sleep(0.1)
    assert moved.docker("ps", "-aq").stdout == ""
