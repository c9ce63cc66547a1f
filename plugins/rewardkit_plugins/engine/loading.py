"""Loading a model and its tokenizer, and refusing what would give wrong numbers: missing heads, NaN weights, bad names.

What a loaded model computes is `replica`; whether it computes it alike in every batch is `selftest`.
"""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
import transformers
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from transformers import AutoModelForTokenClassification as TokenClassification

from rewardkit.errors import ConfigError, RewardkitError
from rewardkit_plugins.engine import identity
from rewardkit_plugins.engine.config import EngineConfig

Kind = Literal["causal", "sequence", "token", "embedding"]

_LOADING = threading.Lock()  # transformers exchanges methods of its classes while it loads

_CLASSES: dict[Kind, Any] = {
    "causal": AutoModelForCausalLM,
    "sequence": AutoModelForSequenceClassification,
    "token": TokenClassification,
    "embedding": AutoModel,
}
_LAYER = re.compile(r"\.(?:layers?|h|blocks)\.(\d+)\.")
_HEADS: dict[Kind, tuple[str, ...]] = {
    "causal": ("lm_head.",),
    "sequence": ("score.", "classifier."),
    "token": ("score.", "classifier."),
}


def load_tokenizer(config: EngineConfig) -> Any:
    """Return the model's tokenizer; raises ConfigError when it cannot map characters to tokens."""
    try:
        with _LOADING:
            tokenizer = AutoTokenizer.from_pretrained(**source_of(config))
    except RewardkitError:
        raise
    except Exception as error:  # broken files make transformers raise anything
        raise ConfigError(f"the tokenizer of {config.model!r} does not load: {_line(error)}") from error
    if not tokenizer.is_fast:
        raise ConfigError(
            f"the tokenizer of {config.model!r} does not say which characters a token stands for: save it with its "
            "tokenizer.json (a fast tokenizer)"
        )
    return tokenizer


def devices_of(config: EngineConfig) -> list[torch.device]:
    """Return where copies of the model go; one device for a model that is split over several."""
    if config.device == "split":
        if not torch.cuda.is_available():
            raise ConfigError("device 'split' is for several GPUs, and none is in sight: use device=cpu")
        return [torch.device("cuda:0")]
    if config.device == "auto":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        return [torch.device("cuda", i) for i in range(count)] or [torch.device("cpu")]
    try:
        devices = [torch.device(name.strip()) for name in config.device.split(",")]
    except RuntimeError as error:
        raise ConfigError(f"device {config.device!r} cannot be right: {_line(error)}") from error
    for device in devices:
        if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
            raise ConfigError(f"device {str(device)!r} is not here: {torch.cuda.device_count()} GPUs are in sight")
        _check_device(device)
    return devices


def load_model(config: EngineConfig, kind: Kind, device: torch.device) -> Any:
    """Return the model in evaluation mode on `device`.

    Raises ConfigError when the checkpoint has no such model, lacks weights (a head that would be made up), or holds
    weights that are not finite.
    """
    options: dict[str, Any] = {**source_of(config), "dtype": _dtype_of(config)}
    if config.attention not in ("auto", "packed"):
        options["attn_implementation"] = config.attention
    if config.device == "split":
        options["device_map"] = "auto"
    try:
        with _LOADING, warnings.catch_warnings(), quiet():
            warnings.simplefilter("ignore", DeprecationWarning)
            model, loaded = _CLASSES[kind].from_pretrained(output_loading_info=True, **options)
    except Exception as error:  # as with the tokenizer
        raise ConfigError(f"model {config.model!r} does not load as a {kind} model: {_line(error)}") from error
    if getattr(model.config, "is_encoder_decoder", False) and kind != "token":
        raise ConfigError(f"model {config.model!r} has an encoder and a decoder: models with only one of them are read")
    _check_purpose(config, kind, model)
    _check_weights(config, kind, model, loaded)
    if config.device != "split":
        model = model.to(device)
    model.eval()
    return model


