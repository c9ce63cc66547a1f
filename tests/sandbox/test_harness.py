"""The harness: what crosses the stream and what never does, without a sandbox, in two processes of this machine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardkit_sandbox.inside.judging import Handle, Judge
from rewardkit_sandbox.inside.serving import Candidate

PRELUDE = "import os, sys; import rewardkit_sandbox.inside.harness as h; sys.modules['rewardkit_harness'] = h; "
ROOT = Path(__file__).parents[2]


def report_of(candidate: str, *, seconds: float = 5.0, **orders: Any) -> list[dict[str, Any]]:
    """Return what the judge reports of `candidate`, as it comes. Unsafe: for programs that are written here only."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "candidate.py").write_bytes(candidate.encode("utf-8", "surrogatepass"))
        ours, theirs = socket.socketpair()
        serving = _start("serve", ours, folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        judging = _start("judge", theirs, "/", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        ours.close()
        theirs.close()
        try:
            out, _ = judging.communicate(json.dumps({"seconds": seconds, **orders}).encode(), timeout=60)
        finally:
            for process in (serving, judging):
                process.kill()
                process.wait()
    return [json.loads(line) for line in out.splitlines()]


def statuses(candidate: str, *tests: str, **orders: Any) -> list[str]:
    """Return the status of each test, or of the candidate's module where that cannot be used."""
    ready, *lines = report_of(candidate, tests=tests, **orders)
    return [line["status"] for line in lines if "test" in line] if ready["ready"] else [ready["status"]]


def _start(what: str, end: socket.socket, folder: str, **streams: Any) -> subprocess.Popen[bytes]:
    code = f"{PRELUDE}os.dup2({end.fileno()}, 3); h.{what}()"
    environment = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'sandbox'}", "PATH": os.environ["PATH"]}
    command = [sys.executable, "-S", "-c", code]
    return subprocess.Popen(
        command, pass_fds=(end.fileno(),), cwd=folder, env=environment, stderr=subprocess.DEVNULL, **streams
    )


VALUES = [
    "None",
    "True",
    "[0, -1, 2**62, 2**63, -2**64, 10**3000]",
    "[0.1, -0.0, 1e300, float('inf')]",
    "'text \\x00 \\u00e9 \\U0001f600 \\ud800 \\ud83d\\ude00'",
    "b'\\x00\\xff'",
    "bytearray(b'\\x80')",
    "1-2j",
    "[[1, [2, []]], (), (1,), {}]",
    "{(1, 'a'): {None: [True]}, 2: b'x', 1.5: frozenset({1})}",
    "{1, (2, 3), frozenset({4})}",
    "range(2, 9, 3)",
    "__import__('collections').Counter('aab')",
    "__import__('collections').OrderedDict([(2, 1), (1, 2)])",
    "__import__('collections').deque([1, 2])",
    "__import__('fractions').Fraction(1, 3)",
    "__import__('decimal').Decimal('1.10')",
    "__import__('datetime').date(2024, 2, 29)",
    "__import__('datetime').datetime(2024, 2, 29, 1, 2, 3, 4)",
    "__import__('datetime').timedelta(days=-1, microseconds=5)",
    "int",
]


@pytest.mark.parametrize("value", VALUES)
def test_plain_values_cross_both_ways_with_their_exact_types(value):
    candidate = f"def back(): return {value}\ndef same(x): return type(x) is type({value}) and x == {value}"
    judged = f"x = {value}\nassert type(back()) is type(x) and repr(back()) == repr(x)\nassert same(x) is True"
    assert statuses(candidate, judged) == ["passed"]


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
HASHABLE = SCALARS | st.tuples(SCALARS, SCALARS) | st.frozensets(SCALARS, max_size=3)
PLAIN = st.recursive(
    HASHABLE | st.sets(HASHABLE, max_size=3),
    lambda x: st.lists(x, max_size=4) | st.dictionaries(HASHABLE, x, max_size=4) | st.tuples(x, x),
    max_leaves=8,
)
TAGS = ["list", "tuple", "set", "frozenset", "dict", "i", "u", "bytes", "type", "new", "handle", "back", "record"]
NAMES = [
    "int",
    "eval",
    "builtins.range",
    "builtins.exec",
    "os.system",
    "fractions.Fraction",
    "collections.Counter",
    "0x1",
]
ANSWERS = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 1 << 70) | st.floats() | st.sampled_from(NAMES),
    lambda x: (
        st.builds(lambda tag, parts: [tag, *parts], st.sampled_from(TAGS), st.lists(x, max_size=4))
        | st.dictionaries(st.text(max_size=2), x, max_size=2)
    ),
    max_leaves=12,
)


