"""The `self_certainty_vote` group reward: the share of the votes that an attempt's answer gets; it knows no truth.

The certainty of a single attempt is `self_certainty`; counting votes is `steps.voting`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rewardkit.errors import ConfigError, RewardError
from rewardkit.types import Score, Trajectory
from rewardkit_plugins.math.answers import Expected, compare
from rewardkit_plugins.math.extract import extract
from rewardkit_plugins.models.model_reward import ModelReward
from rewardkit_plugins.models.self_certainty import Actions, Judged, Position, check_reading, read_certainties
from rewardkit_plugins.rules.rule import check_number
from rewardkit_plugins.steps.voting import borda_votes


class SelfCertaintyVote(ModelReward):
    """Borda voting (2502.18581): of n attempts the most certain has n^power votes for its answer, the last one 1.

    The value is the share of all votes that the attempt's answer got, in [0, 1]; the shares of the different answers
    add up to 1. `power` 0 is a majority vote. `answer` says what the answer is: "math" finds it as the reward `math`
    does and takes 1/2 and 0.5 for the same; "exact" takes the whole completion without surrounding whitespace; any
    other text is a regular expression with a group, and what the group captured in the last match counts.

    An attempt without an answer keeps its rank, votes for nothing and gets 0.0. A blank one gets 0.0 and has no rank.
    One that the model cannot read (too long, a control token) has no rank and abstains. `position` and `actions` are
    those of `self_certainty`. Raises ConfigError for an option that cannot be right.
    """

    name = "self_certainty_vote"
    kind = "causal"

    def __init__(
        self,
        *,
        answer: str = "math",
        power: float = 0.5,
        position: Position = "definition",
        actions: Actions = "last",
        **engine: Any,
    ) -> None:
        super().__init__(**engine)
        check_reading(self.name, position, actions, self.config)
        check_number(f"{self.name}: power", power, low=0.0, high=20.0)
        self._answer = answer
        self._pattern = None if answer in ("math", "exact") else _compiled(answer)
        self._power = power
        self._position: Position = position
        self._actions: Actions = actions

    def own_fields(self) -> Mapping[str, Any]:
        """Return how votes are counted and which distributions are read."""
        return {
            "answer": self._answer,
            "power": self._power,
            "position": self._position,
            "actions": self._actions,
        }

    def score_group(self, group: Sequence[Trajectory], /) -> list[Score]:
        """Return one Score each; parts are `certainty` and `winner`: 1.0 where the answer has the most votes."""
        scores: dict[int, Score] = {}
        judged: dict[int, Judged] = {}
        for place, attempt in enumerate(group):
            if not attempt.completion.strip():
                scores[place] = Score(value=0.0, explanation="it says nothing, so it has no answer")
                continue
            try:
                judged[place] = Judged.of(self.engine, attempt, self._actions)
            except RewardError as error:
                scores[place] = Score(value=None, explanation=f"its certainty cannot be read: {error}")
        found = read_certainties(self.engine, list(judged.values()), self._position)
        answers = [self._answer_of(group[place].completion) for place in judged]
        voted = _voted([float(values.mean()) for values in found], answers, self._names(answers), self._power)
        scores |= zip(judged, voted, strict=True)
        return [scores[place] for place in range(len(group))]

    def _answer_of(self, completion: str) -> str | None:
        if self._answer == "math":
            return extract(completion)
        if self._pattern is None:
            return completion.strip()
        matches = list(self._pattern.finditer(completion))
        return ((matches[-1][1] or "").strip() or None) if matches else None

    def _names(self, answers: Sequence[str | None]) -> list[str | None]:
        return _equated(answers) if self._answer == "math" else list(answers)


def _voted(
    certainties: Sequence[float], answers: Sequence[str | None], names: Sequence[str | None], power: float
) -> list[Score]:
    """Return the scores of attempts whose answers are the same where `names` are."""
    votes = borda_votes(certainties, names, power=power)
    winner = max(votes, key=votes.__getitem__, default=None)
    scores = []
    for certainty, answer, name in zip(certainties, answers, names, strict=True):
        share = 0.0 if name is None else votes[name] / sum(votes.values())
        scores.append(
            Score(
                value=share,
                parts={"certainty": certainty, "winner": float(name is not None and name == winner)},
                explanation="no answer found" if name is None else "",
                metadata={"answer": answer},
            )
        )
    return scores


def _equated(answers: Sequence[str | None]) -> list[str | None]:
    """Return for each answer the first one that is mathematically equal to it."""
    known: list[Expected] = []
    names: dict[str, str] = {}
    for answer in answers:
        if answer is None or answer in names:
            continue
        same = next((one.text for one in known if compare(one, answer).right), None)
        names[answer] = answer if same is None else same
        if same is None:
            known.append(Expected(answer))
    return [None if answer is None else names[answer] for answer in answers]


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"self_certainty_vote: the pattern answer={pattern!r} is wrong: {error}") from error
    if not compiled.groups:
        raise ConfigError(
            f"self_certainty_vote: answer must be 'math', 'exact' or a pattern with a group for the answer, "
            f"not {pattern!r}"
        )
    return compiled
