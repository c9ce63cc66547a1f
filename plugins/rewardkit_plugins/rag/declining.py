"""Whether an answer declines to answer: known English phrases, sentence by sentence; no other language.

A decline that is followed by an answer is no decline, and no answer either.
"""

from __future__ import annotations

import re
from typing import Literal

from rewardkit_plugins.rag.sentences import citations_of, sentences_of, without_citations

Stance = Literal["silent", "answered", "declined", "mixed"]

_SOURCES = r"(?:passages?|documents?|sources?|texts?|(?:search )?results?|articles?|context|material|evidence)"
_NOT = r"(?:(?:(?:do|does|did|could|is|are|was|were|have|has)(?:n['’]t|\s+not)|can['’]t|can\s*not|am\s+not|never)\b)"
_TELL = r"(?:say|state|mention|contain|provide|give|answer|specify|include|tell|indicate|cover|address|reveal|hold)s?\b"
_PHRASES = re.compile(
    rf"""\bI\s+(?:{_NOT}|am\s+un|['’]m\s+un|lack)\s*(?:\w+\s+){{0,3}}?
            (?:know|answer|say|tell|determine|find|sure|certain|able|enough|information)\b
    | \bI(?:['’]m|\s+am)\s+(?:not\s+(?:sure|certain|able)|unable|unsure)\b
    | \b{_SOURCES}\b[^.;]{{0,80}}?(?:{_NOT}|\bonly|\bnowhere|\bfail\s+to)\s+(?:\w+\s+){{0,2}}?{_TELL}
    | ^\s*(?:(?:they|it|and|or)\s+)?{_NOT}\s+(?:\w+\s+)?{_TELL}
    | \b(?:is|are|was|were)(?:n['’]t|\s+not)\s+(?:\w+\s+)?
            (?:mentioned|stated|given|specified|provided|included|known|available|clear|answerable)\b(?!\s+as)
    | \b(?:can(?:\s*not|['’]t)|could(?:\s+not|n['’]t))\s+be\s+(?:\w+\s+)?
            (?:answered|determined|found|known|established|said)\b
    | \b(?:no|none\s+of|not\s+enough|insufficient|lack\s+of)\s+(?:\w+\s+)?(?:information|answer|{_SOURCES})\b
    | \b(?:unanswerable|unknown|(?:no\s?body|no\s+one)\s+knows)\b""",
    re.IGNORECASE | re.VERBOSE,
)
_ABOUT_SOURCES = re.compile(rf"^(?!.*according).*\b{_SOURCES}\b", re.IGNORECASE | re.DOTALL)
_CLAUSE = re.compile(r"[;:]\s+|,?\s+(?:but|however|although|though|yet|still|nevertheless|while)\b,?\s*", re.IGNORECASE)


def stance_of(answer: str) -> Stance:
    """Return what `answer` does: nothing, answer, decline, or both at once.

    Beside a decline may stand what carries a citation or speaks of the sources themselves; anything else is an answer.
    """
    declined = claimed = False
    for sentence in sentences_of(answer):
        for clause in _CLAUSE.split(without_citations(sentence)):
            if _PHRASES.search(clause):
                declined = True
            elif clause.strip() and not citations_of(sentence) and not _ABOUT_SOURCES.search(clause):
                claimed = True
    if not declined:
        return "answered" if sentences_of(answer) else "silent"
    return "mixed" if claimed else "declined"


def declines(sentence: str) -> bool:
    """Return whether `sentence` does nothing but decline."""
    return stance_of(without_citations(sentence)) == "declined"
