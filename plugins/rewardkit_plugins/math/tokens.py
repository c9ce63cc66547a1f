"""Cuts an answer into tokens after taking away what only serves the eye; it does not check that they make sense."""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction
from typing import NamedTuple

from rewardkit_plugins.math.tree import UnreadableError

LONGEST = 3_000  # characters, after symbols have become commands


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
        elif kind in ("repeating", "parenthesized"):
            tokens.append(Token("num", _repeating(lexeme)))
        elif kind == "word":
            tokens += _word(lexeme)
        elif kind == "style":
            inside, position = _group(text, position)
            is_unit = lexeme.strip() in _UPRIGHT and _is_unit(inside, tokens)
            tokens += [Token("text", inside)] if is_unit else _text(inside)
        elif kind == "cmd":
            tokens += _command(lexeme[1:])
        elif kind == "env":
            tokens.append(Token("cmd", f"{match['verb']}:{match['name'].rstrip('*')}"))
    return tokens


def clean(text: str) -> str:
    """Return `text` without math delimiters, spacing commands, sizes and currency signs, in ASCII where possible."""
    if not text.isascii():
        text = _plain(text)
        if len(text) > LONGEST:
            raise UnreadableError("too long when spelled out")
    if "\\\\" in text and r"\begin" not in text:
        text = _DOUBLED.sub(r"\\", text)
    text = _DECORATION.sub("", text)
    text = _MODULUS.sub(r"\\pmod{\1}", text)
    text = _GLUE.sub("", text)
    text = _SPACING.sub(" ", text)
    text = _RATE.sub("", text.replace("per cent", "percent"))
    text = _UNION.sub(r"\\cup ", text)
    return _DEGREES.sub("°", text).strip()


def _plain(text: str) -> str:
    """Return `text` in ASCII where that is possible; raised and lowered digits become exponents and indices."""
    text = _RAISED.sub(lambda found: f"^{{{unicodedata.normalize('NFKC', found[0])}}}", text)
    text = _LOWERED.sub(lambda found: f"_{{{unicodedata.normalize('NFKC', found[0])}}}", text)
    return unicodedata.normalize("NFKC", text.translate(_UNICODE)).replace("−", "-")


