"""What each step is paid, from what a process reward model thinks of it; success is rewarded elsewhere.

Step rewards that are simply summed up teach to write more steps (Gao et al. 2024, 2410.15115). These shapes bound the
sum: to the worst step (PURE, 2504.15275, and `strict_min`), to 0 (`clip`), or to the first step (`delta`).

Every shape takes the scores of one response in order, gives as many rewards, and raises RewardError for a score that is
not finite. No steps, no rewards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import accumulate, pairwise

from rewardkit.errors import ConfigError
from rewardkit_plugins.rules.rule import check_choice, check_number
from rewardkit_plugins.steps.scores import checked

Shape = Callable[[Sequence[float]], list[float]]

_COLDEST = 1e-6


def min_form(scores: Sequence[float], *, temperature: float = 0.1) -> list[float]:
    """Weigh scores with softmax(-score / temperature): PURE's min-form.

    The sum lies between the lowest score and the mean, and nears the lowest as the temperature nears 0. PURE's scores
    are p(good) - p(bad), in [-1, 1].
    """
    check_number("min_form: temperature", temperature, low=_COLDEST)
    found = checked(scores)
    low = min(found, default=0.0)
    weights = [math.exp((low - score) / temperature) for score in found]
    whole = math.fsum(weights)
    return [weight / whole * score for weight, score in zip(weights, found, strict=True)]


def uniform(scores: Sequence[float]) -> list[float]:
    """Weigh n scores with 1 / n, so that the sum is the mean: PURE without its min-form."""
    return [score / len(scores) for score in checked(scores)]


def strict_min(scores: Sequence[float]) -> list[float]:
    """Pay so that the return at each step is the lowest score from there on; the sum is the lowest of all."""
    return rewards_of(running_minimum(scores))


def clip(scores: Sequence[float], *, eta: float) -> list[float]:
    """Pay min(score - eta, 0): no step gains anything, and those below `eta` lose.

    The paper does not give `eta`; the mean score of some solutions is a start.
    """
    check_number("clip: eta", eta)
    return [min(score - eta, 0.0) for score in checked(scores)]


def delta(scores: Sequence[float]) -> list[float]:
    """Pay each step its score less that of the next, the last but one its own score, and the last nothing.

    So the return at each step but the last is its score, however many follow, and the sum is the first score. The last
    step is left to the reward for success; a single step therefore gets 0.
    """
    return rewards_of([*checked(scores)[:-1], 0.0][: len(scores)])


def clip_delta(scores: Sequence[float], *, eta: float) -> list[float]:
    """Pay the `delta` of the clipped scores."""
    return delta(clip(scores, eta=eta))


SHAPES: Mapping[str, Callable[..., list[float]]] = {
    "none": checked,
    "min_form": min_form,
    "uniform": uniform,
    "strict_min": strict_min,
    "clip": clip,
    "delta": delta,
    "clip_delta": clip_delta,
}


def shaper(name: str, *, eta: float | None = None, temperature: float = 0.1) -> Shape:
    """Return the function of SHAPES with its options bound; raises ConfigError for options that cannot be right.

    `eta` must be given for clip and clip_delta, and for no other; `temperature` (at least 1e-6) is for min_form.
    """
    check_choice("shape", name, list(SHAPES))
    if (name in ("clip", "clip_delta")) != (eta is not None):
        raise ConfigError(f"shape {name!r} with eta={eta!r}: clip and clip_delta need eta, the others have none")
    check_number("temperature", temperature, low=_COLDEST)
    if eta is not None:
        check_number("eta", eta)
        return partial(SHAPES[name], eta=eta)
    return partial(min_form, temperature=temperature) if name == "min_form" else SHAPES[name]


def return_to_go(rewards: Sequence[float]) -> list[float]:
    """Return for each step the undiscounted sum of the rewards from there on."""
    return list(accumulate(reversed(checked(rewards))))[::-1]


def rewards_of(returns: Sequence[float]) -> list[float]:
    """Return the rewards that have these returns: the inverse of `return_to_go`."""
    return [now - after for now, after in pairwise([*checked(returns), 0.0])]


def running_minimum(scores: Sequence[float]) -> list[float]:
    """Return for each step the lowest score from there on: PURE's strict return."""
    return list(accumulate(reversed(checked(scores)), min))[::-1]
