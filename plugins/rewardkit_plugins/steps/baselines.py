"""PURE's advantages (2504.15275): rewards of a group's attempts less what the others got; no whitening, no gamma.

Leave-one-out needs others: a group of one attempt raises RewardError, as do attempts without steps or tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from rewardkit.errors import RewardError
from rewardkit_plugins.rules.rule import check_choice
from rewardkit_plugins.steps.scores import checked
from rewardkit_plugins.steps.shaping import return_to_go, running_minimum

Rows = Sequence[Sequence[float]]
Baseline = Literal["token", "step"]
ReturnForm = Literal["sum", "min"]

RETURNS = {"sum": return_to_go, "min": running_minimum}


def step_advantages(
    rewards: Rows, *, tokens: Sequence[Sequence[int]], baseline: Baseline = "token"
) -> list[list[float]]:
    """Return the step rewards of each attempt at one task, less the baseline that the other attempts set.

    `rewards` are shaped, [attempt][step]; `tokens` (the same shape) says how long each step is.
    - "token": what the others were paid for a token, times the tokens of the step.
    - "step": what the others were paid for a step, as the mean over attempts. It favours attempts of few steps.
    """
    check_choice("baseline", baseline, get_args(Baseline))
    rows = _group(rewards)
    lengths = [list(row) for row in tokens]
    if [len(row) for row in rows] != [len(row) for row in lengths] or any(n < 1 for row in lengths for n in row):
        raise RewardError(f"tokens={lengths!r} must give at least one token to every step of {rows!r}")
    totals = [sum(row) for row in rows]
    if baseline == "step":
        rates = _means_of_others([paid / len(row) for paid, row in zip(totals, rows, strict=True)])
        return [[reward - rate for reward in row] for row, rate in zip(rows, rates, strict=True)]
    paid, spent = _sums_of_others(totals), _sums_of_others([sum(row) for row in lengths])
    return [
        [reward - paid[i] / spent[i] * length for reward, length in zip(row, lengths[i], strict=True)]
        for i, row in enumerate(rows)
    ]


def token_advantages(rewards: Rows, *, form: ReturnForm = "sum", padded: int | None = None) -> list[list[float]]:
    """Return the return at each token less the mean return of the other attempts' tokens, as PURE's verl branch does.

    `rewards` are [attempt][token], 0.0 where no step ends; `form` makes returns of them, with rows filled up with zeros
    to `padded` tokens (None: the longest row), which the mean counts. "min" takes the zeros for rewards, so a good step
    earns 0 at most: this is the branch's behaviour; `shaping.strict_min` minds steps only.
    """
    check_choice("form", form, get_args(ReturnForm))
    rows = _group(rewards)
    longest = max(map(len, rows), default=0)
    width = longest if padded is None else padded
    if width < longest:
        raise RewardError(f"padded={padded!r} is less than the longest attempt, of {longest} tokens")
    returns = [RETURNS[form]([*row, *[0.0] * (width - len(row))]) for row in rows]
    means = _means_of_others([sum(row) / width for row in returns])
    lengths = map(len, rows)  # padding has no advantage
    return [[value - mean for value in row[:length]] for row, mean, length in zip(returns, means, lengths, strict=True)]


def verifiable_advantages(solved: Sequence[float]) -> list[float]:
    """Return solved - 1, in [-1, 0], of each attempt at one task, less the mean of the others; for the last token.

    `solved` is 1 or 0, or the share of tests passed. Where the answer is not known all are 1, and all advantages 0.
    """
    values = [one - 1 for one in checked(solved, low=0.0, high=1.0)]
    return [value - mean for value, mean in zip(values, _means_of_others(values), strict=True)]


def _group(rewards: Rows) -> list[list[float]]:
    for attempt, row in enumerate(rewards):
        if not row:
            raise RewardError(f"attempt {attempt} of the group has no rewards: leave it out of the group")
    return [checked(row) for row in rewards]


def _means_of_others(values: Sequence[float]) -> list[float]:
    return [total / (len(values) - 1) for total in _sums_of_others(values)]


def _sums_of_others(values: Sequence[float]) -> list[float]:
    if len(values) < 2:
        raise RewardError(f"a group of {len(values)} has no others to compare with: sample at least two attempts")
    return [sum(values[:i]) + sum(values[i + 1 :]) for i in range(len(values))]
