"""executes: what ends well, what does not, and that a sandbox that fails is never a number."""

from __future__ import annotations

import pickle

import pytest

from rewardkit.errors import ConfigError, RewardError, SandboxError, UnknownNameError
from rewardkit.plugins import Plugins
from rewardkit.programs import Execution, Limits
from rewardkit.testing import RewardContract, trajectory
from rewardkit_plugins.code.executes import Executes


def attempt(completion, **metadata):
    return trajectory("Write it.", completion, metadata=metadata)


def values(sandbox, *completions, **options):
    reward = Executes(sandbox=sandbox, **options)
    return [score.value for score in reward.score_batch([attempt(one) for one in completions])]


@pytest.mark.usefixtures("sandbox")
class TestContract(RewardContract):
    reward = "executes:sandbox=namespace,wall_s=5"

    def trajectories(self):
        return [attempt("```python\nprint(1)\n```"), attempt("x = 1\nassert x")]


@pytest.mark.parametrize(
    ("completion", "value"),
    [
        ("print(1)", 1),
        ("So:\n```python\nimport math\nprint(math.pi)\n```", 1),
        ("import sys\nsys.exit()", 1),
        ("1 / 0", 0),
        ("import sys\nsys.exit(3)", 0),
        ("import os\nos._exit(1)", 0),
        ("import os\nos.abort()", 0),
        ("def f(:", 0),
        ("input()", 0),
        ("I cannot do that.", 0),
        ("```python\n```", 0),
        ("", 0),
        ("x = '\ud800'", 0),
        ("a\0b", 0),
    ],
)
def test_a_program_must_end_well(sandbox, completion, value):
    assert values(sandbox, completion) == [value]


@pytest.mark.parametrize(
    ("completion", "limit"),
    [
        ("while True: pass", "wall_s"),
        ("import time\ntime.sleep(60)", "wall_s"),
        ("x = bytearray(10**9)\nprint(sum(x))", "memory_mb"),
        ("while True: print('x' * 1000)", "output_kb"),
    ],
)
def test_a_program_that_runs_into_a_limit_did_not_end_well(sandbox, completion, limit):
    score = Executes(sandbox=sandbox, wall_s=1.5, memory_mb=128).score_batch([attempt(completion)])[0]
    assert score.value == 0
    assert score.metadata["limit"] in (limit, None)  # without a group of its own a program may meet its MemoryError
    assert score.explanation


def test_the_output_counts_when_one_is_expected(sandbox):
    double = "print(2 * int(input()))"
    assert values(sandbox, double, "print(4)", "print(3)", stdin="2\n", expected_stdout="4\n") == [1, 1, 0]
    reward = Executes(sandbox=sandbox, expected_stdout="5")
    score = reward.score_batch([attempt(double, stdin="3", expected_stdout="6.0")])[0]
    assert (score.value, score.parts["printed"]) == (1, 1)
    assert reward.score_batch([attempt("print(5)\n1/0")])[0].parts["printed"] == 1
    assert reward.score_batch([attempt("print(5)\n1/0")])[0].value == 0


def test_other_languages_are_taken_from_their_fences(sandbox):
    assert values(sandbox, "```sh\necho hi\n```\n```python\n1/0\n```", "exit 3", language="sh") == [1, 0]


def test_what_it_printed_is_kept_for_people(sandbox):
    score = Executes(sandbox=sandbox).score_batch([attempt("print('a' * 3000)\nraise ValueError('no')")])[0]
    assert score.explanation == "the program ended with exit status 1: ValueError: no"
    assert score.metadata["exit_code"] == 1
    assert len(score.metadata["stdout"]) == 2001
    assert score.metadata["stderr"].endswith("ValueError: no\n")


def test_equal_programs_are_run_once(told):
    sandbox = told(lambda program: Execution(exit_code=0))
    assert values(sandbox, "print(1)", "print(2)", "```python\nprint(1)\n```", "```json\n1\n```") == [1, 1, 1, 0]
    assert [program.code for program in sandbox.programs] == ["print(1)", "print(2)"]
    assert all(program.limits == Limits() for program in sandbox.programs)


def test_bytes_that_are_no_text_do_not_break_the_score(told):
    sandbox = told(lambda program: Execution(exit_code=1, stdout=b"\xff", stderr=b"\xfe oh\n"))
    score = Executes(sandbox=sandbox, expected_stdout="x").score_batch([attempt("x")])[0]
    assert score.metadata["stdout"] == "\ufffd"
    assert score.explanation == "the program ended with exit status 1: \ufffd oh"


def test_a_sandbox_that_fails_raises_and_is_no_number(told):
    sandbox = told(lambda program: SandboxError("broken") if "2" in program.code else Execution(exit_code=0))
    with pytest.raises(SandboxError, match="broken"):
        values(sandbox, "print(1)", "print(2)")


def test_a_sandbox_that_is_given_is_left_open_and_one_that_is_named_is_closed(told, monkeypatch):
    given = told(lambda program: Execution(exit_code=0))
    reward = Executes(sandbox=given)
    reward.setup()
    reward.close()
    assert given.closed == 0

    class Spec:
        def build(self, **options):
            assert options == {"limits": Limits(wall_s=30)}
            return given

    monkeypatch.setattr(Plugins, "load", lambda: type("Loaded", (), {"sandboxes": {"mine": Spec()}}))
    reward = Executes(sandbox="mine", wall_s=30)
    reward.setup()
    assert reward.signature_fields()["sandbox"] == "told:1"
    reward.close()
    reward.close()
    assert given.closed == 1


def test_the_signature_names_the_sandbox_and_the_limits(told):
    reward = Executes(sandbox=told(None), language="py", stdin="1", wall_s=2.5)
    assert dict(reward.signature_fields()) == {
        "language": "python",
        "stdin": "1",
        "sandbox": "told:1",
        "wall_s": "2.5",
        "cpu_s": "10",
        "memory_mb": "512",
    }


def test_it_pickles_before_setup():
    assert pickle.loads(pickle.dumps(Executes(wall_s=3))).limits.wall_s == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"wall_s": 0}, "executes: the limit wall_s=0 must be a positive number"),
        ({"sandbox": 3}, "sandbox must be the name of one"),
        ({"language": ""}, "language must be a name"),
        ({"stdin": b"x"}, "stdin must be text"),
    ],
)
def test_an_option_that_cannot_be_right_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Executes(**options)


def test_a_task_whose_texts_are_none_fails(told):
    sandbox = told(lambda program: Execution(exit_code=0))
    with pytest.raises(RewardError, match="expected_stdout must be text, not 3"):
        Executes(sandbox=sandbox).score_batch([attempt("x", expected_stdout=3)])


def test_an_unknown_sandbox_is_answered_with_what_there_is():
    with pytest.raises(UnknownNameError, match="namespace"):
        Executes(sandbox="namespce").setup()
