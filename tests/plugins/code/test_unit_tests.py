"""unit_tests: real solutions pass, spoiled ones and cheats do not, and what is no program's fault is a Failure."""

from __future__ import annotations

import ast
import gzip
import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest

from rewardkit.errors import ConfigError, RewardError, SandboxError
from rewardkit.judging import judge
from rewardkit.plugins import Plugins
from rewardkit.programs import Execution
from rewardkit.testing import RewardContract, trajectory
from rewardkit.types import Failure
from rewardkit_plugins.code.unit_tests import UnitTests

_FILE = importlib.util.spec_from_file_location("cheats", Path(__file__).parent / "cheats.py")
cheats = importlib.util.module_from_spec(_FILE)
_FILE.loader.exec_module(cheats)

ADD = "def add(a, b):\n    return a + b\n"
CALLS = cheats.TASKS["calls"]
STDIN = cheats.TASKS["stdin"]


def attempt(code, task, *, fenced=True):
    return trajectory("Write it.", f"```\n{code}\n```" if fenced else code, metadata=task)


def scores(sandbox, pairs, **options):
    reward = UnitTests(sandbox=sandbox, **options)
    batch = [attempt(code, task) for code, task in pairs]
    return [score for first in range(0, len(batch), 64) for score in reward.score_batch(batch[first : first + 64])]


def score(sandbox, code, task, **options):
    return scores(sandbox, [(code, task)], **options)[0]


def statuses(scored):
    return [test["status"] for test in scored.metadata["tests"]]


def rows(shared, name):
    with gzip.open(shared(f"data/code/{name}.jsonl.gz"), "rt") as lines:
        return [json.loads(line) for line in lines]


def humaneval(row):
    return {key: row[key] for key in ("prompt", "test", "entry_point")}


@pytest.mark.usefixtures("sandbox")
class TestContract(RewardContract):
    reward = "unit_tests:sandbox=namespace,test_s=3"

    def trajectories(self):
        return [attempt(code, cheats.TASKS[shape]) for shape, code in cheats.HONEST.items()]


# ---- solutions, spoiled solutions, cheats


def test_every_shape_pays_for_an_honest_solution(sandbox):
    pairs = [(code, cheats.TASKS[shape]) for shape, code in cheats.HONEST.items()]
    assert [scored.value for scored in scores(sandbox, pairs)] == [1.0] * len(pairs)


@pytest.mark.parametrize("shape", ["asserts", "mbpp", "calls", "stdin"])
def test_every_cheat_earns_nothing(sandbox, shape):
    tried = [(name, code) for at, name, code in cheats.CHEATS if at == shape]
    found = scores(sandbox, [(code, cheats.TASKS[shape]) for _, code in tried], test_s=0.5, total_s=2)
    assert {name: scored.value for (name, _), scored in zip(tried, found, strict=True) if scored.value != 0} == {}


def test_humaneval_solutions_pass_whole_and_as_bodies(sandbox, shared):
    tasks = rows(shared, "humanevalpack_python")
    whole = [(row["prompt"] + row["canonical_solution"], humaneval(row)) for row in tasks]
    bodies = [(row["canonical_solution"], humaneval(row)) for row in tasks]
    found = scores(sandbox, whole + bodies)
    assert [scored.explanation for scored in found if scored.value != 1] == []


@pytest.mark.parametrize("spoil", ["returns None", "is empty", "is off by one", "has a bug"])
def test_spoiled_humaneval_solutions_fail(sandbox, shared, spoil):
    tasks = rows(shared, "humanevalpack_python")
    found = scores(sandbox, [(spoiled(row, spoil), humaneval(row)) for row in tasks], test_s=1)
    assert [row["task_id"] for row, scored in zip(tasks, found, strict=True) if scored.value != 0] == []


def spoiled(row, how):
    """Return the canonical solution of `row` with the fault `how`."""
    bodies = {"returns None": "    return None\n", "is empty": "    pass\n", "has a bug": row["buggy_solution"]}
    if how in bodies:
        return row["prompt"] + bodies[how]
    original = row["prompt"] + row["canonical_solution"]
    name = row["entry_point"]
    return f"{original}\n_right = {name}\ndef {name}(*args):\n    return _off(_right(*args))\n{OFF}"


OFF = """
def _off(x):
    if isinstance(x, bool): return not x
    if isinstance(x, (int, float)): return x + 1
    if isinstance(x, str): return x + "x"
    if isinstance(x, (list, tuple)): return x[1:] if x else type(x)([0])
    return {} if x else 0
"""


