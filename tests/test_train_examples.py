"""The examples that train: their drawing is right, and both run from start to end where torch and TRL are installed."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SHORT = {"ppo_env": ["--updates", "2", "--episodes", "16"], "grpo_trl": ["--steps", "2", "--warm-steps", "2"]}


@pytest.fixture(scope="module")
def curves():
    spec = importlib.util.spec_from_file_location("curves", EXAMPLES / "curves.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["curves"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["curves"]


def run_of(curves, seed, rewards):
    return curves.Run(seed=seed, rewards=rewards, start=rewards[0], end=rewards[-1], seconds=90.0)


def test_the_summary_gives_mean_and_deviation_of_start_and_end_over_the_seeds(curves):
    runs = [run_of(curves, seed, [0.1 * seed, 0.5 + 0.1 * seed]) for seed in range(3)]
    assert curves.summary(runs) == "3 seeds: start 0.100 ± 0.100, end 0.600 ± 0.100, 4.5 minutes of CPU"


def test_a_single_seed_has_no_deviation(curves):
    assert curves.summary([run_of(curves, 0, [0.0, 1.0])]).startswith("1 seeds: start 0.000 ± 0.000, end 1.000")


def test_a_run_shows_its_rewards_as_bars(curves):
    assert str(run_of(curves, 7, [0.0, 0.5, 1.0])) == "seed 7: 0.000 -> 1.000 in 90 s of CPU  | ▄█|"


def test_a_drawing_holds_one_line_for_each_run_from_its_lowest_to_its_highest(curves, tmp_path):
    curves.draw(tmp_path / "c.svg", [run_of(curves, s, [0.0, 1.0]) for s in range(3)], title="a < b")
    drawing = ET.parse(tmp_path / "c.svg")
    names = {"svg": "http://www.w3.org/2000/svg"}
    lines = [line.get("points") for line in drawing.findall("svg:polyline", names)]
    heights = {
        float(tick.text): float(tick.get("y")) - 4 for tick in drawing.findall("svg:text[@text-anchor='end']", names)
    }
    assert [[float(p.split(",")[1]) for p in line.split()] for line in lines] == [[heights[0], heights[1]]] * 3
    assert drawing.find("svg:text", names).text == "a < b"


def test_a_long_run_is_drawn_as_the_means_of_fifty_stretches(curves):
    assert curves._thinned([0.0, 1.0] * 100, 50) == [0.5] * 50


@pytest.mark.slow
@pytest.mark.parametrize("name", SHORT)
def test_an_example_trains_for_two_steps(name, tmp_path):
    needs = ["torch", "trl", "datasets", "transformers"] if name == "grpo_trl" else ["torch"]
    for module in needs:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed: train_{name}.py is not run here (pip install --group train)")
    script = str(EXAMPLES / f"train_{name}.py")
    command = [sys.executable, script, "--seeds", "3", *SHORT[name], "--plot", "plot.svg"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^seed 3: 0\.\d{3} -> 0\.\d{3} in \d+ s of CPU  \|", done.stdout, re.M)
    assert "1 seeds: start" in done.stdout
    assert (tmp_path / "plot.svg").read_text(encoding="utf-8").startswith("<svg")
