"""Episodes for TRL whose actions are the model's plain text, turn by turn: `GRPOTrainer(rollout_func=...)`.

No chat template with tools is needed. It generates through the trainer (`_generate_single_turn` of TRL 1.16), or with a
function of yours. Not covered: images, and models that are split over processes, where all must generate in step.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rewardkit.errors import ConfigError
from rewardkit.trainers.episodes import Player, Stage, pay

Ids = list[int]
Generate = Callable[[list[Ids], Any], tuple[list[Ids], list[list[float]] | None]]


@dataclass(kw_only=True)
class _Rollout:
    """One episode as tokens: `mask` is 1 where the model spoke, `logprobs` 0.0 where the environment did."""

    player: Player
    prompt: Ids
    completion: Ids = field(default_factory=list)
    mask: Ids = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)

    def add(self, ids: Ids, *, mask: int, logprobs: Sequence[float] | None = None) -> None:
        self.completion += ids
        self.mask += [mask] * len(ids)
        self.logprobs += [0.0] * len(ids) if logprobs is None else list(logprobs)


class RolloutFunc:
    """Plays one episode for each prompt; `rows` say which task a prompt belongs to (`Spec.rows`).

    `generate(ids, trainer)` continues lists of token ids and returns new ids and their log-probabilities (or None for
    all). An episode ends where its completion reaches `max_length` tokens (default: the trainer's
    `max_completion_length`). What it earned is in the column `environment_reward`, which `episode_reward` pays.
    """

    def __init__(
        self,
        stage: Stage,
        rows: Sequence[Mapping[str, Any]],
        *,
        generate: Generate | None = None,
        max_length: int | None = None,
    ) -> None:
        self.stage = stage
        self._rows = {_key(row["prompt"]): row for row in rows}
        self._generate = generate or _generate_with_trainer
        self._max_length = max_length
        self._players: list[Player] = []

    def __call__(self, prompts: Sequence[Any], trainer: Any) -> dict[str, Any]:
        """Return the rollouts as TRL wants them; raises ConfigError for a prompt that no row has."""
        tokenizer = trainer.processing_class
        limit = self._max_length or trainer.max_completion_length
        rollouts = [self._begin(i, prompt, tokenizer) for i, prompt in enumerate(prompts)]
        has_logprobs = True
        while running := [item for item in rollouts if not item.player.over]:
            texts, logprobs = self._generate([item.prompt + item.completion for item in running], trainer)
            has_logprobs = has_logprobs and logprobs is not None
            for i, item in enumerate(running):
                _take_turn(item, texts[i], logprobs[i] if logprobs else None, tokenizer, limit)
        return {
            "prompt_ids": [item.prompt for item in rollouts],
            "completion_ids": [item.completion for item in rollouts],
            "logprobs": [item.logprobs for item in rollouts] if has_logprobs else None,
            "env_mask": [item.mask for item in rollouts],
            "environment_reward": pay([item.player for item in rollouts]),
        }

    def _begin(self, index: int, prompt: Any, tokenizer: Any) -> _Rollout:
        row = self._rows.get(_key(prompt))
        if row is None:
            raise ConfigError(f"no row has the prompt {prompt!r}: train on the rows of the same spec")
        if index == len(self._players):
            self._players.append(Player(self.stage))
        player = self._players[index]
        player.start(row)
        return _Rollout(player=player, prompt=_encode_chat(tokenizer, prompt))


def _take_turn(rollout: _Rollout, ids: Ids, logprobs: Sequence[float] | None, tokenizer: Any, limit: int) -> None:
    """Let what the model said take effect, and append what it sees next."""
    room = limit - len(rollout.completion)
    rollout.add(ids[:room], mask=1, logprobs=None if logprobs is None else logprobs[:room])
    player = rollout.player
    observation = player.act(tokenizer.decode(ids[:room], skip_special_tokens=True))
    if player.over:
        return
    feedback = _encode_feedback(tokenizer, ids, observation)
    if len(rollout.completion) + len(feedback) >= limit:
        player.finish()
    else:
        rollout.add(feedback, mask=0)


def _encode_feedback(tokenizer: Any, spoken: Ids, observation: str) -> Ids:
    """Return the tokens from the end of what the model `spoke` to the start of its next turn.

    Chat templates write an end token, and often a line break, behind a turn; the model writes the token, or was cut.
    """
    before = [{"role": "user", "content": "-"}, {"role": "assistant", "content": "-"}]
    start = _encode_chat(tokenizer, before, more=False)
    whole = _encode_chat(tokenizer, [*before, {"role": "user", "content": observation}])
    if whole[: len(start)] != start:
        raise ConfigError("the chat template writes earlier turns anew when a turn is added: choose one that does not")
    end = tokenizer.eos_token_id
    if end not in start:
        return whole[len(start) :]
    last = len(start) - 1 - start[::-1].index(end)
    return whole[last + 1 :] if spoken[-1:] == [end] else whole[last:]


def _encode_chat(tokenizer: Any, messages: Any, *, more: bool = True) -> Ids:
    if isinstance(messages, str):
        return list(tokenizer(messages)["input_ids"])
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=more, tokenize=True, return_dict=False)
    return [int(number) for number in ids]


def _generate_with_trainer(ids: list[Ids], trainer: Any) -> tuple[list[Ids], list[list[float]] | None]:
    made: tuple[list[Ids], list[list[float]] | None] = trainer._generate_single_turn(ids, None, {}, 1)
    return made


def _key(prompt: Any) -> str:
    if isinstance(prompt, str):
        return prompt
    return json.dumps([[item.get("role"), item.get("content")] for item in prompt])
