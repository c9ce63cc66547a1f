"""read_suite: the shapes that tests come in, and that no tests are never taken for tests."""

from __future__ import annotations

import base64
import gzip
import json
import pickle
import zlib

import pytest

from rewardkit.errors import RewardError
from rewardkit.serialize import trajectory_from_json
from rewardkit.types import Message, Task
from rewardkit_plugins.code.suites import AssertSuite, CallSuite, StdinSuite, complete, read_suite

HELPERS = "import math\n\ndef helper(x):\n    return x\n\n"
PROMPT = HELPERS + "def area(r):\n    '''Area of a circle.'''\n"
FUTURE = "from __future__ import annotations\n"
CHECK = "def check(candidate):\n    assert candidate(0) == 0\n"


def suite(**metadata):
    return read_suite(Task(id="t", metadata=metadata))


def flat(**record):
    return read_suite(trajectory_from_json({"prompt": "p", "completion": "c", **record}).task)


def test_a_task_without_tests_has_no_suite():
    assert suite() is None
    assert suite(level=3, test="train", tests=None, metadata={"x": 1}) is None
    assert read_suite(Task(references=("42", "[1, 2]"))) is None


def test_humaneval_is_a_check_of_an_entry_point():
    found = flat(prompt=PROMPT, test=CHECK, entry_point="area")
    assert found == AssertSuite(tests=(f"{CHECK}\n\ncheck(area)\n",), prompt=PROMPT, entry_point="area")


def test_a_check_that_is_called_already_is_not_called_again():
    test = f"{CHECK}\ncheck(area)"
    assert suite(test=test, entry_point="area").tests == (test,)


def test_the_prompt_of_a_chat_gives_its_code_where_it_has_any():
    chat = f"Complete this:\n```python\n{PROMPT}```"
    assert flat(prompt=chat, test=CHECK, entry_point="area").prompt == PROMPT.rstrip()
    assert flat(prompt="Write area(r).", test=CHECK, entry_point="area").prompt == ""
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": PROMPT}]
    assert flat(prompt=messages, test=CHECK, entry_point="area").prompt == PROMPT


def test_mbpp_is_a_list_of_asserts_with_a_setup():
    tests = ["assert f(1) == 1", "assert f(2) == 2"]
    found = suite(
        test_list=tests, test_imports=["import math"], test_setup_code="x = 1", challenge_test_list=["assert f(3)"]
    )
    assert found == AssertSuite(tests=tuple(tests), setup="import math\nx = 1")
    task = Task(metadata={"test_list": tests, "challenge_test_list": ["assert f(3)"]})
    assert read_suite(task, challenge=True).tests == (*tests, "assert f(3)")


@pytest.mark.parametrize(
    "metadata",
    [
        {"inputs": ["1\n", "2\n"], "outputs": ["2\n", "4\n"]},
        {"inputs": [["1", ""], ["2", ""]], "outputs": ["2\n", ["4", ""]]},
        {"inputs": '["1\\n", "2\\n"]', "outputs": '["2\\n", "4\\n"]'},
        {"input_output": '{"inputs": ["1\\n", "2\\n"], "outputs": ["2\\n", "4\\n"]}'},
        {"input_output": {"inputs": ["1\n", "2\n"], "outputs": ["2\n", "4\n"]}},
        {"reward_model": {"ground_truth": '{"inputs": ["1\\n", "2\\n"], "outputs": ["2\\n", "4\\n"]}'}},
        {"tests": [{"input": "1\n", "output": "2\n"}, {"input": "2\n", "output": "4\n"}]},
        {"test_cases": '[{"input": "1\\n", "output": "2\\n"}, {"input": "2\\n", "output": "4\\n"}]'},
        {
            "public_test_cases": '[{"input": "1\\n", "output": "2\\n", "testtype": "stdin"}]',
            "private_test_cases": [{"input": "2\n", "output": "4\n", "testtype": "stdin"}],
        },
        {
            "verification_info": {
                "language": None,
                "test_cases": [
                    {"fn_name": None, "type": "stdin_stdout", "input": "1\n", "output": "2\n"},
                    {"fn_name": None, "type": "stdin_stdout", "input": "2\n", "output": "4\n"},
                ],
            }
        },
    ],
)
def test_inputs_with_outputs_are_told_by_their_keys_wherever_they_are(metadata):
    assert suite(**metadata) == StdinSuite(inputs=("1\n", "2\n"), outputs=("2\n", "4\n"))


def test_a_ground_truth_of_json_holds_tests():
    tests = '{"inputs": ["1"], "outputs": ["2"]}'
    wanted = StdinSuite(inputs=("1",), outputs=("2",))
    assert flat(ground_truth=tests) == flat(reward_model={"ground_truth": tests}) == wanted
    assert read_suite(Task(references=(tests,))) == wanted


