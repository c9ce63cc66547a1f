"""The world of a database: gold, hostile statements, what is saved, and AgentBench's tasks."""

from __future__ import annotations

import base64
import gzip
import json
import random
import sqlite3
from typing import ClassVar

import pytest

from rewardkit.errors import ConfigError, SandboxUnavailableError
from rewardkit.plugins import Plugins
from rewardkit.types import Message, Task
from rewardkit_envs.agent import AgentEnv
from rewardkit_envs.testing import EnvContract
from rewardkit_envs.worlds.database import DatabaseWorld
from rewardkit_envs.worlds.database_tasks import database_tasks


@pytest.fixture(scope="module")
def sandbox():
    try:
        opened = Plugins.load().sandboxes.get("namespace").build()
        opened.identity()
    except SandboxUnavailableError as error:
        pytest.skip(f"no sandbox: {error}")
    yield opened
    opened.close()


@pytest.mark.usefixtures("sandbox")
class TestContract(EnvContract):
    env = "rewardkit/Agent-v0"
    options: ClassVar = {"world": "database", "sandbox": "namespace"}
    garbage = 40


@pytest.fixture
def env(sandbox):
    return AgentEnv(world=DatabaseWorld(sandbox=sandbox))


def call(name, **arguments):
    return json.dumps({"name": name, "arguments": arguments})


def sql(statement):
    return call("sql", statement=statement)


TOWN = {"columns": ["name", {"name": "size", "type": "INTEGER"}], "rows": [["Bonn", 330], ["Jena", None]]}


def start(env, goal=None, **metadata):
    metadata = metadata or {"tables": {"town": TOWN}}
    env.reset(options={"task": Task(id="own", metadata={**metadata, "goal": goal or {"sql": []}})})
    return env


def saved(env):
    return env.trajectory.steps[-1].metadata["final_state"]


@pytest.mark.parametrize("task", database_tasks(), ids=lambda task: task.id)
def test_gold_reaches_the_goal_and_silence_does_not(env, task):
    env.reset(options={"task": task})
    assert env.step("Final Answer: done")[1] == 0.0
    env.reset(options={"task": task})
    over = False
    while not over:
        _, reward, over, truncated, _ = env.step(env.gold())
        assert not truncated
    assert reward == 1.0


def test_rows_and_changes_are_shown(env):
    start(env)
    shown = [
        env.step(sql(statement))[0]
        for statement in (
            "SELECT * FROM town",
            "INSERT INTO town VALUES ('Ulm', 126)",
            "SELECT name FROM town WHERE size < 200",
            "SELECT name FROM town WHERE size > 900",
            "UPDATE town SET size = size + 1",
            "CREATE TABLE road (a, b)",
            "SELECT x'ff', 1.5",
            "SELEC 1",
            "SELECT 1; SELECT 2",
            "PRAGMA table_info(road)",
            "",
        )
    ]
    assert shown == [
        "name | size\nBonn | 330\nJena | NULL",
        "(1 row changed)",
        "name\nUlm",
        "name\n(no rows)",
        "(3 rows changed)",
        "(done)",
        'x\'ff\' | 1.5\n{"blob": "ff"} | 1.5',
        'Error: near "SELEC": syntax error',
        "Error: You can only execute one statement at a time.",
        "cid | name | type | notnull | dflt_value | pk\n0 | a |  | 0 | NULL | 0\n1 | b |  | 0 | NULL | 0",
        "(done)",
    ]


def test_long_answers_are_cut(env):
    start(env)
    many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 999) SELECT i FROM n"
    shown = env.step(sql(many))[0].splitlines()
    assert shown[:3] == ["i", "1", "2"]
    assert shown[-2:] == ["50", "(more rows are left out)"]
    assert len(env.step(sql("SELECT printf('%.*c', 9000, 'x')"))[0]) < 600


@pytest.mark.parametrize(
    "statement",
    [
        "ATTACH '/tmp/work/other.db' AS other",
        "PRAGMA writable_schema = 1",
        "SELECT load_extension('/lib/x.so')",
        "BEGIN",
        "VACUUM INTO '/tmp/work/copy.db'",
        "SELECT randomblob(2000000000)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT count(*) FROM n",
        "SELECT * FROM nowhere\x00",
    ],
)
def test_hostile_statements_are_answered_with_an_error(sandbox, statement):
    from rewardkit.programs import Limits

    env = start(AgentEnv(world=DatabaseWorld(sandbox=sandbox, limits=Limits(wall_s=2, disk_mb=32, output_kb=16384))))
    shown, reward, *_ = env.step(sql(statement))
    assert shown.startswith("Error: "), shown
    assert reward == 0.0
    assert env.step(sql("SELECT count(*) FROM town"))[0] == "count(*)\n2"


def test_a_database_that_grows_too_much_is_left_as_it_was(env):
    start(env)
    assert env.step(sql("INSERT INTO town VALUES (randomblob(6000000), 1)"))[0].startswith("Undone: ")
    assert env.step(sql("SELECT count(*) FROM town"))[0] == "count(*)\n2"


def test_an_agent_that_makes_its_database_unreadable_has_missed_the_goal(env):
    start(env, goal={"tables": {"town": [["Bonn", 330], ["Jena", None]]}})
    env.episode.memory = type(env.episode.memory)(
        memory=type(env.episode.memory.memory)(b"SQLite format 3\0" + b"x" * 4096)
    )
    _, reward, *_, told = env.step(call("finish"))
    assert (reward, told["reward_missing"]) == (0.0, False)


