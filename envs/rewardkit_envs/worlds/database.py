"""A SQLite database in the sandbox: its file is a value in the episode's memory, each statement a fresh program.

So every statement is a transaction of its own. Not covered: other dialects, several databases, attaching files.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewardkit.errors import ConfigError, RewardError
from rewardkit.programs import Execution, Limits, Program
from rewardkit.protocols import Sandbox
from rewardkit.types import Task
from rewardkit_envs.calls import Call
from rewardkit_envs.sandboxes import LazySandbox
from rewardkit_envs.tasks import TaskList, TaskSource
from rewardkit_envs.worlds.database_tasks import database_tasks
from rewardkit_envs.worlds.world import Reply, Tool, goal_of, takes

_TOOLS = (
    Tool(
        name="sql",
        description="Run one SQL statement in SQLite; what it changes stays. The tables are listed in sqlite_master.",
        parameters=takes(statement="the statement"),
    ),
)
_FILE = "database.sqlite"
_MOST_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Database:
    """A SQLite file; None before the first statement, which makes it from the task."""

    content: bytes | None = None


class DatabaseWorld:
    """A database with the tool `sql`.

    A task's metadata describes the database: `schema` (SQL that makes it, data included), `database` (a SQLite file in
    base64) or `tables` (name to {"columns": [names, or {"name": ..., "type": ...}], "rows": [[...]]}), or several of
    them, one after the other. Its `goal` is judged by the reward `goal_state`: see its page. `limits` hold for each
    statement; `shown` is how many rows of an answer the agent sees.
    """

    tools = _TOOLS
    pays = False

    def __init__(self, *, sandbox: str | Sandbox = "auto", limits: Limits | None = None, shown: int = 50) -> None:
        self.sandbox = LazySandbox(sandbox)
        self.limits = limits or Limits(disk_mb=32, output_kb=16_384)
        self.shown = shown

    def tasks(self) -> TaskSource:
        """Return a dozen small tasks."""
        return TaskList(database_tasks())

    def start(self, task: Task) -> tuple[Database, str]:
        """Return the database that the first statement makes; the task is read now, so that it fails early."""
        _given_file(task)
        _script(task)
        _statements(task)
        return Database(), ""

    def call(self, task: Task, memory: Database, name: str, arguments: Mapping[str, Any]) -> Reply:  # noqa: ARG002
        """Run a statement."""
        ended = self._run(task, memory, {"statement": arguments["statement"]}, fetch=(_FILE,))
        if (fault := _fault(task, ended, "the statement")) is not None:
            return Reply(text=fault, memory=memory)
        if len(ended.files[_FILE]) > _MOST_BYTES:
            return Reply(text=f"Undone: the database may have {_MOST_BYTES} bytes.", memory=memory)
        return Reply(text=_table(_printed(ended), self.shown), memory=Database(ended.files[_FILE]))

    def evidence(self, task: Task, memory: Database) -> Mapping[str, Any]:
        """Return the rows of all tables, and those that the goal's statements make of a fresh database."""
        found: dict[str, Any] = {"tables": self._dump(task, memory, [])}
        if (statements := _statements(task)) is not None:
            expected = self._dump(task, Database(), statements)
            if expected is None:
                raise RewardError(f"task {task.id!r}: the statements of its goal fail")
            found["expected_tables"] = expected
        return found

    def gold(self, task: Task, memory: Database) -> Call | None:  # noqa: ARG002  the task's own plan it is
        """Return None."""
        return None

    def close(self) -> None:
        """Close the sandbox."""
        self.sandbox.close()

    def _dump(self, task: Task, database: Database, statements: Sequence[str]) -> dict[str, list[list[Any]]] | None:
        """Return the rows of all tables after `statements`; None where they cannot be read, or are far too many."""
        ended = self._run(task, database, {"goal": list(statements)})
        made_by_agent = database.content is not None
        try:
            if _fault(task, ended, "the goal") is None:
                tables: dict[str, list[list[Any]]] = _printed(ended)["tables"]
                return tables
        except RewardError:
            if not made_by_agent:
                raise
        return None

    def _run(self, task: Task, database: Database, orders: Mapping[str, Any], fetch: tuple[str, ...] = ()) -> Execution:
        content, script = database.content, ""
        if content is None:
            content, script = _given_file(task), _script(task)
        stdin = json.dumps({**orders, "script": script, "most_rows": max(self.shown, 1)}).encode()
        files = {} if content is None else {_FILE: content}
        return self.sandbox.run(Program(code=_RUNNER, stdin=stdin, files=files, fetch=fetch, limits=self.limits))


def _statements(task: Task) -> list[str] | None:
    """Return the statements that say what the goal is, if they do."""
    statements = goal_of(task).get("sql")
    if statements is not None and not (isinstance(statements, list) and all(isinstance(s, str) for s in statements)):
        raise ConfigError(f"task {task.id!r}: the goal's sql must be a list of statements, not {statements!r}")
    return statements


def _given_file(task: Task) -> bytes | None:
    text = task.metadata.get("database")
    try:
        return None if text is None else base64.b64decode(text, validate=True)
    except (TypeError, binascii.Error, ValueError) as error:
        raise ConfigError(f"task {task.id!r}: database must be a SQLite file in base64 ({error})") from error


