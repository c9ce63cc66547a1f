"""Where in a response the final answer is found."""

import pytest

from rewardkit_plugins.math.extract import extract, extract_reference


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (r"So $x = \boxed{42}$.", "42"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\text{a } \{1,2\}}", r"\text{a } \{1,2\}"),
        (r"\fbox{7}", "7"),
        (r"\boxed 7", "7"),
        (r"\boxed{42", "42"),
        (r"I get $\boxed{42$. Then more", r"42$. Then more"),
        (r"\boxed{1} \boxed{2}", "2"),
        (r"First \boxed{3}, wait, no: \boxed{4}", "4"),
        (r"\boxed{1} and \boxed{-2}", "1, -2"),
        (r"$\boxed{(1,2)}$, $\boxed{(3,4)}$", "(1,2), (3,4)"),
        (r"\boxed{3} papers and \boxed{5} bins", "3, 5"),
        (
            r"\boxed{255} So it is $10,200 + $255. Final Answer: The final answer is $10,455$. I hope it is correct.",
            "10,455",
        ),
        ("The sum is 70.\n#### 72", "72"),
        ("#### Step 1\nAdd.\n#### Conclusion\nThe answer is 5.", "5"),
        ("The answer is 41. No wait, 42", "42"),
        ("Answer: B", "B"),
        ("The answer is (C).", "C"),
        ("Answer: B) 42 apples", "B"),
        ("**Answer:** 3.5", "3.5"),
        ("The final answer is: $\\frac{3}{4}$.", r"\frac{3}{4}"),
        ("The answer is 5 because 3 + 2 = 5 and not 7", "5"),
        ("the answer is 42 or 43.", "42 or 43"),
        ("It may be 42 or 43", "42 or 43"),
        ("He has 3 apples and 5 pears, 8 in all.", "8"),
        ("So he pays $1,234.50.", "$1,234.50"),
        ("It costs $10,200 + $255 = $10,455", "$10,455"),
        ("The temperature is -5 degrees.", "-5"),
        ("10-3 leaves 7", "7"),
        ("Therefore $x \\geq 5$ is the solution.", "x \\geq 5"),
        ("The domain of $f(x)$ has 19 points.", "19"),
        ("$21,16$ or $11$", "21,16, 11"),
        ("It is $28$ %", r"28\%"),
        ("x+1", "x+1"),
        ("12:00", "12:00"),
        ("Friday", "Friday"),
        ("<think>It is 41, surely \\boxed{41}</think>It is 42.", "42"),
        ("<answer>42</answer>", "42"),
        ("<think>\\boxed{41}</think>\n<answer>42</answer>", "42"),
        ("```python\nprint(5)\n```\n```output\n5\n```\n5 cars drove by in the first 15 minutes.", "5"),
        ("A: 250", "250"),
        ("We need 3 x 10^8 metres", "3 x 10^8"),
        ("They meet at 4:30 p.m.", "4:30 p.m."),
        ("AZYUK2A", "AZYUK2A"),
        ("I do not know what to say about this rather difficult question", None),
        ("", None),
        ("   \n", None),
        (r"\boxed{}", None),
        (r"\boxed{ }", None),
        (r"\boxed{} The answer is 42.", "42"),
        (r"\boxed{42}\boxed{}", None),
        ("There are **42** ways for the 7 people.", "42"),
        ("**42**", "42"),
        ("Answer: 2**3", "2**3"),
        ("**Answer: (A)**", "A"),
        ("The correct option is A", "A"),
        ("Option A", "A"),
        ("The answer is $6$ and not $7$.", "6"),
        ("The answer is $6$, since $x = 2$.", "6"),
        ("The ratio is 2:3", "2:3"),
        (r"15\text{cm}^{2}", r"15\text{cm}^{2}"),
        (r"2\pi \text{ radians}", r"2\pi \text{ radians}"),
        ("It is 28 per cent", "28 per cent"),
        (r"\left(\begin{array}{cc}1&2\\3&4\end{array}\right)", r"\left(\begin{array}{cc}1&2\\3&4\end{array}\right)"),
    ],
)
def test_the_final_answer_is_found(response, answer):
    assert extract(response) == answer


@pytest.mark.parametrize("response", ["The answer is 42.", "#### 42", "42", "<answer>42</answer>"])
def test_only_boxes_count_if_asked(response):
    assert extract(response, require_boxed=True) is None
    assert extract(response + r" \boxed{42}", require_boxed=True) in ("42", None)
    assert extract(r"\boxed{42} " + response, require_boxed=True) in ("42", None)


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        ("72", "72"),
        (" 72 ", "72"),
        ("He has 3*24=<<3*24=72>>72.\n#### 72", "72"),
        ("So the total is 3.\nA: 3", "3"),
        (r"We get $\boxed{\frac{3}{4}}$.", r"\frac{3}{4}"),
        (r"$\boxed{1}\boxed{2}$", "1, 2"),
        ("$21,16$ or $11$", "21,16, 11"),
        ("x^2 + 1", "x^2 + 1"),
        (r"\text{Evelyn}", r"\text{Evelyn}"),
        ("", None),
        ("  ", None),
        (r"\boxed{}", None),
    ],
)
def test_the_answer_of_a_reference_is_found(reference, answer):
    assert extract_reference(reference) == answer
