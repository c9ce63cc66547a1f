"""The `sql` reward: 1.0 if the query in the answer returns the rows that a gold query returns, else 0.0.

Queries run in SQLite, in the sandbox, each in a place of its own, on a database that they cannot change; rows are
compared outside. Not covered: other dialects, statements that change the database, several databases for one task.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from rewardkit.errors import RewardError
from rewardkit.programs import Execution, Program
from rewardkit.protocols import Sandbox
from rewardkit.types import Score, Task, Trajectory
from rewardkit_plugins.code.compare import same_value
from rewardkit_plugins.code.extract import extract_code
from rewardkit_plugins.code.sandboxed import Sandboxed, ending
from rewardkit_plugins.rules.rule import check_choice, check_whole

Order = Literal["auto", "always", "never"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The rows that a query returned, each a list of JSON values (a blob is {"blob": hex}); or its fault.

    `columns` is None where nothing says how many there are.
    """

    columns: int | None = None
    rows: Sequence[Sequence[Any]] = ()
    fault: str = ""


class Sql(Sandboxed):
    """Runs the query of the last action and compares its rows with those that are expected.

    The task's metadata describes the database: `schema` (SQL that makes it, data included) or `database` (a SQLite file
    in base64), or both, one after the other. What is expected is `expected_rows`, or what `gold_sql` or any of the
    references returns; without any of them the reward abstains. The order of the rows counts "always", "never", or, on
    "auto", where the gold query has an ORDER BY of its own. The number and order of columns count, their names do not.

    An answer without a query, or with one that fails, has more than `max_rows` rows or tries to change anything, scores
    0.0. Raises ConfigError for an option that cannot be right; a task with a gold query or a database that does not
    work fails with RewardError.
    """

    def __init__(
        self,
        *,
        sandbox: str | Sandbox = "auto",
        order: Order = "auto",
        max_rows: int = 10_000,
        wall_s: float = 10.0,
        cpu_s: float = 10.0,
        memory_mb: int = 512,
    ) -> None:
        super().__init__("sql", sandbox=sandbox, wall_s=wall_s, cpu_s=cpu_s, memory_mb=memory_mb)
        check_choice("sql: order", order, get_args(Order))
        check_whole("sql: max_rows", max_rows, low=1)
        self._order: Order = order
        self._max_rows = max_rows

    def signature_fields(self) -> Mapping[str, str]:
        """Return how rows are compared, the sandbox and the limits."""
        return {"order": self._order, "max_rows": str(self._max_rows), **super().signature_fields()}

    def score_batch(self, batch: Sequence[Trajectory], /) -> list[Score]:
        """Return 1.0, 0.0 or None for each trajectory, in order; equal queries of one task are run once."""
        queries = [extract_code(trajectory.completion, language="sql") for trajectory in batch]
        golds = [_golds(trajectory.task) for trajectory in batch]
        programs = [
            [self._program(trajectory.task, text) for text in (*gold, *([query] if query else []))]
            for trajectory, gold, query in zip(batch, golds, queries, strict=True)
        ]
        ended = iter(self.run_all([program for some in programs for program in some]))
        tables = [[_table(next(ended)) for _ in some] for some in programs]
        return [
            self._judge(trajectory.task, query, gold, found)
            for trajectory, query, gold, found in zip(batch, queries, golds, tables, strict=True)
        ]

    def _program(self, task: Task, query: str) -> Program:
        schema = task.metadata.get("schema") or ""
        if not isinstance(schema, str):
            raise RewardError(f"task {task.id!r}: schema must be SQL text, not {type(schema).__name__}")
        orders = json.dumps({"schema": schema, "query": query, "max_rows": self._max_rows})
        return Program(code=_RUNNER, stdin=orders.encode(), files=_database(task), limits=self.limits)

    def _judge(self, task: Task, query: str | None, golds: Sequence[str], found: Sequence[Table]) -> Score:
        wanted = [(table, self._ordered(gold)) for table, gold in zip(found, golds, strict=False)]
        for table, _ in wanted:
            if table.fault:
                raise RewardError(f"task {task.id!r}: the gold query gives no rows to compare with: {table.fault}")
        if (rows := task.metadata.get("expected_rows")) is not None:
            wanted = [(_given(task, rows), self._order == "always")]
        if not wanted:
            return Score(value=None, explanation="the task has neither expected_rows nor a gold query")
        if query is None:
            return Score(value=0.0, explanation="no SQL found")
        actual = found[-1]
        if actual.fault:
            return Score(value=0.0, parts={"ran": 0.0}, explanation=actual.fault)
        right = any(same_rows(actual, table, ordered=ordered) for table, ordered in wanted)
        explanation = (
            "" if right else f"other rows than expected ({len(actual.rows)}, {len(wanted[0][0].rows)} expected)"
        )
        return Score(value=float(right), parts={"ran": 1.0, "rows": float(len(actual.rows))}, explanation=explanation)

    def _ordered(self, gold: str) -> bool:
        return orders_rows(gold) if self._order == "auto" else self._order == "always"