def _script(task: Task) -> str:
    """Return the SQL that makes the task's database."""
    schema, tables = task.metadata.get("schema", ""), task.metadata.get("tables", {})
    try:
        made = [_create(name, table["columns"], table["rows"]) for name, table in tables.items()]
        return "\n".join([schema, *made])
    except (TypeError, KeyError, AttributeError, IndexError, ValueError) as error:
        text = "schema must be SQL, and tables map names to {'columns': [...], 'rows': [[...]]}"
        raise ConfigError(f"task {task.id!r}: {text} ({error!r})") from error


def _create(name: str, columns: Sequence[Any], rows: Sequence[Sequence[Any]]) -> str:
    if any(len(row) != len(columns) for row in rows):
        raise ValueError(f"a row of {name!r} has not {len(columns)} values")
    listed = ", ".join(
        _quoted(column) if isinstance(column, str) else f"{_quoted(column['name'])} {_quoted(column.get('type', ''))}"
        for column in columns
    )
    lines = [f"INSERT INTO {_quoted(name)} VALUES ({', '.join(map(_literal, row))});" for row in rows]  # noqa: S608  quoted
    return "\n".join([f"CREATE TABLE {_quoted(name)} ({listed});", *lines])


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, int | float):
        return repr(int(value) if isinstance(value, bool) else value)
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no value of a table")
    return "'" + value.replace("'", "''") + "'"


def _fault(task: Task, ended: Execution, what: str) -> str | None:
    """Return what is wrong with a statement; raises RewardError where it is the task's or the sandbox's fault."""
    if ended.limit:
        return f"Error: {what} ran into its limit {ended.limit}."
    if not ended.ok:
        last = ended.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        if ended.exit_code > 0:
            raise RewardError(f"task {task.id!r}: SQLite cannot be used in this sandbox: {last}")
        return f"Error: {what} was ended by signal {-ended.exit_code}."
    printed = _printed(ended)
    if "broken" in printed:
        raise RewardError(f"task {task.id!r}: its database cannot be built: {printed['broken']}")
    fault: str | None = printed.get("fault")
    return fault


def _printed(ended: Execution) -> dict[str, Any]:
    printed: dict[str, Any] = json.loads(ended.stdout)
    return printed


def _table(printed: Mapping[str, Any], shown: int) -> str:
    """Return rows as text: names and values between bars."""
    if printed["columns"] is None:
        changed = printed["changed"]
        return "(done)" if changed < 0 else f"({changed} row{'' if changed == 1 else 's'} changed)"
    rows = [" | ".join(map(_cell, row)) for row in printed["rows"][:shown]]
    left = "(more rows are left out)" if len(printed["rows"]) > shown else ""
    none = "" if rows else "(no rows)"
    return "\n".join(line for line in (" | ".join(printed["columns"]), *rows, left or none) if line)


def _cell(value: Any) -> str:
    text = "NULL" if value is None else json.dumps(value) if isinstance(value, dict) else str(value)
    return text if len(text) <= 500 else f"{text[:500]}..."


# What runs in the sandbox: orders on standard input, one JSON object on standard output. Statements are data to it.
_RUNNER = r"""
import json, sqlite3, sys

def cell(value):
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return {"real": str(value)}
    return {"blob": value.hex()} if isinstance(value, bytes) else value

def text(value):
    return value.decode("utf-8", "replace")

DENIED = {sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH, sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_SAVEPOINT}
PRAGMAS = {"table_info", "table_xinfo", "table_list", "index_list", "index_info", "foreign_key_list"}

def allowed(action, first, second, *_):
    if action == sqlite3.SQLITE_PRAGMA and first not in PRAGMAS:
        return sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_FUNCTION and second in ("load_extension", "fts3_tokenizer"):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_DENY if action in DENIED else sqlite3.SQLITE_OK

def tables(database):
    names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    quoted = [(name, '"' + name.replace('"', '""') + '"') for name, in names.fetchall()]
    return {name: [list(map(cell, row)) for row in database.execute(f"SELECT * FROM {q}")] for name, q in quoted}

def answer():
    orders = json.load(sys.stdin)
    database = sqlite3.connect("database.sqlite", isolation_level=None)
    database.text_factory = text
    try:
        database.executescript("BEGIN;" + orders["script"] + "\n;COMMIT;" if orders["script"].strip() else "")
        database.execute("SELECT count(*) FROM sqlite_master").fetchall()
        for statement in orders.get("goal", []):
            database.execute(statement)
    except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
        return {"broken": str(error)}
    if "goal" in orders:
        return {"tables": tables(database)}
    database.set_authorizer(allowed)
    try:
        found = database.execute(orders["statement"])
        rows = found.fetchmany(orders["most_rows"] + 1)
        names = found.description and [column[0] for column in found.description]
    except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError, MemoryError) as error:
        return {"fault": f"Error: {error}"}
    finally:
        database.set_authorizer(None)
    database.close()
    return {"columns": names, "rows": [list(map(cell, row)) for row in rows], "changed": found.rowcount}

sys.stdout.write(json.dumps(answer()))
"""
