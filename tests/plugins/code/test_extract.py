"""extract_code: where the code of a completion stands, in the notations that models use."""

from __future__ import annotations

import time

import pytest

from rewardkit_plugins.code.extract import code_blocks, extract_code, language_of

ONE = "def one():\n    return 1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"Here:\n```python\n{ONE}\n```\nbye", ONE),
        (f"```py\n{ONE}\n```", ONE),
        (f"```Python3\n{ONE}\n```", ONE),
        (f"``` python\n{ONE}\n```", ONE),
        (f"```\n{ONE}\n```", ONE),
        (f"~~~python\n{ONE}\n~~~", ONE),
        (f'```python title="one.py"\n{ONE}\n```', ONE),
        (f"```python:one.py\n{ONE}\n```", ONE),
        (f"```{{.python .numberLines}}\n{ONE}\n```", ONE),
        (f"```{{python}}\n{ONE}\n```", ONE),
        (f"```solution\n{ONE}\n```", ONE),
        (f"Here it is: ```python\n{ONE}\n```", ONE),
        (f"```python\n{ONE}\n```   ", ONE),
        (f"```python\n{ONE}\n`````", ONE),
        ("```python\r\ndef one():\r\n    return 1\r\n```\r\n", ONE),
        ("```python\n\n\n    x = 1\n\n```", "    x = 1"),
    ],
)
def test_a_fence_holds_the_code_however_it_is_labelled(text, expected):
    assert extract_code(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("```python\na\n```\n```python\nb\n```", "b"),
        ("```python\na\n```\nIt prints:\n```\n1\n```", "a"),
        ("```python\na\n```\n```text\nb\n```", "a"),
        ("```\na\n```\n```output\nb\n```", "a"),
        ("```\na\n```\n```solution\nb\n```", "a"),
        ("```python\na\n```\n```python\n\n```", "a"),
        ("```bash\npip install x\n```\n```\na\n```", "a"),
        ("```python\na\n```\n```cpp\nb\n```", "a"),
        ("~~~python\na\n~~~\n```python\nb\n```", "b"),
    ],
)
def test_the_last_block_of_the_best_kind_counts(text, expected):
    assert extract_code(text) == expected


@pytest.mark.parametrize(
    "text", ["```bash\nls\n```", "```json\n{}\n```", "```text\n1\n```", "```python\n```", "", " \n\t"]
)
def test_a_block_of_another_language_or_nothing_is_no_code(text):
    assert extract_code(text) is None


@pytest.mark.parametrize(
    ("label", "language", "expected"),
    [("c++", "cpp", "x"), ("js", "javascript", "x"), ("sqlite", "sql", "x"), ("c", "cpp", None), ("zig", "zig", "x")],
)
def test_each_language_has_its_labels(label, language, expected):
    assert extract_code(f"```{label}\nx\n```", language=language) == expected


def test_labels_name_languages():
    assert (language_of(" Python3 "), language_of("C++"), language_of("en")) == ("python", "cpp", None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"```python\n{ONE}", ONE),
        (f"```python\n{ONE}```", ONE),
        (f"```python\n{ONE}```\nHope this helps!", ONE),
        ("```python\na\n```\nBetter:\n```python\nb = (1,", "b = (1,"),
        (f"{ONE}\n```", ONE),
        (f"{ONE}\n```\nThis returns 1.", ONE),
        ("    return 1\n```\nThis returns 1.", "    return 1"),
    ],
)
def test_a_fence_may_be_cut_off_or_opened_by_the_prompt(text, expected):
    assert extract_code(text) == expected


@pytest.mark.parametrize("prose", ["Sure, here you go:", " Sure:", "# Solution", "From the text:", "1. Import it:"])
def test_text_before_an_open_fence_is_no_code_when_it_is_prose(prose):
    assert extract_code(f"{prose}\n```\na = 1") == "a = 1"


def test_longer_fences_hold_shorter_ones():
    assert extract_code("````python\ns = '''\n```\n'''\n````") == "s = '''\n```\n'''"
    assert extract_code("~~~python\ns = '''\n```\n'''\n~~~") == "s = '''\n```\n'''"


