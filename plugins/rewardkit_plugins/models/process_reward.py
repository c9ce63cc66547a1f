"""process_reward: a process reward model judges each step of an attempt; how models are asked is `process_formats`.

Process reward models that write before they judge (GenPRM and ThinkPRM as published) need a generator, and a sandbox
for the programs that they run: "generated" asks for the verdict alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

from rewardkit.errors import ConfigError
from rewardkit.types import Score, Trajectory
from rewardkit_plugins.models.model_reward import ModelReward, open_engine
from rewardkit_plugins.models.process_formats import step_format
from rewardkit_plugins.models.process_steps import JudgedStep, Mode, judged_steps
from rewardkit_plugins.rules.rule import check_choice, check_flag
from rewardkit_plugins.steps.aggregation import AGGREGATORS, aggregator
from rewardkit_plugins.steps.shaping import shaper
from rewardkit_plugins.steps.splitting import splitter

if TYPE_CHECKING:
    from torch import Tensor

    from rewardkit_plugins.engine.reader import Reading
    from rewardkit_plugins.models.process_layout import StepLayout
    from rewardkit_plugins.models.step_head import StepHead

_OF_PROBABILITIES = ("prod", "geometric_mean", "mean_logit", "mean_odd")
_PARTS = ("min", "mean", "last")


class ProcessReward(ModelReward):
    """Scores every step, and makes one value of the scores.

    A step is a turn of the agent where there are several, else a piece of its answer (`steps`, `split`). `format` says
    how the model is asked; options from `step_token` to `opening` change it. Step scores are shaped into step rewards
    (`shape`, `eta`, `temperature`), and `aggregate` makes the value of these. `window` shows the last one or two steps
    apart from those before. `head_file` gives a linear head to a model that has none.
    """

    name = "process_reward"

    def __init__(
        self,
        *,
        format: str = "qwen",  # noqa: A002  what users call it
        steps: str = "auto",
        split: str | None = None,
        delimiter: str | None = None,
        pattern: str | None = None,
        keep_blocks: bool | None = None,
        window: str | int = "prefix",
        aggregate: str | None = None,
        shape: str | None = None,
        eta: float | None = None,
        temperature: float = 0.1,
        step_token: str | None = None,
        joint: str | None = None,
        good: str | None = None,
        bad: str | None = None,
        positive: int | None = None,
        number: str | None = None,
        prompt: str | None = None,
        ask: str | None = None,
        opening: str | None = None,
        head_file: str | None = None,
        **engine: Any,
    ) -> None:
        super().__init__(**engine)
        check_choice("process_reward: steps", steps, get_args(Mode))
        changes = {"step_token": step_token, "good": good, "bad": bad, "positive": positive, "number": number}
        changes |= {"joint": joint, "prompt": prompt, "ask": ask, "opening": opening}
        self.form = step_format(format, window=window, **changes)
        if keep_blocks is None:
            keep_blocks = format != "pure"  # trained on plain splits
        check_flag("process_reward: keep_blocks", keep_blocks)
        split = split or self.form.split
        self._split = splitter(split, delimiter=delimiter, pattern=pattern, keep_blocks=keep_blocks)
        shape = shape or self.form.shape
        aggregate = aggregate or (self.form.aggregate if shape == "none" else "sum")
        self._shape = shaper(shape, eta=eta, temperature=temperature)
        self._aggregate = aggregator(aggregate)
        self.head_file = head_file
        self._check_together(aggregate, shape)
        self.steps: Mode = steps  # type: ignore[assignment]
        self.window = None if window == "prefix" else int(window)
        cuts = {"split": split, "delimiter": delimiter, "pattern": pattern, "keep_blocks": keep_blocks}
        pay = {"shape": shape, "eta": eta, "temperature": temperature, "aggregate": aggregate}
        self._fields = {"format": format, "steps": steps, "window": window, **cuts, **pay, **changes}
        self._layout: StepLayout | None = None
        self._head: StepHead | None = None

    def setup(self) -> None:
        """Load the model. Idempotent; raises ConfigError or MissingExtraError."""
        if self._engine is not None:
            return
        self._head = self._own_head()
        kind = self.form.kind if self._head is None else self._head.base
        engine = open_engine(self.config, kind)
        try:
            from rewardkit_plugins.models.process_layout import StepLayout

            self._layout = StepLayout(engine, self.form, window=self.window)
            if self._head is not None:
                self._check_outputs(self._head.outputs)
            elif (model := getattr(engine, "model", None)) is not None and kind != "causal":
                self._check_outputs(model.config.num_labels)
        except ConfigError:
            engine.close()
            raise
        self._engine = engine

    def close(self) -> None:
        """Let go of the model. Idempotent."""
        super().close()
        self._layout = self._head = None

    def score_batch(self, batch: Sequence[Trajectory], /) -> list[Score]:
        """Return one Score each; raises RewardError for an attempt without steps, and for one that does not fit."""
        if not batch:
            return []
        self.setup()
        assert self._layout is not None
        steps = [judged_steps(trajectory, mode=self.steps, split=self._split) for trajectory in batch]
        laid = [self._layout.lay(*pair) for pair in zip(batch, steps, strict=True)]
        rows = iter(self._read([reading for one in laid for reading in one.readings]))
        return [
            self._score(trajectory, some, self._numbers([next(rows) for _ in one.readings]), one.dropped)
            for trajectory, some, one in zip(batch, steps, laid, strict=True)
        ]

    def own_fields(self) -> Mapping[str, Any]:
        """Return the options that are set, and what the format sets of the others that decide the value."""
        fields = {name: value for name, value in self._fields.items() if value is not None}
        if self._fields["shape"] != "min_form":
            del fields["temperature"]
        if self.head_file is not None:
            from rewardkit_plugins.models.head_options import file_at

            fields["head_file"] = hashlib.sha256(file_at(self.head_file).read_bytes()).hexdigest()[:12]
        return fields

    def _check_together(self, aggregate: str, shape: str) -> None:
        if aggregate in _OF_PROBABILITIES and not (shape == "none" and self.form.is_probability):
            raise ConfigError(
                f"process_reward: aggregate {aggregate!r} takes probabilities: use shape=none and a number that is "
                f"one, not shape={shape!r} and number={self.form.number!r}"
            )
        for option, value in (("head_file", self.head_file), ("server", self.config.server)):
            if value is not None and self.form.kind == "causal":
                raise ConfigError(
                    f"process_reward: the format reads words of a language model that is loaded here, so leave out "
                    f"{option}={value!r}"
                )

    def _own_head(self) -> StepHead | None:
        if self.config.server is not None or self.form.kind == "causal":
            return None
        from rewardkit_plugins.models.step_head import head_of_checkpoint, head_of_file

        if self.head_file is not None:
            return head_of_file(self.head_file, self.config)
        return head_of_checkpoint(self.config)

    def _read(self, readings: Sequence[Reading]) -> list[Tensor]:
        assert self._layout is not None
        if self._layout.answers is not None:
            return self.engine.logits(readings, [self._layout.answers])
        if self._head is not None:
            return self.engine.read(readings, self._head)
        return self.engine.classes(readings)

    def _numbers(self, rows: Sequence[Tensor]) -> list[float]:
        """Return the scores of an attempt's steps, from what the model says of each."""
        table = [row for some in rows for row in some.double()]
        if self._layout is not None and self._layout.answers is None and table:
            self._check_outputs(len(table[0]))
        place = self.form.positive or 0  # words: the good one comes first
        number = self.form.number
        if number in ("softmax", "difference"):
            found = [float(row.softmax(0)[place]) for row in table]
            return [2 * p - 1 for p in found] if number == "difference" else found
        logits = [row[0] for row in table]
        if number == "sigmoid":
            return [float(logit.sigmoid()) for logit in logits]
        return [float(logit.clamp(0.0, 1.0) if number == "clamp" else logit) for logit in logits]

    def _check_outputs(self, count: int) -> None:
        """Raise ConfigError unless a classifier of `count` outputs fits the number."""
        one = self.form.positive is None
        if (one and count != 1) or (not one and not (self.form.positive or 0) < count > 1):
            raise ConfigError(
                f"process_reward: model {self.config.model!r} gives {count} outputs, and number={self.form.number!r} "
                f"reads {'one' if one else f'classes, with the good one at positive={self.form.positive}'}"
            )

    def _score(
        self, trajectory: Trajectory, steps: Sequence[JudgedStep], scores: Sequence[float], dropped: int
    ) -> Score:
        rewards = self._shape(scores)
        value = self._aggregate(rewards)
        paid: list[float | None] = [None] * len(trajectory.steps)
        metadata: dict[str, Any] = {"truncated_tokens": dropped} if dropped else {}
        spans = [step.span for step in steps if step.span is not None]
        if spans:
            paid[-1] = value
            metadata["steps"] = [
                {"start": start, "end": end, "score": score, "reward": reward}
                for (start, end), score, reward in zip(spans, scores, rewards, strict=True)
            ]
        else:
            for step, reward in zip(steps, rewards, strict=True):
                paid[step.place] = reward
        names = [*_PARTS, "prod"] if self.form.is_probability else _PARTS
        parts = {name: AGGREGATORS[name](scores) for name in names} | {"steps": float(len(scores))}
        return Score(value=value, steps=tuple(paid), parts=parts, metadata=metadata)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_layout": None, "_head": None}
