"""No text raises, whatever it is compared with: random heaps of notation, with a fixed seed."""

import random

import pytest

from rewardkit_plugins.math.answers import Expected, compare
from rewardkit_plugins.math.extract import extract, extract_reference

PIECES = (
    r"\frac{1}{2} \frac \sqrt{ \sqrt[3] { } ( ) [ ] \{ \} | , ; : = < > \le \ge \in \cup \cap \setminus + - * / ^ ^{ _ _{ ! % ° "
    r"\pm \mp 0 1 2 -3 0.5 .5 1,000 1e3 x y n i e \pi \infty \emptyset \mathbb{R} f(x) \sin \ln \log_2 \binom{5}{2} "
    r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix} \text{and} \text{or} \text{cm} \text{B} and or \left( \right) \overline{3} "
    r"\lfloor \rfloor \angle A \approx \cdot $ \boxed{ \boxed{1} 4:30 p.m. \sum_{k=1}^n \ne \equiv ' \choose (1,2) [1,2) {1,2}"
).split(" ")


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
