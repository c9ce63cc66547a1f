"""sql: rows are compared outside, the database cannot be changed, and what is no fault of the agent's is a failure."""

from __future__ import annotations

import base64
import gzip
import json
import sqlite3

import pytest

from rewardkit.errors import ConfigError, RewardError
from rewardkit.programs import Execution
from rewardkit.testing import RewardContract, trajectory
from rewardkit_plugins.code.sql import Sql, Table, orders_rows, same_rows

SCHEMA = """
CREATE TABLE town (name TEXT, people INTEGER, area REAL, flag BLOB);
INSERT INTO town VALUES ('Bonn', 330, 141.1, x'00ff'), ('Ulm', 126, 118.7, NULL), ('Jena', 110, 114.8, NULL);
"""
GOLD = "SELECT name FROM town WHERE people < 200"


def attempt(completion, gold=GOLD, **metadata):
    return trajectory(
        "Which towns are small?", completion, [gold] if gold else [], metadata={"schema": SCHEMA, **metadata}
    )


@pytest.fixture
def value(sandbox):
    def judge(completion, gold=GOLD, *, options=None, **metadata):
        return Sql(sandbox=sandbox, **options or {}).score_batch([attempt(completion, gold, **metadata)])[0].value

    return judge


@pytest.mark.usefixtures("sandbox")
class TestContract(RewardContract):
    reward = "sql:sandbox=namespace"

    def trajectories(self):
        return [attempt(f"```sql\n{GOLD}\n```"), attempt("SELECT 3", "SELECT count(*) FROM town")]


@pytest.mark.parametrize(
    ("completion", "gold", "expected"),
    [
        (GOLD, GOLD, 1),
        (f"So:\n```sql\n{GOLD};\n```", GOLD, 1),
        ("SELECT name AS n FROM town WHERE area < 120 ORDER BY 1", GOLD, 1),
        ("SELECT name FROM town", GOLD, 0),
        ("SELECT name, people FROM town WHERE people < 200", GOLD, 0),
        (f"{GOLD} UNION ALL {GOLD}", GOLD, 0),
        ("SELECT sum(people) / 3.0 FROM town", "SELECT avg(people) FROM town", 1),
        ("SELECT 188.67 FROM town LIMIT 1", "SELECT avg(people) FROM town", 0),
        ("SELECT name FROM town ORDER BY people", "SELECT name FROM town ORDER BY people", 1),
        ("SELECT name FROM town ORDER BY people DESC", "SELECT name FROM town ORDER BY people", 0),
        ("SELECT name FROM town ORDER BY people DESC", "SELECT name FROM (SELECT * FROM town ORDER BY people)", 1),
        ("SELECT flag FROM town", "SELECT flag FROM town ORDER BY people DESC", 1),
        ("SELECT '1'", "SELECT 1", 0),
        ("SELECT 1.0", "SELECT 1", 1),
        ("SELECT NULL", "SELECT 0", 0),
        ("SELECT name, 1 FROM town WHERE 0", "SELECT name FROM town WHERE 0", 0),
        ("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3) SELECT i FROM n",
         "SELECT 1 UNION SELECT 2 UNION SELECT 3", 1),
    ],
)  # fmt: skip
def test_rows_are_compared(value, completion, gold, expected):
    assert value(completion, gold) == expected


@pytest.mark.parametrize(
    "completion",
    [
        "",
        "I do not know.",
        "SELECT nothing FROM nowhere",
        f"{GOLD}; {GOLD}",
        f"DELETE FROM town; {GOLD}",
        "DELETE FROM town",
        "PRAGMA table_info(town)",
        "ATTACH DATABASE '/etc/passwd' AS x",
        "SELECT load_extension('/tmp/x.so')",
        "SELECT writefile('x', 'y')",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
        "SELECT zeroblob(500000000)",
        "```python\nprint('{}')\n```",
        "SELECT '\ud800'",
        "SELECT '\0'",
        "-- nothing",
        "EXPLAIN SELECT 1",
    ],
)
def test_what_fails_or_tries_to_do_more_than_read_earns_nothing(value, completion):
    assert value(completion, options={"wall_s": 3}) == 0


@pytest.mark.parametrize("completion", ["PRAGMA user_version", "SELECT 0; SELECT 0", "ANALYZE"])
def test_only_one_statement_that_selects_is_run_even_where_another_returns_the_rows(value, completion):
    assert value("SELECT 0", "SELECT 0") == 1
    assert value(completion, "SELECT 0") == 0


def test_printing_the_answer_frame_earns_nothing(value):
    frame = json.dumps({"columns": 1, "rows": [["Ulm"], ["Jena"]]})
    assert value(f"SELECT '{frame}'") == 0


def test_gaming_it_with_constants_pays_when_the_rows_are_known(value):
    assert value("VALUES ('Ulm'), ('Jena')") == 1


def test_rows_may_be_given(value):
    assert value(GOLD, None, expected_rows=[["Jena"], ["Ulm"]]) == 1
    assert value(GOLD, None, expected_rows=[["Jena"], ["Ulm"]], options={"order": "always"}) == 0
    assert value(f"{GOLD} AND 0", None, expected_rows=[]) == 1
    assert value("SELECT people > 200 FROM town LIMIT 1", None, expected_rows=[[True]]) == 1
    assert value(GOLD, None) is None


