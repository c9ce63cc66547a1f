"""The world of files and a shell: gold, what lasts between commands, hostile names and commands, hidden checks."""

from __future__ import annotations

import json
import random
from typing import ClassVar

import pytest

from rewardkit.errors import ConfigError, SandboxUnavailableError
from rewardkit.plugins import Plugins
from rewardkit.programs import Limits
from rewardkit.types import Task
from rewardkit_envs.agent import AgentEnv
from rewardkit_envs.testing import EnvContract
from rewardkit_envs.worlds.shell import ShellWorld, Workspace
from rewardkit_envs.worlds.shell_tasks import shell_tasks


@pytest.fixture(scope="module")
def sandbox():
    try:
        opened = Plugins.load().sandboxes.get("namespace").build()
        opened.identity()
    except SandboxUnavailableError as error:
        pytest.skip(f"no sandbox: {error}")
    yield opened
    opened.close()


@pytest.mark.usefixtures("sandbox")
class TestContract(EnvContract):
    env = "rewardkit/Agent-v0"
    options: ClassVar = {"world": "shell", "sandbox": "namespace"}
    garbage = 40


@pytest.fixture
def env(sandbox):
    return AgentEnv(world=ShellWorld(sandbox=sandbox))


def call(name, **arguments):
    return json.dumps({"name": name, "arguments": arguments})


def run(command):
    return call("run", command=command)


def start(env, files=None, goal=None):
    task = Task(id="own", metadata={"files": files or {}, "goal": goal or {"files": {"never": "x"}}})
    env.reset(options={"task": task})
    return env


@pytest.mark.parametrize("task", shell_tasks(), ids=lambda task: task.id)
def test_gold_reaches_the_goal_and_silence_does_not(env, task):
    env.reset(options={"task": task})
    assert env.step("Final Answer:")[1] == 0.0
    env.reset(options={"task": task})
    over = False
    while not over:
        _, reward, over, truncated, _ = env.step(env.gold())
        assert not truncated
    assert reward == 1.0


def test_files_directories_links_and_modes_last_and_nothing_else_does(env):
    start(env, {"a.txt": "1\n"})
    shown = [
        env.step(run(command))[0]
        for command in (
            "mkdir -p empty/deep; ln -s a.txt link; echo 'echo ran' > tool; chmod +x tool; X=1; cd empty; sleep 60 &",
            'ls -F . empty; cat link; ./tool; echo "[$X]"; pwd | grep -c empty',
            "rmdir empty/deep; mv a.txt empty; ls empty; cat link",
            "ls empty; test -L link && echo still a link",
        )
    ]
    assert shown[0] == "(no output)"
    assert shown[1] == ".:\na.txt\nempty/\nlink@\ntool*\n\nempty:\ndeep/\n1\nran\n[]\n0\n[exit status 1]"
    assert shown[2].startswith("a.txt\n")
    assert "No such file" in shown[2]
    assert shown[3] == "a.txt\nstill a link"


def test_what_a_command_prints_and_how_it_ends_is_shown(env):
    start(env)
    assert env.step(run("echo out; echo err >&2; exit 3"))[0] == "out\nerr\n[exit status 3]"
    assert env.step(run("kill -9 $$"))[0] == "[exit status 137]"
    assert env.step(run("printf '\\377'"))[0] == "\ufffd"
    shown = env.step(run("seq 100000"))[0]
    assert "characters left out" in shown
    assert len(shown) < 4100


def test_a_command_is_stopped_at_its_limits(sandbox):
    env = start(AgentEnv(world=ShellWorld(sandbox=sandbox, limits=Limits(wall_s=0.5, disk_mb=8))))
    assert env.step(run("echo partial > f; sleep 30"))[0].endswith("[stopped: it ran into its limit wall_s]")
    assert env.episode.memory.memory.files == {"f": b"partial\n"}


def test_a_workspace_that_grows_too_much_is_left_as_it_was(env):
    start(env, {"a": "1"})
    assert "[undone: the workspace may hold" in env.step(run("head -c 3000000 /dev/zero > big"))[0]
    assert "[undone: the workspace may hold" in env.step(run("for i in $(seq 600); do echo > f$i; done"))[0]
    assert env.step(call("list_files"))[0] == "a"


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../x", "a/../../x", "", ".", "..", "\0", "x" * 300, "a/" * 600 + "b", ".workspace.json"]
)
def test_paths_outside_of_the_workspace_are_refused(env, path):
    start(env, {"a": "1"})
    for action in (call("write_file", path=path, content="x"), call("read_file", path=path)):
        assert env.step(action)[0].startswith(("The path", "There is no file", "The file"))
    assert env.episode.memory.memory.files == {"a": b"1"}


def test_a_file_cannot_be_where_something_else_is(env):
    start(env, {"a": "1", "d/b": "2"})
    env.step(run("mkdir e; ln -s a l"))
    for path in ("a/x", "d", "e", "l", "l/x"):
        assert "something else has that name" in env.step(call("write_file", path=path, content="x"))[0]
    assert env.step(call("write_file", path="./e//x", content="x"))[0] == "Wrote 1 bytes to e/x."
    assert env.step(run("cat e/x"))[0] == "x"


def test_names_that_no_dictionary_of_files_should_hold_are_left_behind(env):
    start(env)
    shown = env.step(run("touch $'new\\nline' $'\\377' ok; mkdir $'\\001'; ln -s $'\\377' l; ls | wc -l"))[0]
    assert shown == "6"  # the name with a line break makes two lines
    assert env.step(call("list_files"))[0] == "ok"
    assert env.step(run("ls"))[0] == "ok"


