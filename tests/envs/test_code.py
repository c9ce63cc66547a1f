"""The environment of programming: its contract, what it shows of tests, how an episode ends."""

from __future__ import annotations

import json
from typing import ClassVar

import gymnasium
import pytest

import rewardkit_envs  # noqa: F401  registers
from rewardkit.errors import ConfigError, SandboxError, SandboxUnavailableError
from rewardkit.plugins import Plugins
from rewardkit.scorer import Scorer
from rewardkit_envs.code import CodeEnv, public_cases, public_task
from rewardkit_envs.testing import EnvContract


@pytest.fixture(scope="module", autouse=True)
def sandbox():
    opened = Plugins.load().sandboxes.get("auto").build()
    try:
        opened.identity()
    except SandboxUnavailableError as error:
        pytest.skip(f"no sandbox: {error}")
    yield opened
    opened.close()


class TestCodeContract(EnvContract):
    env = "rewardkit/Code-v0"
    options: ClassVar = {"max_turns": 3}
    garbage: ClassVar = 30


TASK = {
    "id": "twice",
    "prompt": "Write twice(x).",
    "test_list": ["assert twice(31337) == 62674", "assert twice('secret') == 'secretsecret'"],
    "public_tests": ["assert twice(2) == 4", "assert twice(0) == 0"],
    "solution": "def twice(x):\n    return x + x",
}
RIGHT = "```python\ndef twice(x):\n    return x + x\n```"
PUBLIC_ONLY = "```python\ndef twice(x):\n    return {2: 4, 0: 0}[x]\n```"
WRONG = "```python\ndef twice(x):\n    return x\n```"
SUBMIT = "Action: submit\nAction Input:\n"


@pytest.fixture
def env(sandbox):
    made = CodeEnv(tasks=[TASK], sandbox=sandbox, max_turns=4)
    yield made
    made.close()


def test_the_public_tests_are_shown_with_how_they_ended(env):
    shown, _ = env.reset()
    assert "1. assert twice(2) == 4\n2. assert twice(0) == 0" in shown
    assert "4 replies" in shown
    assert env.step(WRONG)[0] == "1 of 2 public tests passed.\n1. failed (AssertionError): assert twice(2) == 4"
    assert env.step(RIGHT)[0] == "2 of 2 public tests passed."
    assert env.step("```python\n1/0\n```")[0].startswith("0 of 2 public tests passed.\n1. ")


def test_the_private_tests_pay_for_what_is_handed_in(env):
    for program, pay in ((RIGHT, 1.0), (PUBLIC_ONLY, 0.0), (WRONG, 0.0)):
        env.reset()
        env.step(RIGHT)
        _, reward, terminated, truncated, _ = env.step(SUBMIT + program)
        assert (reward, terminated, truncated) == (pay, True, False)


def test_what_was_played_scores_the_same_again(env, sandbox):
    env.reset()
    env.step(WRONG)
    reward = env.step(SUBMIT + RIGHT)[1]
    with Scorer({"unit_tests": {"options": {"sandbox": sandbox}}}) as scorer:
        assert scorer.score(env.trajectory).total == reward == 1.0


def test_a_program_in_the_last_turn_is_handed_in(sandbox):
    env = CodeEnv(tasks=[TASK], sandbox=sandbox, max_turns=2)
    env.reset()
    assert env.step(RIGHT)[1:4] == (0.0, False, False)
    assert env.step(RIGHT)[1:4] == (1.0, True, False)
    env.reset()
    env.step(RIGHT)
    assert env.step("Action: run\nAction Input: print(1)")[1:4] == (0.0, False, True)


def test_all_public_tests_end_the_episode_only_if_asked(env, sandbox):
    env.reset()
    assert env.step(PUBLIC_ONLY)[2:4] == (False, False)
    eager = CodeEnv(tasks=[TASK], sandbox=sandbox, stop_on_public=True)
    for program, pay in ((RIGHT, 1.0), (PUBLIC_ONLY, 0.0)):
        eager.reset()
        assert eager.step(WRONG)[2] is False
        assert eager.step(program)[1:3] == (pay, True)


def test_no_private_test_is_ever_shown(sandbox):
    env = CodeEnv(tasks=[TASK], sandbox=sandbox, max_turns=9, render_mode="ansi")
    actions = [
        WRONG,
        PUBLIC_ONLY,
        "garbage",
        "Action: run\nAction Input: print(open('.').read())",
        "Action: run",
        RIGHT,
    ]
    actions += ["Action: run\nAction Input: import os; print(os.environ, os.listdir('/tmp'))", SUBMIT + WRONG]
    said = [env.reset(), *(env.step(action) for action in actions)]
    assert said[-1][2]
    assert "test_list" in env.episode.task.metadata
    everything = repr(said) + env.render()
    assert "twice(2)" in everything
    for private in ("31337", "62674", "secret", "test_list"):
        assert private not in everything


def test_a_snippet_reads_standard_input_and_keeps_its_files(sandbox):
    env = CodeEnv(tasks=[{**TASK, "files": {"in.txt": "one\n"}}], sandbox=sandbox, max_turns=9)
    shown, _ = env.reset()
    assert "in.txt" in shown

    def run(code, **more):
        return env.step(json.dumps({"name": "run", "arguments": {"code": code, **more}}))[0]

    assert run("print(input()[::-1])", stdin="abc") == "cba"
    assert run("open('out.txt', 'w').write(open('in.txt').read() * 2)") == "(the program printed nothing)"
    before = env.state()
    assert run("import os; os.remove('in.txt'); print(open('out.txt').read())") == "one\none"
    assert "FileNotFoundError" in run("open('in.txt')")
    env.restore(before)
    assert run("print(open('in.txt').read())") == "one"
    assert "not kept" in run("open('big', 'w').write('x' * 2_000_000)")
    assert "FileNotFoundError" in run("open('big')")


