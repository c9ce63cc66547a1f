"""The interfaces of process reward models: how steps are written down, where a model is read, what the number means.

A format is data. How its text becomes tokens is `process_layout`, what is made of the scores `process_reward`.

Text layouts were checked against what was published with the models: the model card of Qwen/Qwen2.5-Math-PRM-7B; the
data card of peiyi9979/Math-Shepherd; RLHFlow/RLHF-Reward-Modeling, math-rm/prm_evaluate.py; CJReinforce/PURE,
ppo_utils/experience_maker.py, and huggingface/trl, experimental/prm; RyanLiu112/GenPRM, genprm_inference.py;
THUDM/ReST-MCTS, MCTS/task.py and models/value_models.py; tengwang0318/hierarchial_reward_model, best_of_n.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from rewardkit.errors import ConfigError
from rewardkit_plugins.rules.rule import check_choice, check_whole

Layout = Literal["chat", "plain", "pieces", "turns", "prefixes"]
Number = Literal["softmax", "difference", "sigmoid", "raw", "clamp"]

CHAT = "chat"  # as a prompt: what the chat template makes of the conversation
PROBABILITIES = ("softmax", "sigmoid", "clamp")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFormat:
    """One interface; a field that is None means nothing to it, and cannot be set.

    - `kind` of model: "causal" (the next token is `good` or `bad`), "token" or "sequence" classification.
    - `layout`: "chat" writes `step_token` behind each step in the agent's message; "plain" writes `prompt`, then the
      steps with `step_token` behind each; "pieces" does so with every piece turned into tokens by itself; "turns" lets
      a user say the steps and an assistant answer `good`; "prefixes" reads one text for each step, at its last token.
    - `joint` stands between steps.
    - `prompt`: Jinja text with {{ question }}, in "prefixes" also {{ previous }} and {{ current }}, the steps before
      the window and in it; or "chat". `ask` is what a user asks about the step, `opening` how the answer to it begins.
    - `number`: "softmax" is the probability of `good`, or of the class `positive`; "difference" that less the
      probability of the other class; "sigmoid", "raw" and "clamp" (to [0, 1]) take a single logit.
    - `split`, `aggregate` and `shape` are names of the package `steps`; step rewards that are shaped are summed up.
    """

    kind: Literal["causal", "sequence", "token"]
    layout: Layout
    number: Number
    split: str = "blank_line"
    aggregate: str
    shape: str = "none"
    step_token: str | None = None
    joint: str = ""
    good: str | None = None
    bad: str | None = None
    positive: int | None = None
    prompt: str | None = None
    ask: str | None = None
    opening: str | None = None

    def __post_init__(self) -> None:
        check_choice("number", self.number, get_args(Number))
        if (self.number in ("softmax", "difference")) != (self.positive is not None or self.good is not None):
            raise ConfigError(f"number {self.number!r} does not fit the format: softmax and difference compare classes")
        if self.positive is not None:
            check_whole("positive", self.positive)
        if self.good is not None and self.good == self.bad:
            raise ConfigError(f"good and bad are both {self.good!r}: they must differ")
        for name in ("step_token", "good", "bad"):
            if getattr(self, name) == "":
                raise ConfigError(f"{name} must not be empty")

    @property
    def is_probability(self) -> bool:
        """Whether scores lie in [0, 1]."""
        return self.number in PROBABILITIES


_WINDOWED = (
    "Question:\n{{ question }}\n\n{% if previous %}Steps so far:\n{{ previous }}\n\n{% endif %}"
    "This step:\n{{ current }}"
)

FORMATS: Mapping[str, StepFormat] = {
    "qwen": StepFormat(
        kind="token",
        layout="chat",
        number="softmax",
        aggregate="prod",
        step_token="<extra_0>",  # noqa: S106  no password
        positive=1,
    ),
    "math_shepherd": StepFormat(
        kind="causal",
        layout="plain",
        number="softmax",
        split="step_header",
        aggregate="min",
        step_token=" ки",  # noqa: S106
        joint="\n",
        good="+",
        bad="-",
        prompt="{{ question }} ",
    ),
    "rlhflow": StepFormat(
        kind="causal",
        layout="turns",
        number="softmax",
        aggregate="mean",
        good="+",
        bad="-",
        prompt="{{ question }} ",
    ),
    "pure": StepFormat(
        kind="token",
        layout="pieces",
        number="difference",
        aggregate="min",
        shape="min_form",
        step_token="\n",  # noqa: S106
        positive=1,
        prompt="{{ question }}",
    ),
    "generated": StepFormat(
        kind="causal",
        layout="prefixes",
        number="softmax",
        aggregate="min",
        good="Yes",
        bad="No",
        ask="Is the last step of this solution correct? Answer Yes or No.",
        opening="",
    ),
    "value": StepFormat(
        kind="sequence",
        layout="prefixes",
        number="clamp",
        split="newline",
        aggregate="last",
        joint="\n",
        prompt="Problem: {{ question }}\nSolution:\n{% if previous %}{{ previous }}\n{% endif %}{{ current }}\n",
    ),
    "last_token": StepFormat(
        kind="sequence", layout="prefixes", number="raw", aggregate="last", joint="\n\n", prompt=CHAT
    ),
}


def step_format(name: str, *, window: Any = "prefix", **changes: Any) -> StepFormat:
    """Return the format of that name with the changes that are not None; raises ConfigError for what cannot be right.

    With a `window` of 1 or 2 a text of its own shows the steps of the window apart from those before.
    """
    check_choice("process_reward: format", name, list(FORMATS))
    found = FORMATS[name]
    for option, value in changes.items():
        if value is not None and getattr(found, option) is None:
            used = [f.name for f in fields(found) if f.default is None and getattr(found, f.name) is not None]
            raise ConfigError(f"process_reward: format {name!r} has no {option}; it has {', '.join(used)}")
    found = replace(found, **{option: value for option, value in changes.items() if value is not None})
    if window == "prefix":
        return found
    if isinstance(window, bool) or window not in (1, 2):
        raise ConfigError(f"process_reward: window must be prefix, 1 or 2, not {window!r}")
    if found.layout != "prefixes" or found.ask is not None:
        raise ConfigError(f"process_reward: window={window!r} is for the formats value and last_token, not {name!r}")
    return replace(found, prompt=_WINDOWED) if found.prompt == CHAT else found
