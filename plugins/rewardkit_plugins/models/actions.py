"""The tokens that the agent wrote, in a conversation as a model reads it: of its last action, or of all of them.

What a model says of them is for the rewards; nothing is computed here, and nothing heavy is imported.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Literal

from rewardkit.errors import RewardError
from rewardkit.types import Trajectory
from rewardkit_plugins.models.model_reward import conversation

if TYPE_CHECKING:  # rendering takes jinja2, which comes with the extra
    from rewardkit_plugins.engine.reader import Reader, Reading
    from rewardkit_plugins.engine.rendering import Rendered

Which = Literal["last", "all"]


@dataclass(frozen=True, slots=True)
class Actions:
    """A conversation cut to the window, and where the judged tokens of each step are in it.

    The range of a step that is not judged, or in which the agent said nothing, is empty. `dropped` counts the tokens
    that were cut off.
    """

    rendered: Rendered
    steps: tuple[range, ...]
    dropped: int = 0

    @property
    def tokens(self) -> list[int]:
        """The places of all judged tokens, in order."""
        return list(chain(*self.steps))

    @property
    def ids(self) -> list[int]:
        """The judged tokens."""
        return [self.rendered.ids[i] for i in self.tokens]

    @property
    def texts(self) -> list[str]:
        """What each judged token stands for; tokens that share a character all have it."""
        return [self.rendered.text[slice(*self.rendered.offsets[i])] for i in self.tokens]

    @property
    def reading(self) -> Reading:
        """Where to read a model for what it expected of each judged token: at the token before."""
        from rewardkit_plugins.engine.reader import Reading

        return Reading(self.rendered.ids, [i - 1 for i in self.tokens])


def find_actions(
    reader: Reader, batch: Sequence[Trajectory], *, which: Which = "last", end_of_turn: bool = True
) -> list[Actions]:
    """Return the agent's tokens in each attempt, as the model behind `reader` sees it.

    `end_of_turn` counts the control token with which the template closes the turn, where it writes one. Raises
    RewardError for an attempt that is silent, does not fit, or cannot be rendered.
    """
    rendered = reader.renderer.render_all([conversation(trajectory) for trajectory in batch])
    closing = _controls(reader) if end_of_turn else frozenset()
    return [_fitted(reader, r, _ranges(r, t, which, closing)) for r, t in zip(rendered, batch, strict=True)]


def _fitted(reader: Reader, rendered: Rendered, steps: list[range]) -> Actions:
    judged = [step for step in steps if step]
    if not judged:
        raise RewardError("the agent's last answer became no token: the chat template leaves it out")
    if judged[0].start == 0:
        raise RewardError("nothing stands before the agent's first token: use a chat template that opens its turn")
    cut, keep, dropped = reader.fit(rendered, range(judged[0].start, judged[-1].stop))
    moved = judged[0].start - keep.start
    return Actions(
        cut, tuple(range(step.start - moved, step.stop - moved) if step else step for step in steps), dropped
    )


def _ranges(rendered: Rendered, trajectory: Trajectory, which: Which, closing: Set[int]) -> list[range]:
    from rewardkit_plugins.engine.rendering import action_indices

    spans = [rendered.messages[place] for place in action_indices(trajectory)]
    if which == "last":
        spans[:-1] = [(0, 0)] * (len(spans) - 1)
    return [_closed(rendered, rendered.tokens(span), closing) for span in spans]


def _closed(rendered: Rendered, tokens: range, closing: Set[int]) -> range:
    """Return the tokens with the next one if it closes the turn; blanks between them come along."""
    for at in range(tokens.stop, len(rendered.ids)) if tokens else ():
        if rendered.ids[at] in closing:
            return range(tokens.start, at + 1)
        if rendered.text[slice(*rendered.offsets[at])].strip():
            break
    return tokens


def _controls(reader: Reader) -> Set[int]:
    added = reader.tokenizer.added_tokens_decoder.items()
    return {*reader.tokenizer.all_special_ids, *(number for number, token in added if token.special)}
