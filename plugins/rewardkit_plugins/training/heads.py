"""A backbone with a fresh head, and the forward pass that training and scoring share: the head at the last token."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification

from rewardkit.errors import ConfigError
from rewardkit_plugins.engine.config import EngineConfig
from rewardkit_plugins.engine.loading import quiet, source_of

_HEADS = ("score", "classifier", "pooler", "classification_head")


class ScoredModel(nn.Module):
    """Classifies sequences that are padded on the right: token ids and mask [n, longest] give [n, labels].

    A decoder is read at the last token that the mask leaves, whatever token that is; an encoder in its own way.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.reads_last_token = isinstance(getattr(model, "score", None), nn.Module)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the head's numbers."""
        if not self.reads_last_token:
            logits: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
            return logits
        hidden = self.model.base_model(input_ids=input_ids, attention_mask=attention_mask)[0]
        rows = torch.arange(len(hidden), device=hidden.device)
        read: Tensor = self.model.score(hidden[rows, attention_mask.sum(1) - 1])
        return read


def with_fresh_head(config: EngineConfig, labels: Sequence[str], *, dropout: bool = False) -> Any:
    """Return the model of `config` in float32 as a classifier whose head is new, with one output per label.

    The head's weights are drawn with the variance 1/(width + 1), its bias is 0; a head that the checkpoint has is not
    used. Without `dropout` every dropout of the configuration is set to 0. Raises ConfigError when other weights than
    the head's are missing.
    """
    source = source_of(config)
    try:
        with warnings.catch_warnings(), quiet():
            warnings.simplefilter("ignore", DeprecationWarning)
            settings = AutoConfig.from_pretrained(**source)
            settings.num_labels = len(labels)
            settings.id2label = dict(enumerate(labels))
            settings.label2id = {label: i for i, label in enumerate(labels)}
            if not dropout:
                _without_dropout(settings)
            model, loaded = AutoModelForSequenceClassification.from_pretrained(
                **source, config=settings, dtype=torch.float32, ignore_mismatched_sizes=True, output_loading_info=True
            )
    except (OSError, ValueError, ImportError, RuntimeError, KeyError) as error:
        what = " ".join(str(error).split())[:300]
        raise ConfigError(f"model {config.model!r} cannot be made a reward model: {what}") from error
    missing = [str(key) for key in sorted([*loaded["missing_keys"], *loaded["mismatched_keys"]], key=str)]
    if lacking := [key for key in missing if not any(head in key for head in _HEADS)]:
        raise ConfigError(
            f"model {config.model!r} has no weights for {lacking[0]!r}, which is no part of its head: it is broken"
        )
    _draw_head(model)
    return model


def _draw_head(model: Any) -> None:
    for name in ("score", "classifier", "classification_head"):
        head = getattr(model, name, None)
        for layer in head.modules() if head is not None else ():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=(layer.in_features + 1) ** -0.5)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        if head is not None:
            return
    raise ConfigError(f"a {type(model).__name__} has no head called score or classifier: it cannot be trained here")


def _without_dropout(settings: Any) -> None:
    for one in {id(s): s for s in (settings, settings.get_text_config())}.values():
        for name, value in vars(one).items():
            if "drop" in name and isinstance(value, float):
                setattr(one, name, 0.0)
