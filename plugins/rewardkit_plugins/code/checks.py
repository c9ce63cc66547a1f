"""Cuts HumanEval's `check(candidate)` into one test for each of its asserts, for rewards that pay a share."""

from __future__ import annotations

import ast

from rewardkit_plugins.code.syntax import parse


def single_checks(test: str) -> tuple[str, ...]:
    """Return a copy of `test` for each statement in `check` that asserts something, with all that asserts nothing.

    A loop with asserts in it is one statement. A test without such a function, or with a single assert, stays whole.
    """
    tree = parse(test)
    check = next((node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "check"), None)
    if check is None:
        return (test,)
    body = check.body
    asserting = [line for line in body if _asserts(line)]
    checks = []
    for kept in asserting:
        check.body = [line for line in body if line is kept or line not in asserting]
        checks.append(ast.unparse(tree))
    return tuple(checks) if len(checks) > 1 else (test,)


def _asserts(statement: ast.stmt) -> bool:
    """Return whether there is an assert with a call in it; HumanEval has some `assert True`."""
    found = (node for node in ast.walk(statement) if isinstance(node, ast.Assert))
    return any(isinstance(part, ast.Call) for one in found for part in ast.walk(one))