@pytest.mark.parametrize(
    ("action", "part"),
    [
        (SUBMIT + "def twice(x): return x", "in a ```python fence"),
        ('{"name": "submit", "arguments": {"code": "print()"}}', "in a ```python fence"),
        ('{"name": "run", "arguments": {"code": 3}}', "run takes"),
        ('{"name": "run", "arguments": {"code": "print()", "input": "x"}}', "run takes"),
        ('{"name": "run", "arguments": {"code": "print(input())", "stdin": "\\ud800"}}', "?"),
        ("Action: jump\nAction Input: high", "no tool 'jump'"),
        ("", "no python code found"),
    ],
)
def test_what_is_no_action_is_answered_with_the_reason(env, action, part):
    env.reset()
    shown, reward, terminated, *_ = env.step(action)
    assert part in shown
    assert (reward, terminated) == (0.0, False)


SHAPES = {
    "asserts": (["assert f(1) == 2"], ["assert f(1) == 2"]),
    "calls": ({"fn_name": "f", "inputs": [[1]], "outputs": [2]}, ["input [1], expected 2"]),
    "cases": ([{"input": "1\n", "output": "2\n"}], ['input "1\\n", expected "2\\n"']),
    "one check": ({"test": "assert f(1) == 2"}, ["assert f(1) == 2"]),
    "text": ('[{"input": "1", "output": "2", "testtype": "stdin"}]', ['input "1", expected "2"']),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_public_tests_come_in_every_shape(sandbox, shape):
    tests, cases = SHAPES[shape]
    row = {"prompt": "f(x) is x + 1", "public_tests": tests, "test_list": ["assert f(7) == 8"]}
    env = CodeEnv(tasks=[row], sandbox=sandbox)
    env.reset()
    assert public_cases(env.episode.task) == cases
    assert "test_list" not in (public_task(env.episode.task).metadata if shape != "asserts" else {})
    program = "print(int(input()) + 1)" if "input" in str(tests) and shape != "calls" else "def f(x): return x + 1"
    assert env.step(f"```python\n{program}\n```")[0] == "1 of 1 public tests passed."
    assert env.step("```python\ndef f(x): return x\nprint(1)\n```")[0].startswith(
        "0 of 1 public tests passed.\n1. failed"
    )


def test_a_row_of_live_code_bench_shows_its_public_cases(sandbox):
    row = {
        "question": "Write twice.",
        "public_test_cases": '[{"input": "2", "output": "4", "testtype": "functional"}]',
        "private_test_cases": '[{"input": "71", "output": "142", "testtype": "functional"}]',
        "starter_code": "class Solution:\n    def twice(self, x: int) -> int:\n",
    }
    env = CodeEnv(tasks=[row], sandbox=sandbox, max_turns=2)
    shown, _ = env.reset()
    assert '1. input "2", expected "4"' in shown
    assert "142" not in shown
    assert env.step(RIGHT)[0] == "1 of 1 public tests passed."
    assert env.step(RIGHT)[1] == 1.0


def test_without_public_tests_it_says_so(sandbox):
    env = CodeEnv(tasks=[{key: TASK[key] for key in TASK if key != "public_tests"}], sandbox=sandbox)
    assert env.reset()[0].endswith("there are none.")
    assert env.step(RIGHT)[0] == "There are no public tests."
    assert env.step(env.gold())[1] == 1.0


def test_public_tests_that_cannot_be_read_end_the_episode_without_a_reward(sandbox):
    env = CodeEnv(tasks=[{**TASK, "public_tests": {"inputs": [], "outputs": []}}], sandbox=sandbox)
    env.reset()
    _, reward, terminated, truncated, told = env.step(RIGHT)
    assert (reward, terminated, truncated, told["reward_missing"]) == (0.0, False, True, True)


def test_a_sandbox_that_fails_ends_the_episode_without_a_reward():
    class Broken:
        def run(self, program):
            raise SandboxError("gone")

        run_many = run

        def identity(self):
            return "broken"

    for action in (RIGHT, "Action: run\nAction Input: print(1)"):
        env = CodeEnv(tasks=[TASK], sandbox=Broken())
        env.reset()
        assert env.step(action)[4]["reward_missing"] is True


def test_every_default_task_is_solved_by_its_solution_and_by_nothing_less(sandbox):
    env = CodeEnv(sandbox=sandbox)
    for task in env.tasks.tasks:
        env.reset(options={"task_id": task.id})
        assert env.step(env.gold().replace(SUBMIT, ""))[0].count("public tests passed.") == 1
        assert env.step(env.gold())[1] == 1.0, task.id
        env.reset(options={"task_id": task.id})
        assert env.step(SUBMIT + "```python\nprint(0)\n```")[1] == 0.0, task.id


def test_the_registered_environments_are_those_that_are_listed():
    listed = {spec.name: spec.entry_point for spec in Plugins.load(only=["builtin"]).envs}
    registered = {name: spec.entry_point for name, spec in gymnasium.registry.items() if name.startswith("rewardkit/")}
    assert registered == listed


@pytest.mark.parametrize("wrong", [["a"], {"a": 3}])
def test_files_that_are_no_texts_are_refused(sandbox, wrong):
    with pytest.raises(ConfigError, match="files"):
        CodeEnv(tasks=[{**TASK, "files": wrong}], sandbox=sandbox).reset()
