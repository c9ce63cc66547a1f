"""Write the pages that are made from the code: `reference/cli.md` and `reference/contract.md`.

Run by `make docs`; a test compares the committed pages with what this makes.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from rewardkit.cli import cli
from rewardkit.testing.checks import CHECKS, Check

HERE = Path(__file__).parent


def cli_page() -> str:
    """Return the page of the commands: the help text of each."""
    root = click.Context(cli, info_name="rewardkit", terminal_width=80, **cli.context_settings)
    sections = [f"# Commands\n\n`python -m rewardkit` does all that `rewardkit` does.\n\n{_block(cli.get_help(root))}"]
    for name in cli.list_commands(root):
        command = cli.get_command(root, name)
        assert command is not None
        text = command.get_help(click.Context(command, info_name=name, parent=root, terminal_width=80))
        sections.append(f"## {name}\n\n{_block(text)}")
    return "\n".join(sections)


def contract_page() -> str:
    """Return the page of the contract tests: a row for each check."""
    rows = "\n".join(f"| {check.name} | {_requirement(check)} | {check.cure} |" for check in CHECKS)
    return f"{_CONTRACT_INTRODUCTION}\n| check | what it requires | what to do when it fails |\n|---|---|---|\n{rows}\n"


def _requirement(check: Check) -> str:
    run = check.run.func if isinstance(check.run, partial) else check.run
    return (run.__doc__ or "").strip().removeprefix("Require ").rstrip(".")


def _block(text: str) -> str:
    return f"```text\n{text}\n```\n"


_CONTRACT_INTRODUCTION = """# The contract tests

Every reward must pass these. `rewardkit check SPEC` runs them from the command line; a test class that inherits
`rewardkit.testing.RewardContract` runs them under pytest, one test for each row ([how](../tutorials/publish-it.md)).

They run on attempts that deserve a high score, and on copies of them that do not: silence (an empty answer), an echo of
the prompt, and garbage. Without samples of the author, four built-in ones are used: two of maths, an open question, and
a tagged format. A check that says nothing about a reward is skipped, with the reason.

A reward of form alone (a length band, a penalty for repetition) cannot tell a good answer from garbage of the right
form, and must not be used alone. It passes with samples that deserve its highest value.
"""

if __name__ == "__main__":
    for page, text in {"cli.md": cli_page(), "contract.md": contract_page()}.items():
        (HERE / "reference" / page).write_text(text, encoding="utf-8")
