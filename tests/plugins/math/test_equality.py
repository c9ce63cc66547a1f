"""Which pairs of answers are equal, kind by kind; both orders must agree."""

import pytest

from rewardkit_plugins.math.answers import Expected, compare

EQUAL = [
    ("1/2", "0.5"),
    ("0.5", r"\frac{1}{2}"),
    (r"\frac12", "1/2"),
    (".5", "0.5"),
    ("5.", "5"),
    ("-.5", r"-\frac12"),
    ("3.0", "3"),
    ("10{,}000", "10000"),
    (r"1\,000", "1000"),
    ("1000", "1,000"),
    (r"\$18.90", "18.9"),
    (r"\$18.90", "18.90 dollars"),
    ("18", r"18 \text{ ways}"),
    (r"15\mbox{ cm}^2", "15"),
    (r"15\mbox{ cm}^2", "15 square centimeters"),
    ("5", "5 cm"),
    (r"5 \text{ m/s}", "5"),
    (r"60 \text{ miles per hour}", "60"),
    (r"\frac{3}{4}", r"75\%"),
    ("x=5", "5"),
    ("5", "x=5"),
    ("5", "$x = 5$"),
    ("y = 2x+1", "2x+1"),
    ("y=2x+1", "y-2x=1"),
    ("y = 2x+1", "y = 1+2x"),
    ("(x+1)^2", "x^2+2x+1"),
    ("7(x+3)(x-3)", "7x^2-63"),
    (r"\sin^2 x + \cos^2 x", "1"),
    (r"\sin 2x", r"2 \sin x \cos x"),
    (r"\ln(xy)", r"\ln x + \ln y"),
    (r"\log_2 8", "3"),
    (r"\log 100 / \log 10", "2"),
    (r"\sqrt{8}", r"2\sqrt{2}"),
    (r"\sqrt[3]{8}", "2"),
    (r"\sqrt[3]{-8}", "-2"),
    (r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}"),
    ("2^{10}", "1024"),
    (r"3 \times 10^8", "300000000"),
    ("3e8", r"3 \times 10^8"),
    (r"1.5 \cdot 10^{-3}", "0.0015"),
    (r"\pi", "3.14159265"),
    (r"\frac{\pi}{2}", r"\pi/2"),
    (r"90^\circ", "90"),
    (r"90^\circ", "90 degrees"),
    (r"90^\circ", r"\pi/2"),
    (r"\cos 15^\circ", r"\frac{\sqrt6+\sqrt2}{4}"),
    ("i^2", "-1"),
    ("6-5i", "-5i+6"),
    (r"e^{i\pi}", "-1"),
    (r"\binom{5}{2}", "10"),
    ("5!", "120"),
    (r"{5 \choose 2}", "10"),
    (r"\infty", r"\infty"),
    (r"\infty", "infinity"),
    (r"-\infty", r"-\infty"),
    (r"(2,\infty)", "x>2"),
    ("x>2", r"(2,\infty)"),
    (r"[3,\infty)", r"x \geq 3"),
    (r"(-\infty,-14)\cup(-3,\infty)", r"x < -14 \text{ or } x > -3"),
    (r"(-\infty, 0) \cup (0, \infty)", r"x \neq 0"),
    (r"(-\infty, 0) \cup (0, \infty)", r"\mathbb{R} \setminus \{0\}"),
    (r"\{1,2,3\}", r"\{3,2,1\}"),
    (r"\{1,2,3\}", "1,2,3"),
    ("1,2", "1 and 2"),
    ("1,2", "x=1 or x=2"),
    ("1,2", "x = 1, 2"),
    ("x=1,x=2", "1,2"),
    ("x = 1, y = 2", "y=2, x=1"),
    ("x=1,y=2", "(1,2)"),
    ("(x,y)=(1,2)", "(1,2)"),
    ("(1,2)", "(x,y) = (1,2)"),
    ("(1,2)", "x=1,y=2"),
    ("(1,2)", r"\left(1, 2\right)"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", "(1,2)"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{bmatrix}1\\2\end{bmatrix}"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\langle 1,2\rangle"),
    (r"8\frac47", "60/7"),
    (r"1\frac{1}{4}", "1.25"),
    ("1 1/4", "5/4"),
    (r"20\%", "0.2"),
    (r"20\%", "20%"),
    (r"\text{(B)}", "B"),
    (r"\text{(B)}", "(B)"),
    ("B", "(B) 42"),
    ("C", r"\text{C}"),
    ("B, C", "C, B"),
    (r"\text{C, F, H}", "C, F, H"),
    (r"\text{Friday}", "Friday"),
    (r"\text{Monday}", "monday"),
    (r"\text{even}", r"\text{even}"),
    ("4:30", "4:30"),
    (r"\text{4:30 p.m.}", "4:30 PM"),
    ("12:00", "12:00"),
    ("1101_4", "1101_{4}"),
    ("204_5", r"204_{\text{five}}"),
    (r"1 \pm \sqrt{19}", r"1+\sqrt{19}, 1-\sqrt{19}"),
    (r"3 \pm 2 \sqrt{2}", r"3-2\sqrt2 \text{ and } 3+2\sqrt2"),
    (r"x = 1 \pm \sqrt{19}", r"1 \pm \sqrt{19}"),
    ("1:2", "2:4"),
    ("3 - 2f(x)", "-2f(x)+3"),
    (r"\frac{x^2}{16} - \frac{y^2}{9} = 1", "9x^2-16y^2=144"),
    (r"36x \sqrt{35x}", r"36\sqrt{35}x^{3/2}"),
    ("3^{2007}", "3^{2007}"),
    ("3^{2007}", r"3 \cdot 3^{2006}"),
    ("|x|", r"\sqrt{x^2}"),
    (r"x \in [1,2]", r"1 \le x \le 2"),
    (r"\frac{12}{5,\!525}", "12/5525"),
    (r"11 \frac{2}{3}", "35/3"),
    (r"\frac{4}{3}\pi", r"\frac{4\pi}{3}"),
    ("1/3", "0.333333"),
    ("2/3", "0.6666667"),
    (r"\emptyset", r"\emptyset"),
    (r"\text{no solution}", "no solution"),
    (r"\text{None}", "none"),
    (r"\sqrt{3} - 4", r"-4+\sqrt 3"),
    (r"\overline{CD}", r"\overline{CD}"),
    (r"6^{\circ}", "6°"),
    (r"2\cos 15^{\circ}", r"2 \cos(15^\circ)"),
    (r"\frac{648}{\pi}", r"648/\pi"),
    (r"\lfloor 3.7 \rfloor", "3"),
    ("a^2-b^2", "(a-b)(a+b)"),
    ("e^{x+y}", "e^x e^y"),
    ("2^{x+1}", r"2 \cdot 2^x"),
    (r"\frac{x+1}{x-1}", r"1+\frac{2}{x-1}"),
    (r"\tan x", r"\frac{\sin x}{\cos x}"),
    (r"\frac{1}{2}\ln 3", r"\ln\sqrt3"),
    (r"\cosh x", r"\frac{e^x+e^{-x}}{2}"),
    ("f(x)=x^2", "x^2"),
    ("f(x)=x^2", r"f(x) = x \cdot x"),
    (r"\frac{n(n+1)}{2}", r"\frac{n^2+n}{2}"),
    (r"-\frac{3}{4}", r"\frac{-3}{4}"),
    (r"-\frac{3}{4}", r"\frac{3}{-4}"),
    (r"\dfrac{1}{2}", "1/2"),
    ("x < 3", "3 > x"),
    ("2 < x < 5", "(2,5)"),
    ("x^2 = 4", "x^2 - 4 = 0"),
    ("[0,1]", r"0 \leq x \leq 1"),
    (r"\left[0,\frac{343}{27}\right]", "[0, 343/27]"),
    (r"\text{Evelyn}", "Evelyn"),
    (r"\$36", "36"),
    (r"\$36", r"\$36.00"),
    (r"100\,\text{ cm}", "100 cm"),
    (r"2,\!598,\!960", "2598960"),
    (r"0.\overline{3}", "1/3"),
    (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt{3}}"),
    (r"\sqrt{2}+\sqrt{5}", r"\sqrt 5 + \sqrt 2"),
    (r"\mathbf{i} + 2\mathbf{j}", r"2\mathbf{j}+\mathbf{i}"),
    (r"x\ge 1", r"[1, \infty)"),
    ("(1,2),(3,4)", "(3,4), (1,2)"),
    (r"\{(1,2),(3,4)\}", "(1,2), (3,4)"),
    (r"\frac{-1 \pm \sqrt{5}}{2}", r"\frac{-1+\sqrt5}{2}, \frac{-1-\sqrt5}{2}"),
    ("10^{-3}", "0.001"),
    (r"\text{Yes}", "yes"),
    (r"\text{True}", "true"),
    (r"\frac{1}{2}x + 3", "0.5x+3"),
    (r"\frac{a}{b}", "a/b"),
    (r"2\frac{1}{2}", "2.5"),
    (r"2\frac{1}{2}\text{ hours}", "2.5 hours"),
    (r"100 \text{ cents}", "100"),
    (r"50\text{ mph}", "50 miles per hour"),
    (r"\boxed{5}", "5"),
    (r"\frac{\pi}{6}+k\pi", r"k\pi + \frac{\pi}{6}"),
    ("x^{1/2}", r"\sqrt{x}"),
    (r"\log_{10} 5", r"\frac{\ln 5}{\ln 10}"),
    (r"\text{13}", "13"),
    (r"\text{two}", "2"),
]
DIFFERENT = [
    (r"10\%", "10"),
    ("10", r"10\%"),
    ("1-1/e", "1+1/e"),
    (r"1-\frac{1}{\mathrm{e}}", r"1+\frac{1}{\mathrm{e}}"),
    ("1/2^{99}", "1/2^{98}"),
    (r"\frac{1}{2^{99}}", r"\frac{1}{2^{98}}"),
    (r"\frac{1}{2004!}", r"\frac{1}{2006!}"),
    (r"\{1,2\}", "(1,2)"),
    ("1/3", "0.33"),
    ("1/3", "0.3333"),
    ("0.33", "1/3"),
    ("1,2", "1"),
    ("1", "1,2"),
    ("1", "1 or 2"),
    ("42", "42 or 43"),
    ("42", "42, 43"),
    ("(1,2)", "(2,1)"),
    ("(1,2)", "[1,2]"),
    ("(1,2)", "(1,2]"),
    ("5", "[4,6]"),
    ("5", "(5,6)"),
    ("5", "x=x"),
    ("x", "x=x"),
    ("5", "5=5=x"),
    ("204_5", "54"),
    ("204_5", "204_6"),
    ("110_2", "6"),
    ("6", "110_2"),
    ("x=-1", "y=-1"),
    ("x = 1, y = 2", "x=2, y=1"),
    ("x>2", r"x \geq 2"),
    ("x>2", "x<2"),
    (r"(2,\infty)", r"x \ge 2"),
    ("|x|", "x"),
    (r"\sqrt{x^2}", "x"),
    ("4:30 p.m.", "4:30 a.m."),
    ("12:00", "1:00"),
    ("1:2", "2:1"),
    (r"\text{Monday}", r"\text{Sunday}"),
    ("A", "B"),
    (r"\text{(A)}", "A or B"),
    ("B", "A, B"),
    (r"\pi", "3.14"),
    (r"\sqrt{2}", "1.41"),
    (r"\sqrt{2}", "1.414"),
    ("x+1", "x-1"),
    ("x^2", "x^3"),
    ("2x", "2"),
    ("2", "2x"),
    ("5", "5x"),
    ("-5", "5"),
    (r"3 \pm 2\sqrt2", r"3+2\sqrt2"),
    (r"3+2\sqrt2", r"3 \pm 2\sqrt2"),
    ("1,2,3", "1,2"),
    (r"\{1,2,3\}", r"\{1,2\}"),
    (r"\{1,2\}", r"\{1,2,3\}"),
    (r"\text{even}", r"\text{odd}"),
    (r"\text{north}", r"\text{thorn}"),
    ("0", "10^{-50}"),
    ("0", "e^{-1000}"),
    ("e^{-1000}", "e^{-999}"),
    ("1", "1.0000001"),
    ("1000000", "1000001"),
    ("0", r"\sin(10^{-30})"),
    ("10^{100}", "10^{100}+1"),
    (r"\frac{x}{y}", r"\frac{y}{x}"),
    ("f(x)", "f(y)"),
    ("y=2x+1", "x=2y+1"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}1&3\\2&4\end{pmatrix}"),
    (r"90^\circ", r"91^\circ"),
    ("90", r"\pi/2"),
    (r"\frac{1}{2}", "1"),
    (r"\frac{1}{2}", "2"),
    ("12", "1,2"),
    ("12", "1 2"),
    ("1.2", "1,2,3"),
    ("1000", "1,00"),
    ("123", "1,23"),
    (r"\infty", r"-\infty"),
    (r"\emptyset", "0"),
    (r"\text{no solution}", "0"),
    ("5", "{5,6}"),
    ("5", r"\text{}"),
    ("5", "?"),
    ("7 = 11a+c", "11a+c"),
    (r"\frac{1}{3}", "0.3"),
    ("4^{10}", "2^{19}"),
    (r"\sin x", r"\cos x"),
    ("e", r"\pi"),
    (r"e^\pi", r"\pi^e"),
    ("163", "117"),
    (r"20\%", "2"),
    ("0.2", "20"),
]


def right(reference: str, answer: str, **options) -> bool:
    expected = Expected.read(reference)
    assert expected is not None
    return compare(expected, answer, **options).right


@pytest.mark.parametrize(("a", "b"), EQUAL)
def test_equal_answers_pass_for_each_other(a, b):
    assert right(a, b)
    assert right(b, a)


@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_different_answers_do_not(a, b):
    assert not right(a, b)
    assert not right(b, a)


@pytest.mark.parametrize("answer", sorted({answer for pair in EQUAL for answer in pair}))
def test_an_answer_equals_itself_however_it_is_spaced(answer):
    assert right(answer, f" {answer} ")


def test_a_decimal_comma_is_read_only_where_a_decimal_is_expected():
    assert right("1000.99", "1000,99")
    assert right("0,111", "0.111")
    assert not right("0,1", "0.1")
    assert not right("3", "1,2")


def test_a_percentage_is_its_fraction_and_with_the_option_also_its_number():
    assert right(r"10\%", r"\frac{1}{10}")
    assert not right("10", r"10\%")
    assert right("10", r"10\%", percent_is_unit=True)
    assert right(r"10\%", "10", percent_is_unit=True)
    assert not right("10", r"11\%", percent_is_unit=True)


def test_tolerance_is_relative_and_for_numbers_only():
    assert right("3.14159", "3.14", tolerance=0.001)
    assert not right("3.14159", "3.1", tolerance=0.001)
    assert right(r"\frac{1}{3}", "0.33", tolerance=0.02)
    assert right(
        r"\begin{pmatrix} 1/3 \\ 1/5 \end{pmatrix}", r"\begin{pmatrix} 0.33 \\ 0.2 \end{pmatrix}", tolerance=0.02
    )
    assert not right("2x", "2.001x", tolerance=0.01)
    assert not right("0", "0.001", tolerance=0.5)


def test_a_rounded_decimal_needs_six_digits():
    assert right(r"\frac{2}{3}", "0.666667")
    assert right(r"\frac{2}{3}", "0.666666")
    assert not right(r"\frac{2}{3}", "0.66667")
    assert not right(r"\frac{2}{3}", "0.666669")
    assert right(r"\sqrt{2}", "1.414214")


def test_what_cannot_be_decided_says_so():
    expected = Expected.read("3")
    assert expected is not None
    verdict = compare(expected, "9^{9^{9}}")
    assert not verdict.right
    assert "cannot be decided" in verdict.reason
