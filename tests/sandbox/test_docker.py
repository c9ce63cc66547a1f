"""The sandbox `docker`: what a container is given, what it says when it cannot be had, that nothing is left."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from importlib.resources import files

import pytest

from rewardkit.errors import SandboxUnavailableError
from rewardkit.programs import Limits, Program
from rewardkit_sandbox.docker import OWNER, DockerSandbox
from rewardkit_sandbox.docker_owner import this_process
from rewardkit_sandbox.docker_transport import remove
from rewardkit_sandbox.pool import WarmSandbox
from rewardkit_sandbox.wire import TransportError

pytestmark = pytest.mark.docker


@pytest.fixture
def sandbox(docker_daemon):
    with DockerSandbox(workers=1) as sandbox:
        yield sandbox


@pytest.fixture
def worker(docker_daemon, monkeypatch):
    """`worker(code)` starts a bare worker whose interpreter runs `code` in place of the supervisor."""
    with DockerSandbox() as sandbox:
        started = []

        def start(code):
            monkeypatch.setattr("rewardkit_sandbox.docker.command", lambda python: [python, "-c", f"import os\n{code}"])
            started.append(sandbox.start_worker())
            return started[-1]

        yield start
        for transport in started:
            transport.kill()
    assert containers(docker_daemon, this_process()) == set()


def containers(daemon, owner):
    """Return the names of all containers of that owner, running or not."""
    found = daemon.call(lambda client: client.containers(all=True, filters={"label": f"{OWNER}={owner}"}))
    return {container["Names"][0].lstrip("/") for container in found}


def wait_until(holds, seconds=20.0):
    """Return whether it came to hold within that time."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def soon():
    return time.monotonic() + 20


def test_a_program_runs_and_only_what_it_printed_comes_back(sandbox):
    ended = sandbox.run(Program(code="print(6 * 7)"))
    assert (ended.exit_code, ended.stdout, ended.stderr) == (0, b"42\n", b"")


def test_the_container_reaches_nothing_and_owns_nothing(sandbox, docker_daemon):
    sandbox.start()
    (name,) = containers(docker_daemon, this_process())
    found = docker_daemon.call(lambda client: client.inspect_container(name))
    host = found["HostConfig"]
    assert host["NetworkMode"] == "none"
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert not host["Binds"]
    assert found["Mounts"] == []
    assert found["Config"]["User"] == "65534:65534"
    assert "no-new-privileges" in host["SecurityOpt"]
    assert 0 < host["Memory"] == host["MemorySwap"]
    assert host["PidsLimit"] == 2 * 64 + 16
    assert host["NanoCpus"] == min(2, os.cpu_count()) * 1_000_000_000
    assert host["LogConfig"]["Type"] == "none"
    assert host["AutoRemove"] is True


def test_the_worker_has_no_capability_and_our_filter(worker):
    transport = worker("os.write(1, open('/proc/self/status', 'rb').read().ljust(8192))")
    lines = transport.receive(8192, deadline=soon()).decode().split("\n")
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert status["Uid"].split() == ["65534"] * 4