def bare(kind: type) -> Any:
    """Return an end without a stream."""
    end = object.__new__(kind)
    end.handles, end.errors, end.functions = {}, {}, [len]
    return end


def parts(value: Any) -> list[Any]:
    """Return `value` and all that is in it."""
    inside = [*value.items()] if isinstance(value, dict) else value if isinstance(value, list | tuple | set) else []
    return [value, *(part for item in inside for part in parts(item))]


@given(PLAIN)
def test_any_plain_value_comes_through_as_it_is(value):
    arrived = bare(Judge).decode(json.loads(json.dumps(bare(Candidate).encode(value))))
    assert repr(arrived) == repr(value) or arrived == value  # the order in sets may differ
    assert [type(part) for part in parts(arrived)][:1] == [type(value)]


@settings(max_examples=500)
@given(ANSWERS)
def test_any_answer_becomes_plain_values_and_handles_or_is_refused(answer):
    known = {"NoneType", "bool", "int", "float", "str", "bytes", "list", "tuple", "set", "frozenset", "dict", "type"}
    known |= {"range", "Counter", "Fraction", "builtin_function_or_method"}  # the last one is what was passed: len
    try:
        value = bare(Judge).decode(answer)
    except Exception:
        return
    assert {type(part).__name__ for part in parts(value) if type(part) is not Handle} <= known
    assert not {id(part) for part in parts(value) if callable(part)} & {id(eval), id(exec), id(os.system)}


@pytest.mark.parametrize(
    ("value", "crosses_as"),
    [
        ("type('T', (tuple,), {})((1, 2))", "(1, 2)"),
        ("__import__('collections').namedtuple('P', 'x y')(1, 2)", "(1, 2)"),
        ("__import__('enum').IntEnum('C', 'A B').B", "2"),
        ("type('S', (str,), {'__str__': lambda s: 'no'})('yes')", "'yes'"),
        ("__import__('collections').defaultdict(int, {1: 2})", "{1: 2}"),
    ],
)
def test_a_subclass_that_compares_like_its_base_crosses_as_that(value, crosses_as):
    test = f"assert type(f()) is type({crosses_as}) and f() == {crosses_as}"
    assert statuses(f"def f(): return {value}", test) == ["passed"]


@pytest.mark.parametrize("base", ["object", "int", "float", "str", "list", "dict", "tuple"])
def test_what_compares_by_itself_equals_nothing_but_itself(base):
    candidate = f"class E({base}):\n    def __eq__(s, o): return True\n    def __ne__(s, o): return True\n"
    candidate += "    def __hash__(s): return 0\n    def __lt__(s, o): return True\ne = E()\ndef f(): return e"
    tests = ["assert f() == 0", "assert 0 == f()", f"assert f() == {base}()", "assert f() in [0, 1]", "assert f() < 1"]
    assert statuses(candidate, *tests, "assert f() == f() and not f() != f() and {f(): 1}[f()] == 1") == [
        *["failed"] * 5,
        "passed",
    ]


STACK = """
class Stack:
    '''A stack.'''
    size = 0
    def __init__(self, *items): self.items = list(items)
    def push(self, item): self.items.append(item); return self
    def pop(self):
        if not self.items: raise Empty('nothing', 7)
        return self.items.pop()
    def __len__(self): return len(self.items)
    def __iter__(self): return iter(self.items)
    def __getitem__(self, n): return self.items[n]
    def __setitem__(self, n, x): self.items[n] = x
    def __delitem__(self, n): del self.items[n]
    def __repr__(self): return f'Stack({self.items})'
    def __contains__(self, x): return True
    def __float__(self): return 0.5
class Empty(LookupError): pass
class Emptier(Empty): pass
def worse(): raise Emptier
def numbers():
    n = 0
    while True:
        yield n
        n += 1
"""


