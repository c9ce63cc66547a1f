"""Parses Python that may be hostile, without running it, in bounded time and memory.

The Python that runs rewardkit decides what is syntax; the sandbox may have another one.
"""

from __future__ import annotations

import ast
import threading
import warnings

LONGEST = 200_000  # characters
_MOST_DOTS = 1000  # CPython joins the dots of an imported name in quadratic time
_FILTERS = threading.Lock()  # warning filters belong to the whole process


def parse(code: str) -> ast.Module:
    """Return the syntax tree of `code`; raises ValueError, in one line, for what is no Python or too large to tell."""
    if len(code) > LONGEST:
        raise ValueError(f"{len(code):,} characters are too many to parse (at most {LONGEST:,})")
    lines = code.replace("\\\n", " ").split("\n")
    if any("import" in line and line.count(".") > _MOST_DOTS for line in lines):
        raise ValueError("an import has too many dots to parse")
    try:
        with _FILTERS, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a wrong escape such as "\d" is only warned of
            return ast.parse(code)
    except SyntaxError as error:
        where = f" (line {error.lineno})" if error.lineno else ""
        raise ValueError(f"{type(error).__name__}: {error.msg}{where}") from error
    except (MemoryError, RecursionError):
        raise ValueError("it is nested too deeply to parse") from None
    except UnicodeEncodeError as error:
        raise ValueError("it holds a lone surrogate, which is no character") from error


def parses(code: str) -> bool:
    """Return whether `code` is Python."""
    try:
        parse(code)
    except ValueError:
        return False
    return True
