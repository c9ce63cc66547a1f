"""What a user may say next, by dimension: the utterances of FLR, or sets of one's own, not how likely they are.

The utterances and where they come from are in `followups.json` and `followups.NOTICE.md`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rewardkit.errors import ConfigError
from rewardkit_plugins.rules.rule import check_choice

Probes = dict[str, dict[str, list[str]]]

_SIDES = ["positive", "negative"]
_FLR = Path(__file__).with_name("followups.json")


def probes_of(given: Mapping[str, Any] | str | None, dimensions: Sequence[str] | None) -> Probes:
    """Return the positive and negative utterances of each dimension asked for.

    `given` is such a mapping, the path of a JSON file that holds one, or None for FLR's. `dimensions` None takes all.
    Raises ConfigError for another shape, an utterance that is empty, and a dimension that is unknown or there twice.
    """
    if given is None:
        known = _read(_FLR)
    else:
        known = _checked(_read(Path(given).expanduser()) if isinstance(given, str) else given)
    wanted = list(known) if dimensions is None else [dimensions] if isinstance(dimensions, str) else list(dimensions)
    for name in wanted:
        check_choice("follow_up_likelihood: a dimension", name, list(known))
    if not wanted or len(set(wanted)) < len(wanted):
        raise ConfigError(f"follow_up_likelihood: dimensions must name each dimension once, not {wanted!r}")
    return {name: {side: list(known[name][side]) for side in _SIDES} for name in wanted}


def utterances(probes: Probes) -> list[str]:
    """Return the different utterances, each once, in order."""
    return list(dict.fromkeys(text for sides in probes.values() for side in _SIDES for text in sides[side]))


def _checked(given: Any) -> Any:
    if not isinstance(given, Mapping) or not given:
        raise _unlike(given)
    for sides in given.values():
        if not isinstance(sides, Mapping) or set(sides) != set(_SIDES):
            raise _unlike(sides)
        for texts in sides.values():
            if not isinstance(texts, list) or not texts or not all(isinstance(t, str) and t.strip() for t in texts):
                raise _unlike(texts)
    return given


def _unlike(found: Any) -> ConfigError:
    return ConfigError(
        'follow_up_likelihood: followups must be {dimension: {"positive": [texts], "negative": [texts]}}, with one or '
        f"more texts in each list, none empty: {repr(found)[:100]} is not"
    )


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"follow_up_likelihood: followups {str(path)!r} cannot be read as JSON: {error}") from error