def test_the_language_of_the_programs_is_read_under_its_names():
    cases = {"inputs": ["1"], "outputs": ["1"]}
    assert suite(language="C++", **cases).language == "cpp"
    assert suite(language="en", **cases).language is None
    assert suite(verification_info={**cases, "language": "Python3"}).language == "python"


@pytest.mark.parametrize(
    "metadata",
    [
        {"fn_name": "add", "inputs": ["1\n2", "3\n4"], "outputs": ["3", "7"]},
        {"fn_name": "add", "inputs": [[1, 2], [3, 4]], "outputs": [3, 7]},
        {"input_output": '{"fn_name": "add", "inputs": [[1, 2], [3, 4]], "outputs": [3, 7]}'},
        {"function": "add", "tests": [{"args": [1, 2], "returns": 3}, {"args": [3, 4], "returns": 7}]},
        {
            "metadata": '{"func_name": "add"}',
            "public_test_cases": [{"input": "1\n2", "output": "3", "testtype": "functional"}],
            "private_test_cases": '[{"input": "3\\n4", "output": "7", "testtype": "functional"}]',
        },
        {
            "starter_code": "class Solution:\n    def add(self, a, b):\n        ",
            "public_test_cases": [
                {"input": "1\n2\n", "output": "3", "testtype": "functional"},
                {"input": "3\n4", "output": "7", "testtype": "functional"},
            ],
        },
        {
            "verification_info": {
                "language": "python",
                "test_cases": [
                    {"fn_name": "add", "type": "function_call", "input": [1, 2], "output": 3},
                    {"fn_name": "add", "type": "function_call", "input": [3, 4], "output": 7},
                ],
            }
        },
    ],
)
def test_calls_of_a_function_are_told_by_its_name(metadata):
    assert suite(**metadata) == CallSuite(function="add", calls=(((1, 2), 3), ((3, 4), 7)))


def test_arguments_in_text_are_json_values_one_a_line():
    found = suite(fn_name="f", inputs=['[1, "a"]\n{"b": null}\n', ""], outputs=["true", '"x"'])
    assert found.calls == ((([1, "a"], {"b": None}), True), ((), "x"))


def test_expected_values_in_boxes_are_known_for_it():
    assert suite(fn_name="f", inputs=[[1], [2]], outputs=[[1], [2]]).boxed
    assert not suite(fn_name="f", inputs=[[1], [2]], outputs=[[1], [2, 3]]).boxed
    assert not suite(fn_name="f", inputs=["1"], outputs=["[1]"]).boxed


def test_text_among_plain_values_is_a_value():
    assert suite(fn_name="f", inputs=[["3"]], outputs=["3"]).calls == ((("3",), "3"),)


def test_a_list_of_asserts_may_be_called_tests():
    assert suite(tests=["assert f(1)"], setup="x = 1") == AssertSuite(tests=("assert f(1)",), setup="x = 1")
    assert suite(test="assert f(1)\nassert f(2)").tests == ("assert f(1)\nassert f(2)",)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"inputs": [], "outputs": []}, "task 't' cannot be read: inputs holds no test"),
        ({"inputs": ["1"], "outputs": ["1", "2"]}, "inputs has 1 entries, but outputs 2"),
        ({"inputs": ["1"]}, "outputs must be a list"),
        ({"inputs": "1", "outputs": "2"}, "inputs must be a list with one entry for each test, not '1'"),
        ({"inputs": [1], "outputs": ["1"]}, r"inputs\[0\] and its output must be text, not 1"),
        ({"input_output": {"inputs": ["1"], "outputs": [2]}}, r"input_output\.inputs\[0\]"),
        ({"fn_name": "f", "inputs": ["a b"], "outputs": ["1"]}, r"inputs\[0\] must be JSON values, one a line: 'a b'"),
        ({"fn_name": "f", "inputs": ["1"], "outputs": ["x"]}, "'x' is none"),
        ({"fn_name": "f", "inputs": [1], "outputs": [1]}, "must be the list of arguments, not 1"),
        ({"fn_name": "f(", "inputs": [[1]], "outputs": [1]}, r"fn_name must be the name of a function, not 'f\('"),
        ({"test_list": []}, "test_list holds no test"),
        ({"test_list": ["", "  "]}, "test_list holds no test"),
        ({"test_list": ["f(1)"]}, r"test_list has 'f\(1\)', which asserts nothing"),
        ({"test_list": ["assert f(1"]}, r"test_list is no Python: SyntaxError: '\(' was never closed"),
        ({"test_list": "assert f(1)"}, "test_list must be a list of texts"),
        ({"test": "def check(candidate):\n    pass", "entry_point": "f"}, "which asserts nothing"),
        ({"test": CHECK}, "whose asserts nothing runs"),
        ({"test": "def test_f():\n    assert f(1)", "entry_point": "f"}, "whose asserts nothing runs"),
        ({"tests": []}, "tests holds no test"),
        ({"tests": [1]}, r"tests\[0\] must be an object, not 1"),
        (
            {"tests": [{"input": "1"}]},
            r"tests\[0\] must hold input and output, or args and returns: it has \['input'\]",
        ),
        ({"tests": [{"args": [1], "returns": 1}]}, "no fn_name says of which function"),
        (
            {"tests": [{"input": "1", "output": "1"}, {"fn_name": "f", "args": [1], "returns": 1}]},
            "mixes tests of",
        ),
    ],
)
def test_broken_tests_are_an_error_that_names_the_key(metadata, message):
    with pytest.raises(RewardError, match=message):
        suite(**metadata)


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


