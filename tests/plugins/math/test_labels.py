"""Verdicts that people or other programs recorded, and the few we disagree with, by name."""

import pytest

# Rows of Math-Verify's own cases that we judge otherwise, and why.
DISAGREED = {
    32: "a formula over several lines in \\( \\) is read here",
    187: "a set and its inequality are equal in both orders",
    253: "f(x) and f(y) are never equal; upstream's strict=False is no option here",
    263: "an upstream mistake: 1 - 1/e is labelled equal to 1 + 1/e",
}


def test_math_verify_cases(rows, score):
    wrong = [
        row["id"]
        for row in rows("math_verify_pairs")
        if (
            score(row["pred"], row["gold"], tolerance=0.02 if row["options"].get("precision") == 2 else 0.0).value
            == 1.0
        )
        is not row["equivalent"]
    ]
    assert wrong == sorted(DISAGREED)


def test_labelled_responses_to_math(rows, score):
    """The label of a right 10000 for a reference of 10{,}000 is wrong in the file."""
    wrong = [
        (row["gt"], score(response, row["gt"]).metadata["answer"])
        for row in rows("qwen_math_cot_samples")
        for response, label in zip(row["code"], row["score"], strict=True)
        if (score(response, row["gt"]).value == 1.0) is not label
    ]
    assert wrong == [("10{,}000", "10000")]


@pytest.mark.parametrize("model", ["6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"])
def test_recorded_verdicts_on_gsm8k(rows, score, model):
    wrong = [
        row[model]["solution"][-40:]
        for row in rows("gsm8k_test_model_solutions")
        if (score(row[model]["solution"], row["ground_truth"]).value == 1.0) is not row[model]["is_correct"]
    ]
    assert wrong == []


def test_recorded_tool_runs_on_gsm8k(rows, score):
    def number(text: str) -> float | None:
        try:
            return float(text.replace(",", ""))
        except ValueError:
            return None

    wrong = [
        row["code"][0][-60:]
        for row in rows("tora70b_gsm8k_tool_runs")
        if (score(row["code"][0], row["gt"], question=row["question"]).value == 1.0)
        is not (number(row["gt"]) == number(row["pred"][0]))
    ]
    assert wrong == []


@pytest.mark.parametrize(("name", "field"), [("math_test", "solution"), ("gsm8k_train", "answer")])
def test_a_solution_is_right_by_itself(rows, score, name, field):
    assert [row[field] for row in rows(name) if score(row[field], row[field]).value != 1.0] == []


def test_a_solution_is_right_however_its_answer_is_presented(rows, score):
    forms = (
        "Answer: {}",
        "so the answer is ${}$.",
        "**Final answer:** \\[ {} \\]",
        "\\boxed{{{}}}",
        "<answer>{}</answer>",
        "{}",
    )
    wrong = []
    for row in rows("math_test"):
        answer = score(row["solution"], row["solution"]).metadata["expected"]
        wrong += [(form, answer) for form in forms if score(form.format(answer), answer).value != 1.0]
    assert wrong == []