@pytest.mark.parametrize(
    "test",
    [
        "s = Stack(1, 2)\nassert s.push(3) is s and s.pop() == 3 and len(s) == 2 and s.items == [1, 2]",
        "s = Stack(5)\ns[0] = 7\nassert s[0] == 7 and list(s) == [7]\ndel s[0]\nassert not s and s.size == 0",
        "s = Stack(1)\ns.size = 4\nassert s.size == 4 and str(s) == 'Stack([1])' and float(s) == 0.5",
        "assert isinstance(Stack(), Stack) and not isinstance(3, Stack) and not isinstance(Stack(), list)",
        "assert Stack.__name__ == 'Stack' and not hasattr(Stack(), '__globals__')",
        "assert 1 in Stack(1) and 2 not in Stack(1)",
        "try:\n    Stack().pop()\nexcept Empty as e:\n    assert e.args == ('nothing', 7)\nelse:\n    assert False",
        "try:\n    Stack().pop()\nexcept LookupError:\n    pass\nelse:\n    assert False",
        "try:\n    worse()\nexcept Empty:\n    pass\nelse:\n    assert False",
        "try:\n    Stack().nothing\nexcept AttributeError:\n    pass\nelse:\n    assert False",
        "g = numbers()\nassert [next(g), next(g)] == [0, 1] and next(iter(g)) == 2",
        "import itertools\nassert list(itertools.islice(numbers(), 3)) == [0, 1, 2]",
    ],
)
def test_what_is_no_plain_value_is_used_through_a_handle(test):
    assert statuses(STACK, test) == ["passed"]


def test_a_comparison_never_crosses():
    candidate = "asked = []\nclass E:\n"
    candidate += "    def __eq__(s, o): asked.append(o); return True\n    def __contains__(s, o): asked.append(o)\n"
    candidate += "    def __iter__(s): asked.append(1); return iter([2])\n    def __hash__(s): return 1\n"
    candidate += "e = E()\ndef f(): return e\ndef told(): return asked"
    test = "assert f() != 'secret' and 'secret' not in f() and f() not in {'secret': 1}\nassert told() == [1]"
    assert statuses(candidate, test) == ["passed"]


@pytest.mark.parametrize(
    ("function", "test"),
    [
        ("def f(x): x.sort()", "x = [3, 1, 2]\nf(x)\nassert x == [1, 2, 3]"),
        ("def f(x): x[0].append(5)", "x = [[1], [2]]\ny = x[0]\nf(x)\nassert x == [[1, 5], [2]] and x[0] is y"),
        ("def f(x): del x['a']; x['b'] = 2", "x = {'a': 1}\nf(x)\nassert x == {'b': 2}"),
        ("def f(x): x.add(2)", "x = {1}\nf(x=x)\nassert x == {1, 2}"),
        ("def f(x): x[0].clear()", "x = ([1], 2)\nf(x)\nassert x == ([], 2)"),
        ("def f(x): x[0] = (3, 4)", "x = [(1, 2)]\nf(x)\nassert x == [(3, 4)]"),
        (
            "def f(x): x.clear(); raise ValueError",
            "x = [1]\ntry:\n    f(x)\nexcept ValueError:\n    pass\nassert x == []",
        ),
        ("def f(x): x.append(2)", "class P: pass\np = P()\nx = [p]\nf(x)\nassert x[0] is p and x[1] == 2"),
        ("def f(x): x += b'b'", "x = bytearray(b'a')\nf(x)\nassert x == b'ab'"),
    ],
)
def test_changes_of_arguments_in_place_come_back(function, test):
    assert statuses(function, test) == ["passed"]


