"""The built-in tasks of the database world: a dozen questions and changes on a small shop."""

from __future__ import annotations

from typing import Any

from rewardkit.types import Message, Task


def _columns(**types: str) -> list[dict[str, str]]:
    return [{"name": name, "type": kind} for name, kind in types.items()]


_TABLES: dict[str, Any] = {
    "customer": {
        "columns": _columns(id="INTEGER", name="TEXT", town="TEXT", email="TEXT"),
        "rows": [
            [1, "Ann Berg", "Ulm", "ann@berg.example"],
            [2, "Bo Chen", "Jena", "bo@chen.example"],
            [3, "Cleo Diaz", "Ulm", None],
            [4, "Dov Eker", "Bonn", "dov@eker.example"],
        ],
    },
    "product": {
        "columns": _columns(id="INTEGER", name="TEXT", price="REAL", stock="INTEGER"),
        "rows": [[1, "lamp", 19.5, 12], [2, "chair", 45.0, 3], [3, "desk", 120.0, 0], [4, "clock", 15.25, 7]],
    },
    "purchase": {
        "columns": _columns(id="INTEGER", customer="INTEGER", product="INTEGER", amount="INTEGER", status="TEXT"),
        "rows": [
            [1, 1, 1, 2, "shipped"],
            [2, 2, 2, 1, "open"],
            [3, 1, 4, 1, "open"],
            [4, 3, 1, 3, "open"],
            [5, 4, 3, 1, "cancelled"],
        ],
    },
}
_ABOUT = "\n\nThe tables are customer, product and purchase."

_QUESTIONS = [
    ("stock", "How many lamps are in stock?", "SELECT stock FROM product WHERE name = 'lamp'", "12"),
    ("dearest", "What is the name of the dearest product?", "SELECT name FROM product ORDER BY price DESC", "desk"),
    (
        "spent",
        "What have the purchases of Ann Berg cost together, shipped or not?",
        "SELECT sum(price * amount) FROM purchase JOIN product ON product.id = product WHERE customer = 1",
        "54.25",
    ),
    ("no-email", "Which customer has no email address?", "SELECT name FROM customer WHERE email IS NULL", "Cleo Diaz"),
    (
        "sold-most",
        "Which product was bought in the largest total amount?",
        "SELECT name FROM product JOIN purchase ON product.id = product GROUP BY name ORDER BY sum(amount) DESC",
        "lamp",
    ),
]
_CHANGES = [
    ("cancel", "Cancel purchase 2: its status becomes cancelled.",
     "UPDATE purchase SET status = 'cancelled' WHERE id = 2"),
    ("move", "Bo Chen has moved to Bonn. Change that.", "UPDATE customer SET town = 'Bonn' WHERE name = 'Bo Chen'"),
    ("discount", "Lower the price of everything that costs over 40 by 10 percent.",
     "UPDATE product SET price = price * 0.9 WHERE price > 40"),
    ("forget", "Delete the customer Dov Eker and all purchases of that customer.",
     "DELETE FROM purchase WHERE customer = 4", "DELETE FROM customer WHERE id = 4"),
    ("new-product", "Add the product shelf with the id 5, a price of 60 and 4 in stock.",
     "INSERT INTO product VALUES (5, 'shelf', 60, 4)"),
    ("deliver", "Purchase 4 leaves the house: take its amount from the stock of its product, and set it to shipped.",
     "UPDATE product SET stock = stock - 3 WHERE name = 'lamp'",
     "UPDATE purchase SET status = 'shipped' WHERE id = 4"),
    ("email", "Cleo Diaz has an email address now: cleo@diaz.example. Enter it.",
     "UPDATE customer SET email = 'cleo@diaz.example' WHERE id = 3"),
]  # fmt: skip


def database_tasks() -> list[Task]:
    """Return the tasks; each knows its own plan (`gold`). A question leaves the database as it was."""
    questions = [
        _task(name, text, {"answer": answer, "sql": []}, [query], answer) for name, text, query, answer in _QUESTIONS
    ]
    changes = [_task(name, text, {"sql": statements}, statements, "done") for name, text, *statements in _CHANGES]
    return questions + changes


def _task(name: str, text: str, goal: dict[str, Any], statements: list[str], answer: str) -> Task:
    gold: list[dict[str, Any]] = [{"name": "sql", "arguments": {"statement": statement}} for statement in statements]
    gold.append({"name": "finish", "arguments": {"answer": answer}})
    metadata = {"tables": _TABLES, "goal": goal, "gold": gold}
    return Task(id=f"database/{name}", prompt=(Message(role="user", content=text + _ABOUT),), metadata=metadata)
