"""The `follow_up_likelihood` reward: how much likelier a pleased user is to answer now than a displeased one (FLR).

A language model only has to be asked how likely certain sentences are, so nothing is trained and nothing is generated.
What the sentences are is `followups`. The fine-tuned variant of the paper, which swaps the roles, is not here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from rewardkit.errors import ConfigError, RewardError
from rewardkit.types import Message, Score, Trajectory
from rewardkit_plugins.models.followups import probes_of, utterances
from rewardkit_plugins.models.model_reward import ModelReward, conversation
from rewardkit_plugins.rules.rule import check_choice

if TYPE_CHECKING:  # rendering takes jinja2, which comes with the extra
    from rewardkit_plugins.engine.reader import Reader
    from rewardkit_plugins.engine.rendering import Rendered

Mode = Literal["mean_logprob", "released_code"]


@dataclass(frozen=True, slots=True)
class Spoken:
    """A conversation that ends with an utterance: its token ids, and which of them are the utterance's."""

    ids: list[int]
    span: range


class FollowUpLikelihood(ModelReward):
    """Appends each of a set of utterances as the user's next turn and compares how likely they are.

    The value is the mean over `dimensions` (None: all) of mean likelihood of the positive minus mean likelihood of the
    negative utterances; `parts` has the difference of each dimension. `followups` replaces FLR's utterances.

    With `mode` "mean_logprob" the likelihood of an utterance is the mean log-probability (nats) of its tokens, without
    those that the chat template adds. "released_code" is what the authors' program computes instead: the mean raw logit
    of the utterance's tokens, tokenized by themselves, all at one place of the conversation, of which the first message
    is left out when their number would be even. That program ends with two lists of numbers a dimension; taking their
    difference is ours. A server gives no logits.

    With `truncation` "left" all utterances see the same cut conversation. Raises ConfigError for options that cannot be
    right, RewardError for an answer that is empty or too long (Zhang et al., arXiv 2409.13948).
    """

    name = "follow_up_likelihood"
    kind = "causal"

    def __init__(
        self,
        *,
        dimensions: Sequence[str] | None = None,
        mode: Mode = "mean_logprob",
        followups: Mapping[str, Mapping[str, Sequence[str]]] | str | None = None,
        **engine: Any,
    ) -> None:
        super().__init__(**engine)
        check_choice("follow_up_likelihood: mode", mode, get_args(Mode))
        if mode == "released_code" and self.config.server is not None:
            raise ConfigError("follow_up_likelihood: mode='released_code' needs logits, which no server gives")
        self._mode: Mode = mode
        self._probes = probes_of(followups, dimensions)
        self._texts = utterances(self._probes)

    def own_fields(self) -> Mapping[str, Any]:
        """Return the mode, the dimensions, and the utterances, of which the signature keeps a hash."""
        return {"mode": self._mode, "dimensions": ",".join(self._probes), "followups": self._probes}

    def score_batch(self, batch: Sequence[Trajectory], /) -> list[Score]:
        """Return one Score for each trajectory; `metadata` says how many tokens were cut off."""
        engine = self.engine
        fitted = [fit_alike(engine, self._render(trajectory)) for trajectory in batch]
        spoken = [one for some, _ in fitted for one in some]
        if self._mode == "mean_logprob":
            found = mean_logprobs(engine, spoken)
        else:
            found = released_logits(engine, spoken, self._tokenized_alone() * len(batch))
        count = len(self._texts)
        return [self._score(found[i * count : (i + 1) * count], cut) for i, (_, cut) in enumerate(fitted)]

    def _render(self, trajectory: Trajectory) -> list[Rendered]:
        messages: Sequence[Message] = conversation(trajectory)
        if self._mode == "released_code" and len(messages) % 2 == 1:
            messages = messages[1:]
            if not messages:
                raise RewardError(
                    "nothing is left of a single message, which mode='released_code' drops: give the task a prompt, or "
                    "use mode='mean_logprob'"
                )
        found = self.engine.renderer.continuations(messages, self._texts)
        start, end = found[0].messages[-2]
        if start == end:
            raise RewardError(
                f"the chat template of {self.config.model!r} writes nothing of the agent's last answer: give another "
                "template with chat_template"
            )
        return found

    def _tokenized_alone(self) -> list[list[int]]:
        alone: list[list[int]] = self.engine.tokenizer(self._texts, return_attention_mask=False)["input_ids"]
        return alone

    def _score(self, found: Sequence[float], cut: int) -> Score:
        of = dict(zip(self._texts, found, strict=True))
        parts = {
            name: _mean([of[text] for text in sides["positive"]]) - _mean([of[text] for text in sides["negative"]])
            for name, sides in self._probes.items()
        }
        return Score(value=_mean(list(parts.values())), parts=parts, metadata={"truncated_tokens": cut} if cut else {})


def fit_alike(engine: Reader, rendered: Sequence[Rendered]) -> tuple[list[Spoken], int]:
    """Return continuations of one conversation cut to the window, all at one place, and how many tokens were cut off.

    Raises RewardError as `Reader.fit` does.
    """
    spans = [one.tokens(one.messages[-1]) for one in rendered]
    longest = max(range(len(rendered)), key=lambda i: len(rendered[i].ids))
    kept, _, cut = engine.fit(rendered[longest], spans[longest])
    if not cut:
        return [Spoken(one.ids, span) for one, span in zip(rendered, spans, strict=True)], 0
    common = min(span.start for span in spans)
    return [
        Spoken(kept.ids[: common - cut] + one.ids[common:], range(span.start - cut, span.stop - cut))
        for one, span in zip(rendered, spans, strict=True)
    ], cut


def mean_logprobs(engine: Reader, spoken: Sequence[Spoken]) -> list[float]:
    """Return the mean log-probability (nats) of each utterance's tokens."""
    from rewardkit_plugins.engine.reader import Reading

    found = engine.logprobs([Reading(one.ids, range(one.span.start - 1, one.span.stop - 1)) for one in spoken])
    return [_mean(logprobs.tolist()) for logprobs in found]


def released_logits(engine: Reader, spoken: Sequence[Spoken], alone: Sequence[list[int]]) -> list[float]:
    """Return what the authors' program computes: the mean raw logit of the tokens `alone`.

    All are read at one token, the one so far from the end as there are tokens in `alone`; these are the utterance as
    the tokenizer gives it by itself, special tokens included.
    """
    from rewardkit_plugins.engine.reader import Reading

    if not spoken:
        return []
    width = max(map(len, alone))
    readings = [Reading(one.ids, [len(one.ids) - len(ids)]) for one, ids in zip(spoken, alone, strict=True)]
    padded = [ids + ids[-1:] * (width - len(ids)) for ids in alone]
    found = engine.logits(readings, padded)
    return [_mean(logits[0, : len(ids)].tolist()) for logits, ids in zip(found, alone, strict=True)]


def _mean(numbers: Sequence[float]) -> float:
    return math.fsum(numbers) / len(numbers)
