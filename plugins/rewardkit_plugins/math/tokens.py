"""Cuts an answer into tokens after taking away what only serves the eye; it does not check that they make sense."""

from __future__ import annotations

import re
from typing import NamedTuple


class Token(NamedTuple):
    """A token: kind `num`, `sym` (one letter), `text` (words), `cmd` (a named operator or function) or `op`."""

    kind: str
    value: str


def tokenize(text: str) -> list[Token]:
    """Return the tokens of `text`; characters that mean nothing in mathematics become `op` tokens."""
    text = clean(text)
    tokens: list[Token] = []
    position = depth = 0
    while position < len(text):
        match = (_THOUSANDS.match(text, position) if depth == 0 else None) or _TOKEN.match(text, position)
        if match is None:
            break
        position = match.end()
        kind, lexeme = match.lastgroup, match.group()
        if kind == "op":
            depth += (lexeme in ("(", "[", r"\{")) - (lexeme in (")", "]", r"\}"))
            tokens.append(_operator(lexeme))
        elif kind == "num":
            tokens.append(Token("num", lexeme.replace(",", "")))
        elif kind == "repeating":
            tokens.append(Token("num", _repeating(lexeme)))
        elif kind == "word":
            tokens += _word(lexeme)
        elif kind == "style":
            inside, position = _group(text, position)
            unit = bool(tokens) and (tokens[-1].kind == "num" or tokens[-1].value in _ENDS) and _UNIT.fullmatch(inside)
            tokens += [Token("text", inside)] if unit else _text(inside)
        elif kind == "cmd":
            tokens += _command(lexeme[1:])
        elif kind == "env":
            tokens.append(Token("cmd", f"{match['verb']}:{match['name'].rstrip('*')}"))
    return tokens


def clean(text: str) -> str:
    """Return `text` without math delimiters, spacing commands, sizes and currency signs, in ASCII where possible."""
    text = text.translate(_UNICODE)
    if "\\\\" in text and r"\begin" not in text:
        text = _DOUBLED.sub(r"\\", text)
    text = _GLUE.sub("", text)
    text = _SPACING.sub(" ", text)
    return _DEGREES.sub("°", text).strip()


# Words are matched whole, so a bare `east` is a word and `xy` a product.
_TOKEN = re.compile(
    r"""\s+
    |(?P<repeating>\d{0,9}\.\d{0,9}\\(?:overline|bar|dot)\s{0,3}\{\d{1,9}\})
    |(?P<num>\d+(?:\.\d*)?(?:[eE][+-]?\d{1,3}(?!\w))?|\.\d+)
    |\\(?P<verb>begin|end)\s*\{(?P<name>[A-Za-z]+\*?)(?P<env>\})
    |(?P<style>\\(?:text|textbf|textit|textrm|textsf|mbox|mathrm|mathbf|mathit|mathsf|mathbb|mathcal|operatorname|boldsymbol|bm|rm)\b\s*)
    |(?P<cmd>\\[A-Za-z]+)
    |(?P<word>[A-Za-z]+)
    |(?P<op>\\.|<=|>=|!=|==|\*\*|.)""",
    re.VERBOSE | re.DOTALL,
)
_THOUSANDS = re.compile(r"(?P<num>[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?)(?![\d,]*\d)")
_DOUBLED = re.compile(r"\\\\(?=[A-Za-z{}$])")
_GLUE = re.compile(r"(?<=\d)\s{0,3}(?:\{\s{0,3},\s{0,3}\}|,\s{0,3}\\!|\\!\s{0,3},|\\[,;: !]|~)\s{0,3}(?=\d{3}(?!\d))")
_SPACING = re.compile(
    r"(?<!\\)\\(?:[,;:!>$ ]|(?:left|right|middle)(?![A-Za-z])\.?|[bB]igg?[lrm]?(?![A-Za-z])"
    r"|(?:displaystyle|textstyle|limits|nolimits|qquad|quad|thinspace|enspace|dollar|mathstrut)(?![A-Zb-z])|\(|\)|\[|\](?!\{))"
    r"|[$~€£¥]|&(?=\s*=)"
)
_DEGREES = re.compile(r"\^\s*(?:\{\s*(?:\\circ|°)\s*\}|\\circ|°)(?![A-Za-z])|\\degree(?![A-Za-z])|\bdegrees?\b")
_UNICODE = str.maketrans(
    {
        "−": "-", "–": "-", "—": "-", "×": "*", "·": "*", "⋅": "*", "÷": "/", "⁄": "/", "∕": "/", "≤": "<=", "≥": ">=",
        "≠": "!=", "∈": r"\in ", "∪": r"\cup ", "∩": r"\cap ", "π": r"\pi ", "∞": r"\infty ", "√": r"\sqrt ", "±": r"\pm ",
        "∓": r"\mp ", "²": "^2", "³": "^3", "⁴": "^4", "½": r" \frac12 ", "¼": r" \frac14 ", "¾": r" \frac34 ", "⅓": r" \frac13 ",
        "⅔": r" \frac23 ", "∅": r"\emptyset ", "ℝ": r"\mathbb{R}", "′": "'", "\u2019": "'", "％": "%", "，": ",", "（": "(", "）": ")",
        "\u00a0": " ", "\u2009": " ", "\u202f": " ", "∣": "|", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "λ": r"\lambda ",
        "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ", "∠": "", "º": "°", "≈": "=",
    }
)  # fmt: skip

