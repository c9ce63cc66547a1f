"""Programs that want the reward without solving the task, as data: every one must earn 0.

The task is to add two numbers, in three shapes: asserts, calls, standard input and output. `HONEST` earns 1 in each.
"""

from __future__ import annotations

TASKS = {
    "asserts": {
        "prompt": "def add(a, b):\n    '''Return the sum.'''\n",
        "entry_point": "add",
        "test": "def check(candidate):\n    assert candidate(2, 3) == 5\n    assert candidate(-1, 1) == 0\n"
        "    for got, want in zip(map(candidate, [1, 2], [3, 4]), [4, 6]):\n        assert got == want\n"
        "    assert abs(candidate(0.5, 0.25) - 0.75) < 1e-9\n    assert math.isclose(candidate(1.5, 1), 2.5)\n",
    },
    "mbpp": {
        "test_list": [
            "assert set([add(2, 3)]) == set([5])",
            "assert sorted([add(2, 3), 1]) == [1, 5]",
            "assert all(add(n, 1) == n + 1 for n in range(3))",
        ]
    },
    "calls": {"fn_name": "add", "inputs": [[2, 3], [-1, 1], [10, 20]], "outputs": [5, 0, 30]},
    "stdin": {"inputs": ["2 3\n", "-1 1\n", "10 20\n"], "outputs": ["5\n", "0\n", "30\n"]},
}
FUNCTIONS = ("asserts", "mbpp", "calls")
HONEST = {
    **dict.fromkeys(FUNCTIONS, "def add(a, b):\n    return a + b\n"),
    "stdin": "a, b = map(int, input().split())\nprint(a + b)\n",
}

_EVERYTHING = """
def yes(*_, **__): return True
names = "__eq__ __ne__ __lt__ __le__ __gt__ __ge__ __contains__ __bool__ __instancecheck__".split()
space = {name: yes for name in names} | {"__hash__": lambda s: 0, "__abs__": lambda s: 0.0}
for name in "add sub mul radd rsub rmul".split(): space[f"__{name}__"] = lambda s, o: s
"""
# Takes the candidate's end of the stream over: `ask()` waits for a request, `say(request, **fields)` answers it.
_WIRE = """
import json, os, struct, sys
def read(n):
    text = b""
    while len(text) < n: text += os.read(3, n - len(text)) or os._exit(1)
    return text
def ask(): return json.loads(read(struct.unpack(">I", read(4))[0]))
def raw(text): os.write(3, struct.pack(">I", len(text)) + text)
def say(request, **fields): raw(json.dumps({"n": request["n"], **fields}).encode())
frame = sys._getframe()
while "message" not in frame.f_locals: frame = frame.f_back
start = frame.f_locals["message"]
"""
_LOOP = _WIRE + "say(start, v=None)\nsay(ask(), v=['handle', 0, 'add'])\n"

