"""The reward `reward_model`: what a trained reward model says of an attempt, at its end or after every step.

How a model is asked is `member`, which head is read `heads`, what its outputs mean `readout`, several models as one
`ensemble`. Judges that write or compare are not here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rewardkit.errors import ConfigError
from rewardkit.signature import option_text
from rewardkit.types import Message, Score, Trajectory
from rewardkit_plugins.engine.rendering import action_indices
from rewardkit_plugins.models.ensemble import Combination, Scale, combine
from rewardkit_plugins.models.head_options import HeadOptions
from rewardkit_plugins.models.model_reward import ModelReward, conversation
from rewardkit_plugins.models.readout import Gaussian, Verdict

if TYPE_CHECKING:
    from rewardkit_plugins.models.member import Member

Judged = tuple[Verdict, int]  # and the tokens that were cut off


class RewardModel(ModelReward):
    """Scores with a reward model of one or several outputs, or with several such models.

    - `head`, `head_file`, `objectives`, `heads`, `weights`, `gaussian`: see `HeadOptions`.
    - `append_eos`: the model was trained to be read at an end-of-sequence token behind the answer.
    - `per_step`: a score after every step of the agent, too.
    - `mean`, `std`: of the model's scores on some sample; its values become z-scores.
    - `members`: more models of the same kind, whose values are combined as `ensemble` says; `mean` and `std` may then
      be lists, with `model` first.

    Whitespace around what the agent said is not judged.
    """

    kind = "sequence"
    name = "reward_model"

    def __init__(
        self,
        *,
        heads: list[str] | None = None,
        weights: list[float] | dict[str, float] | None = None,
        head: str | None = None,
        head_file: str | None = None,
        objectives: str | None = None,
        gaussian: Gaussian | None = None,
        append_eos: bool = False,
        per_step: bool = False,
        mean: float | list[float] = 0.0,
        std: float | list[float] = 1.0,
        members: list[str] | None = None,
        ensemble: Combination = "mean",
        **engine: Any,
    ) -> None:
        super().__init__(**engine)
        names = None if heads is None else tuple(heads)
        self._head = HeadOptions(
            heads=names, weights=weights, head=head, head_file=head_file, objectives=objectives, gaussian=gaussian
        )
        if self.config.server is not None and self._head.kind == "embedding":
            raise ConfigError(f"a server gives no hidden states of {self.config.model!r} for a head: leave out server")
        self._configs = [self.config, *map(self.config.with_model, members or [])]
        self._scales = Scale.each(len(self._configs), mean=mean, std=std)
        self._ensemble: Combination = ensemble
        self._append_eos = append_eos
        self._per_step = per_step
        self._members: list[Member] = []

    def setup(self) -> None:
        """Load the models. Idempotent; raises ConfigError or MissingExtraError."""
        if self._members:
            return
        from rewardkit_plugins.models.member import Member

        with ExitStack() as opened:
            members: list[Member] = []
            for config in self._configs:
                members.append(Member.load(config, self._head, append_eos=self._append_eos))
                opened.callback(members[-1].reader.close)
            opened.pop_all()
        self._members, self._engine = members, members[0].reader

    def close(self) -> None:
        """Let go of the models. Idempotent."""
        for member in self._members:
            member.reader.close()
        self._members, self._engine = [], None

    def own_fields(self) -> Mapping[str, Any]:
        """Return the options that decide the numbers; other models by who they are, files by their content."""
        fields = dict(self._head.signature_fields())
        fields |= {name: True for name in ("append_eos", "per_step") if getattr(self, f"_{name}")}
        if any(scale != Scale() for scale in self._scales):
            fields["scale"] = [[scale.mean, scale.std] for scale in self._scales]
        if len(self._configs) > 1:
            fields["members"] = [option_text(one.signature_fields()) for one in self._configs[1:]]
            fields["ensemble"] = self._ensemble
        return fields

    def score_batch(self, batch: Sequence[Trajectory]) -> list[Score]:
        """Return one score each; raises RewardError for an attempt that cannot be judged."""
        self.setup()
        views = [self._views(trajectory) for trajectory in batch]
        judged = iter(self._judge([messages for view in views for messages in view if messages is not None]))
        return [self._score([None if messages is None else next(judged) for messages in view]) for view in views]

    def _views(self, trajectory: Trajectory) -> list[list[Message] | None]:
        """Return the conversations that are judged: the whole one, behind those up to each step if steps are scored.

        None stands for a step in which the agent said nothing.
        """
        messages = conversation(trajectory)
        actions = action_indices(trajectory)
        for i in actions:
            messages[i] = replace(messages[i], content=messages[i].content.strip())
        return [
            messages[: i + 1] if messages[i].content or messages[i].tool_calls else None
            for i in (actions if self._per_step else actions[-1:])
        ]

    def _judge(self, conversations: Sequence[Sequence[Message]]) -> list[Judged]:
        """Return what the models say together of each conversation; all are rendered before any model runs."""
        asked = [member.ask(conversations) for member in self._members]
        said = [
            [scale.apply(verdict) for verdict in member.judge(questions)]
            for member, scale, questions in zip(self._members, self._scales, asked, strict=True)
        ]
        return [
            (combine(verdicts, how=self._ensemble), max(one.truncated for one in questions))
            for verdicts, questions in zip(zip(*said, strict=True), zip(*asked, strict=True), strict=True)
        ]

    def _score(self, judged: Sequence[Judged | None]) -> Score:
        assert judged[-1] is not None
        verdict, truncated = judged[-1]
        metadata: dict[str, Any] = {"truncated_tokens": truncated} if truncated else {}
        if verdict.gate:
            metadata["gate"] = dict(verdict.gate)
        named = len(verdict.parts) > 1 or verdict.parts != {"reward": verdict.value}
        return Score(
            value=verdict.value,
            steps=tuple(None if one is None else one[0].value for one in judged) if self._per_step else None,
            parts=verdict.parts if named else {},
            uncertainty=verdict.uncertainty,
            metadata=metadata,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_members": []}
