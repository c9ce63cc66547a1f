"""Function calls across a stream between two processes: `serve` beside the candidate's code, `judge` beside the tests.

Inside a sandbox it is imported as `rewardkit_harness`. The process that serves belongs to the candidate and is trusted
in nothing: what counts is that the judge takes in plain built-in values only, built by itself, and never runs code that
the candidate wrote. Not covered: which tests there are, and what a verdict is worth.

A message is its length in four bytes, then JSON. A request is `{"n": nonce, "op": name, "args": values, "kw": names of
the last values}`; its answer brings the nonce back, with `"v"` (a value) or `"e"` (an exception) and `"args"` where
arguments were changed in place. In between, the candidate may call functions that it was given: `{"n": nonce, "back":
number, "args": values, "kw": names}`.
"""

from __future__ import annotations

import json
import os
import sys

from rewardkit_sandbox.inside.judging import Judge
from rewardkit_sandbox.inside.serving import Candidate


def serve(*, descriptor: int = 3, path: str = "candidate.py") -> None:
    """Answer requests on `descriptor` until its end; the first makes it run `path`, as a module called `candidate`."""
    Candidate(descriptor, path).converse()


def judge(*, descriptor: int = 3) -> None:
    """Run the tests in the orders on stdin against what `descriptor` serves; report on stdout, one line of JSON each.

    Orders: `prompt` and `entry_point` (or none), `setup`, `tests` (texts) or `calls` (lists of arguments of
    `entry_point`), `seconds` (for each test), `stop` (at the first that does not pass). The first line is `{"ready":
    true}` or says with a `status` why the candidate's module cannot be used, the last `{"done": number of requests}`;
    those between have `test` (a number), `status`, `seconds` and `note` or, for a call, `value`. A report without its
    last line is that of tests that did not come to their end.
    """
    orders = json.load(sys.stdin)
    report = os.fdopen(os.dup(1), "w")
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1):
        os.dup2(null, number)
    sys.setrecursionlimit(4000)
    for line in Judge(descriptor, orders["seconds"]).run(orders):
        report.write(json.dumps(line) + "\n")
        report.flush()