def classifies_whole(config: EngineConfig) -> bool:
    """Return whether the sequence classifier of a model reads no single token, as `Engine.classifies_whole` says.

    No weights are loaded. Raises ConfigError when there is no such classifier.
    """
    try:
        with _LOADING, quiet(), torch.device("meta"):
            settings = AutoConfig.from_pretrained(**source_of(config))
            model = _CLASSES["sequence"].from_config(settings, trust_remote_code=config.trust_remote_code)
    except RewardkitError:
        raise
    except Exception as error:  # as with the tokenizer
        raise ConfigError(f"model {config.model!r} cannot be a sequence classifier: {_line(error)}") from error
    return reads_whole(model)


def reads_whole(model: Any) -> bool:
    """Return whether a sequence classifier has no `score`, the head of decoders that is read at one token."""
    return not isinstance(getattr(model, "score", None), torch.nn.Module)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from printing while it loads: what matters of it is raised."""
    reports: Any = transformers.logging
    verbosity, bars = reports.get_verbosity(), reports.is_progress_bar_enabled()
    reports.set_verbosity_error()
    reports.disable_progress_bar()
    try:
        yield
    finally:
        reports.set_verbosity(verbosity)
        if bars:
            reports.enable_progress_bar()


def source_of(config: EngineConfig) -> dict[str, Any]:
    """Return what from_pretrained is told: a directory, or a name on the hub at the commit that the signature names."""
    files = identity.files_of(config.model, config.revision)
    if identity.is_directory(config.model):
        return {"pretrained_model_name_or_path": str(files), "trust_remote_code": config.trust_remote_code}
    return {
        "pretrained_model_name_or_path": config.model,
        "revision": files.name,
        "trust_remote_code": config.trust_remote_code,
    }


def _check_device(device: torch.device) -> None:
    try:
        torch.zeros(1, device=device).item()
    except Exception as error:  # each kind of device has errors of its own
        raise ConfigError(f"device {str(device)!r} cannot be used here: {_line(error)}") from error


def _dtype_of(config: EngineConfig) -> torch.dtype:
    name = identity.stored_dtype(config.model, config.revision) if config.dtype == "auto" else config.dtype
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise ConfigError(
            f"model {config.model!r} says that its weights are {name!r}, which is no dtype: set one, like dtype=float32"
        )
    return dtype


def _check_purpose(config: EngineConfig, kind: Kind, model: Any) -> None:
    """Refuse a classifier as a language model: with tied embeddings no weight would be missing."""
    saved = [name for name in model.config.architectures or () if name.endswith("Classification")]
    if kind == "causal" and saved:
        raise ConfigError(
            f"model {config.model!r} was saved as {saved[0]}, and does not predict text any more: give a language model"
        )


def _check_weights(config: EngineConfig, kind: Kind, model: Any, loaded: Any) -> None:
    missing = sorted(loaded["missing_keys"]) + sorted(str(key) for key in loaded.get("mismatched_keys", ()))
    if kind == "embedding":
        missing = [name for name in missing if "pooler" not in name]
    if missing:
        raise ConfigError(
            f"model {config.model!r} has no trained weights for {', '.join(map(repr, missing[:3]))}, so that a {kind} "
            "model of it would answer at random: give a checkpoint that was trained as one"
        )
    unread = sorted(loaded.get("unexpected_keys", ()))
    layers = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    if beyond := [name for name in unread if layers and any(int(n) >= layers for n in _LAYER.findall(name))]:
        raise ConfigError(
            f"model {config.model!r} holds {beyond[0]!r}, but its config.json says that it has {layers} layers: "
            "one of the two is from another model"
        )
    if foreign := [name for name in unread if kind in _HEADS and _of_head(name, kind)]:
        raise ConfigError(
            f"model {config.model!r} holds {', '.join(map(repr, foreign[:3]))}, which the {kind} model of transformers "
            "does not read, so that its answers would be others: give a checkpoint that transformers saved"
        )
    for name, weight in model.named_parameters():
        if not bool(torch.isfinite(weight).all()):
            raise ConfigError(f"model {config.model!r} has weights that are not finite, in {name!r}: it is broken")


def _of_head(name: str, kind: Kind) -> bool:
    """Return whether a tensor is named as part of the head of such a model."""
    return name.startswith(_HEADS[kind]) and not name.endswith("inv_freq")


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
