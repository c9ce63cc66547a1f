"""Answers written to hang, crash or exhaust a grader are wrong answers, quickly, wherever they are judged."""

import asyncio
import multiprocessing
import threading
import time

import pytest

from rewardkit_plugins.math.reward import MathReward

NINES = "9" * 5_000
HOSTILE = {
    "tower of powers": r"9^{9^{9^{9}}}",
    "plain tower": "9**9**9**9",
    "negative tower": r"9^{-9^{9^{9}}}",
    "tower of a decimal": r"1.0000001^{10^{18}}",
    "power of a fraction": r"(\frac{7}{3})^{10^{9}}",
    "huge factorial": "(10^9)!",
    "factorial tower": "9!!!!!!!!!!",
    "factorial of a factorial": "((2000!)!)!",
    "half factorial": "(10^{15}+0.5)!",
    "huge binomial": r"\binom{10^{12}}{5 \cdot 10^{11}}",
    "wide binomial": r"\binom{1000000}{500000}",
    "nested parentheses": "(" * 20_000 + "1" + ")" * 20_000,
    "opening parentheses": "(" * 20_000,
    "few nested parentheses": "(" * 900 + "1" + ")" * 900,
    "nested braces": "{" * 900 + "1" + "}" * 900,
    "nested fractions": r"\frac{1}{" * 200 + "2" + "}" * 200,
    "many nested fractions": r"\frac{1}{1+" * 5_000 + "2" + "}" * 5_000,
    "tower of roots": r"\sqrt{" * 300 + "2" + "}" * 300,
    "roots without braces": r"\sqrt" * 390 + "2",
    "fractions without braces": r"\frac" * 390 + "2",
    "tower of carets": "2" + "^2" * 900,
    "tower of braced carets": "2^{" * 600 + "2" + "}" * 600,
    "minus signs": "-" * 1_900 + "1",
    "plus signs": "+" * 1_900 + "1",
    "digits": NINES,
    "digits of a decimal": "0." + NINES,
    "digits within the limits": "9" * 990 + "!",
    "division of digits": f"{NINES[:900]}/{NINES[:901]}",
    "huge exponent letter": "1e999999999",
    "powers of ten": "10^{10^{10}}",
    "long sum": "+".join(["1"] * 950),
    "long product": "*".join(["999999"] * 270),
    "sum of sines": "+".join(rf"\sin {n}" for n in range(190)),
    "sum of roots": "+".join(rf"\sqrt{{{n}}}" for n in range(190)),
    "nested sines": r"\sin(" * 35 + "x" + ")" * 35,
    "sine of a giant": r"\sin(10^{10^{6}})",
    "logarithm tower": r"\ln(" * 35 + "10" + ")" * 35,
    "gamma": "(x+0.5)!" * 200,
    "many symbols": "".join(f"x_{{{n}}}+" for n in range(250)) + "1",
    "high degree": "(x+1)^{100000}",
    "power of powers": "((((((x^{99})^{99})^{99})^{99})^{99})^{99})",
    "symbol tower": "x^{x^{x^{x^{x^{x}}}}}",
    "many items": ",".join(map(str, range(400))),
    "many pairs": ",".join(f"({n},{n + 1})" for n in range(150)),
    "signs": r"1 \pm " * 150 + "1",
    "large set": r"\{" + ",".join(map(str, range(400))) + r"\}",
    "many intervals": r"\cup".join(f"({n},{n + 1})" for n in range(100)),
    "chain": "=".join(["x"] * 900),
    "inequalities": "<".join(f"{n}x" for n in range(200)),
    "matrix": r"\begin{pmatrix}" + r"\\".join("&".join("1" * 20) for _ in range(40)) + r"\end{pmatrix}",
    "matrix without end": r"\begin{pmatrix}" * 100,
    "bars": "|" * 1_900,
    "text": r"\text{" * 900,
    "modulus": r"\sum_{n=1}^{10^{12}} n",
    "zero to zero": "0^0",
    "division by zero": r"\frac{1}{0}",
    "zero over zero in symbols": r"\frac{x-x}{x-x}",
    "not a number": "nan",
    "infinity": "inf - inf",
    "unicode": "\U0001d7d9\u0663\u200b\u202e\ufeff\u0000" * 150,
    "surrogates": "\ud800\udfff" * 200,
    "combining marks": "1" + "\u0301" * 1_900,
    "python": "__import__('os').system('echo pwned > /dev/null')",
    "python comprehension": "[x for x in range(10**9)]",
    "braces in text": r"\text{{{{{{" * 150,
    "spaces": "1" + " " * 1_900 + "2",
    "commas": "," * 1_900,
    "grouped digits": "1,000" * 380,
    "almost numbers": "1" * 1_000 + "x",
    "sums without braces": r"\sum_{k=1}^{n}" * 130 + "k",
    "integrals": r"\int" * 400 + "x",
    "sines without braces": r"\sin" * 400 + "x",
    "factorials of x": "+".join(f"(x+{n})!" for n in range(150)),
    "huge inverse": "(1+x)^{-9999}",
    "bars of x": "+".join(f"|x-{n}|" for n in range(200)),
    "system": r"\begin{cases}" + r"\\".join(f"x_{n}={n}" for n in range(150)) + r"\end{cases}",
    "tuple of names": "(" + ",".join(f"x_{n}" for n in range(150)) + ")=(" + ",".join(map(str, range(150))) + ")",
    "many conditions": r" \text{ and } ".join(f"x>{n}" for n in range(150)),
    "unknown sets": r"\cup ".join(f"A_{{{n}}}" for n in range(200)),
    "set builders": r"\{x|" * 200,
    "options": r"\textbf{(A)}\ " * 100 + "12",
    "fractions of one character": "½" * 1_900,
    "characters that stand for words": "\ufdfa" * 1_900,
    "raised digits": "²" * 1_900,
    "ones": "1," * 900 + "1",
}
LONG = {
    "a megabyte of digits": "1" * 1_000_000,
    "a megabyte of boxes": r"\boxed{" * 140_000,
    "a megabyte of full boxes": r"\boxed{1}" * 110_000,
    "a megabyte of dollars": "$" * 1_000_000,
    "a megabyte of spaces": "answer is" + " " * 1_000_000,
    "a megabyte of answers": "the answer is " * 70_000,
    "a megabyte of hashes": "#" * 1_000_000,
    "a megabyte of brackets": r"\[" * 500_000,
    "a megabyte of numbers": "1, " * 330_000,
    "a megabyte of ones or ones": "1 or " * 200_000,
    "a megabyte of tags": "<answer>" * 120_000 + "</answer>",
    "a megabyte of thoughts": "</think>" * 120_000,
    "a megabyte of A": "A:\n" * 330_000,
    "a megabyte of empty boxes": r"\boxed{}" * 120_000,
    "a megabyte of bold": "**1** " * 160_000,
    "a megabyte of choices": "the choice is " * 70_000,
    "a megabyte in a box": r"\boxed{" + "x" * 1_000_000 + "}",
}
REFERENCES = (
    "42",
    r"\frac{3}{4}",
    r"2\sqrt{13}",
    "x^2+3x+1",
    r"(-\infty, 3]",
    "1,2,3",
    r"\begin{pmatrix}1\\2\end{pmatrix}",
)