@pytest.mark.slow
def test_mbpp_solutions_pass_but_for_those_that_python_does_not_run(sandbox, shared):
    tasks = rows(shared, "mbpp_tasks")
    label = {row["task_id"]: row["passed"] for row in rows(shared, "programs_mbpp")}
    assert sum(not passed for passed in label.values()) == 10  # of the 15 that are known
    found = scores(sandbox, [(row["prompt"] + row["canonical_solution"], humaneval(row)) for row in tasks])
    different = [r["task_id"] for r, s in zip(tasks, found, strict=True) if (s.value == 1) != label[r["task_id"]]]
    assert different == []


def test_asserts_that_come_as_a_list_are_one_test_each(sandbox, shared):
    runs = {row["task_id"] for row in rows(shared, "programs_mbpp") if row["passed"]}
    tasks = [row for row in rows(shared, "mbpp_tasks")[:40] if row["task_id"] in runs]
    pairs = []
    for row in tasks:
        check = ast.parse(row["test"]).body[-1]
        assert isinstance(check, ast.FunctionDef)
        asserts = [ast.unparse(line).replace("candidate", row["entry_point"]) for line in check.body]
        pairs.append((row["prompt"] + row["canonical_solution"], {"test_list": asserts}))
    found = scores(sandbox, pairs)
    assert [s.explanation for s in found if s.value != 1] == []
    assert {s.parts["tests"] for s in found} <= {2.0, 3.0, 4.0}


# What verl's prime_code pays and we do not, and the other way round.
DIFFERENT = {
    "fn_missing_but_star_import_leaks": 0.0,  # the function came from the grader's own imports
    "stdin_read_expected_hack_stack": 0.0,
    "fn_always_equal": 0.0,
    "fn_nested_raw_json_inputs": 1.0,  # a right program, whose inputs are lists of arguments rather than text
    "empty_tests": None,
    "empty_tests_valid_code": None,
}


def test_prime_code_agrees_but_for_its_holes(sandbox, shared):
    for case in json.loads(shared("specs/vectors/prime_code.json").read_text()):
        expected = DIFFERENT.get(case["name"], case["reward"])
        reward = UnitTests(sandbox=sandbox, value="fraction", test_s=1)
        one = attempt(case["completion"], case["tests"], fenced=False)
        if expected is None:
            with pytest.raises(RewardError, match="holds no test"):
                reward.score_batch([one])
        else:
            assert reward.score_batch([one])[0].value == pytest.approx(expected), case["name"]


# ---- what is paid, and what is said


def test_fraction_pays_the_share_and_all_pays_nothing_less(sandbox):
    wrong_for_negatives = "def add(a, b):\n    return abs(a) + b\n"
    partly = score(sandbox, wrong_for_negatives, CALLS, value="fraction")
    assert (partly.value, partly.parts["passed"], partly.parts["failed"]) == (pytest.approx(2 / 3), 2, 1)
    assert statuses(partly) == ["passed", "failed", "passed"]
    assert partly.explanation == "2 of 3 tests passed; test 2: failed (another value)"
    assert score(sandbox, wrong_for_negatives, CALLS).value == 0


def test_fraction_counts_each_assert_of_a_check(sandbox):
    check = "X = 1\ndef check(candidate):\n    y = X\n    assert True, 'no test'\n    assert candidate(1, 1) == 2\n"
    check += "    for n in range(3):\n        assert candidate(n, y) == n + 1\n    assert candidate(0, -1) == -1\n"
    task = {"prompt": "def add(a, b):\n    pass\n", "test": check, "entry_point": "add"}
    assert statuses(score(sandbox, "def add(a, b): return a + abs(b)", task, value="fraction")) == [
        *["passed"] * 2,
        "failed",
    ]
    assert score(sandbox, ADD, task).parts["tests"] == 1


def test_humaneval_solutions_pass_assert_by_assert(sandbox, shared):
    tasks = rows(shared, "humanevalpack_python")
    found = scores(sandbox, [(row["canonical_solution"], humaneval(row)) for row in tasks], value="fraction")
    assert [scored.explanation for scored in found if scored.value != 1] == []
    assert sum(scored.parts["tests"] for scored in found) > 5 * len(tasks)