def test_a_goal_in_rows_and_one_in_sql_ask_for_the_same(env):
    for goal in (
        {"tables": {"town": [["Bonn", 331], ["Jena", None]]}},
        {"sql": ["UPDATE town SET size = 331 WHERE size = 330"]},
    ):
        start(env, goal=goal)
        env.step(sql("UPDATE town SET size = size + 1"))
        assert env.step(call("finish"))[1] == 1.0
        start(env, goal=goal)
        assert env.step(call("finish"))[1] == 0.0
    assert saved(env) == {
        "tables": {"town": [["Bonn", 330], ["Jena", None]]},
        "expected_tables": {"town": [["Bonn", 331], ["Jena", None]]},
        "answer": "",
    }


def test_the_database_may_be_a_file_or_a_script(env):
    made = sqlite3.connect(":memory:")
    made.executescript("CREATE TABLE a (x); INSERT INTO a VALUES (1)")
    file = base64.b64encode(made.serialize()).decode()
    start(env, database=file, schema="INSERT INTO a VALUES (2)")
    assert env.step(sql("SELECT x FROM a"))[0] == "x\n1\n2"
    made.close()


@pytest.mark.parametrize(
    "metadata",
    [
        {"database": "no base64!"},
        {"tables": {"t": {"columns": ["a"], "rows": [[1, 2]]}}},
        {"tables": ["t"]},
        {"schema": 3},
    ],
)
def test_a_task_that_is_none_for_this_world_is_refused(env, metadata):
    with pytest.raises(ConfigError, match="task 'own'"):
        start(env, **metadata)


def test_a_task_whose_database_is_broken_is_nobodys_reward(env):
    start(env, schema="CREATE TABL x")
    _, reward, terminated, truncated, told = env.step(sql("SELECT 1"))
    assert (reward, terminated, truncated, told["reward_missing"]) == (0.0, False, True, True)


def test_a_goal_that_is_none_is_refused(env):
    with pytest.raises(ConfigError, match="must be a list of statements"):
        start(env, goal={"sql": "DELETE FROM town"})
    with pytest.raises(ConfigError, match="goal must be an object"):
        start(env, goal=["sql"])


def test_what_no_json_holds_is_saved_all_the_same(env):
    start(env)
    env.step(sql("INSERT INTO town VALUES (x'ff00', 9e999), (CAST(x'ff41' AS TEXT), -9e999)"))
    env.step(call("finish"))
    written = json.dumps(saved(env), allow_nan=False)
    assert json.loads(written)["tables"]["town"][2:] == [
        [{"blob": "ff00"}, {"real": "inf"}],
        ["\ufffdA", {"real": "-inf"}],
    ]


def test_an_episode_can_be_left_and_come_back_to(env):
    start(env, goal={"sql": ["DELETE FROM town"]})
    here = env.state()
    env.step(sql("DROP TABLE town"))
    env.restore(here)
    env.step(sql("DELETE FROM town"))
    assert env.step(call("finish"))[1] == 1.0


def dbbench(path):
    """Yield AgentBench's records as (task, statements of a perfect agent)."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            record = json.loads(line)
            table = record["table"]
            metadata = {"tables": {table["table_name"]: table["table_info"]}}
            changes = record["type"][0] in ("INSERT", "UPDATE", "DELETE")
            metadata["goal"] = {"sql": record["label"]} if changes else {"answers": record["label"]}
            task = Task(
                id=str(number), prompt=(Message(role="user", content=record["description"]),), metadata=metadata
            )
            yield task, record["label"]


def test_agentbenchs_database_tasks_are_reached_by_their_labels(env, shared):
    reached = judged = 0
    for task, label in list(dbbench(shared("data/agents/dbbench_dev.jsonl.gz")))[::2]:
        env.reset(options={"task": task})
        if "sql" in task.metadata["goal"]:
            env.step(sql(label[0]))
            _, reward, *_, told = env.step(call("finish"))
        else:
            _, reward, *_, told = env.step(call("finish", answer=json.dumps(label)))
        judged += not told["reward_missing"]
        reached += reward == 1.0
    assert reached == judged
    assert judged == 30


def test_random_statements_never_raise_and_never_pay(env):
    chance = random.Random(7)
    words = [
        "SELECT",
        "*",
        "FROM",
        "town",
        "WHERE",
        "size",
        ";",
        "--",
        "'",
        '"',
        "DROP TABLE",
        "CREATE TABLE",
        "t",
        "(",
        ")",
    ]
    words += [
        "INSERT INTO",
        "VALUES",
        "NULL",
        "UPDATE",
        "SET",
        "=",
        "CREATE VIEW",
        "AS",
        "sqlite_master",
        "PRAGMA",
        "VACUUM",
    ]
    words += ["CREATE TRIGGER", "CREATE VIRTUAL TABLE", "USING fts5(a)", "ALTER TABLE", "RENAME TO", "\x00", "é", "1"]
    for _ in range(4):
        start(env, goal={"tables": {"never": [[1]]}})
        over = False
        while not over:
            statement = " ".join(chance.choice(words) for _ in range(chance.randrange(6)))
            _, reward, terminated, truncated, told = env.step(sql(statement))
            over = terminated or truncated
            assert reward == 0.0
        assert told["reward_missing"] is False
