"""The plugin template, as an author uses it: copied, renamed, installed beside the wheel, tested, used, removed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(*command, cwd, code=0):
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == code, f"{command} exited with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def build_wheel(folder, to):
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", to, cwd=folder)


@pytest.fixture(scope="module")
def author(tmp_path_factory):
    """Return the author's folder: `plugin`, the template renamed to `whisper`, and `venv`, where it is installed."""
    folder = tmp_path_factory.mktemp("author")
    plugin = folder / "plugin"
    shutil.copytree(ROOT / "examples/plugin_template", plugin, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for file in [f for f in plugin.rglob("*") if f.is_file()]:
        file.write_text(file.read_text().replace("shout", "whisper"))
        file.rename(file.with_name(file.name.replace("shout", "whisper")))
    build_wheel(ROOT, folder / "wheels")
    build_wheel(plugin, folder / "wheels")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    wheels = sorted((folder / "wheels").glob("*.whl"))
    pip(folder, "install", "--no-deps", "--no-index", *wheels)
    # The dependencies come from this environment, so that nothing is fetched; what is installed in `venv` goes first.
    (packages,) = (folder / "venv").glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return folder


def pip(folder, *arguments):
    run(sys.executable, "-m", "pip", "--python", folder / "venv/bin/python", "-q", *arguments, cwd=folder)


def test_the_template_passes_its_own_tests(author):
    output = run(author / "venv/bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=author / "plugin")
    assert " passed" in output


def test_the_plugin_is_found_and_scores_a_file(author):
    command = author / "venv/bin/rewardkit"
    assert "rewardkit-whisper 0.1.0" in run(command, "rewards", "whisper", cwd=author)
    output = run(command, "score", "plugin/data/attempts.jsonl", "--reward", "whisper", "--quiet", cwd=author)
    totals = {line["id"]: line["total"] for line in map(json.loads, output.splitlines())}
    assert totals == {"loud": 1.0, "quiet": 0.0, "silent": 0.0}


def test_the_module_scores_without_being_installed_as_a_plugin(author):
    spec = "plugin/rewardkit_whisper.py:whisper"
    command = author / "venv/bin/rewardkit"
    output = run(command, "score", "plugin/data/attempts.jsonl", "--reward", spec, "--quiet", cwd=author)
    assert [json.loads(line)["total"] for line in output.splitlines()] == [1.0, 0.0, 0.0]


def test_an_uninstalled_plugin_is_gone(author):
    pip(author, "uninstall", "-y", "rewardkit-whisper")
    listed = json.loads(run(author / "venv/bin/rewardkit", "rewards", "--json", cwd=author))
    assert "whisper" not in [one["name"] for one in listed]