def test_testing_stops_at_the_first_failure_unless_told(sandbox):
    task = {"test_list": ["assert add(1, 1) == 2", "assert add(1, 1) == 3", "assert add(1, 1) == 2"]}
    assert statuses(score(sandbox, ADD, task)) == ["passed", "failed"]
    assert statuses(score(sandbox, ADD, task, stop_at_failure=False)) == ["passed", "failed", "passed"]
    assert len(statuses(score(sandbox, "print(0)", STDIN))) < 3
    assert len(statuses(score(sandbox, "print(0)", STDIN, stop_at_failure=False))) == 3


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        ("while True: pass", "timeout"),
        ("os._exit(0)", "crashed"),
        ("x = b'a' * (1 << 29)", "memory"),
        ("1 / 0", "error"),
    ],
)
@pytest.mark.parametrize("shape", ["mbpp", "calls", "stdin"])
def test_a_test_that_ends_badly_takes_no_other_with_it(sandbox, shape, bad, status):
    function = f"import os\ndef add(a, b):\n    if a == 1:\n        {bad}\n    return a + b\n"
    task = {
        "mbpp": {"test_list": [f"assert add({n}, 1) == {n + 1}" for n in range(3)]},
        "calls": {"fn_name": "add", "inputs": [[0, 1], [1, 1], [2, 1]], "outputs": [1, 2, 3]},
        "stdin": {"inputs": ["0 1", "1 1", "2 1"], "outputs": ["1", "2", "3"]},
    }[shape]
    code = function + ("print(add(*map(int, input().split())))" if shape == "stdin" else "")
    scored = score(sandbox, code, task, value="fraction", test_s=1, memory_mb=128)
    expected = [status, "failed", "error"] if shape == "stdin" or status == "memory" else [status]
    assert statuses(scored)[0] == statuses(scored)[2] == "passed"
    assert statuses(scored)[1] in expected
    assert scored.value == pytest.approx(2 / 3)


def test_all_tests_together_have_a_limit(sandbox):
    sleeps = "import time\ndef add(a, b):\n    time.sleep(0.4)\n    return a + b\n"
    task = {"test_list": ["assert add(1, 1) == 2"] * 10}
    found = score(sandbox, sleeps, task, value="fraction", test_s=0.6, total_s=1.3)
    assert 1 <= found.parts["passed"] <= 3
    assert found.parts["tests"] == 10
    assert statuses(found)[-1] == "timeout"


def test_a_program_that_does_not_compile_says_so(sandbox):
    for shape in ("asserts", "calls", "stdin"):
        found = score(sandbox, "def add(a, b:\n    return", cheats.TASKS[shape], value="fraction")
        assert (found.value, found.parts["compile_error"], found.parts["passed"]) == (0, 1, 0)
        assert "SyntaxError" in found.explanation


def test_what_is_said_gives_away_no_expected_value(sandbox):
    pairs = [
        ("def add(a, b): return 0", {"test_list": ["assert add(1, 1) == 70707, 'it is 70707'"]}),
        ("def add(a, b): return 0", {"fn_name": "add", "inputs": [[1, 1]], "outputs": [70707]}),
        ("print(0)", {"inputs": ["1 1"], "outputs": ["70707"]}),
    ]
    for found in scores(sandbox, pairs):
        assert found.value == 0
        assert "70707" not in repr(found)


def test_no_code_scores_nothing_and_says_so(sandbox):
    reward = UnitTests(sandbox=sandbox)
    found = reward.score_batch([attempt("", CALLS, fenced=False)])[0]
    assert (found.value, found.explanation) == (0.0, "no python code found")


def test_other_languages_read_and_print(sandbox):
    code = "read a b; echo $((a + b))"
    assert score(sandbox, code, STDIN, language="bash").value == 1
    assert score(sandbox, code, {**STDIN, "language": "bash"}).value == 1
    assert score(sandbox, "read a b; echo $a", STDIN, language="bash").value == 0
    with pytest.raises(RewardError, match="in Python only, not in 'bash'"):
        score(sandbox, code, CALLS, language="bash")


def test_a_contest_program_may_use_what_graders_import_but_must_define_its_function(sandbox):
    task = {"fn_name": "gcd", "inputs": [[4, 6]], "outputs": [2]}
    code = "class Solution:\n    def gcd(self, *xs: List[int]) -> Optional[int]:\n"
    code += "        return next(n for n in count(min(xs), -1) if not any(x % n for x in Counter(xs)))\n"
    assert score(sandbox, code, task).value == 1
    assert score(sandbox, "from __future__ import annotations\n" + code, task).value == 1
    assert score(sandbox, "def lcm(a, b): return a * b", task).value == 0
    assert score(sandbox, "gcd = math.gcd", task).value == 0  # what it was given is not its own


def test_an_entry_point_may_be_a_method_of_solution(sandbox):
    task = {"test": "def check(candidate):\n    assert candidate(xs=[1, 2]) == 3\n", "entry_point": "Solution().total"}
    code = "class Solution:\n    def total(self, xs: List[int]) -> int:\n        return {}(xs)\n"
    assert score(sandbox, code.format("sum"), task).value == 1
    assert score(sandbox, code.format("len"), task).value == 0


