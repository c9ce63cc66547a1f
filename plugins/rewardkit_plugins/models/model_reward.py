"""What rewards that read a model share: its options, the engine from setup to close, and attempts as conversations."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from rewardkit.errors import RewardError
from rewardkit.signature import option_text
from rewardkit.types import Message, Trajectory
from rewardkit_plugins.engine.config import EngineConfig

if TYPE_CHECKING:
    from rewardkit_plugins.engine.loading import Kind
    from rewardkit_plugins.engine.reader import Reader


class ModelReward:
    """Base of the rewards that read a model.

    A subclass names its `kind` of model, takes its own options by keyword and passes all others on as `**engine`: they
    are those of `EngineConfig`, and are listed after its own. It renders and checks the whole batch before it runs the
    model, so that one bad attempt costs the others no second pass.
    """

    kind: ClassVar[Kind] = "causal"
    name: ClassVar[str]

    def __init__(self, **engine: Any) -> None:
        self.config = EngineConfig.of(self.name, engine)
        self._engine: Reader | None = None

    @classmethod
    def option_parameters(cls) -> list[inspect.Parameter]:
        """Return the reward's own options and those of the engine."""
        own = [p for p in inspect.signature(cls).parameters.values() if p.kind is p.KEYWORD_ONLY]
        names = {p.name for p in own}
        return [*own, *(p for p in EngineConfig.parameters() if p.name not in names)]

    @property
    def engine(self) -> Reader:
        """The engine; it is there after `setup`."""
        if self._engine is None:
            self.setup()
        assert self._engine is not None
        return self._engine

    def setup(self) -> None:
        """Load the model. Idempotent; raises ConfigError or MissingExtraError."""
        if self._engine is None:
            self._engine = open_engine(self.config, self.kind)

    def close(self) -> None:
        """Let go of the model. Idempotent."""
        if self._engine is not None:
            self._engine.close()
        self._engine = None

    def signature_fields(self) -> Mapping[str, str]:
        """Return who the model is, how it is read, and the reward's own options."""
        own = {name: option_text(value) for name, value in self.own_fields().items()}
        return {**self.config.signature_fields(), **own}

    def own_fields(self) -> Mapping[str, Any]:
        """Return the options of the reward itself that decide its numbers."""
        return {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_engine": None}


def open_engine(config: EngineConfig, kind: Kind) -> Reader:
    """Return what reads the model: loaded here, or behind the server that `config` names."""
    if config.server is not None:
        from rewardkit_plugins.engine.server import ServerReader

        return ServerReader(config, kind)
    from rewardkit_plugins.engine.engine import Engine

    return Engine(config, kind)


def conversation(trajectory: Trajectory) -> list[Message]:
    """Return the messages of an attempt up to the agent's last action; raises RewardError where it said nothing."""
    if not trajectory.steps:
        raise RewardError("the agent never acted, so there is nothing to judge")
    action = trajectory.steps[-1].action
    if not action.content.strip() and not action.tool_calls:
        raise RewardError(
            "the agent's last answer is empty: a model cannot judge silence; price it with length or format"
        )
    return list(trajectory.messages)
