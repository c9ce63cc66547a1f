"""A space of text: gymnasium's own knows an alphabet of 62 characters and looks at each one of them."""

from __future__ import annotations

import string
from typing import Any

import gymnasium
import numpy as np

_SAMPLE_LENGTH = 32
_SAMPLE_ALPHABET = string.ascii_letters + string.digits + " .,:+-*/=()\n"


class TextSpace(gymnasium.Space[str]):
    """Every string of at most `max_length` characters.

    `sample` draws up to 32 printable characters: garbage, which any environment has to stand. Asynchronous vector
    environments need `shared_memory=False`.
    """

    def __init__(self, max_length: int = 1 << 20, *, seed: int | None = None) -> None:
        self.max_length = max_length
        super().__init__(dtype=str, seed=seed)

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """Return a random string; masks are not supported."""
        if mask is not None or probability is not None:
            raise ValueError("TextSpace.sample knows no mask and no probability")
        return random_text(self.np_random)

    def contains(self, x: Any) -> bool:
        """Return whether `x` is a string that is not too long."""
        return isinstance(x, str) and len(x) <= self.max_length

    @property
    def is_np_flattenable(self) -> bool:
        """Return False: text is no vector."""
        return False

    def __repr__(self) -> str:
        return f"TextSpace({self.max_length})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TextSpace) and other.max_length == self.max_length

    def __hash__(self) -> int:
        return hash(self.max_length)


def random_text(random: np.random.Generator) -> str:
    """Return up to 32 printable characters that mean nothing."""
    chosen = random.integers(len(_SAMPLE_ALPHABET), size=int(random.integers(_SAMPLE_LENGTH + 1)))
    return "".join(_SAMPLE_ALPHABET[i] for i in chosen)
