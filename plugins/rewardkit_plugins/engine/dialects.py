"""What is asked of a vLLM or SGLang server, one request at a time, and how its answers are read and checked.

A number is taken only where the answer names the token that was sent, and every sequence has to come back with all its
tokens. Not covered: whether the server holds the same weights as the model whose tokenizer is loaded here.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, NoReturn, TypeVar

import msgspec

from rewardkit.errors import ConfigError, RewardError
from rewardkit_plugins.engine.client import Client
from rewardkit_plugins.engine.loading import Kind
from rewardkit_plugins.engine.reader import Reading

T = TypeVar("T")
_IMPOSSIBLE = -9999.0  # what vLLM writes for a log-probability of minus infinity
_ROUNDING = 1e-3  # by which a log-probability may exceed 0


class Dialect(ABC):
    """One kind of server. `window` is the longest sequence in tokens that it takes; None where it does not say.

    Raises ConfigError unless the server holds exactly one model that is called as `model` is, or by its last part: a
    policy and its reference, or the members of an ensemble, must not be read from one and the same model.
    """

    name: ClassVar[str]
    kept_back: ClassVar[dict[Kind, int]]  # tokens of its window that the server lets no sequence have

    def __init__(self, client: Client, model: str, kind: Kind) -> None:
        self.client = client
        served = self._ask("/v1/models", None, _Models).data
        chosen = [one for one in served if one.id == model] or [
            one for one in served if _last_part(model) in (_last_part(one.id), _last_part(one.root or one.id))
        ]
        if len(chosen) != 1:
            names = ", ".join(repr(one.id) for one in served) or "no model"
            raise ConfigError(
                f"the server at {client.url} holds {names}, which does not say which is {model!r}: "
                "start it with --served-model-name and the name that model= has here"
            )
        self.model = chosen[0].id
        longest = chosen[0].max_model_len
        self.window = None if longest is None else longest - self.kept_back[kind]

    @abstractmethod
    def logprobs(self, readings: Sequence[Reading]) -> list[list[float]]:
        """Return for each position of each reading the log-probability (nats) of the token after it."""

    @abstractmethod
    def whole(self, readings: Sequence[Reading]) -> list[list[float]]:
        """Return the logits of the classes of each sequence as a whole."""

    @abstractmethod
    def each_token(self, readings: Sequence[Reading]) -> list[list[list[float]]]:
        """Return the logits of the classes of every token of each sequence."""

    def _ask(self, path: str, body: Any, shape: type[T]) -> T:
        answer = self.client.ask(path, body)
        try:
            return msgspec.json.decode(answer, type=shape)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:  # also NaN, which is not JSON
            raise self._unusable(path, str(error)) from error

    def _unusable(self, path: str, problem: str) -> RewardError:
        return self.client.error(
            path, f"gave an answer that cannot be used ({problem}): check server_kind={self.name}, and its version"
        )

    def _check_count(self, path: str, found: int, expected: int, what: str = "answers") -> None:
        if found != expected:
            raise self._unusable(path, f"{found} {what} instead of {expected}")

    def _logprob(self, path: str, value: float | None, token: int) -> float:
        if value is None or not math.isfinite(value) or value <= _IMPOSSIBLE:
            raise self._unusable(path, f"the log-probability of token {token} is {value}")
        if value > _ROUNDING:
            raise self._unusable(path, f"{value} for token {token} is no log-probability")
        return value


class Vllm(Dialect):
    """vLLM's completions (`prompt_logprobs`) and, for classification, its pooling API.

    /classify answers with probabilities; the logits come from /pooling with `use_activation` false, which versions
    before 0.12.0 ignore or do not know (vllm/entrypoints/pooling, read up to 0.20).
    """

    name = "vllm"
    kept_back: ClassVar[dict[Kind, int]] = {"causal": 1, "sequence": 0, "token": 0}  # for the one token that it writes
    oldest = (0, 12, 0)

    def __init__(self, client: Client, model: str, kind: Kind) -> None:
        super().__init__(client, model, kind)
        if kind != "causal":
            self._check_version()

    def logprobs(self, readings: Sequence[Reading]) -> list[list[float]]:
        """Return the log-probabilities of the tokens after those read."""
        path = "/v1/completions"
        body = {
            "model": self.model,
            "prompt": [reading.ids for reading in readings],
            "max_tokens": 1,
            "temperature": 0,
            "prompt_logprobs": 0,  # the prompt's own tokens and no others
            "add_special_tokens": False,
        }
        choices = sorted(self._ask(path, body, _Completion).choices, key=lambda choice: choice.index)
        self._check_count(path, len(choices), len(readings))
        return [self._read(path, r, choice.prompt_logprobs or []) for r, choice in zip(readings, choices, strict=True)]

    def whole(self, readings: Sequence[Reading]) -> list[list[float]]:
        """Return the logits of the classes of each sequence; the server must do the pooling task classify."""
        return self._pooled(readings, "classify", _Pooling[list[float]])

    def each_token(self, readings: Sequence[Reading]) -> list[list[list[float]]]:
        """Return the logits of the classes of every token; the server must do the pooling task token_classify."""
        return self._pooled(readings, "token_classify", _Pooling[list[list[float]]])

    def _read(self, path: str, reading: Reading, tokens: list[dict[int, _Logprob] | None]) -> list[float]:
        self._check_count(path, len(tokens), len(reading.ids), "tokens")
        found = []
        for position in reading.positions:
            token = reading.ids[position + 1]
            entry = (tokens[position + 1] or {}).get(token)
            if entry is None:
                raise self._unusable(path, f"token {token} is missing")
            found.append(self._logprob(path, entry.logprob, token))
        return found

    def _pooled(self, readings: Sequence[Reading], task: str, shape: type[_Pooling[T]]) -> list[T]:
        path = "/pooling"
        body = {
            "model": self.model,
            "input": [reading.ids for reading in readings],
            "task": task,
            "use_activation": False,
            "add_special_tokens": False,
        }
        answer = self._ask(path, body, shape)
        self._check_count(path, len(answer.data), len(readings))
        self._check_count(path, answer.usage.prompt_tokens, sum(len(r.ids) for r in readings), "tokens")
        return [one.data for one in sorted(answer.data, key=lambda one: one.index)]

    def _check_version(self) -> None:
        version = self._ask("/version", None, _Version).version
        numbers = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
        if numbers is None or tuple(map(int, numbers.groups())) < self.oldest:
            raise ConfigError(
                f"the server at {self.client.url} runs vLLM {version!r}, which gives probabilities of classes only: "
                f"use vLLM {'.'.join(map(str, self.oldest))} or newer"
            )


class Sglang(Dialect):
    """SGLang's own /generate (`input_token_logprobs`) and /classify, which gives the score head's output as it is.

    /v1/classify, which answers with probabilities, is another. SGLang has no classification of single tokens
    (python/sglang/srt, managers/io_struct.py and layers/pooler.py, read up to 0.5).
    """

    name = "sglang"
    kept_back: ClassVar[dict[Kind, int]] = {"causal": 7, "sequence": 7}  # managers/tp_worker.py, managers/utils.py

    def __init__(self, client: Client, model: str, kind: Kind) -> None:
        if kind == "token":
            raise self._no_tokens()
        super().__init__(client, model, kind)

    def logprobs(self, readings: Sequence[Reading]) -> list[list[float]]:
        """Return the log-probabilities of the tokens after those read."""
        path = "/generate"
        starts = [min(reading.positions) for reading in readings]
        body = {
            "input_ids": [reading.ids for reading in readings],
            "sampling_params": {"max_new_tokens": 0, "temperature": 0},
            "return_logprob": True,
            "logprob_start_len": starts,
        }
        answers = self._ask(path, body, list[_Generated])
        self._check_count(path, len(answers), len(readings))
        return [
            self._read(path, reading, start, answer.meta_info.input_token_logprobs)
            for reading, start, answer in zip(readings, starts, answers, strict=True)
        ]

    def whole(self, readings: Sequence[Reading]) -> list[list[float]]:
        """Return the logits of the classes of each sequence."""
        path = "/classify"
        answers = self._ask(path, {"input_ids": [reading.ids for reading in readings]}, list[_Classified])
        self._check_count(path, len(answers), len(readings))
        for reading, answer in zip(readings, answers, strict=True):
            self._check_count(path, answer.meta_info.prompt_tokens, len(reading.ids), "tokens")
        return [answer.embedding for answer in answers]

    def each_token(self, readings: Sequence[Reading]) -> NoReturn:
        """Raise ConfigError: SGLang cannot."""
        del readings
        raise self._no_tokens()

    @staticmethod
    def _no_tokens() -> ConfigError:
        return ConfigError("SGLang does not classify tokens: serve the model with vLLM, or load it here")

    def _read(self, path: str, reading: Reading, start: int, tokens: list[_Token]) -> list[float]:
        """Return the log-probabilities of a reading; `tokens` are those from `start` on, of which the first has none.

        SGLang writes 0 for the id of the vocabulary's last token, which no other id in the sequence can exceed.
        """
        self._check_count(path, len(tokens), len(reading.ids) - start, "tokens")
        found = []
        for position in reading.positions:
            token = reading.ids[position + 1]
            value, named, _ = tokens[position + 1 - start]
            if named != token and (named != 0 or token != max(reading.ids)):
                raise self._unusable(path, f"token {named} where {token} was sent")
            found.append(self._logprob(path, value, token))
        return found


def _last_part(model: str) -> str:
    """Return the last part of a path or of a name on the hub; other machines keep models in other places."""
    return Path(model).expanduser().resolve().name


DIALECTS: dict[str, type[Dialect]] = {"vllm": Vllm, "sglang": Sglang}

_Token = tuple[float | None, int, Any]  # log-probability, id, text


class _Model(msgspec.Struct):
    id: str
    root: str | None = None
    max_model_len: int | None = None


class _Models(msgspec.Struct):
    data: list[_Model]


class _Version(msgspec.Struct):
    version: str


class _Logprob(msgspec.Struct):
    logprob: float | None


class _Choice(msgspec.Struct):
    index: int
    prompt_logprobs: list[dict[int, _Logprob] | None] | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice]


class _Pooled(msgspec.Struct, Generic[T]):
    index: int
    data: T


class _Usage(msgspec.Struct):
    prompt_tokens: int


class _Pooling(msgspec.Struct, Generic[T]):
    data: list[_Pooled[T]]
    usage: _Usage


class _InputTokens(msgspec.Struct):
    input_token_logprobs: list[_Token]


class _Generated(msgspec.Struct):
    meta_info: _InputTokens


class _PromptTokens(msgspec.Struct):
    prompt_tokens: int


class _Classified(msgspec.Struct):
    embedding: list[float]
    meta_info: _PromptTokens