@pytest.mark.parametrize(
    ("function", "test"),
    [
        ("def f(g, *a, **k): return g(*a, **k)", "assert f(lambda a, b: [a - b], 5, b=3) == [2]"),
        (
            "def f(g): return [g(x) for x in range(3)]",
            "seen = []\nassert f(seen.append) == [None] * 3 and seen == [0, 1, 2]",
        ),
        ("def f(n, g): return g(n - 1) if n else 'end'", "assert f(3, lambda n: f(n, lambda m: m)) == 1"),
        (
            "def f(xs, key): return sorted(xs, key=key)",
            "assert f([1, -2], abs) == [1, -2] and f(['b', 'a'], str) == ['a', 'b']",
        ),
        (
            "def f(g):\n    try: g()\n    except KeyError as e: return e.args",
            "def g(): raise KeyError(1)\nassert f(g) == (1,)",
        ),
        ("def f(g): return g", "h = lambda: 3\nassert f(h) is h"),
        ("def f(x): return list(x)", "assert f(iter([1, 2])) == [1, 2] and f(n for n in 'ab') == ['a', 'b']"),
        ("def f(x): return sorted(x)", "assert f({2: 0, 1: 0}.keys()) == [1, 2]"),
        ("def f(p): return p.x + p.y[0]", "class P: pass\np = P()\np.x, p.y = 1, [2]\nassert f(p) == 3"),
        (
            "class Node:\n    def end(s): return s.n.end() if s.n else s.v\ndef f(n): return n.end(), type(n) == Node",
            "class Node:\n    def __init__(s, v, n=None): s.v, s.n = v, n\nassert f(Node(1, Node(2))) == (2, True)",
        ),
    ],
)
def test_functions_iterators_and_objects_of_the_tests_can_be_passed(function, test):
    assert statuses(function, test) == ["passed"]


@pytest.mark.parametrize(
    "test",
    [
        "import sys\nf(sys)",
        "f(object())",
        "import itertools\nf(itertools.count())",
        "import nothing_of_the_kind",
    ],
)
def test_a_test_that_needs_what_cannot_be_had_is_broken_and_not_failed(test):
    assert statuses("def f(x): pass", test) == ["broken"]


def test_a_test_that_does_not_compile_is_broken():
    assert statuses("def f(x): pass", "assert f(") == ["broken"]


def test_a_test_that_never_reaches_the_candidate_does_not_pass():
    assert statuses("def f(x): pass", "def check(candidate):\n    assert candidate(1)") == ["vacuous"]
    assert statuses("def f(x): pass", "assert True") == ["vacuous"]
    assert statuses("LIMIT = 5", "assert LIMIT == 5") == ["passed"]


@pytest.mark.parametrize(
    ("kind", "caught"),
    [
        ("ValueError('a', 1)", "ValueError"),
        ("KeyError('k')", "LookupError"),
        ("__import__('json').JSONDecodeError('m', 'd', 0)", "ValueError"),
        ("AssertionError('m')", "AssertionError"),
        ("SystemExit(3)", "SystemExit"),
        ("StopIteration(1)", "RuntimeError"),
        ("GeneratorExit()", "Exception"),
        ("KeyboardInterrupt()", "Exception"),
        ("type('E', (BaseException,), {})()", "RuntimeError"),
        ("UnicodeDecodeError('utf-8', b'x', 0, 1, 'r')", "UnicodeDecodeError"),
    ],
)
def test_exceptions_come_back_by_the_nearest_builtin_class(kind, caught):
    test = f"try:\n    f()\nexcept {caught}:\n    pass\nelse:\n    raise KeyboardInterrupt"
    assert statuses(f"def f(): raise {kind}", test, "f()") == ["passed", "error"]


def test_a_function_cannot_end_a_loop_of_the_test():
    test = "for got, want in zip(map(f, [1, 2]), [1, 2]):\n    assert got == want"
    assert statuses("def f(x): raise StopIteration", test) == ["error"]


@pytest.mark.parametrize("swallow", ["except Exception: pass", "except BaseException: pass", "except: pass"])
@pytest.mark.parametrize(
    ("function", "status"),
    [
        ("import os\ndef f(): os._exit(0)", "crashed"),
        ("import time\ndef f(): time.sleep(60)", "timeout"),
        ("import os\ndef f(): os.write(3, bytes(8))", "forged"),
    ],
)
def test_a_broken_stream_fails_the_test_whatever_it_catches(function, status, swallow):
    test = f"try:\n    f()\n{swallow}"
    assert statuses(function, test, "f()", seconds=0.5) == [status]