def test_the_profile_allows_what_the_inner_wall_needs_and_nothing_of_the_rest():
    profile = json.loads(files("rewardkit_sandbox").joinpath("images", "seccomp.json").read_text())
    allowed = {name for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    assert {"clone", "unshare", "mount", "umount2", "seccomp", "capset", "prctl"} <= allowed
    refused = (
        "bpf ptrace setns pivot_root chroot keyctl io_uring_setup userfaultfd kexec_load init_module move_mount fsopen"
    )
    assert not allowed & {
        *refused.split(),
        "perf_event_open",
        "process_vm_writev",
        "open_by_handle_at",
        "mount_setattr",
    }


def test_the_identity_names_image_and_runtime_and_starts_nothing(sandbox, docker_daemon):
    before = containers(docker_daemon, this_process())
    image = docker_daemon.call(lambda client: client.inspect_image("rewardkit-sandbox:python"))["Id"]
    assert sandbox.identity() == f"docker:{image}:runc"
    assert containers(docker_daemon, this_process()) == before


def test_an_unknown_runtime_is_refused_by_the_names_that_there_are(docker_daemon):
    for ask in (DockerSandbox.identity, DockerSandbox.start_worker):
        with (
            DockerSandbox(runtime="runcc") as sandbox,
            pytest.raises(SandboxUnavailableError, match=r"'runcc'.*\brunc\b"),
        ):
            ask(sandbox)


def test_a_known_runtime_is_used(docker_daemon):
    with DockerSandbox(workers=1, runtime="io.containerd.runc.v2") as sandbox:
        assert sandbox.run(Program(code="print(1)")).stdout == b"1\n"
        assert sandbox.identity().endswith(":io.containerd.runc.v2")


def test_an_image_that_is_not_there_is_named_with_the_cure(docker_daemon):
    with (
        DockerSandbox(image="rewardkit-no-such:1") as sandbox,
        pytest.raises(SandboxUnavailableError, match="docker pull rewardkit-no-such:1"),
    ):
        sandbox.identity()


def test_a_volume_of_the_image_is_not_writable(docker_daemon, tmp_path):
    (tmp_path / "Dockerfile").write_text(
        'FROM rewardkit-sandbox:python\nUSER 0\nRUN ["python3", "-c", "import os; os.mkdir(\'/keep\'); '
        'os.chmod(\'/keep\', 0o777)"]\nVOLUME /keep\nENTRYPOINT ["false"]\n'
    )
    tag = "rewardkit-test:volume"
    build = {"path": str(tmp_path), "tag": tag, "rm": True, "forcerm": True, "network_mode": "none"}
    assert b"Successfully" in b"".join(docker_daemon.call(lambda client: list(client.build(**build))))
    try:
        with DockerSandbox(workers=1, image=tag) as sandbox:
            ended = sandbox.run(Program(code="open('/keep/x', 'w')"))
            (name,) = containers(docker_daemon, this_process())
            mounts = docker_daemon.call(lambda client: client.inspect_container(name))["Mounts"]
        assert b"Error" in ended.stderr
        assert mounts == []  # a volume would be a directory of the host
    finally:
        docker_daemon.call(lambda client: client.remove_image(tag))


def test_what_a_worker_complains_of_is_in_the_error(worker):
    transport = worker("os.write(2, b'no luck')")
    with pytest.raises(TransportError, match="no luck"):
        transport.receive(1, deadline=soon())


def test_a_worker_that_is_silent_is_given_up_at_the_deadline_and_removed(worker, docker_daemon):
    transport = worker("os.read(0, 1)")
    began = time.monotonic()
    with pytest.raises(TransportError):
        transport.receive(1, deadline=began + 0.3)
    assert 0.3 <= time.monotonic() - began < 5
    transport.kill()
    transport.kill()
    with pytest.raises(TransportError, match="removed"):
        transport.send(b"x", deadline=soon())
    assert containers(docker_daemon, this_process()) == set()


def test_a_worker_whose_output_nobody_reads_is_removed_all_the_same(worker, docker_daemon):
    transport = worker("while True: os.write(1, b'x' * 65536)")
    transport.receive(1, deadline=soon())
    time.sleep(1)
    began = time.monotonic()
    transport.kill()
    assert time.monotonic() - began < 10
    assert containers(docker_daemon, this_process()) == set()


def test_a_worker_that_does_not_read_is_given_up_at_the_deadline(worker):
    transport = worker("import time; time.sleep(60)")
    began = time.monotonic()
    with pytest.raises(TransportError):
        transport.send(bytes(10_000_000), deadline=began + 0.5)
    assert 0.5 <= time.monotonic() - began < 5


def test_much_goes_in_and_out_unchanged(worker):
    transport = worker("while True:\n p = memoryview(os.read(0, 1 << 16))\n while p: p = p[os.write(1, p):]")
    sent = random.Random(7).randbytes(3_000_001)  # more than all the buffers between here and there
    writer = threading.Thread(target=transport.send, args=(sent,), kwargs={"deadline": soon()})
    writer.start()
    assert transport.receive(1, deadline=soon()) + transport.receive(3_000_000, deadline=soon()) == sent
    writer.join()


def test_programs_end_well_while_containers_are_killed_at_random(docker_daemon):
    with DockerSandbox(workers=2) as sandbox:
        programs = [Program(code=f"import time; time.sleep(0.05); print({n})") for n in range(60)]
        done = threading.Event()
        kills = threading.Thread(target=kill_at_random, args=(sandbox, docker_daemon, done))
        kills.start()
        try:
            outcomes = sandbox.run_many(programs)
        finally:
            done.set()
            kills.join()
    assert [getattr(outcome, "stdout", outcome) for outcome in outcomes] == [b"%d\n" % n for n in range(60)]
    assert containers(docker_daemon, this_process()) == set()


def kill_at_random(sandbox, daemon, done):
    chance = random.Random(11)
    for _ in range(3):
        if done.wait(0.4):
            return
        if names := sorted(worker.transport.name for worker in list(sandbox._live)):
            victim = chance.choice(names)
            daemon.call(lambda client, victim=victim: remove(client, victim))


OWNED = """
import sys, threading
from rewardkit.programs import Limits, Program
from rewardkit_sandbox.docker import DockerSandbox
from rewardkit_sandbox.docker_owner import this_process
sandbox = DockerSandbox(workers=2)
sandbox.start()
print(this_process(), flush=True)
{then}
"""


def start_owner(then):
    """Start a process with two containers; return it and its label."""
    command = [sys.executable, "-c", OWNED.format(then=then)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().strip()


@pytest.mark.parametrize("code", ["import time; time.sleep(60)", "while True: pass"])
def test_a_killed_owner_leaves_no_container(docker_daemon, code):
    process, owner = start_owner(f"sandbox.run(Program(code={code!r}, limits=Limits(wall_s=60, cpu_s=60)))")
    with process:
        assert len(containers(docker_daemon, owner)) == 2
        time.sleep(0.5)  # into the program
        process.send_signal(signal.SIGKILL)
    assert wait_until(lambda: not containers(docker_daemon, owner), 10)


def test_an_owner_that_forgets_to_close_leaves_no_container(docker_daemon):
    process, owner = start_owner("")
    with process:
        assert process.wait(30) == 0
    assert owner
    assert containers(docker_daemon, owner) == set()


def test_a_fork_of_the_owner_does_not_take_its_containers_away(docker_daemon):
    then = "import os\nbefore = {worker.transport.name for worker in sandbox._live}\n"
    then += "if os.fork() == 0: sys.exit()\nos.wait()\nprint(sandbox.run(Program(code='print(5)')).stdout)\n"
    then += "print(len(before & {worker.transport.name for worker in sandbox._live}))"
    process, _ = start_owner(then)
    with process:
        assert process.stdout.read() == "b'5\\n'\n2\n"


def test_the_sweep_removes_what_dead_owners_left_and_nothing_else(docker_daemon, sandbox):
    ended = subprocess.run(
        [sys.executable, "-c", "from rewardkit_sandbox.docker_owner import this_process as t; print(t())"],
        capture_output=True,
        text=True,
        check=True,
    )
    owners = {"dead": ended.stdout.strip(), "alive": this_process(), "elsewhere": "other-machine/1:1:1"}
    names = {kind: f"rewardkit-test-{os.getpid()}-{kind}" for kind in owners}
    for kind, owner in owners.items():
        config = {"Image": "rewardkit-sandbox:python", "Cmd": ["true"], "Labels": {OWNER: owner}}
        docker_daemon.call(
            lambda client, kind=kind, config=config: client.create_container_from_config(config, names[kind])
        )
    try:
        sandbox.sweep()
        left = {kind for kind, owner in owners.items() if names[kind] in containers(docker_daemon, owner)}
        assert left == {"alive", "elsewhere"}
    finally:
        for name in names.values():
            docker_daemon.call(lambda client, name=name: remove(client, name))


def test_limits_decide_the_size_of_the_container(docker_daemon):
    limits = Limits(memory_mb=100, disk_mb=10, processes=5)
    with DockerSandbox(workers=1, limits=limits, cpus=0.5) as sandbox:
        sandbox.start()
        (name,) = containers(docker_daemon, this_process())
        host = docker_daemon.call(lambda client: client.inspect_container(name))["HostConfig"]
    assert host["Memory"] == (2 * (100 + 2 * 10) + 64) * 2**20
    assert host["PidsLimit"] == 2 * 5 + 16
    assert host["NanoCpus"] == 500_000_000


def test_walls_are_built_as_root_where_containers_get_no_user_namespaces(docker_daemon, monkeypatch):
    refused = []
    start = WarmSandbox._new_worker

    def refuse_once(sandbox):
        if not refused:
            refused.append(True)
            raise SandboxUnavailableError("a program's own wall cannot be built: Operation not permitted")
        return start(sandbox)

    monkeypatch.setattr(WarmSandbox, "_new_worker", refuse_once)
    caps = "[line.split()[1] for line in open('/proc/self/status') if 'CapEff' in line]"
    with DockerSandbox(workers=1) as sandbox:
        ended = sandbox.run(Program(code=f"import os\nprint(os.getuid(), os.getpid(), {caps})"))
        assert ended.stdout == b"65534 1 ['0000000000000000']\n"
        assert sandbox.run(Program(code="open('/etc/mine', 'w')")).exit_code == 1
        assert sandbox.run(Program(code="while True: pass", limits=Limits(wall_s=0.3))).limit == "wall_s"
        pair = Program(code="import os; os.write(3, b'hi')", peer=Program(code="import os; print(os.read(3, 9))"))
        assert sandbox.run(pair).peer.stdout == b"b'hi'\n"
