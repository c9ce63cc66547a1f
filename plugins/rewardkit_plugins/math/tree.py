"""The syntax tree of an answer; who builds it is `syntax`, who reads it `evaluation`, `regions` and `equivalence`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class UnreadableError(ValueError):
    """The text is not an answer that this grammar covers, or it is beyond the limits."""


class Node(NamedTuple):
    """A node of the tree: its kind, and its children or payload.

    `num` (Fraction, whether written as a decimal), `const`, `sym`, `text`, `base` (digits, base); `add`, `mul`, `div`,
    `pow`, `neg`, `pm` (a, sign, b), `fact`, `percent`, `deg`, `call` (name, arguments...); `seq` (open, close,
    items...), `set`, `list` (conjunction, items...), `matrix` (rows), `ratio`, `rel` (operators, operands), `union`,
    `inter`, `diff`.
    """

    kind: str
    args: tuple[Any, ...]


def walk(node: Node) -> Iterator[Node]:
    """Yield the node and all nodes below it."""
    pending = [node]
    while pending:
        part = pending.pop()
        yield part
        pending += children(part)


def children(node: Node) -> list[Node]:
    """Return the nodes right below a node."""
    found: list[Node] = []
    for part in node.args:
        if isinstance(part, Node):
            found.append(part)
        elif isinstance(part, tuple):
            found += [inner for inner in part if isinstance(inner, Node)]
    return found


def substitute(node: Node, values: Mapping[str, Node]) -> Node:
    """Return the tree with the named symbols replaced."""
    if node.kind == "sym":
        return values.get(node.args[0], node)
    return Node(node.kind, tuple(_substituted(part, values) for part in node.args))


def _substituted(part: Any, values: Mapping[str, Node]) -> Any:
    if isinstance(part, Node):
        return substitute(part, values)
    return tuple(_substituted(inner, values) for inner in part) if isinstance(part, tuple) else part


def symbols(node: Node) -> frozenset[str]:
    """Return the names of the symbols and words in a tree."""
    return frozenset(part.args[0] for part in walk(node) if part.kind in ("sym", "text"))