def test_a_block_of_markdown_is_looked_into():
    assert extract_code("````markdown\n# One\n```python\na\n```\n````") == "a"
    assert extract_code("```markdown\n```python\na\n```\n```") == "a"


def test_a_fence_in_a_docstring_closes_nothing():
    code = 'def f():\n    """\n    ```\n    f()\n    ```\n    """\n    return 1'
    assert extract_code(f"```python\n{code}\n```") == code


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1. So:\n   ```python\n   def one():\n       return 1\n   ```", ONE),
        ("- ```python\n  def one():\n      return 1\n  ```", ONE),
        ("> ```python\n> def one():\n>     return 1\n> ```", ONE),
        ("\t```python\n\tdef one():\n\t    return 1\n\t```", ONE),
        ("      ```python\n      def one():\n          return 1\n      ```", ONE),
    ],
)
def test_the_indentation_of_a_fence_is_not_that_of_its_code(text, expected):
    assert extract_code(text) == expected


def test_without_a_fence_the_text_is_the_code_with_its_indentation():
    assert extract_code(f"\n\n{ONE}\n\n") == ONE
    assert extract_code("    return 1\n") == "    return 1"
    assert extract_code("print(`a`) # inline ``` is no fence") == "print(`a`) # inline ``` is no fence"


@pytest.mark.parametrize(
    "text",
    [
        "<think>\n```python\nwrong\n```\n</think>\n```python\nright\n```",
        "let me see\n```python\nwrong\n```\n</think>\n```python\nright\n```",
        "<think>\n```python\nwrong\n</think>\n```python\nright\n```",
        "<think>a</think>```python\nright\n```\n<think>\n```python\nwrong\n```</think>",
        "```python\nright\n```\n<think>\n```python\nwrong\n```\n",
        "<think>I open <think> again</think> and again</think>\n```python\nright\n```",
        "<thinking>no</thinking>right",
        "<think>no</think>\n\nright\n",
        "<think>```python\nwrong\n```</think><answer>```python\nright\n```</answer>",
        "```python\nwrong\n```<answer>\n```python\nright\n```\n</answer>\n```python\nwrong\n```",
        "<answer>right</answer>",
        "<answer>\n```python\nright",
        "```python\nright\n```\n<answer>see above</answer>",
    ],
)
def test_reasoning_is_left_out_and_an_answer_is_unwrapped(text):
    assert extract_code(text) == "right"


def test_thinking_that_never_ends_holds_no_code():
    assert extract_code("<think>\n```python\nx = 1\n```\nbut wait") is None


def test_tags_in_the_strings_of_a_program_are_part_of_it():
    code = 's = "<think>" + x + "</think>"\nt = s.split(\'</think>\')\nu = "<answer>"'
    assert extract_code(f"```python\n{code}\n```") == code


def test_a_definition_that_is_asked_for_goes_before_an_example_of_its_use():
    text = f"```python\n{ONE}\n```\nUse it:\n```python\nprint(one())\n```"
    assert extract_code(text) == "print(one())"
    assert extract_code(text, defining="one") == ONE
    assert extract_code(text, defining="on") == "print(one())"


def test_blocks_tell_their_labels_and_whether_they_are_closed():
    blocks = list(code_blocks("a\n```Py x\nb\n```\n~~~\nc"))
    assert [(b.label, b.code, b.start, b.closed) for b in blocks] == [("py", "b", 2, True), ("", "c", 16, False)]


@pytest.mark.parametrize(
    "text",
    [
        "```md\n" * 20_000,
        "```python\n" * 20_000,
        "<think>" * 20_000,
        "</think>" * 20_000,
        "<answer>" * 20_000,
        " " * 200_000 + "`",
        "a " * 100_000 + "``",
        "> " * 100_000,
        "1. " * 60_000,
        "`" * 200_000,
        "\n" * 200_000,
        "```\n```\n" * 20_000,
    ],
)
def test_hostile_text_takes_linear_time(text):
    started = time.perf_counter()
    extract_code(text, defining="f")
    assert time.perf_counter() - started < 3