_COMMANDS = {
    "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "dbinom": "binom", "tbinom": "binom", "fbox": "boxed",
    "cdot": "*", "times": "*", "div": "/", "ast": "*", "slash": "/", "over": "/", "colon": ":", "lbrack": "[", "rbrack": "]",
    "le": "<=", "leq": "<=", "leqslant": "<=", "ge": ">=", "geq": ">=", "geqslant": ">=", "lt": "<", "gt": ">",
    "ne": "!=", "neq": "!=", "approx": "=", "simeq": "=", "cong": "equiv", "cup": "union", "cap": "inter", "setminus": "diff",
    "backslash": "diff", "lbrace": r"\{", "rbrace": r"\}", "vert": "|", "lvert": "|", "rvert": "|", "lor": "or", "vee": "or",
    "land": "and", "wedge": "and", "percent": "%", "prime": "'", "varphi": "phi", "varepsilon": "epsilon", "iint": "int",
    "wedgeq": "=", "implies": "=", "Rightarrow": "=", "to": "=", "rightarrow": "=", "colonequals": "=", "dots": "ldots", "cdots": "ldots",
    "degree": "°", "tg": "tan", "ctg": "cot", "cosec": "csc", "arctg": "arctan", "operatorname": "", "hspace": "",
}  # fmt: skip
_OPERATORS = {"**": "^", "==": "=", r"\%": "%", r"\|": "|", r"\#": "#", r"\&": "and", r"\\": "newline"}
_PERCENT = frozenset({"percent", "pct", "percentage", "percents"})
_PLAIN_FUNCTIONS = frozenset(
    "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log exp sqrt pi infinity inf infty gcd lcm".split()
)
_SHORT_UNITS = frozenset("cm mm km kg mg ml ft mi hr hrs min mph am pm lb lbs oz sec yd yds kmh USD gal deg per".split())


def _operator(lexeme: str) -> Token:
    value = _OPERATORS.get(lexeme, lexeme)
    return Token("cmd" if value in ("newline", "and") else "op", value)


def _command(name: str) -> list[Token]:
    value = _COMMANDS.get(name, name)
    if value == "":
        return []
    return [Token("op" if not value[0].isalpha() else "cmd", value)]


def _word(word: str) -> list[Token]:
    lower = word.lower()
    if lower in ("and", "or"):
        return [Token("cmd", lower)]
    if lower in _PERCENT:
        return [Token("op", "%")]
    if lower in _PLAIN_FUNCTIONS:
        return [Token("cmd", lower)]
    if len(word) > 3 or word in _SHORT_UNITS:
        return [Token("text", word)]
    if (glued := _GLUED.match(word)) is not None:  # 1orW(x)
        return [Token("cmd", glued[1]), Token("sym", glued[2])]
    return [Token("sym", letter) for letter in word]


_ENDS = frozenset({"}", ")", "°", "%"})
_UNIT = re.compile(r"\s*(?!(?:e|i|pi|and|or)\s*$)[A-Za-zµ.]+(?:[\s/^·]+[A-Za-z0-9.]+)*\s*")
_GLUED = re.compile(r"(and|or)([A-Za-z])$")
_NUMBER_WORDS = {word: str(n) for n, word in enumerate("zero one two three four five six seven eight nine ten".split())}


def _text(inside: str) -> list[Token]:
    """Return the tokens of the content of `\\text{...}`: a formula, a conjunction, a percent sign, or words."""
    stripped = inside.strip()
    lower = stripped.lower().strip(",. ")
    if not stripped:
        return []
    if lower in ("and", "or"):
        return [Token("cmd", lower)]
    if lower in _PERCENT:
        return [Token("op", "%")]
    if lower in _NUMBER_WORDS:
        return [Token("num", _NUMBER_WORDS[lower])]
    if lower in _PLAIN_FUNCTIONS:
        return [Token("cmd", lower)]
    return tokenize(stripped) if _is_formula(stripped) else [Token("text", stripped)]


def _is_formula(text: str) -> bool:
    """Tell whether text holds no word: `(C)`, `C, F, H`, `x+1`."""
    return re.search(r"[A-Za-z]{2}|\\[A-Za-z]", text) is None and len(text) <= 60


def _repeating(lexeme: str) -> str:
    """Return a repeating decimal such as `0.1\\overline{6}` as a fraction of integers."""
    whole, fixed, period = re.findall(r"\d+|(?<=\.)(?=\\)", "0" + lexeme)
    places, length = len(fixed), len(period)
    repeated = int(whole + fixed + period) - int(whole + fixed)
    return f"{repeated}/{(10**length - 1) * 10**places}"


def _group(text: str, position: int) -> tuple[str, int]:
    """Return the content of the braces at `position`, or the next character, and where it ends."""
    if position >= len(text) or text[position] != "{":
        return text[position : position + 1], position + 1
    depth = 0
    for index in range(position, len(text)):
        depth += (text[index] == "{") - (text[index] == "}")
        if depth == 0:
            return text[position + 1 : index], index + 1
    return text[position + 1 :], len(text)