TAKES_OVER = """
import json, struct, sys, os
frame = sys._getframe()
while "message" not in frame.f_locals: frame = frame.f_back
def ask(): return json.loads(os.read(3, struct.unpack(">I", os.read(3, 4))[0]))
def say(request, **fields):
    text = json.dumps({"n": request["n"], **fields}).encode()
    os.write(3, struct.pack(">I", len(text)) + text)
say(frame.f_locals["message"], v=None)
first = ask()
say(first, v=["handle", 0, "f"])
"""


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("say(ask(), v=5)\nsay(ask(), v=5)", "passed"),
        ("ask()\nsay(first, v=5)", "forged"),
        ("say({'n': 'x' * 16, 'r': ask()}, v=5)", "forged"),
        ("say({'n': None, 'r': ask()}, v=5)", "forged"),
        ("say(ask(), w=5)", "forged"),
        ("say(ask(), v=['int', 5])", "forged"),
        ("say(ask(), v=['new', 'builtins.range', '5'])", "forged"),
        ("say(ask(), v=['new', 'builtins.bytearray', 5])", "forged"),
        ("say(ask(), v=['new', 'builtins.bytearray', 1 << 40])", "forged"),
        ("say(ask(), v=['i', '0x' + '1' * (1 << 19)])", "forged"),
        ("say(ask(), v=['type', 'eval'])", "forged"),
        ("say(ask(), back=0, args=[], kw=[])", "forged"),
        ("ask()\nos.write(3, struct.pack('>I', 1 << 30) + bytes(100))\nask()", "forged"),
        ("ask()\nos.write(3, struct.pack('>I', 900000) + b'[' * 900000)\nask()", "forged"),
        ("say(ask(), args=[['list']] * 5, e=[[['StopIteration', 0]], []])", "error"),
    ],
)
def test_an_answer_counts_once_for_its_own_request_and_in_the_known_form(end, status):
    tests = ["assert f() == 5", "assert f() == 5"] if status == "passed" else ["assert f() == 5"]
    assert statuses(TAKES_OVER + end + "\nask()", *tests) == [status] * len(tests)


def test_a_second_answer_to_one_request_is_taken_for_none_of_the_next():
    program = TAKES_OVER + "r = ask()\nsay(r, v=5)\nsay(r, v=5)\nask()\nask()"
    # Whether it is there in time to spoil the first test is chance; the second one finds it in any case.
    assert statuses(program, "assert f() == 5", "assert f() == 5")[-1] == "forged"


def test_a_loop_of_the_test_itself_ends_with_the_time():
    assert statuses("def f(): return 10**15", "for _ in range(f()):\n    pass", seconds=0.3) == ["timeout"]


@pytest.mark.parametrize(
    ("module", "status"),
    [
        ("def f(:", "compile_error"),
        ("\ud800", "compile_error"),
        ("x = '\0'", "compile_error"),
        ("raise ValueError('at once')", "error"),
        ("import sys\nsys.exit(0)", "error"),
        ("import os\nos._exit(0)", "crashed"),
        ("while True: pass", "timeout"),
    ],
)
def test_a_module_that_cannot_be_used_says_why(module, status):
    assert statuses(module, "assert f() == 1", seconds=1) == [status]


def test_the_main_guard_does_not_run_and_classes_know_their_module():
    candidate = "import dataclasses\nran = 0\nif __name__ == '__main__': ran = 1\n"
    candidate += "@dataclasses.dataclass\nclass P:\n    x: 'int'\ndef f(): return [ran, P(3).x, __name__]"
    assert statuses(candidate, "assert f() == [0, 3, 'candidate']") == ["passed"]


PROMPT = '''
import math
LIMIT = 3
def poly(xs, x):
    """Evaluate."""
    return sum(c * x ** n for n, c in enumerate(xs))
def stub(x):
    """To be written."""
def find_zero(xs):
    """Find x such that poly(x) = 0."""
'''


def test_what_the_prompt_defines_completely_is_the_authors():
    cheat = "def poly(*a): return 0\ndef find_zero(xs): return 7\nLIMIT = 9\ndef stub(x): return 5"
    cheat += "\nclass math: fabs = staticmethod(lambda x: 0)"
    orders = {"prompt": PROMPT, "entry_point": "find_zero"}
    tests = ["assert poly([1, 1], find_zero([1, 1])) == 0", "assert LIMIT == 3", "assert math.fabs(find_zero([])) == 0"]
    assert statuses(cheat, *tests, "assert stub(1) == 5", **orders) == ["failed", "passed", "failed", "passed"]
    assert statuses("def find_zero(xs): return -1", tests[0], **orders) == ["passed"]


