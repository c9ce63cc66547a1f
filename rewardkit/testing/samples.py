"""Attempts that the contract tests score when the author of a reward gives none: good answers, then how to spoil them.

They fit rewards that compare an answer with references or look at its form. A reward that needs more (unit tests,
passages, a rubric) needs samples of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from rewardkit.testing.fakes import trajectory
from rewardkit.types import Message, Step, Trajectory

_RAINBOW = (
    "Sunlight enters a raindrop, is bent, reflects off the far side and is bent again on its way out. "
    "Each colour is bent by a slightly different angle, so the drops of a shower spread the light into a bow."
)
_GARBAGE = "qzx vlorp; 77777 ]}{ snerf~ blat blat ## wug\n\t&&& %%% florb zzzyx -- gnarl?! " * 3


def sample_trajectories() -> list[Trajectory]:
    """Return one good attempt at each of four tasks: two of maths, an open question, and a tagged format."""
    return [
        trajectory(
            "What is 12 * 12 - 2?",
            "12 * 12 = 144, and 144 - 2 = 142. The answer is \\boxed{142}",
            ["142"],
            id="sample-integer",
        ),
        trajectory(
            "Add one half and one third. Give the result as a fraction.",
            "The common denominator is 6: 3/6 + 2/6 = 5/6. The answer is \\boxed{\\frac{5}{6}}",
            ["\\frac{5}{6}"],
            id="sample-fraction",
        ),
        trajectory("Why does a rainbow show colours?", _RAINBOW, [_RAINBOW], id="sample-open"),
        trajectory(
            "Which is the largest planet? Think in <think> tags, then answer in <answer> tags.",
            "<think>\nJupiter is heavier than all other planets together.\n</think>\n<answer>\nJupiter\n</answer>",
            ["Jupiter"],
            id="sample-tags",
        ),
    ]


def spoiled(good: Trajectory) -> dict[str, Trajectory]:
    """Return the attempts that must not beat `good`: silence, an echo of the prompt, and garbage."""
    prompt = "\n".join(message.content for message in good.task.prompt)
    return {kind: answered(good, text) for kind, text in (("silence", ""), ("echo", prompt), ("garbage", _GARBAGE))}


def answered(attempt: Trajectory, text: str) -> Trajectory:
    """Return `attempt` with all that the agent did replaced by the one answer `text`."""
    return replace(attempt, steps=(Step(action=Message(role="assistant", content=text)),))


def odd(good: Trajectory) -> Iterator[tuple[str, Trajectory]]:
    """Yield attempts that are legal but unlikely, with what is odd about them."""
    texts = {
        "a completion of 200,000 characters": "word and number 12, " * 10_000,
        "one word of 100,000 letters": "a" * 100_000,
        "a number of 5,000 digits": "\\boxed{" + "9" * 5_000 + "}",
        "10,000 open brackets": "([{<" * 2_500,
        "1,000 nested fractions": "\\boxed{" + "\\frac{1}{" * 1_000 + "2" + "}" * 1_001,
        "control characters": "\x00\x07\x1b[31m\x7f\ufeff\u2028\u2029\r\n\t",
        "right-to-left text and its marks": "\u202e\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627\u202c",
        "piled combining marks and joined emoji": "e"
        + "\u0301" * 500
        + " \U0001f469\u200d\U0001f52c\U0001f1e9\U0001f1ea",
        "digits of other scripts": "\u0664\u0662 \u096a\u0968 \uff14\uff12 \u2167 \u00bd",
    }
    for what, text in texts.items():
        yield what, answered(good, text)
    yield "an attempt without a single step", replace(good, steps=(), terminated=False, truncated=True)
    yield "a prompt without messages", replace(good, task=replace(good.task, prompt=()))