# Words are matched whole, so a bare `east` is a word and `xy` a product.
_TOKEN = re.compile(
    r"""\s+
    |(?P<repeating>\d{0,9}\.\d{0,9}\\(?:overline|bar|dot)\{\d{1,9}\})
    |(?P<parenthesized>\d{0,9}\.\d{0,9}\(\d{1,9}\))
    |(?P<num>\d+(?:\.\d*)?(?:[eE][+-]?\d{1,3}(?!\w))?|\.\d+)
    |\\(?P<verb>begin|end)\s*\{(?P<name>[A-Za-z]+\*?)(?P<env>\})
    |(?P<style>\\(?:text(?:bf|it|rm|sf)?|mbox|math(?:rm|bf|it|sf|bb|cal)|operatorname|boldsymbol|bm|rm)\b\s*)
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
    r"|(?:displaystyle|textstyle|limits|nolimits|qquad|quad|thinspace|enspace|dollar)(?![A-Zb-wyz])|\(|\)|\[|\](?!\{))"
    r"|[$~€£¥]|&(?=\s*=)"
)
_DEGREES = re.compile(
    r"(?:\^\s*(?:\{\s*(?:\\circ|°)\s*\}|\\circ|°)(?![A-Za-z])|\\degree(?![A-Za-z])|\bdegrees?\b|°)(?:\s?[CF](?!\w))?"
)
_RATE = re.compile(r"(?<=[\d}])[\s~]*\b(?:[kcm]?m|ft|mi|g)\s?/\s?(?:s|h|hr|min|mol)\b(?:\s?\^\s?\{?[23]\}?)?(?![\w(])")
_UNION = re.compile(r"(?<=[)\]}])\s?U\s?(?=[(\[{\\])")
_CHARACTERS = {
    "-": "−–—", "*": "×·⋅", "/": "÷⁄∕", " ": "\u00a0\u2009\u202f", "'": "′\u2019", "°": "º", "|": "∣", "%": "％",
    ",": "，", "(": "（", ")": "）", "<=": "≤", ">=": "≥", "!=": "≠", r"\approx ": "≈",
    "": "∠", r"\sqrt[3]": "∛", r"\setminus ": "∖", r"\Omega ": "Ω",
    r"\in ": "∈", r"\cup ": "∪", r"\cap ": "∩", r"\pi ": "π", r"\infty ": "∞", r"\sqrt ": "√", r"\pm ": "±",
    r"\mp ": "∓", r"\emptyset ": "∅", r"\mathbb{R}": "ℝ", r"\theta ": "θ", r"\alpha ": "α", r"\beta ": "β",
    r"\lambda ": "λ", r"\lfloor ": "⌊", r"\rfloor ": "⌋", r"\lceil ": "⌈", r"\rceil ": "⌉",
}  # fmt: skip
_FRACTIONS = {c: Fraction(unicodedata.numeric(c)).limit_denominator(10) for c in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒"}
_UNICODE = str.maketrans(
    {character: plain for plain, found in _CHARACTERS.items() for character in found}
    | {c: rf" \frac{{{value.numerator}}}{{{value.denominator}}} " for c, value in _FRACTIONS.items()}
)
_RAISED = re.compile(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+")
_LOWERED = re.compile(r"[₀₁₂₃₄₅₆₇₈₉]+")
_DECORATION = re.compile(
    r"\\(?:(?:text)?color|(?:v|h)?phantom)\s*\{\w{0,20}\}|\\hline|(?<=\\\\)\[\s*[\d.]+\s*[a-z]{2}\s*\]"
    r"|(?<=\d)\^\{?\\(?:text|mathrm)\{(?:st|nd|rd|th)\}\}?|(?<=\d)\^\{(?:st|nd|rd|th)\}"
)
_MODULUS = re.compile(r"\(\s*(?:\\(?:text|mathrm)\s*\{\s*mod\s*\}|\\?b?mod)\s*\{?\s*(\w{1,20})\s*\}?\s*\)")

_SYNONYMS = {
    "frac": "dfrac tfrac cfrac nicefrac sfrac", "binom": "dbinom tbinom", "": "boxed fbox hspace underline",
    "*": "cdot times ast", "/": "div over", ":": "colon", "[": "lbrack", "]": "rbrack", r"\{": "lbrace",
    r"\}": "rbrace", "|": "vert lvert rvert Vert lVert rVert", "<=": "le leq leqslant", ">=": "ge geq geqslant",
    "<": "lt", ">": "gt", "!=": "ne neq", "approx": "simeq", "=": "to rightarrow implies Rightarrow",
    "equiv": "cong", "union": "cup", "inter": "cap", "diff": "setminus backslash", "or": "lor vee",
    "and": "land wedge", "%": "percent", "°": "degree", "'": "prime", "phi": "varphi", "epsilon": "varepsilon",
    "emptyset": "varnothing", "ldots": "dots cdots", "vec": "overrightarrow", "newline": "cr", "pmod": "mod bmod",
    "arcsinh": "arsinh", "arccosh": "arcosh", "arctanh": "artanh", "tan": "tg", "cot": "ctg", "csc": "cosec",
    "arctan": "arctg",
}  # fmt: skip
_COMMANDS = {name: value for value, names in _SYNONYMS.items() for name in names.split()}
_OPERATORS = {"**": "^", "==": "=", r"\%": "%", r"\|": "|", r"\#": "#", r"\&": "and", r"\\": "newline"}
_PERCENT = frozenset({"percent", "pct", "percentage", "percents"})
_PLAIN_FUNCTIONS = frozenset(
    {"sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "ln", "log", "exp"}
    | {"sqrt", "pi", "infinity", "inf", "infty", "gcd", "lcm", "sgn", "max", "min", "cis", "mod"}
    | {"arcsinh", "arccosh", "arctanh", "arsinh", "arcosh", "artanh"}
)
_SHORT_WORDS = frozenset({"yes", "no", "odd", "all", "not", "any"})
_SHORT_UNITS = frozenset(
    {"cm", "mm", "km", "kg", "mg", "ml", "ft", "mi", "hr", "hrs", "min", "mph", "am", "pm", "lb", "lbs", "oz", "sec"}
    | {"yd", "yds", "kmh", "USD", "gal", "deg", "per", "rad", "st", "nd", "rd", "th"}
)


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
        return _command(lower)
    if lower in _CONDITIONS:
        return [Token("op", ",")]
    if lower in _WORDS_OF_NUMBERS:
        return [Token("num", str(_WORDS_OF_NUMBERS.index(lower)))]
    if len(word) > 3 or word in _SHORT_UNITS or lower in _SHORT_WORDS or (len(word) == 3 and word.istitle()):
        return [Token("text", word)]
    if (glued := _GLUED.match(word)) is not None:  # 1orW(x)
        return [Token("cmd", glued[1]), Token("sym", glued[2])]
    return [Token("sym", letter) for letter in word]


_UPRIGHT = frozenset({r"\text", r"\textbf", r"\textit", r"\textrm", r"\textsf", r"\mbox", r"\mathrm", r"\rm"})
_ENDS = frozenset({"}", ")", "°", "%"})
_CONDITIONS = frozenset({"where", "for", "if", "when", "with", "for all", "for any", "for some", "such that"})
_UNIT = re.compile(
    r"[\s~]*(?!(?:e|i|pi|and|or|where|for|if|when|with|for \w+|such that|percent|pct|percentage)\s*$)"
    r"[A-Za-zµ.]+(?:(?:\\[,;])?[\s/^·{}]+-?[A-Za-z0-9.]+\}?)*\s*"
)
_GLUED = re.compile(r"(and|or)([A-Za-z])$")
_WORDS_OF_NUMBERS = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)


def _text(inside: str) -> list[Token]:
    """Return the tokens of what is set as text: a formula, a conjunction, a percent sign, or words."""
    stripped = inside.strip()
    lower = stripped.lower().strip(",. ")
    if not stripped:
        return []
    if lower in ("and", "or"):
        return [Token("cmd", lower)]
    if lower in _PERCENT:
        return [Token("op", "%")]
    if lower in _CONDITIONS:
        return [Token("op", ",")]
    if lower in _WORDS_OF_NUMBERS:
        return [Token("num", str(_WORDS_OF_NUMBERS.index(lower)))]
    if lower in _PLAIN_FUNCTIONS:
        return _command(lower)
    return tokenize(stripped) if _is_formula(stripped) else [Token("text", stripped)]


def _is_formula(text: str) -> bool:
    """Tell whether text holds no word: `(C)`, `C, F, H`, `x+1`."""
    return re.search(r"[A-Za-z]{2}|\\[A-Za-z]", text) is None and len(text) <= 60


def _is_unit(inside: str, tokens: list[Token]) -> bool:
    """Tell whether text is a unit of measure, perhaps of one letter: it follows a quantity, or a unit and a slash."""
    if not tokens or not _UNIT.fullmatch(inside):
        return False
    per = tokens[-1].value in ("/", "*") and len(tokens) > 1 and tokens[-2].kind == "text"
    return per or tokens[-1].kind == "num" or tokens[-1].value in _ENDS


def _repeating(lexeme: str) -> str:
    """Return a repeating decimal, `0.1` with 6 overlined, as a fraction of integers."""
    whole, fixed, period = re.findall(r"^\d*|(?<=\.)\d*|(?<=[{(])\d+", lexeme)
    places, length = len(fixed), len(period)
    repeated = int("0" + whole + fixed + period) - int("0" + whole + fixed)
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