@pytest.mark.parametrize(
    "test",
    [
        "assert math.isclose(f(), 2)",
        "assert isclose(f(), 2)",
        "assert set([f()]) == set([2])",
        "assert abs(f() - 2) < 1",
    ],
)
def test_modules_and_builtins_are_never_the_candidates(test):
    cheat = "class math: isclose = staticmethod(lambda *a: True)\nisclose = set = abs = lambda *a: 0\ndef f(): return 9"
    assert statuses(cheat, test) == ["failed"]
    assert statuses("def f(): return 2", test) == ["passed"]


def test_a_builtins_name_is_the_candidates_where_tests_call_nothing_else():
    assert statuses("def sum(a, b): return a + b", "assert sum(10, 15) == 25") == ["passed"]
    assert statuses("def set(x): return 1", "assert set(sum([1, 2])) == set(3)") == ["failed"]


def test_candidate_stands_for_the_entry_point():
    assert statuses("def f(x): return x", "assert candidate(1) == 1", entry_point="f") == ["passed"]
    assert statuses("def g(x): return x", "assert candidate(1) == 1", entry_point="f") == ["error"]


def test_setup_may_use_what_the_candidate_defines():
    candidate = "class Node:\n    def __init__(self, v): self.v, self.left = v, None\n"
    candidate += "def depth(n): return 1 + depth(n.left) if n else 0"
    setup = "root = Node(1)\nroot.left = Node(2)\nroot.left.left = Node(3)"
    assert statuses(candidate, "assert depth(root) == 3", "assert depth(None) == 0", setup=setup) == ["passed"] * 2
    assert statuses("def depth(n): return 3", "assert depth(root) == 3", setup=setup) == ["failed"]


def calls(candidate: str, *args: list[Any]) -> list[Any]:
    ready, *lines = report_of(candidate, entry_point="f", calls=args)
    assert ready["ready"], ready
    return [line.get("value", line["status"]) for line in lines if "test" in line]


def test_calls_report_what_is_returned_as_json():
    assert calls("def f(*a): return a, {'n': len(a), 2: None}", [1, [2]], []) == [
        [[1, [2]], {"n": 2, "2": None}],
        [[], {"n": 0, "2": None}],
    ]


def test_calls_report_no_value_that_is_not_json_or_too_large():
    values = "[{1}, object(), b'x', 1j, 'a' * (4 << 20), 10**5000, iter([])]"
    assert calls(f"def f(n): return {values}[n]", *([n] for n in range(7))) == ["failed"] * 7


def test_methods_of_solution_are_found_and_nothing_else_is():
    assert calls("class Solution:\n    def f(self, x): return x + 1", [1]) == [2]
    for missing in ("def g(x): return x", "class Solution: pass", "class Solution:\n    def g(self): pass"):
        assert report_of(missing, entry_point="f", calls=[[1]])[0]["status"] == "error"


def test_what_tests_print_does_not_reach_the_report():
    lines = report_of("def f(): return 1", tests=["print('{}')\nimport os\nos.write(1, b'x')\nassert f() == 1"])
    assert [sorted(line) for line in lines] == [["ready"], ["seconds", "status", "test"], ["done"]]


def test_a_note_gives_away_no_expected_value():
    lines = report_of(
        "def f(): return 1", tests=["assert f() == 'secret', 'it is secret'", "raise ValueError('secret')"]
    )
    assert "secret" not in json.dumps(lines)


def test_stop_ends_at_the_first_test_that_does_not_pass():
    tests = ["assert f() == 1", "assert f() == 2", "assert f() == 1"]
    assert statuses("def f(): return 1", *tests, stop=True) == ["passed", "failed"]
    assert statuses("def f(): return 1", *tests) == ["passed", "failed", "passed"]


@pytest.mark.parametrize(
    "value",
    [
        "[0] * 10**7",
        "'a' * 10**8",
        "1 << 10**8",
        "x",
        "y",
        "range(10**18)",
        "{n: n for n in range(10**6)}",
        "'\\ud800' * 10**6",
    ],
)
def test_the_judge_survives_what_is_too_large_too_deep_or_cyclic(value):
    candidate = (
        "x = []\nx.append(x)\ny = []\nfor _ in range(10**5): y = [y]\n" + f"def f(): return {value}\ndef g(): return 1"
    )
    assert statuses(candidate, "assert f() == 1", "assert g() == 1") in (["error", "passed"], ["failed", "passed"])
