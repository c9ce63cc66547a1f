"""Whether two models read the same text as the same tokens, which is what adding up what both say of it rests on.

Whether they compute something sensible of the tokens is `engine.selftest`.
"""

from __future__ import annotations

from typing import Any

from rewardkit.errors import ConfigError
from rewardkit_plugins.engine import identity
from rewardkit_plugins.engine.config import EngineConfig


def check_tokens(config: EngineConfig, other: EngineConfig) -> None:
    """Raise ConfigError unless both models have one chat template and one vocabulary; loads tokenizers, no model."""
    templates = [identity.chat_template_of(one.model, one.revision, one.chat_template) for one in (config, other)]
    if templates[0] != templates[1]:
        raise ConfigError(
            f"the chat templates of {config.model!r} and {other.model!r} differ, so that each would read another text: "
            "give both one with chat_template"
        )
    from rewardkit_plugins.engine import loading

    check_vocabularies(
        (config.model, loading.load_tokenizer(config)),
        (other.model, loading.load_tokenizer(other)),
    )


def check_vocabularies(one: tuple[str, Any], other: tuple[str, Any]) -> None:
    """Raise ConfigError unless two tokenizers, given with the names of their models, number the same tokens alike."""
    (name, tokenizer), (other_name, other_tokenizer) = one, other
    vocabulary, other_vocabulary = tokenizer.get_vocab(), other_tokenizer.get_vocab()
    if vocabulary == other_vocabulary:
        return
    token = min(token for token, _ in vocabulary.items() ^ other_vocabulary.items())
    raise ConfigError(
        f"{name!r} and {other_name!r} do not share a tokenizer: {token!r} is number {vocabulary.get(token)} in the one "
        f"and {other_vocabulary.get(token)} in the other; take models that were trained from one"
    )