def test_compressed_pickles_are_refused_and_never_read():
    packed = base64.b64encode(zlib.compress(pickle.dumps(Bomb()))).decode()
    with pytest.raises(RewardError, match=r"private_test_cases must be a list.*convert it once"):
        suite(public_test_cases="[]", private_test_cases=packed)


def test_nesting_without_end_is_given_up():
    record = {"inputs": ["1"], "outputs": ["1"]}
    for _ in range(50):
        record = {"tests": record}
    assert suite(**record) is None


@pytest.mark.parametrize(
    ("code", "whole"),
    [
        ("    return 3\n", PROMPT + "    return 3\n"),
        ("return 3\n", PROMPT + "    return 3\n"),
        ("x = 1\nreturn x", PROMPT + "    x = 1\n    return x"),
        ("if r:\n    return 3", PROMPT + "    if r:\n        return 3"),
        ("x = (", PROMPT + "x = ("),
        ("x = 1\n    return x", PROMPT + "    x = 1\n    return x"),
        ("def area(r):\n    return 3", HELPERS + "\ndef area(r):\n    return 3"),
        ("area = lambda r: 3", HELPERS + "\narea = lambda r: 3"),
        (FUTURE + "def area(r):\n    return 3", FUTURE + HELPERS + "\ndef area(r):\n    return 3"),
    ],
)
def test_a_program_is_the_prompt_and_its_rest_or_its_helpers_and_a_definition(code, whole):
    assert complete(code, PROMPT, "area") == whole


def test_another_name_that_begins_like_the_entry_point_does_not_define_it():
    assert complete("def area2(r):\n    pass", PROMPT, "area").startswith(PROMPT)


def test_without_an_entry_point_the_program_is_the_code():
    assert AssertSuite(tests=("assert f(1)",)).program("x = 1") == "x = 1"


@pytest.mark.parametrize("name", ["humanevalpack_python", "mbpp_tasks"])
def test_real_tasks_are_read_and_their_solutions_continue_their_prompts(shared, name):
    with gzip.open(shared(f"data/code/{name}.jsonl.gz"), "rt", encoding="utf-8") as file:
        for record in map(json.loads, file):
            solution = record["canonical_solution"]
            found = flat(**{**record, "completion": solution})
            assert len(found.tests) == 1
            assert f"check({record['entry_point']})" in found.tests[0]
            if record["task_id"] != "MBPP/64":  # its prompt is no Python
                assert found.program(solution) == record["prompt"] + solution


def test_real_lists_of_asserts_are_read(shared):
    with gzip.open(shared("data/tools/tara_code.jsonl.gz"), "rt", encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    plain = [record for record in records if "def check(" not in record["test_list"][0]]
    assert len(plain) == 476
    assert all(suite(test_list=record["test_list"]).tests == tuple(record["test_list"]) for record in plain)


def test_the_vectors_of_prime_code_are_read_but_for_empty_ones(shared):
    for case in json.loads(shared("specs/vectors/prime_code.json").read_text()):
        task = Task(prompt=(Message(role="user", content="p"),), metadata=case["tests"])
        if case["name"].startswith("empty_tests"):
            with pytest.raises(RewardError, match="holds no test"):
                read_suite(task)
        else:
            found = read_suite(task)
            assert isinstance(found, CallSuite if "fn_name" in case["tests"] else StdinSuite)
            assert len(getattr(found, "calls", None) or found.inputs) == len(case["tests"]["inputs"])


def test_a_type_of_test_that_nobody_knows_is_an_error():
    cases = [{"type": "functionnal", "fn_name": "add", "input": "1", "output": "2"}]
    with pytest.raises(RewardError, match="unknown type 'functionnal'"):
        read_suite(Task(id="t", metadata={"test_cases": cases}))
