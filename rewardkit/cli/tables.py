"""Tables for people: as wide as the terminal, or as wide as they need to be when piped."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

_WIDTH_WHEN_PIPED = 200


def new_table(left: Sequence[str], right: Sequence[str] = (), last: Sequence[str] = ()) -> Table:
    """Return a table with columns of text, then of numbers, then of text."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for names, justify in ((left, "left"), (right, "right"), (last, "left")):
        for name in names:
            table.add_column(escape(name), justify=justify, overflow="fold")  # type: ignore[arg-type]
    return table


def add_row(table: Table, *cells: str) -> None:
    """Add a row of plain text: nothing in it is read as markup."""
    table.add_row(*map(escape, cells))


def print_table(table: Table, *, stderr: bool = False) -> None:
    """Print a table on standard output or standard error."""
    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    Console(stderr=stderr, width=None if terminal else _WIDTH_WHEN_PIPED).print(table)