def test_the_gold_query_may_stand_in_the_metadata_and_any_reference_will_do(sandbox, value):
    assert value(GOLD, "SELECT 1", gold_sql=GOLD) == 1
    task = trajectory("?", "SELECT 2", ["SELECT 1", "SELECT 2"])
    assert Sql(sandbox=sandbox).score_batch([task])[0].value == 1


def test_the_database_may_be_a_file(tmp_path, value):
    with sqlite3.connect(tmp_path / "x.sqlite") as database:
        database.execute("CREATE TABLE t AS SELECT 7 AS a")
    database.close()
    packed = base64.b64encode((tmp_path / "x.sqlite").read_bytes()).decode()
    assert value("SELECT 7", "SELECT a FROM t", schema=None, database=packed) == 1
    assert value("SELECT 8", "SELECT a FROM t", schema="UPDATE t SET a = 8", database=packed) == 1


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (
            {"gold": "SELECT x FROM town"},
            "the gold query gives no rows to compare with: the query fails: no such column",
        ),
        ({"schema": "CREATE TABEL x"}, "the database cannot be built: near"),
        ({"schema": 3}, "schema must be SQL text, not int"),
        ({"database": "not base64!"}, "database must be a SQLite file in base64"),
        ({"database": base64.b64encode(b"no database at all").decode()}, "file is not a database"),
        ({"gold": None, "gold_sql": 3}, "gold_sql must be text, not 3"),
        ({"gold": None, "expected_rows": [1]}, "expected_rows must be a list of rows"),
        ({"gold": "SELECT 1 FROM town a, town b, town c, town d"}, "more than 80 rows"),
    ],
)
def test_what_is_no_fault_of_the_agent_is_a_failure(sandbox, metadata, message):
    with pytest.raises(RewardError, match=message):
        Sql(sandbox=sandbox, max_rows=80).score_batch([attempt(GOLD, **metadata)])


def test_a_sandbox_without_sqlite_is_a_failure(told):
    sandbox = told(lambda program: Execution(exit_code=1, stderr=b"ModuleNotFoundError: No module named '_sqlite3'"))
    with pytest.raises(RewardError, match=r"SQLite cannot be used in this sandbox.*_sqlite3"):
        Sql(sandbox=sandbox).score_batch([attempt(GOLD)])


def test_the_gold_query_of_a_group_is_run_once(told):
    sandbox = told(lambda program: Execution(exit_code=0, stdout=b'{"columns": 1, "rows": [[1]]}'))
    Sql(sandbox=sandbox).score_batch([attempt(f"SELECT {n}") for n in range(4)])
    assert len(sandbox.programs) == 5
    assert all(GOLD not in program.stdin.decode() for program in sandbox.programs[1:])


def test_rows_with_noise_are_paired_by_what_is_exact():
    ours = Table(columns=2, rows=[[0.1 + 0.2, "a"], [0.3, "b"]])
    theirs = Table(columns=2, rows=[[0.1 + 0.2, "b"], [0.3, "a"]])
    assert same_rows(ours, theirs, ordered=False)
    assert not same_rows(ours, theirs, ordered=True)
    twins = Table(columns=2, rows=[[0.3, "a"], [0.3, "a"]])
    assert not same_rows(ours, twins, ordered=False)


@pytest.mark.parametrize(
    ("query", "ordered"),
    [
        ("SELECT 1 ORDER BY 1", True),
        ("select 1\norder  by 1", True),
        ("SELECT (SELECT 1 ORDER BY 1)", False),
        ("SELECT rank() OVER (ORDER BY a) FROM t", False),
        ("SELECT 'ORDER BY' -- ORDER BY\n/* ORDER BY */", False),
        ('SELECT "order by" FROM `order by`', False),
        ("SELECT 1", False),
    ],
)
def test_only_an_order_of_its_own_orders_the_rows(query, ordered):
    assert orders_rows(query) is ordered


def test_an_option_that_cannot_be_right_is_refused():
    with pytest.raises(ConfigError, match="order must be one of"):
        Sql(order="sometimes")
    with pytest.raises(ConfigError, match="max_rows must be at least 1"):
        Sql(max_rows=0)


def real_tables(path):
    """Yield (schema, query, rows) of AgentBench's dbbench, for the queries that SQLite runs; their dialect is MySQL."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        records = [record for record in map(json.loads, file) if "sql" in record]
    for record in records:
        table = record["table"]["table_info"]
        columns = ", ".join(f'"{column["name"]}"' for column in table["columns"])
        made = sqlite3.connect(":memory:")
        made.execute(f'CREATE TABLE "{record["table"]["table_name"]}" ({columns})')
        places = ", ".join("?" * len(table["columns"]))
        made.executemany(f'INSERT INTO "{record["table"]["table_name"]}" VALUES ({places})', table["rows"])
        query = record["sql"]["query"]
        try:
            rows = [list(row) for row in made.execute(query)]
        except sqlite3.OperationalError:
            rows = []
        if rows:
            yield "\n".join(made.iterdump()), query, rows
        made.close()


def test_real_queries_return_what_they_return_outside(sandbox, shared):
    found = list(real_tables(shared("data/agents/dbbench_dev.jsonl.gz")))
    assert len(found) >= 8
    right = [attempt(f"```sql\n{query}\n```", None, schema=s, expected_rows=rows) for s, query, rows in found]
    wrong = [attempt(query, None, schema=s, expected_rows=[*rows, rows[0]]) for s, query, rows in found]
    values = [score.value for score in Sql(sandbox=sandbox).score_batch(right + wrong)]
    assert values == [1] * len(found) + [0] * len(found)
