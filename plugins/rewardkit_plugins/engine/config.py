"""Which model an engine loads and how: the options that every model reward shares. Imports nothing heavy."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self

import msgspec

from rewardkit.errors import ConfigError
from rewardkit.registry import did_you_mean
from rewardkit_plugins.engine import identity

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Truncation = Literal["error", "left"]
Attention = Literal["auto", "packed", "sdpa", "eager", "flash_attention_2", "flash_attention_3", "flex_attention"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """The options of an engine.

    - `model`: a directory written by `save_pretrained`, or a name on the hub; `revision` is a branch, tag or commit.
    - `dtype`: of the weights; "auto" takes the checkpoint's own.
    - `device`: "auto" (every GPU in sight, a copy of the model on each; else the CPU), "cpu", "cuda:0", a list such as
      "cuda:0,cuda:1" (a copy on each), or "split" (the layers of one copy over all GPUs, by accelerate).
    - `attention`: "auto" packs sequences without padding and shares common beginnings where the self-test finds that
      the model allows it, and pads them otherwise; "packed" refuses otherwise; the other names are transformers' own
      implementations, which pad. `compile` runs the model through torch.compile.
    - `batch_tokens`: tokens in one forward pass, padding included; None chooses by device. It is halved when memory
      runs out.
    - `max_length`: the longest sequence in tokens; None takes the model's window. `truncation`: what happens to a
      longer one: "error" fails that trajectory; "left" drops its oldest tokens, never those that are judged, and says
      how many in the score's metadata.
    - `chat_template`: None for the model's own, "chatml", "plain", Jinja text, or the path of a .jinja file.
    - `self_test` compares batches with single sequences when the model is loaded (`selftest`).
    - `server`: the URL of a running server ("http://host:8000") that holds the model; only the tokenizer is then loaded
      here. `server_kind` is "vllm" or "sglang".
    """

    model: str
    revision: str | None = None
    dtype: Dtype = "auto"
    device: str = "auto"
    attention: Attention = "auto"
    compile: bool = False
    batch_tokens: int | None = None
    max_length: int | None = None
    truncation: Truncation = "error"
    chat_template: str | None = None
    trust_remote_code: bool = False
    self_test: bool = True
    server: str | None = None
    server_kind: Literal["vllm", "sglang"] = "vllm"

    @classmethod
    def of(cls, reward: str, options: Mapping[str, Any]) -> Self:
        """Return the config for the options of `reward`; raises ConfigError for an unknown name or a wrong value."""
        known = [field.name for field in fields(cls)]
        for name in options:
            if name not in known:
                raise ConfigError(f"{reward} has no option {name!r}{did_you_mean(name, known)}")
        try:
            config = msgspec.convert(dict(options), cls)
        except msgspec.ValidationError as error:
            raise ConfigError(f"{reward}: an option of the model cannot be right: {error}") from error
        for name in ("batch_tokens", "max_length"):
            value = getattr(config, name)
            if value is not None and value < 1:
                raise ConfigError(f"{reward}: {name} must be at least 1 token, not {value}")
        if not config.model:
            raise ConfigError(f"{reward}: model must be a directory or a name on the hub, not ''")
        return config

    @classmethod
    def parameters(cls) -> list[inspect.Parameter]:
        """Return the options as parameters of a factory."""
        return [
            inspect.Parameter(
                one.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if one.name == "model" else one.default,
            )
            for one in fields(cls)
        ]

    def with_model(self, model: str) -> Self:
        """Return the same options for another model, which has no revision of its own."""
        return replace(self, model=model, revision=None)

    def signature_fields(self) -> dict[str, str]:
        """Return what decides the numbers: the model with its weights, dtype, template and what is cut off."""
        found = {"model": identity.fingerprint(self.model, self.revision)}
        if self.server is not None:
            found["server"] = self.server_kind
        else:
            found["dtype"] = identity.stored_dtype(self.model, self.revision) if self.dtype == "auto" else self.dtype
        found["template"] = identity.template_hash(self.model, self.revision, self.chat_template)
        if self.trust_remote_code:
            found["code"] = "remote"
        if self.max_length is not None:
            found["max_length"] = str(self.max_length)
        return {**found, "truncation": self.truncation}