def same_rows(actual: Table, expected: Table, *, ordered: bool) -> bool:
    """Return whether two tables hold the same rows, as often; numbers may differ as in `compare.same_value`."""
    if len(actual.rows) != len(expected.rows) or expected.columns not in (None, actual.columns):
        return False
    if ordered:
        return same_value(actual.rows, expected.rows)
    return same_value(sorted(actual.rows, key=_sort_key), sorted(expected.rows, key=_sort_key))


def orders_rows(query: str) -> bool:
    """Return whether a query has an ORDER BY outside of parentheses, strings and comments."""
    depth = 0
    for token in _TOKEN.finditer(query):
        depth += {"(": 1, ")": -1}.get(token[0], 0)
        if depth == 0 and token["order"]:
            return True
    return False


_TOKEN = re.compile(
    r"'(?:[^']|'')*'|\"[^\"]*\"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*.*?\*/|[()]|(?P<order>\border\s+by\b)", re.I | re.S
)

# What runs in the sandbox: orders on standard input, one JSON object on standard output. Queries are data to it.
_RUNNER = r"""
import json, sqlite3, sys

def cell(value):
    return {"blob": value.hex()} if isinstance(value, bytes) else value

def only_reads(action, *_):
    allowed = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)
    return sqlite3.SQLITE_OK if action in allowed else sqlite3.SQLITE_DENY

def answer():
    orders = json.load(sys.stdin)
    try:
        database = sqlite3.connect("database.sqlite")
        database.executescript(orders["schema"])
        database.commit()
        database.execute("SELECT count(*) FROM sqlite_master").fetchall()
        database.close()
    except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
        return {"broken": f"the database cannot be built: {error}"}
    database = sqlite3.connect("file:database.sqlite?mode=ro", uri=True)
    database.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
    database.set_authorizer(only_reads)
    try:
        found = database.execute(orders["query"])
        rows = found.fetchmany(orders["max_rows"] + 1)
    except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError, MemoryError) as error:
        return {"fault": f"the query fails: {error}"}
    if len(rows) > orders["max_rows"]:
        return {"fault": f"the query returns more than {orders['max_rows']} rows"}
    if found.description is None:
        return {"fault": "the query returns no table"}
    return {"columns": len(found.description), "rows": [[cell(value) for value in row] for row in rows]}

sys.stdout.write(json.dumps(answer()))
"""


def _golds(task: Task) -> tuple[str, ...]:
    """Return the queries any of which is right; none where the rows are given."""
    if task.metadata.get("expected_rows") is not None:
        return ()
    gold = task.metadata.get("gold_sql")
    if gold is not None and not isinstance(gold, str):
        raise RewardError(f"task {task.id!r}: gold_sql must be text, not {gold!r}")
    return tuple(text for text in ([gold] if gold else task.references) if text.strip())


def _database(task: Task) -> dict[str, bytes]:
    text = task.metadata.get("database")
    if text is None:
        return {}
    try:
        return {"database.sqlite": base64.b64decode(text, validate=True)}
    except (TypeError, binascii.Error, ValueError) as error:
        raise RewardError(f"task {task.id!r}: database must be a SQLite file in base64 ({error})") from error


def _table(execution: Execution) -> Table:
    """Read what the runner printed; raises RewardError when the database or the runner is at fault."""
    if not execution.ok:
        if execution.exit_code > 0 and not execution.limit:
            raise RewardError(f"SQLite cannot be used in this sandbox: {ending(execution)}")
        return Table(fault=ending(execution).replace("the program", "the query", 1))
    answer = json.loads(execution.stdout)
    if "broken" in answer:
        raise RewardError(answer["broken"])
    return Table(**answer)


def _given(task: Task, rows: Any) -> Table:
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise RewardError(f"task {task.id!r}: expected_rows must be a list of rows, each a list of values")
    plain = [[int(value) if isinstance(value, bool) else value for value in row] for row in rows]
    return Table(columns=len(rows[0]) if rows else None, rows=plain)


def _sort_key(row: Sequence[Any]) -> tuple[list[str], list[str]]:
    """Sort by what is compared exactly first, then by numbers as far as noise does not reach."""
    numbers = [type(value) in (int, float) for value in row]
    exact = [repr(value) for value, number in zip(row, numbers, strict=True) if not number]
    return exact, [f"{value:.6g}" for value, number in zip(row, numbers, strict=True) if number]
