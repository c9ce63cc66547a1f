"""Names in test code: which are the candidate's, and which the author's. Reads syntax trees and runs nothing."""

from __future__ import annotations

import ast
import builtins
import sys

_MODULES = {*getattr(sys, "stdlib_module_names", ()), "numpy"}
_COMPARING = {
    "isclose": ("math", "isclose"),
    "fabs": ("math", "fabs"),
    "approx": ("pytest", "approx"),
    "deepcopy": ("copy", "deepcopy"),
}


def defined_by(prompt: str, entry: str | None) -> ast.Module:
    """Return what a prompt defines completely, but the function that is asked for: imports, helpers, constants.

    A helper that a test uses must be the author's, or else a candidate redefines it. A prompt that is no code has none.
    """
    for text in (prompt, prompt + "\n    pass\n"):
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        tree.body = [node for node in tree.body if _is_complete(node, entry)]
        return tree
    return ast.Module(body=[], type_ignores=[])


def free_names(trees: list[ast.Module], entry: str | None) -> set[str]:
    """Return the names that tests use and nobody defines: those of the candidate.

    A builtin is never the candidate's, who could replace `set` or `abs`; only where tests call nothing else is the
    first one called what is tested.
    """
    nodes = [node for tree in trees for node in ast.walk(tree)]
    used = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    free = used - set(dir(builtins)) - _bound_names(trees) - set(known_names(trees))
    return free if free or entry else _first_call(trees[-1])


def known_names(trees: list[ast.Module]) -> dict[str, tuple[str, str]]:
    """Return what tests use without importing it though it is never the candidate's, as module and attribute ("": all).

    A program may import what its tests use; but `math.isclose` must not be what the candidate calls `math`.
    """
    bases = (node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    with_attributes = {node.id for node in bases if isinstance(node, ast.Name)}
    called = {name for tree in trees for name in called_names(tree)}
    known = {name: (name, "") for name in with_attributes - called if name in _MODULES}
    known.update({name: where for name, where in _COMPARING.items() if name in called})
    if "np" in with_attributes:
        known["np"] = ("numpy", "")
    bound = _bound_names(trees)
    return {name: where for name, where in known.items() if name not in bound}


def called_names(tree: ast.Module) -> set[str]:
    """Return the names that are called as functions."""
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {call.id for call in calls if isinstance(call, ast.Name)}


def _is_complete(node: ast.stmt, entry: str | None) -> bool:
    if isinstance(node, (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)):
        return True
    if not isinstance(node, (ast.FunctionDef, ast.ClassDef)) or node.name == entry:
        return False
    functions = [part for part in ast.walk(node) if isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef))]
    return not any(all(_says_nothing(line) for line in function.body) for function in functions)


def _says_nothing(line: ast.stmt) -> bool:
    docstring_or_dots = isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)
    return docstring_or_dots or isinstance(line, (ast.Pass, ast.Raise))


def _first_call(tree: ast.Module) -> set[str]:
    """Return the name of the first call, as it is read, that has no other inside."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    for call in sorted(calls, key=lambda call: (call.lineno, call.col_offset)):
        inside = [node for node in ast.walk(call) if isinstance(node, ast.Call)]
        if inside == [call] and isinstance(call.func, ast.Name):
            return {call.func.id}
    return set()


def _bound_names(trees: list[ast.Module]) -> set[str]:
    """Return the names that the top level of tests binds (all levels of what is no function)."""
    bound: set[str] = set()
    for tree in trees:
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                bound.add(node.name)
                continue
            for part in ast.walk(node):
                if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                    bound.add(part.id)
                elif isinstance(part, ast.alias):
                    bound.add((part.asname or part.name).partition(".")[0])
    return bound
