"""The `self_certainty` reward: how far the model's predictions along the answer are from knowing nothing.

It asks for no reference and knows no truth; votes weighed by it are `self_certainty_vote`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal, get_args

from rewardkit.errors import ConfigError, RewardError
from rewardkit.types import Score, Trajectory
from rewardkit_plugins.engine.config import EngineConfig
from rewardkit_plugins.engine.reader import Reader, Reading
from rewardkit_plugins.engine.rendering import action_indices
from rewardkit_plugins.models.model_reward import ModelReward, conversation
from rewardkit_plugins.rules.rule import check_choice

if TYPE_CHECKING:
    import torch

    from rewardkit_plugins.engine.engine import Rows
    from rewardkit_plugins.engine.replica import Replica

Position = Literal["definition", "released_code"]
Actions = Literal["last", "all"]


class SelfCertainty(ModelReward):
    """The mean over the answer's tokens of KL(uniform || p) in nats, where p is what the model predicts (2502.18581).

    At least 0.0 (all tokens equally likely), without an upper bound. `position` says which p belongs to a token: the
    one that it was drawn from ("definition"), or the one after it ("released_code": the paper's program leaves out the
    first prediction and adds one behind the answer). `actions` is "last", or "all" of the attempt's actions, which
    then have a step score each; a step without tokens has None. What the template writes to end a turn is not counted.
    """

    name = "self_certainty"
    kind = "causal"

    def __init__(self, *, position: Position = "definition", actions: Actions = "last", **engine: Any) -> None:
        super().__init__(**engine)
        check_reading(self.name, position, actions, self.config)
        self._position: Position = position
        self._actions: Actions = actions

    def own_fields(self) -> Mapping[str, Any]:
        """Return which distributions are read."""
        return {"position": self._position, "actions": self._actions}

    def score_batch(self, batch: Sequence[Trajectory], /) -> list[Score]:
        """Return one Score each; the part `tokens` counts the tokens judged."""
        judged = [Judged.of(self.engine, trajectory, self._actions) for trajectory in batch]
        found = read_certainties(self.engine, judged, self._position)
        return [self._score(one, values) for one, values in zip(judged, found, strict=True)]

    def _score(self, judged: Judged, values: torch.Tensor) -> Score:
        ends = accumulate(len(span) for span in judged.spans)
        parts = [values[end - len(span) : end] for span, end in zip(judged.spans, ends, strict=True)]
        steps = tuple(float(part.mean()) if len(part) else None for part in parts)
        return Score(
            value=float(values.mean()),
            steps=steps if self._actions == "all" else None,
            parts={"tokens": len(values)},
            metadata={"truncated_tokens": judged.dropped} if judged.dropped else {},
        )


def certainties(logits: torch.Tensor) -> torch.Tensor:
    """Return KL(uniform || softmax) in nats for rows of logits [n, vocabulary]; float32 [n], at least 0.

    Float64 stays float64. The mean of the logits is taken from their logsumexp: no probability is formed, of which a
    float32 would round the smallest to 0. A token that cannot come up (-inf) makes a row infinite.
    """
    import torch

    wide = logits if logits.dtype == torch.float64 else logits.float()
    return (wide.logsumexp(dim=-1) - wide.mean(dim=-1) - math.log(wide.shape[-1])).clamp(min=0.0)


def self_certainty(logits: torch.Tensor, mask: torch.Tensor) -> float:
    """Return the mean of `certainties` over the rows whose `mask` [n] is not 0; raises RewardError if none is."""
    chosen = certainties(logits[mask.bool()])
    if not len(chosen):
        raise RewardError("self-certainty is a mean over tokens, and the mask leaves none of them")
    return float(chosen.double().mean())


@dataclass(frozen=True, slots=True)
class Judged:
    """A conversation cut to the window, the tokens of each judged action in it, and how many were cut off."""

    ids: list[int]
    spans: tuple[range, ...]
    dropped: int

    @classmethod
    def of(cls, engine: Reader, trajectory: Trajectory, actions: Actions) -> Judged:
        """Render one attempt; raises RewardError where there is no prediction to judge."""
        rendered = engine.renderer.render(conversation(trajectory))
        places = action_indices(trajectory)
        spans = [rendered.tokens(rendered.messages[place]) for place in (places if actions == "all" else places[-1:])]
        known = [span for span in spans if span]
        if not known or known[0].start == 0:
            raise RewardError(
                "the answer has no token with another before it, so that no prediction of it can be read: "
                "give a template that opens the agent's turn"
            )
        cut, kept, dropped = engine.fit(rendered, range(known[0].start, known[-1].stop))
        moved = kept.start - known[0].start
        return cls(cut.ids, tuple(range(s.start + moved, s.stop + moved) if s else s for s in spans), dropped)


def read_certainties(engine: Reader, judged: Sequence[Judged], position: Position) -> list[torch.Tensor]:
    """Return for each conversation the certainty at each judged token, float64 [tokens]; raises RewardError.

    Only these numbers leave the model: the distributions are reduced a piece at a time.
    """
    back = 1 if position == "definition" else 0
    readings = [Reading(one.ids, [at - back for span in one.spans for at in span]) for one in judged]
    found = [values.double() for values in engine.read(readings, _head)]
    if any(not bool(values.isfinite().all()) for values in found):
        raise RewardError("the model's predictions are not finite: load it with another dtype")
    return found


def check_reading(reward: str, position: object, actions: object, config: EngineConfig) -> None:
    """Raise ConfigError for options that cannot be right, and for a server: it sends no whole distributions."""
    check_choice(f"{reward}: position", position, get_args(Position))
    check_choice(f"{reward}: actions", actions, get_args(Actions))
    if config.server is not None:
        raise ConfigError(
            f"{reward} reads whole distributions, which no server sends: load the model here, without "
            f"server={config.server!r}"
        )


def _head(replica: Replica, rows: Rows) -> torch.Tensor:
    return certainties(replica.vocabulary(rows.hidden))
