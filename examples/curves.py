"""Curves of learning: a drawing as SVG, and a few words about start and end. Not covered: any other kind of plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev

_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 640, 320, 50, 30, 20, 40
_COLORS = ("#4c72b0", "#dd8452", "#55a868", "#c44e52", "#8172b3", "#937860")
_BARS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training: the mean reward of each update, and of many episodes played before the first and after the last.

    `seconds` are those of the processor, so that what else the machine does matters little.
    """

    seed: int
    rewards: Sequence[float]
    start: float
    end: float
    seconds: float

    def __str__(self) -> str:
        bars = "".join(_BARS[round(value * (len(_BARS) - 1))] for value in _thinned(self.rewards, 50))
        return f"seed {self.seed}: {self.start:.3f} -> {self.end:.3f} in {self.seconds:.0f} s of CPU  |{bars}|"


def summary(runs: Sequence[Run]) -> str:
    """Return start and end over all runs: mean ± standard deviation."""
    starts, ends = [run.start for run in runs], [run.end for run in runs]
    minutes = sum(run.seconds for run in runs) / 60
    return f"{len(runs)} seeds: start {_spread(starts)}, end {_spread(ends)}, {minutes:.1f} minutes of CPU"


def draw(path: Path, runs: Sequence[Run], *, title: str) -> None:
    """Write the curves of runs, whose rewards are from 0 to 1, as an SVG: means of fifty stretches of each."""
    longest = max(len(run.rewards) for run in runs)
    inner_width, inner_height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x(update: float) -> float:
        return _LEFT + inner_width * update / longest

    def y(reward: float) -> float:
        return _TOP + inner_height * (1 - reward)

    shapes = [f'<text x="{_WIDTH / 2}" y="18" text-anchor="middle">{escape(title)}</text>']
    for tick in (0, 0.25, 0.5, 0.75, 1):
        shapes.append(f'<path d="M{_LEFT} {y(tick):.1f}H{_WIDTH - _RIGHT}" stroke="#ccc"/>')
        shapes.append(f'<text x="{_LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
        shapes.append(
            f'<text x="{x(tick * longest):.1f}" y="{_HEIGHT - 22}" text-anchor="middle">{tick * longest:.0f}</text>'
        )
    shapes.append(f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 5}" text-anchor="middle">updates</text>')
    for run, color in zip(runs, _COLORS * len(runs), strict=False):
        values = _thinned(run.rewards, 50)
        step = len(run.rewards) / len(values)
        points = " ".join(f"{x((i + 0.5) * step):.1f},{y(value):.1f}" for i, value in enumerate(values))
        shapes.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.5"/>')
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        f'font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(shapes) + "\n</svg>\n",
        encoding="utf-8",
    )


def _thinned(values: Sequence[float], count: int) -> list[float]:
    """Return the means of at most `count` stretches of equal length."""
    count = min(count, len(values))
    cuts = [len(values) * i // count for i in range(count + 1)]
    return [mean(values[a:b]) for a, b in pairwise(cuts)]


def _spread(values: Sequence[float]) -> str:
    return f"{mean(values):.3f} ± {stdev(values) if len(values) > 1 else 0.0:.3f}"
