"""No text raises, whatever it is compared with: random heaps of notation, with a fixed seed."""

import random

import pytest

from rewardkit_plugins.math.answers import Expected, compare
from rewardkit_plugins.math.extract import extract, extract_reference

PIECES = [
    r"\frac{1}{2}",
    r"\frac",
    r"\sqrt{",
    r"\sqrt[3]",
    r"{",
    r"}",
    r"(",
    r")",
    r"[",
    r"]",
    r"\{",
    r"\}",
    r"|",
    r",",
    r";",
    r":",
    r"=",
    r"<",
    r">",
    r"\le",
    r"\ge",
    r"\in",
    r"\cup",
    r"\cap",
    r"\setminus",
    r"+",
    r"-",
    r"*",
    r"/",
    r"^",
    r"^{",
    r"_",
    r"_{",
    r"!",
    r"%",
    r"°",
    r"\pm",
    r"\mp",
    r"0",
    r"1",
    r"2",
    r"-3",
    r"0.5",
    r".5",
    r"1,000",
    r"1e3",
    r"x",
    r"y",
    r"n",
    r"i",
    r"e",
    r"\pi",
    r"\infty",
    r"\emptyset",
    r"\mathbb{R}",
    r"f(x)",
    r"\sin",
    r"\ln",
    r"\log_2",
    r"\binom{5}{2}",
    r"\begin{pmatrix}",
    r"1",
    r"&",
    r"2",
    r"\\",
    r"3",
    r"&",
    r"4",
    r"\end{pmatrix}",
    r"\text{and}",
    r"\text{or}",
    r"\text{cm}",
    r"\text{B}",
    r"and",
    r"or",
    r"\left(",
    r"\right)",
    r"\overline{3}",
    r"\lfloor",
    r"\rfloor",
    r"\angle",
    r"A",
    r"\approx",
    r"\cdot",
    r"$",
    r"\boxed{",
    r"\boxed{1}",
    r"4:30",
    r"p.m.",
    r"\sum_{k=1}^n",
    r"\ne",
    r"\equiv",
    r"'",
    r"\choose",
    r"(1,2)",
    r"[1,2)",
]


def heap(source: random.Random) -> str:
    return source.choice(("", " ")).join(source.choice(PIECES) for _ in range(source.randint(1, 9)))


@pytest.mark.parametrize("seed", range(8))
def test_no_heap_of_notation_raises_and_order_does_not_matter(seed):
    source = random.Random(seed)
    for _ in range(400):
        a, b = heap(source), heap(source)
        extract(a)
        extract_reference(b)
        assert compare(Expected(a), b).right == compare(Expected(b), a).right, (a, b)
        assert compare(Expected(a), a + " ").right or not a.strip(), a
