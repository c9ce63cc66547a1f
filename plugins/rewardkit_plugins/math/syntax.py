"""Reads an answer, in LaTeX or plain text, into a small syntax tree; what the tree means is `evaluation`'s business.

Everything is bounded: an answer has at most MAX_LENGTH characters and MAX_DEPTH levels of brackets, and no text is
handed to Python's own evaluator. Macros and anything that needs a TeX engine are not covered: what cannot be read
raises UnreadableError, and the caller compares it as text.
"""

from __future__ import annotations

from fractions import Fraction

from rewardkit_plugins.math.tokens import Token, tokenize
from rewardkit_plugins.math.tree import Node, UnreadableError, children, symbols

MAX_LENGTH = 2_000
MAX_DEPTH = 40  # of brackets
MAX_LEVELS = 100  # of the tree
MAX_DIGITS = 1_000
MAX_RELATIONS = 20

RELATIONS = frozenset(
    {"=", "!=", "<", ">", "<=", ">=", "in", "notin", "equiv", "subset", "subseteq", "supset", "supseteq"}
)
FUNCTIONS = frozenset(
    {"sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "ln", "log", "lg"}
    | {"exp", "gcd", "lcm", "min", "max", "det", "arg", "Re", "Im", "sgn", "deg", "dim", "cis"}
    | {"arcsinh", "arccosh", "arctanh"}
)
LETTERS_OF_FUNCTIONS = frozenset("fghFGHW")
BIG_OPERATORS = frozenset({"sum", "prod", "int", "lim", "oint"})
ACCENTS = frozenset({"overline", "vec", "hat", "bar", "widehat", "tilde", "dot"})
CONSTANTS = {"pi": "pi", "e": "e", "i": "i", "infty": "inf", "infinity": "inf", "inf": "inf"}
_OF_POINTS = frozenset({"angle", "triangle", "odot"})
_LINES = frozenset({"align", "aligned", "array", "cases", "equation", "gather", "gathered", "split"})
_UNIT_VECTORS = (Node("const", ("i",)), Node("sym", ("j",)), Node("sym", ("k",)))
_CLOSING = {"lfloor": "rfloor", "lceil": "rceil", "langle": "rangle"}


def parse(text: str) -> Node:
    """Return the tree of a whole answer; raises UnreadableError.

    Several items ("1, 2 and 3") become one `list`. Units behind a quantity are dropped; `%` and degrees are kept.
    """
    if len(text) > MAX_LENGTH:
        raise UnreadableError(f"longer than {MAX_LENGTH} characters")
    tokens = tokenize(text)
    if not tokens:
        raise UnreadableError("nothing to read")
    parser = _Parser(tokens)
    node = parser.answer()
    if parser.position < len(tokens):
        raise UnreadableError(f"cannot read {parser.peek().value!r}")
    _check_levels(node)
    return node


_END = Token("end", "")


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.position = 0
        self.depth = 0
        self.bars = 0
        self.braced = False

    # ---- tokens

    def peek(self, ahead: int = 0) -> Token:
        index = self.position + ahead
        return self.tokens[index] if index < len(self.tokens) else _END

    def take(self) -> Token:
        token = self.peek()
        self.position += 1
        return token

    def accept(self, *values: str) -> str | None:
        token = self.peek()
        if token.kind in ("op", "cmd") and token.value in values:
            self.position += 1
            return token.value
        return None

    def expect(self, *values: str) -> str:
        found = self.accept(*values)
        if found is None:
            raise UnreadableError(f"expected {values[0]!r}, found {self.peek().value!r}")
        return found

    # ---- from the loosest binding to the tightest

    def answer(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise UnreadableError(f"nested deeper than {MAX_DEPTH}")
        items, conjunction = [self.relation()], ""
        while (word := self.accept(",", ";", "and", "or")) is not None:
            conjunction = word if word in ("and", "or") else conjunction or ","
            while (word := self.accept(",", ";", "and", "or")) is not None:
                conjunction = word if word in ("and", "or") else conjunction
            if (
                self.peek().kind == "end"
                or self.peek().value in ("}", ")", "]", r"\}", "newline", "&")
                or (self.peek().value.startswith("end:"))
            ):
                break
            items.append(self.relation())
        self.depth -= 1
        return items[0] if len(items) == 1 else Node("list", (conjunction, *items))

    def relation(self) -> Node:
        operands, operators = [self.sets()], []
        while (operator := self.accept(*RELATIONS)) is not None:
            operators.append(operator)
            operands.append(self.sets())
            if len(operators) > MAX_RELATIONS:
                raise UnreadableError(f"more than {MAX_RELATIONS} relations in a chain")
        if self.accept("approx") is not None:
            right = self.sets()
            if not operators and operands[0].kind == "sym":
                operators, operands = ["="], [operands[0], right]  # else the exact value on the left counts
        return Node("rel", (tuple(operators), tuple(operands))) if operators else operands[0]

    def sets(self) -> Node:
        left = self.ratio()
        while (operator := self.accept("union", "inter", "diff")) is not None:
            left = Node(operator, (left, self.ratio()))
        return left

    def ratio(self) -> Node:
        terms = [self.sum()]
        if self.accept("choose") is not None:
            return Node("call", ("binom", terms[0], self.sum()))
        while not (self.braced and symbols(terms[0])) and self.accept(":") is not None:
            terms.append(self.sum())
        return terms[0] if len(terms) == 1 else Node("ratio", tuple(terms))

    def sum(self) -> Node:
        left: Node | None = None
        while left is None or self.peek().value in ("+", "-", "pm", "mp"):
            sign = self.accept("+", "-", "pm", "mp")
            term = self.product()
            if sign in ("pm", "mp"):
                left = Node("pm", (left, sign, term))
            else:
                term = Node("neg", (term,)) if sign == "-" else term
                kind = "diff" if sign == "-" and term.kind == "neg" and term.args[0].kind == "set" else "add"
                left = term if left is None else Node(kind, (left, term.args[0] if kind == "diff" else term))
        return left

    def product(self) -> Node:
        left = self.unary()
        while True:
            if (operator := self.accept("*", "/")) is not None:
                if operator == "/" and self.peek().kind == "text":
                    self.unit()
                    continue
                left = Node("mul" if operator == "*" else "div", (left, self.unary()))
            elif self.peek().kind == "text" and left.kind != "text":
                self.unit()
            elif self.starts_factor():
                left = self.juxtaposed(left)
            else:
                return left

    def unary(self) -> Node:
        if self.accept("-") is not None:
            self.deepen()
            node = Node("neg", (self.unary(),))
            self.depth -= 1
            return node
        return self.postfix()

    def deepen(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise UnreadableError(f"nested deeper than {MAX_DEPTH}")

    def unit(self) -> None:
        """Skip a unit of measure: words, an exponent behind them, and `/` or `per` with more words."""
        while self.peek().kind == "text":
            self.take()
            if self.accept("^") is not None:
                self.argument()
            if self.peek().value in ("/", "*") and self.peek(1).kind == "text":
                self.take()

    def starts_factor(self) -> bool:
        kind, value = self.peek()
        if kind in ("num", "sym", "text"):
            return True
        if kind == "cmd":
            return _starts_operand(value)
        return value in ("(", "[", "{", r"\{") or (value == "|" and not self.bars)

    def juxtaposed(self, left: Node) -> Node:
        """Multiply, or read a mixed number such as `1 1/2`."""
        number = self.peek().kind == "num"
        whole = left.kind == "num" and not left.args[1] and left.args[0].denominator == 1
        if number and left.kind == "num":
            if not (whole and self.peek(1).value == "/" and self.peek(2).kind == "num"):
                raise UnreadableError("two numbers side by side")
            top, _, bottom = self.take(), self.take(), self.take()
            return _mixed(left, _number(top.value), _number(bottom.value))
        fraction = self.peek().value == "frac"
        right = self.primary()
        if fraction and whole and right.kind == "div" and all(part.kind == "num" for part in right.args):
            return self.suffixed(_mixed(left, *right.args))
        return Node("mul", (left, self.suffixed(right)))

    def postfix(self) -> Node:
        return self.suffixed(self.primary())

    def suffixed(self, node: Node) -> Node:
        while True:
            if self.accept("^") is not None:
                node = Node("pow", (node, self.argument(signed=True)))
            elif self.accept("!") is not None:
                if self.peek().value == "!":
                    raise UnreadableError("a double factorial")
                node = Node("fact", (node,))
            elif self.accept("%") is not None:
                node = Node("percent", (node,))
            elif self.accept("°") is not None:
                node = Node("deg", (node,))
            elif self.peek().value == "_" and node.kind in ("num", "sym", "text"):
                node = self.subscript(node)
            else:
                return node

    def subscript(self, node: Node) -> Node:
        self.expect("_")
        below = self.argument()
        if node.kind == "num":
            digits = str(node.args[0])
            if below.kind == "num" and digits.isdigit():
                return Node("base", (digits, int(below.args[0])))
            raise UnreadableError("a subscript of a number that is not a base")
        return Node("sym", (f"{node.args[0]}_{_spell(below)}",))

    def argument(self, *, signed: bool = False) -> Node:
        """Read what a fraction, `^` or `_` applies to: a braced group, or else one token."""
        if self.peek().value == "{":
            return self.primary()
        if signed and self.accept("-") is not None:
            return Node("neg", (self.argument(),))
        token = self.peek()
        if token.kind == "cmd" or token.value in ("(", "["):
            self.deepen()
            node = self.primary()
            self.depth -= 1
            return node
        return self.primary()

    def digit(self) -> Node:
        """Read an argument of a fraction: as `argument`, but of an unbraced number only its first digit."""
        token = self.peek()
        if token.kind == "num" and len(token.value) > 1 and token.value.isdigit():
            self.tokens[self.position] = Token("num", token.value[1:])
            return _number(token.value[0])
        return self.argument()

    def primary(self) -> Node:
        kind, value = self.take()
        if kind == "num":
            return _number(value)
        if kind == "sym":
            return self.symbol(value)
        if kind == "text":
            return Node("text", (value,))
        if kind == "cmd" and _starts_operand(value):
            self.deepen()
            node = self.command(value)
            self.depth -= 1
            return node
        if value in ("(", "["):
            return self.bracket(value)
        if value == "{":
            node = self.answer()
            self.expect("}")
            return node
        if value == r"\{":
            return self.braces()
        if value == "|":
            return self.absolute()
        raise UnreadableError(f"cannot read {value!r}" if value else "ends too early")

    def symbol(self, name: str) -> Node:
        while self.accept("'") is not None:
            name += "'"
        if name in CONSTANTS:
            return Node("const", (CONSTANTS[name],))
        if name[0] in LETTERS_OF_FUNCTIONS:
            inverse = [self.peek(n).value for n in range(6)] == ["^", "{", "-", "1", "}", "("]
            if inverse:
                self.position += 5
                name += "^-1"
            if self.peek().value == "(":
                return Node("call", (name, self.primary()))
        return Node("sym", (name,))

    def bracket(self, opening: str) -> Node:
        if self.accept(")", "]") is not None:
            raise UnreadableError("empty brackets")
        inside = self.answer()
        closing = self.expect(")", "]")
        if inside.kind == "list":
            return Node("seq", (opening, closing, *inside.args[1:]))
        if (opening, closing) not in (("(", ")"), ("[", "]")):
            raise UnreadableError("brackets do not match")
        return inside

    def braces(self) -> Node:
        if self.accept(r"\}") is not None:
            return Node("sym", ("emptyset",))
        self.braced, outer = True, self.braced
        self.bars += 1
        inside = self.answer()
        self.braced = outer
        self.bars -= 1
        if self.accept("|", ":", "mid") is not None:
            condition = self.answer()
            self.expect(r"\}")
            return _built(inside, condition)
        self.expect(r"\}")
        return Node("set", inside.args[1:] if inside.kind == "list" else (inside,))

    def absolute(self) -> Node:
        self.bars += 1
        inside = self.answer()
        self.bars -= 1
        self.expect("|")
        return Node("call", ("abs", inside))

    def command(self, name: str) -> Node:
        if name in CONSTANTS:
            return Node("const", (CONSTANTS[name],))
        if name == "frac":
            return Node("div", (self.digit(), self.digit()))
        if name == "binom":
            return Node("call", ("binom", self.digit(), self.digit()))
        if name == "sqrt":
            return self.root()
        if name in _CLOSING:
            return self.delimited(name)
        if name in FUNCTIONS:
            return self.function(name)
        if name in BIG_OPERATORS:
            return self.big(name)
        if name in _OF_POINTS:
            return self.points(name)
        if name in ACCENTS:
            return self.accented(name)
        if name.startswith("begin:"):
            return self.matrix(name[6:])
        return self.symbol(name)

    def points(self, name: str) -> Node:
        """Read the letters of an angle, a triangle or a vector, whose order matters."""
        braced = self.accept("{") is not None
        while self.peek().kind == "sym":
            name += " " + self.take().value
        if braced:
            self.expect("}")
        return Node("sym", (name,))

    def accented(self, name: str) -> Node:
        """Read what stands below an accent; `AB` below an arrow goes from A to B, and unit vectors need no accent."""
        if name == "vec" and [self.peek(n).kind for n in range(3)] == ["op", "sym", "sym"]:
            return self.points(name)
        below = self.argument()
        if name in ("vec", "hat") and below in _UNIT_VECTORS:
            return below
        return Node("call", (name, below))

    def delimited(self, name: str) -> Node:
        inside = self.answer()
        self.expect(_CLOSING[name])
        if name == "langle":
            return Node("seq", ("(", ")", *(inside.args[1:] if inside.kind == "list" else (inside,))))
        return Node("call", ("floor" if name == "lfloor" else "ceil", inside))

    def root(self) -> Node:
        if self.accept("[") is not None:
            index = self.answer()
            self.expect("]")
            return Node("call", ("root", index, self.argument()))
        return Node("call", ("sqrt", self.argument()))

    def function(self, name: str) -> Node:
        base: tuple[Node, ...] = ()
        power: Node | None = None
        while (mark := self.accept("_", "^")) is not None:
            if mark == "_":
                base = (self.argument(),)
            else:
                power = self.argument(signed=True)
        if self.peek().value in ("(", "{", "[", r"\{"):
            inside = self.primary()
        else:
            inside = self.postfix()
            while self.starts_factor() and self.peek().value not in FUNCTIONS and self.peek().kind != "text":
                inside = Node("mul", (inside, self.postfix()))
        arguments = inside.args[{"seq": 2, "set": 0}[inside.kind] :] if inside.kind in ("seq", "set") else (inside,)
        if power == Node("neg", (_number("1"),)) and name in ("sin", "cos", "tan", "sinh", "cosh", "tanh"):
            return Node("call", (f"arc{name}", *arguments))
        node = Node("call", (name, *arguments, *base))
        return node if power is None else Node("pow", (node, power))

    def big(self, name: str) -> Node:
        bounds: dict[str, Node] = {}
        while (mark := self.accept("_", "^")) is not None:
            bounds[mark] = self.argument()
        nothing = Node("text", ("",))
        return Node("call", (name, bounds.get("_", nothing), bounds.get("^", nothing), self.product()))

    def matrix(self, environment: str) -> Node:
        if environment == "array" and self.accept("{") is not None:
            while self.accept("}") is None:
                if self.take() is _END:
                    raise UnreadableError("array without an end")
        rows: list[tuple[Node, ...]] = []
        row: list[Node] = []
        while (end := self.accept("end:" + environment)) is None and self.peek().kind != "end":
            if self.accept("newline") is not None:
                rows.append(tuple(row))
                row = []
            elif self.accept("&", ",") is None:
                row.append(self.answer())
        if end is None:
            raise UnreadableError("matrix without an end")
        rows += [tuple(row)] if row else []
        if not rows or any(len(row) != len(rows[0]) for row in rows):
            raise UnreadableError("rows of different length")
        if environment in _LINES and len(rows) == len(rows[0]) == 1:
            return rows[0][0]
        if environment in _LINES and all(len(row) == 1 and row[0].kind in ("rel", "list") for row in rows):
            return Node("list", ("and", *(row[0] for row in rows)))
        node = Node("matrix", tuple(rows))
        return Node("call", ("det", node)) if environment == "vmatrix" else node


_NOT_A_FACTOR = RELATIONS | frozenset(
    {"and", "or", "approx", "union", "inter", "diff", "pm", "mp", "mid", "choose", "newline", "rfloor", "rceil"}
    | {"rangle"}
)


def _built(head: Node, condition: Node) -> Node:
    """Return the set of all `head` under a condition: a region if the head is a real variable."""
    if head.kind in ("sym", "seq"):
        return condition
    if head.kind == "rel" and head.args[0] == ("in",):
        domain = head.args[1][1]
        return condition if domain == Node("sym", ("R",)) else Node("inter", (domain, condition))
    return Node("list", ("and", head, condition))


def _starts_operand(command: str) -> bool:
    return command not in _NOT_A_FACTOR and not command.startswith("end:")


def _number(literal: str) -> Node:
    if len(literal) > MAX_DIGITS:
        raise UnreadableError(f"a number of more than {MAX_DIGITS} digits")
    return Node("num", (Fraction(literal.rstrip(".")), "." in literal.rstrip(".")))


def _mixed(whole: Node, top: Node, bottom: Node) -> Node:
    if not 0 < top.args[0] < bottom.args[0]:
        raise UnreadableError("not a mixed number")
    return Node("num", (whole.args[0] + top.args[0] / bottom.args[0], False))


def _spell(node: Node) -> str:
    if node.kind in ("num", "sym", "text", "const"):
        return str(node.args[0])
    return "".join(_spell(part) if isinstance(part, Node) else str(part) for part in node.args)


def _check_levels(node: Node) -> None:
    level = [node]
    for _ in range(MAX_LEVELS):
        level = [child for parent in level for child in children(parent)]
        if not level:
            return
    raise UnreadableError(f"more than {MAX_LEVELS} levels")