def test_large_values_and_outputs_are_compared_whole(sandbox):
    numbers = list(range(150_000))
    task = {"fn_name": "f", "inputs": [[150_000]] * 5, "outputs": [numbers] * 5}
    own = UnitTests(sandbox="namespace")
    codes = ["def f(n): return list(range(n))", "def f(n): return list(range(n - 1)) + [0]"]
    text = {"inputs": ["150000"], "outputs": ["\n".join(map(str, numbers * 2))]}
    prints = ["print(*[*range(150000)] * 2, sep='\\n')", "print(*[*range(150000)] * 2, 0, sep='\\n')"]
    try:
        found = own.score_batch([attempt(c, task) for c in codes] + [attempt(c, text) for c in prints])
    finally:
        own.close()
    assert [scored.value for scored in found] == [1, 0, 1, 0]


def test_what_a_program_returns_does_not_make_its_tests_look_broken(sandbox):
    code = "def deep(n):\n    x = []\n    for _ in range(n): x = [x]\n    return x\ndef same(x): return x\n"
    assert score(sandbox, code, {"test_list": ["assert same([deep(190)]) == [deep(190)]"]}).value == 1
    assert score(sandbox, code, {"test_list": ["assert same([[[deep(199)]]]) == 1"]}).value == 0


_UNBOUND = """
import sys
values = sys.modules["rewardkit_sandbox.inside.values"]
serving = sys.modules["rewardkit_sandbox.inside.serving"]
sys.setrecursionlimit(10**6)
values.DEEPEST, encode = 10**9, serving.Candidate.encode
"""


@pytest.mark.parametrize("depth", [300, 1100, 1900, 3000])
def test_a_value_that_is_too_deep_to_be_read_is_the_programs_fault(sandbox, depth):
    deep = f"{_UNBOUND}def add(a, b):\n    v = []\n    for _ in range({depth}): v = [v]\n    return v\n"
    assert statuses(score(sandbox, deep, CALLS)) == ["forged"] * 3


def test_a_value_that_could_not_cross_back_is_the_programs_fault(sandbox):
    endless = "['new', 'builtins.range', 0, 1 << 40, 1]"
    forged = (
        f"serving.Candidate.encode = lambda end, value, depth=0: {endless} if value == 'all' else encode(end, value)"
    )
    code = f"{_UNBOUND}{forged}\ndef add(a, b): return 'all'\n"
    assert statuses(score(sandbox, code, {"test_list": ["assert add(add(1, 2), 3) == 6"]})) == ["forged"]


def test_what_a_program_says_can_be_written_down(sandbox):
    found = score(sandbox, "def add(a, b): raise ValueError('\\ud800')", CALLS)
    assert json.dumps(found.metadata, ensure_ascii=False).encode()
    assert found.explanation.encode()


def test_max_tests_takes_the_first(sandbox):
    wrong_for_negatives = "def add(a, b):\n    return abs(a) + b\n"
    assert score(sandbox, wrong_for_negatives, CALLS, max_tests=1).value == 1
    assert score(sandbox, wrong_for_negatives, CALLS, max_tests=2).value == 0


def test_numbers_agree_within_the_tolerance(sandbox):
    task = {"fn_name": "add", "inputs": [[1, 2]], "outputs": [0.3]}
    code = "def add(a, b): return a / 10 + b / 10"
    assert score(sandbox, code, task).value == 1
    assert score(sandbox, code, task, rtol=0, atol=0).value == 0


# ---- what the candidate's process is given, and what is no program's fault


def judged(*lines):
    report = b"".join(json.dumps(line).encode() + b"\n" for line in ({"ready": True}, *lines))
    return Execution(exit_code=0, peer=Execution(exit_code=0, stdout=report))


def all_passed(program):
    orders = json.loads(program.peer.stdin)
    tests = [{"test": n, "status": "passed", "seconds": 0.0} for n in range(len(orders["tests"]))]
    return judged(*tests, {"done": 1})


def test_the_candidates_program_holds_no_test_and_the_judges_no_code(told):
    sandbox = told(all_passed)
    task = {**cheats.TASKS["asserts"], "test": "def check(candidate):\n    assert candidate(1, 1) == 70707\n"}
    assert score(sandbox, ADD, task).value == 1
    (program,) = sandbox.programs
    assert "70707" not in repr(replace(program, peer=None))
    assert "70707" in repr(program.peer)
    assert "return a + b" not in repr(program.peer)


