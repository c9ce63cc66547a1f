"""The documentation is true: its commands run, its hooks and rewards are complete, its generated pages are current."""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rewardkit import hookspecs
from rewardkit.errors import SandboxUnavailableError
from rewardkit.plugins import Plugins

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in [*DOCS.rglob("*.md"), ROOT / "README.md"])
HEADINGS = ["What it rewards", "When to use it", "How it is gamed", "Example", "Options", "Signature", "Paper"]
HOOKS = [name for name in vars(hookspecs) if name.startswith("rewardkit_")]
BLOCK = re.compile(
    r'(?P<run><!-- run -->\n)?^```(?P<language>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^```$', re.M | re.S
)


def steps_of(page):
    """Yield (command, expected exit code, expected output or None) for what a page runs; write its files first."""
    blocks = list(BLOCK.finditer(page))
    for block, follower in zip(blocks, [*blocks[1:], None], strict=False):
        touching = follower and follower["language"] == "text" and not follower["title"]
        output = follower["text"] if touching and not page[block.end() : follower.start()].strip() else None
        if block["run"]:
            yield [sys.executable, "-c", block["text"]], 0, output
        elif block["language"] in ("bash", "console") and block["text"].startswith("rewardkit "):
            lines = block["text"].replace("\\\n", " ").splitlines()
            for number, line in enumerate(lines, start=1):
                code = int((re.search(r"# exit (\d)$", line) or [0, 0])[1])
                yield ["bash", "-c", line], code, output if number == len(lines) else None


def skip_without_sandbox():
    try:
        Plugins.load().sandboxes.get("auto").build().identity()
    except SandboxUnavailableError as error:
        pytest.skip(f"no sandbox: {error}")


def trimmed(text):
    return [line.rstrip() for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("name", [n for n in PAGES if list(steps_of((ROOT / n).read_text(encoding="utf-8")))])
def test_what_a_page_shows_is_what_happens(name, tmp_path):
    page = (ROOT / name).read_text(encoding="utf-8")
    if "<!-- needs a sandbox -->" in page:
        skip_without_sandbox()
    for block in BLOCK.finditer(page):
        if block["title"] and "/" not in block["title"]:
            (tmp_path / block["title"]).write_text(block["text"], encoding="utf-8")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "COLUMNS": "100"}
    for command, code, output in steps_of(page):
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == code, f"{command[-1]}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        assert output is None or trimmed(done.stdout) == trimmed(output)


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented_with_its_signature(hook):
    signature = str(inspect.signature(getattr(hookspecs, hook))).replace("'", "")
    assert f"\n## {hook}\n\n```python\ndef {hook}{signature}\n```" in (DOCS / "reference/hooks.md").read_text()


def test_no_hook_is_documented_that_does_not_exist():
    assert re.findall(r"^## (rewardkit_\w+)", (DOCS / "reference/hooks.md").read_text(), re.M) == HOOKS


@pytest.mark.parametrize("name", [spec.name for spec in Plugins.load(only=["builtin"]).rewards])
def test_every_builtin_reward_has_a_page_with_the_fixed_headings(name):
    assert f"(docs/rewards/{name}.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
    page = (DOCS / "rewards" / f"{name}.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", page, re.M) == HEADINGS


@pytest.mark.parametrize("page", ["cli", "contract"])
def test_generated_pages_are_current(page):
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    text = (DOCS / f"reference/{page}.md").read_text(encoding="utf-8")
    assert text == getattr(generate, f"{page}_page")(), "run 'make docs'"