def responses() -> list[str]:
    return [f"So we get $\\boxed{{{text}}}$." for text in HOSTILE.values()] + list(LONG.values())


def verdicts(score) -> list[float | None]:
    return [score(response, "42").value for response in responses()]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_answer_is_wrong_at_once(score, name):
    score("1", "2")
    for reference in REFERENCES:
        start = time.process_time()
        judged = score(f"So we get $\\boxed{{{HOSTILE[name]}}}$.", reference)
        assert time.process_time() - start < 0.25, reference
        assert judged.value == 0.0
        assert judged.explanation


@pytest.mark.parametrize("name", LONG)
def test_a_megabyte_is_read_in_a_moment(score, name):
    start = time.process_time()
    assert score(LONG[name], "42").value == 0.0
    assert time.process_time() - start < 0.25


def test_all_hostile_answers_together_take_two_seconds_at_most(score):
    verdicts(score)
    start = time.process_time()
    assert set(verdicts(score)) == {0.0}
    assert time.process_time() - start < 2.0


@pytest.mark.parametrize("name", ["tower of powers", "digits", "nested fractions", "sum of sines"])
def test_a_hostile_reference_does_not_hang_either(score, name):
    start = time.process_time()
    assert score("42", HOSTILE[name]).value == 0.0
    assert time.process_time() - start < 0.25


def test_the_verdict_is_the_same_in_a_thread_and_in_an_event_loop(score):
    here = verdicts(score)
    found: dict[str, list[float | None]] = {}
    thread = threading.Thread(target=lambda: found.update(thread=verdicts(score)))
    thread.start()
    thread.join()

    async def judge() -> list[float | None]:
        return verdicts(score)

    assert found["thread"] == here
    assert asyncio.run(judge()) == here


def test_many_threads_at_once_agree(score):
    pairs = [(rf"\boxed{{\sin({n}) \cdot 2 \cos({n})}}", rf"\sin({2 * n})") for n in range(1, 20)]
    failures: list[object] = []

    def judge() -> None:
        failures.extend(pair for pair in pairs if score(*pair).value != 1.0)

    threads = [threading.Thread(target=judge) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_no_process_and_no_thread_is_left(score):
    children, threads = set(multiprocessing.active_children()), set(threading.enumerate())  # of tests before this one
    verdicts(score)
    assert set(multiprocessing.active_children()) <= children
    assert set(threading.enumerate()) <= threads


def test_the_reward_can_be_closed_twice():
    reward = MathReward()
    reward.close()
    reward.setup()
    reward.close()
    reward.close()