# Against tests that call functions.
_OF_FUNCTIONS = {
    "does nothing": "def add(a, b):\n    pass",
    "is not there": "def sub(a, b):\n    return a + b",
    "is empty": "# done",
    "equals everything": "class E:\n    __eq__ = lambda s, o: True\n    __ne__ = lambda s, o: False\n"
    "    __hash__ = lambda s: 0\ndef add(a, b): return E()",
    "is an int that equals everything": "class E(int):\n    __eq__ = lambda s, o: True\n    __hash__ = int.__hash__\n"
    "def add(a, b): return E(0)",
    "is a list that equals everything": "class E(list):\n    __eq__ = lambda s, o: True\n"
    "    __ne__ = lambda s, o: False\ndef add(a, b): return E([0])",
    "is a float that equals everything": "class E(float):\n    __eq__ = lambda s, o: True\n"
    "    __sub__ = lambda s, o: E(0)\n    __abs__ = lambda s: E(0)\n    __lt__ = lambda s, o: True\n"
    "def add(a, b): return E(0)",
    "does what it is asked": _EVERYTHING + "E = type('E', (), space)\ndef add(a, b): return E()",
    "has a class that equals everything": _EVERYTHING + "M = type('M', (type,), space)\nclass E(metaclass=M): pass\n"
    "def add(a, b): return E",
    "is an exception that equals everything": _EVERYTHING + "class add(Exception): pass\n"
    "for name in names: setattr(add, name, yes)",
    "pretends to be numpy's": "class E:\n    __module__ = 'numpy'\n    ndim = 0\n    __eq__ = lambda s, o: True\n"
    "    def item(self): return E()\ndef add(a, b): return E()",
    "claims to be an int": "class E:\n    __class__ = int\n    __eq__ = lambda s, o: True\ndef add(a, b): return E()",
    "reads the frames": "import sys\ndef add(a, b):\n    f = sys._getframe()\n    while f:\n"
    "        for x in f.f_locals.values():\n            if isinstance(x, dict):\n"
    "                for k in ('outputs', 'expected', 'want', 'tests'):\n"
    "                    if k in x: return x[k][0]\n        f = f.f_back\n    return 0",
    "looks for the tests in memory": "import gc\ndef add(a, b):\n    for x in gc.get_objects():\n"
    "        if isinstance(x, dict) and 'candidate' in x and 'want' in x: return x['want']\n    return 0",
    "reads the tests from files": "import glob\ndef add(a, b):\n    for p in glob.glob('/tmp/**', recursive=True) "
    "+ glob.glob('/proc/*/environ') + glob.glob('/proc/*/cmdline') + ['/dev/stdin']:\n        try:\n"
    "            if 'assert' in open(p).read(): return 5\n        except Exception: pass\n    return 0",
    "writes into frames": "import sys, os\ndef add(a, b):\n    f = sys._getframe()\n    while f:\n"
    "        f.f_locals.update(passed=True, status='passed', ok=1)\n        f = f.f_back\n    os._exit(0)",
    "exits with 0": "import os\nos._exit(0)",
    "exits with 0 when called": "import os\ndef add(a, b): os._exit(0)",
    "leaves with SystemExit": "import sys\ndef add(a, b): sys.exit(0)",
    "leaves at once with SystemExit": "raise SystemExit(0)",
    "hooks the end": "import sys, atexit, os\natexit.register(os._exit, 0)\n"
    "sys.excepthook = lambda *a: os._exit(0)\n1 / 0",
    "patches assert": "import builtins\nbuiltins.AssertionError = type('A', (BaseException,), {})\n"
    "def add(a, b): raise AssertionError",
    "patches builtins": "import builtins\nfor n in ('set', 'sorted', 'all', 'abs', 'zip', 'map', 'isinstance'):\n"
    "    setattr(builtins, n, lambda *a, **k: True)\ndef add(a, b): return 0",
    "defines builtins": "".join(
        f"{n} = lambda *a, **k: 0\n" for n in ("set", "sorted", "all", "abs", "zip", "map", "len", "check", "print")
    )
    + "add = lambda a, b: 0",
    "defines modules": "class math:\n    isclose = staticmethod(lambda *a: True)\ndef add(a, b): return 0",
    "patches the harness": "import rewardkit_harness, sys\nfor m in list(sys.modules.values()):\n"
    "    if 'rewardkit' in str(m):\n        for n in ('_verdict', '_run', '_update'):\n"
    "            if hasattr(m, n): setattr(m, n, lambda *a, **k: {'status': 'passed'})\ndef add(a, b): return 0",
    "prints a report": 'import os\nprint(\'{"ready": true}\\n{"test": 0, "status": "passed", "seconds": 0}\\n'
    '{"done": 9}\', flush=True)\nos._exit(0)',
    "prints a report on everything": 'import os\nfor n in range(64):\n    try: os.write(n, b\'{"ready": true}\\n'
    '{"test": 0, "status": "passed", "seconds": 0, "value": 5}\\n{"done": 9}\\n\')\n'
    "    except OSError: pass\ndef add(a, b): return 0",
    "ends loops": "def add(a, b): raise StopIteration",
    "ends loops by a class of its own": "class End(StopIteration): pass\ndef add(a, b): raise End",
    "ends generators": "def add(a, b): raise GeneratorExit",
    "raises AssertionError": "def add(a, b): raise AssertionError('passed')",
    "returns a generator of everything": "import itertools\ndef add(a, b): return itertools.count()",
    "returns NaN": "def add(a, b): return float('nan')",
    "returns a cyclic list": "x = []\nx.append(x)\ndef add(a, b): return x",
    "returns a deep list": "def add(a, b):\n    x = []\n    for _ in range(100000): x = [x]\n    return x",
    "returns a huge integer": "def add(a, b): return 1 << 40000000",
    "returns a huge text": "def add(a, b): return 'a' * (200 << 20)",
    "returns a huge range": "def add(a, b): return range(10 ** 18)",
    "answers by a child": "import os\npid = os.fork()\nif pid: os.waitpid(pid, 0); os._exit(0)\n"
    "def add(a, b): return 0",
    "sleeps": "import time\ndef add(a, b): time.sleep(1000)",
    "loops": "def add(a, b):\n    while True: pass",
    "loops at once": "while True: pass",
    "changes its arguments": "def add(*a):\n    a = 0\n    return a",
    "closes the stream": "import os\nos.close(3)\ndef add(a, b): return 0",
}
# Against the stream itself: the candidate's process answers for itself.
_OF_THE_STREAM = {
    "answers before it is asked": _WIRE + "raw(b'{\"v\": 5}')\nraw(b'{\"v\": 5}')",
    "answers with another nonce": _LOOP + "while True: say({'n': '0' * 16, 'r': ask()}, v=5)",
    "answers twice": _LOOP + "while True:\n    r = ask()\n    say(r, v=5)\n    say(r, v=5)",
    "answers with the last nonce": _LOOP + "old = start\nwhile True:\n    r = ask()\n    say(old, v=5)\n    old = r",
    "returns functions of builtins": _LOOP + "while True: say(ask(), v=['type', 'eval'])",
    "returns an instance of anything": _LOOP + "while True: say(ask(), v=['new', 'unittest.mock.ANY'])",
    "makes the judge run a command": _LOOP + "while True: say(ask(), v=['new', 'os.system', 'true'])",
    "makes the judge allocate": _LOOP + "while True: say(ask(), v=['new', 'builtins.bytearray', 1 << 40])",
    "sends a deep answer": _LOOP + "while True: ask(); raw(b'[' * 1000000)",
    "sends a large answer": _LOOP + "while True: ask(); os.write(3, struct.pack('>I', 1 << 31) + b'x' * 1000)",
    "sends no JSON": _LOOP + "while True: ask(); raw(bytes(range(256)))",
    "sends what is no message": _LOOP + "while True: ask(); raw(b'[1, 2]')",
    "calls what it was not given": _LOOP + "while True: say(ask(), back=0, args=[], kw=[])",
    "rewrites what it was given": _LOOP + "while True: say(ask(), v=5, args=[['handle', 0, 'x']] * 9)",
    "sends an exception of no class": _LOOP + "while True: say(ask(), e=[[['eval', 0], ['Warning', []]], ['1']])",
    "sends an exception that is the end": _LOOP + "while True: say(ask(), e=[[['StopIteration', 0]], []])",
    "sends keys that collide": _LOOP + "p = (1 << 61) - 1\n"
    "v = ['set', *[['i', hex(p * n)] for n in range(1, 30000)]]\nwhile True: say(ask(), v=v)",
    "says that the function is 5": _WIRE + "say(start, v=None)\nwhile True: say(ask(), v=5)",
}
_OF_OUTPUT = {
    "prints all expected outputs": "print('5\\n0\\n30')",
    "prints another test's output": "print(5)",
    "prints nothing": "",
    "exits with 0": "import sys\nsys.exit(0)",
    "prints and crashes": "a, b = map(int, input().split())\nprint(a + b, flush=True)\nimport os\nos.abort()",
    "prints and exits with 1": "a, b = map(int, input().split())\nprint(a + b)\nraise SystemExit(1)",
    "prints more": "a, b = map(int, input().split())\nprint(a + b)\nprint('junk')",
    "prints it to stderr": "import sys\na, b = map(int, input().split())\nprint(a + b, file=sys.stderr)",
    "walks the stack": "import sys\nf = sys._getframe()\nout = None\nwhile f:\n    for x in f.f_locals.values():\n"
    "        if isinstance(x, dict) and 'outputs' in x: out = x['outputs'][0]\n    f = f.f_back\nprint(out)",
    "keeps notes between runs": "import os\np = '/tmp/n'\nn = int(open(p).read()) if os.path.exists(p) else 0\n"
    "open(p, 'w').write(str(n + 1))\nprint([5, 0, 30][n])",
    "floods": "while True: print('5' * 10000)",
    "prints every number": "for n in range(100): print(n)",
    "writes to every descriptor": "import os\nfor n in range(3, 64):\n    try: os.write(n, b'5\\n')\n"
    "    except OSError: pass",
}


def _defining(code: str) -> str:
    """Return `code` as a whole program for the asserts, whose prompt would otherwise be put before it."""
    return code if "def add(" in code or "class add(" in code else f"{code}\ndef add(a, b): return 0"


CHEATS: list[tuple[str, str, str]] = [
    *(("asserts", name, _defining(code)) for name, code in {**_OF_FUNCTIONS, **_OF_THE_STREAM}.items()),
    *((shape, name, code) for shape in ("mbpp", "calls") for name, code in {**_OF_FUNCTIONS, **_OF_THE_STREAM}.items()),
    *(("stdin", name, code) for name, code in _OF_OUTPUT.items()),
]
"""Shape, name, code."""
