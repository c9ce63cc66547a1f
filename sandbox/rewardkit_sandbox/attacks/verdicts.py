"""Attacks on verdicts: functions under test that want to pass without being right, through `rewardkit_harness`.

Each candidate is asked for the sum of two numbers by a judge that runs beside it. An honest one must pass, so that it
is known that the tests ran. What rewards make of verdicts is tested where they are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from rewardkit.programs import Execution, Program
from rewardkit_sandbox.attacks.model import LIMITS, Attack, ending

_TESTS = ("assert add(2, 3) == 5", "assert add(-1, 1) == 0", "assert [add(2, 2), add(20, 1)] == [4, 21]")
_HONEST = "def add(a, b):\n    return a + b"

_EQUAL = """
yes = lambda *_, **__: True
names = "__eq__ __ne__ __lt__ __gt__ __le__ __ge__ __bool__ __contains__ __instancecheck__".split()
space = {**dict.fromkeys(names, yes), "__hash__": lambda self: 5}
"""
_WIRE = """
import json, os, struct
def read(size):
    text = b""
    while len(text) < size:
        text += os.read(3, size - len(text)) or os._exit(0)
    return text
def hear():
    return json.loads(read(struct.unpack(">I", read(4))[0]))
def say(**fields):
    text = json.dumps(fields).encode()
    os.write(3, struct.pack(">I", len(text)) + text)
"""

_CANDIDATES = {
    "equals everything": _EQUAL + "Equal = type('Equal', (), space)\nadd = lambda a, b: Equal()",
    "a number that equals everything": _EQUAL + "Equal = type('int', (int,), space)\nadd = lambda a, b: Equal(7)",
    "a list that equals everything": _EQUAL + "Equal = type('list', (list,), space)\nadd = lambda a, b: Equal([5])",
    "unpickles itself": "class E:\n    def __reduce__(self):\n        return eval, ('5',)\nadd = lambda a, b: E()",
    "is what it prints": "class E:\n    __repr__ = __str__ = lambda self: '5'\nadd = lambda a, b: E()",
    "is no number": "add = lambda a, b: float('nan')",
    "huge": "add = lambda a, b: 10 ** 200_000",
    "endless": "def add(a, b):\n    e = []\n    e.append(e)\n    return e",
    "deep": "def add(a, b):\n    e = []\n    for _ in range(100_000):\n        e = [e]\n    return e",
    "changes the judge's words": "import builtins\nbuiltins.AssertionError = KeyboardInterrupt\nadd = lambda a, b: 0",
    "raises an assertion's opposite": "class E(BaseException):\n    pass\ndef add(a, b):\n    raise E",
    "ends well": "import os\ndef add(a, b):\n    os._exit(0)",
    "leaves": "raise SystemExit(0)",
    "crashes at its end": "import atexit, ctypes\natexit.register(ctypes.string_at, 0)\nadd = lambda a, b: 0",
    "prints verdicts": "for n in range(3):\n    print('{\"test\": %d, \"status\": \"passed\"}' % n)\nadd = max",
    "looks into its callers": """
import sys
def add(a, b):
    frame = sys._getframe()
    while frame:
        for name, thing in {**frame.f_globals, **frame.f_locals}.items():
            if "test" in name or "expected" in name:
                return thing
        frame = frame.f_back
""",
    "guesses the nonce": _WIRE + "for n in range(1000):\n    say(n=f'{n:016x}', v=5)\nadd = lambda a, b: 0",
    "answers before it is asked": _WIRE + "def add(a, b):\n    for _ in range(9):\n        say(n=0, v=a)\n    return 0",
    "repeats an answer": _WIRE
    + """
import sys
def add(a, b):
    frame = sys._getframe()
    while frame and "message" not in frame.f_locals:
        frame = frame.f_back
    for _ in range(9):
        say(n=frame.f_locals["message"]["n"], v=5)
    return 0
""",
    "says it is true": _WIRE + "while True:\n    asked = hear()\n    say(n=asked['n'], v=True)",
    "sends rubbish": "import os\nos.write(3, b'\\xff' * 4096)\nadd = lambda a, b: 0",
}  # fmt: skip


def _judged(candidate: str) -> Program:
    orders = {"tests": _TESTS, "entry_point": "add", "seconds": 1.0, "stop": False}
    peer = Program(
        code="import rewardkit_harness\nrewardkit_harness.judge()", stdin=json.dumps(orders).encode(), limits=LIMITS
    )
    return Program(
        code="import rewardkit_harness\nrewardkit_harness.serve()",
        files={"candidate.py": candidate.encode()},
        peer=peer,
        limits=replace(LIMITS, wall_s=5.0),
    )


def _held(executions: Sequence[Execution]) -> str | None:
    honest, *others = executions
    if _passed(honest) != len(_TESTS):
        end = ending(honest.peer) if honest.peer else "no judge"
        return f"an honest function passes {_passed(honest)} of {len(_TESTS)} tests ({end})"
    # One answer may be right by chance; the tests are made so that three never are.
    paid = [name for name, each in zip(_CANDIDATES, others, strict=True) if _passed(each) > 1]
    return f"it passed: {', '.join(paid)}" if paid else None


def _passed(execution: Execution) -> int:
    lines = (execution.peer.stdout if execution.peer else b"").splitlines()
    return sum(json.loads(line).get("status") == "passed" for line in lines if line.startswith(b"{"))


ATTACKS = (
    Attack(
        name="verdicts",
        group="forging",
        summary="functions that equal everything, guess nonces, forge answers, look into frames, end well",
        programs=tuple(map(_judged, (_HONEST, *_CANDIDATES.values()))),
        held=_held,
        bare=True,
    ),
)
