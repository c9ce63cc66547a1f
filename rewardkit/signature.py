"""Signatures: one line that says how a number was made, as `bleu|order:4|smooth:add-k|tok:13a|v:0.1.0`.

A signature joins fields with `|` and a field's key and value with `:`; several rewards of one scorer are joined with
`+`. Those characters, `%`, whitespace and control characters are percent-escaped, so that every signature parses back
into the same fields. It does not say what the reward was applied to: that is the trajectory's hash.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

_SAFE = "!\"#$&'()*,-./;<=>?@[]^_`{}~\\"
_LONGEST_VALUE = 80


@dataclass(frozen=True, slots=True)
class Signature:
    """The name of a reward and the fields that decide its numbers, in order; both are text."""

    name: str
    fields: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = [_escape(self.name), *(f"{_escape(k)}:{_escape(v)}" for k, v in self.fields.items())]
        return "|".join(parts)

    @classmethod
    def parse(cls, text: str) -> Signature:
        """Read one signature back; a field without `:` raises ValueError."""
        name, *parts = text.split("|")
        pairs = [part.partition(":") for part in parts]
        for key, colon, _ in pairs:
            if not colon:
                raise ValueError(f"signature {text!r} has the field {key!r} without ':'")
        return cls(_unescape(name), {_unescape(key): _unescape(value) for key, _, value in pairs})


def option_text(value: Any) -> str:
    """Return an option's value as it stands in a signature: text, canonical JSON, or a hash of it if it is long."""
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    if len(text) <= _LONGEST_VALUE:
        return text
    return "sha256-" + hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


def _escape(text: str) -> str:
    return quote(text, safe=_SAFE, errors="surrogatepass")


def _unescape(text: str) -> str:
    return unquote(text, errors="surrogatepass")