def test_the_sandbox_is_given_no_expected_output(told):
    sandbox = told(lambda program: Execution(exit_code=0, stdout=b"", runs=(Execution(exit_code=0),)))
    score(sandbox, "print(0)", {"inputs": ["1"], "outputs": ["70707"]})
    sandbox.answer = lambda program: judged(
        {"test": 0, "status": "passed", "value": 70707, "seconds": 0.0}, {"done": 1}
    )
    assert score(sandbox, ADD, {"fn_name": "add", "inputs": [[1, 1]], "outputs": [70707]}).value == 1
    assert "70707" not in repr([replace(program, stop=None) for program in sandbox.programs])


def test_equal_programs_with_equal_tests_run_once(told):
    sandbox = told(all_passed)
    other = {"test_list": ["assert add(1, 1) == True + 1"]}
    task = {"test_list": ["assert add(1, 1) == 2"]}
    found = scores(sandbox, [(ADD, task), (ADD, task), (ADD, other), (ADD + "#b", task)])
    assert [scored.value for scored in found] == [1.0] * 4
    assert len(sandbox.programs) == 3


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], "crashed"),
        ([{"test": 0, "status": "forged", "seconds": 0}], "forged"),
        ([{"test": 0, "status": "vacuous", "seconds": 0, "note": "never called"}], RewardError),
        ([{"test": 0, "status": "broken", "seconds": 0, "note": "no module named x"}], RewardError),
    ],
)
def test_a_report_that_is_cut_off_is_no_pass_and_broken_tests_are_a_failure(told, lines, expected):
    reward = UnitTests(sandbox=told(lambda program: judged(*lines)), value="fraction")
    one = attempt(ADD, {"test_list": ["assert add(1, 1) == 2"]})
    if expected is RewardError:
        with pytest.raises(RewardError, match="look at the task's tests"):
            reward.score_batch([one])
    else:
        assert statuses(reward.score_batch([one])[0]) == [expected]


def test_runs_that_were_not_made_are_made_up_for(told):
    def first_only(program):
        run = Execution(exit_code=0, stdout=program.inputs[0])
        return replace(run, runs=(run,))

    sandbox = told(first_only)
    assert score(sandbox, "print(input())", {"inputs": ["1", "2", "3"], "outputs": ["1", "2", "3"]}).value == 1
    assert [len(program.inputs) for program in sandbox.programs] == [3, 2, 1]


def test_a_sandbox_that_fails_fails_that_trajectory_only(told):
    def answer(program):
        broken = b"unlucky" in program.files["candidate.py"]
        return SandboxError("it broke") if broken else all_passed(program)

    spec = Plugins.load().rewards.get("unit_tests")
    task = {"test_list": ["assert add(1, 1) == 2"]}
    batch = [attempt(code, task) for code in (ADD, ADD + "# unlucky", ADD)]
    found = judge(spec, UnitTests(sandbox=told(answer)), batch)
    assert [getattr(one, "value", None) for one in found] == [1.0, None, 1.0]
    assert isinstance(found[1], Failure)
    assert (found[1].kind, found[1].retryable) == ("sandbox", True)


def test_tests_of_no_known_shape_are_a_failure_that_shows_them(told):
    with pytest.raises(RewardError, match=r"no tests of a known shape .*tests='zzz'"):
        UnitTests(sandbox=told(None)).score_batch([attempt(ADD, {"tests": "zzz"})])


@pytest.mark.parametrize(
    "task",
    [{}, {"test_list": []}, {"inputs": [], "outputs": []}, {"fn_name": "add", "inputs": [], "outputs": []}],
)
def test_no_tests_are_a_failure_and_never_a_pass(told, task):
    with pytest.raises(RewardError, match="test"):
        score(told(all_passed), ADD, task)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"value": "some"}, "value must be one of all, fraction"),
        ({"test_s": 0}, "test_s must be at least 0.01"),
        ({"test_s": 50}, "total_s must be at least 50"),
        ({"max_tests": -1}, "max_tests must be at least 0"),
        ({"sandbox": 3}, "sandbox must be the name of one"),
    ],
)
def test_an_option_that_cannot_be_right_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        UnitTests(**options)


def test_the_signature_says_where_programs_ran_and_what_was_paid(told):
    fields = UnitTests(sandbox=told(all_passed), value="fraction", max_tests=5).signature_fields()
    assert fields["sandbox"] == "told:1"
    assert (fields["value"], fields["tests"], fields["stop_at_failure"]) == ("fraction", "5", "false")
    assert "stop_at_failure" not in UnitTests(sandbox=told(all_passed)).signature_fields()