def test_files_named_by_dots_alone_stay(env):
    start(env)
    env.step(run("echo 1 > ...; echo 2 > ' '"))
    assert env.step(run("cat ... ' '"))[0] == "1\n2"


def test_the_shelf_of_the_workspace_cannot_be_forged(env):
    hostile = [
        "[]",
        "{}",
        '{"directories": 3, "executable": [], "links": {}}',
        '{"directories": ["../up", "/abs", "ok/a", 7, "f/under"], "executable": ["none"], "links": {"../l": "x"}}',
        '{"directories": [], "executable": ["../x"], "links": {"f": "y", "l": 3, "m": "/etc/passwd", "f/g": "x"}}',
        "[" * 100_000,
    ]
    for text in hostile:
        start(env)
        env.step(call("write_file", path="shelf", content=text))
        env.step(run("cp shelf f; (sleep 0.05; cp shelf .workspace.json) & kill -9 $PPID; sleep 0.3"))
        after = env.episode.memory.memory
        assert not [name for name in (*after.directories, *after.links) if ".." in name or name[0] == "/"]
        assert env.step(run("echo fine"))[0].endswith("fine")


def test_random_commands_never_raise_and_never_pay(env):
    chance = random.Random(7)
    words = [
        "cd ..",
        "rm -rf .",
        "mkdir a",
        "ln -s a a",
        "touch a/b",
        "chmod 000 .",
        "mv a b",
        ">",
        "|",
        "&",
        ";",
        "'",
        "$(",
    ]
    words += [
        "rmdir a",
        "mkfifo p",
        "chmod 000 a",
        "kill $PPID",
        "exec sleep 0",
        "cp -r . x",
        "exit 9",
        "\x00",
        "é",
        "\\",
    ]
    for _ in range(4):
        start(env)
        over = False
        while not over:
            command = " ".join(chance.choice(words) for _ in range(chance.randrange(1, 5)))
            _, reward, terminated, truncated, told = env.step(run(command))
            over = terminated or truncated
            assert reward == 0.0
        assert told["reward_missing"] is False


def test_a_hidden_check_runs_beside_the_agents_files_and_cannot_be_replaced(env):
    goal = {
        "commands": [{"command": "python3 check.py", "stdout": "12\n"}],
        "check_files": {"check.py": "from double import double\nprint(double(6))\n"},
    }
    forgeries = [
        {"check.py": "print(12)"},
        {"check.py/x": "", "double.py": "raise SystemExit"},
        {"double.py": "import os\nos._exit(0)\n"},
    ]
    for files in forgeries:
        start(env, goal=goal)
        for path, content in files.items():
            env.step(call("write_file", path=path, content=content))
        assert env.step(call("finish"))[1] == 0.0, files
    start(env, goal=goal)
    assert env.step(run("ls"))[0] == "(no output)"
    env.step(call("write_file", path="double.py", content="def double(x):\n    return 2 * x\n"))
    assert env.step(call("finish"))[1] == 1.0
    assert env.trajectory.steps[-1].metadata["final_state"]["files"] == {
        "double.py": "def double(x):\n    return 2 * x\n"
    }


@pytest.mark.parametrize("name", ["subprocess", "json", "os", "main"])
def test_the_agents_modules_do_not_take_the_place_of_those_that_run_the_check(env, name):
    start(env, goal={"commands": [{"command": "grep -q done report.txt"}]})
    env.step(call("write_file", path=f"{name}.py", content="import os\nos._exit(0)\n"))
    assert env.step(call("finish"))[1] == 0.0


def test_long_files_and_files_that_are_no_text_are_saved_as_digests(env):
    start(env, {"bytes": {"base64": "/w=="}, "long": "x" * 70_000})
    env.step(call("finish"))
    saved = env.trajectory.steps[-1].metadata["final_state"]["files"]
    assert saved["bytes"] == {"sha256": "a8100ae6aa1940d0b663bb31cd466142ebbdbd5187131b92d93818987832eb89", "size": 1}
    assert saved["long"]["size"] == 70_000


def test_an_episode_can_be_left_and_come_back_to(env):
    start(env, {"a": "1\n"}, goal={"files": {"a": "1\n2\n"}})
    here = env.state()
    env.step(run("rm a"))
    env.restore(here)
    env.step(run("echo 2 >> a"))
    assert env.step(call("finish"))[1] == 1.0


def test_a_task_that_is_none_for_this_world_is_refused(env):
    with pytest.raises(ConfigError, match="task 'own': files must map paths to text"):
        start(env, ["a"])
    with pytest.raises(ConfigError, match=r"files: The path '\.\./a' must be relative"):
        start(env, {"../a": "1"})
    with pytest.raises(ConfigError, match="commands must be a list of objects"):
        start(env, goal={"commands": ["ls"]})
    with pytest.raises(ConfigError, match="task 'own': check_files must map"):
        start(env, goal={"check_files": {"a": 1}})


def test_files_need_no_sandbox():
    class Untouched:
        def run(self, program):
            raise AssertionError("nothing is to be run")

    world = ShellWorld(sandbox=Untouched())
    task = shell_tasks()[0]
    memory, _ = world.start(task)
    written = world.call(task, memory, "write_file", {"path": "greeting.txt", "content": "hello"}).memory
    assert memory == Workspace()
    assert world.evidence(task, written) == {"files": {"greeting.txt": "hello"}}
