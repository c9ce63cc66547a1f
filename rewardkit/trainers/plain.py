"""Values of trainers and data sets, as JSON has them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

_UNKNOWN = object()


def plain(value: Any) -> Any:
    """Return `value` as JSON has it: numpy scalars and arrays and omegaconf's containers become numbers and lists.

    Items of objects and lists that JSON has no form for are left out, and floats that are not finite become None.
    """
    found = _plain(value)
    return None if found is _UNKNOWN else found


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        pairs = ((str(key), _plain(item)) for key, item in value.items())
        return {key: item for key, item in pairs if item is not _UNKNOWN}
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [item for item in map(_plain, value) if item is not _UNKNOWN]
    tolist = getattr(value, "tolist", None)  # numpy and torch
    return _plain(tolist()) if callable(tolist) else _UNKNOWN
