"""Who a model is: its files, a fingerprint of its weights, its dtype and its chat template. Loads no model."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from rewardkit.errors import ConfigError, MissingExtraError

_SMALL_FILES = ["*.json", "*.jinja", "*.txt", "*.model", "*.py"]
_WEIGHTS = ("*.safetensors", "*.bin")
_TOKENIZER = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.model"),
    *("spiece.model", "sentencepiece.bpe.model", "vocab.json", "vocab.txt", "merges.txt"),
)
_COUNT_FROM_PADDING = (
    *("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "longformer", "mpnet", "esm", "ibert", "data2vec-text"),
    *("luke", "markuplm", "lilt", "layoutlmv3", "roberta-prelayernorm", "xmod"),
)
_EDGE = 1 << 20  # bytes read at both ends of a file of weights
_BLOCKS, _BLOCK = 64, 4096  # and this many blocks of so many bytes in between

TEMPLATES = {
    "chatml": (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    "plain": (
        "{{ bos_token or '' }}{% for message in messages %}{{ '' if loop.first else '\n\n' }}"
        "{{ message['role'] | capitalize }}: {{ message['content'] }}{% endfor %}"
        "{{ '\n\nAssistant:' if add_generation_prompt else '' }}"
    ),
}


def files_of(model: str, revision: str | None) -> Path:
    """Return the directory with the small files of a model (configuration, tokenizer), fetched from the hub if needed.

    Raises ConfigError when there is no such model.
    """
    directory = Path(model).expanduser()
    if is_directory(model):
        if not (directory / "config.json").is_file():
            raise ConfigError(f"model {model!r} is no checkpoint: it has no config.json, which save_pretrained writes")
        if revision is not None:
            raise ConfigError(f"model {model!r} is a directory, which has no revision {revision!r}: leave it out")
        return directory
    if model.startswith((".", "/", "~")) or model.count("/") > 1:
        raise ConfigError(f"there is no directory {model!r} to load a model from")
    try:
        from huggingface_hub import snapshot_download
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"models need {error.name!r}: pip install 'agentic-rewardkit[hf]'") from error
    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=_SMALL_FILES))
    except (OSError, ValueError) as error:
        what = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"model {model!r} is neither a directory here nor to be had from the hub ({what}): "
            "give the path of a checkpoint, or check the name and the network"
        ) from error


def is_directory(model: str) -> bool:
    """Return whether `model` is a directory here rather than a name on the hub."""
    return Path(model).expanduser().is_dir()


def window_of(model: str, revision: str | None) -> int | None:
    """Return the longest sequence in tokens that the model was made for; None if its configuration does not say.

    With "dynamic" rotary embeddings that is the window before they stretch: how far transformers stretches them depends
    on what was computed before.
    """
    config = _read_json(files_of(model, revision) / "config.json")
    for names in (config, config.get("text_config") or {}):
        for name in ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length"):
            if isinstance(names.get(name), int):
                # RoBERTa and its kin count positions from behind their padding token.
                behind = (config.get("pad_token_id") or 0) + 1 if config.get("model_type") in _COUNT_FROM_PADDING else 0
                return int(names[name]) - behind
    return None


def fingerprint(model: str, revision: str | None) -> str:
    """Return the model's name and its commit on the hub, or a hash of what a directory holds of it, tokenizer included.

    Of large files of weights both ends and 64 blocks in between are read, so that it costs milliseconds.
    """
    files = files_of(model, revision)
    if not is_directory(model):
        return f"{model}@{files.name[:12]}"
    seen = hashlib.sha256((files / "config.json").read_bytes())
    for path in filter(Path.is_file, (files / name for name in _TOKENIZER)):
        stat = path.stat()
        seen.update(path.name.encode())
        seen.update(_whole(str(path), stat.st_size, stat.st_mtime_ns))
    for pattern in _WEIGHTS:
        for path in sorted(files.glob(pattern)):
            stat = path.stat()
            seen.update(path.name.encode())
            seen.update(_sampled(str(path), stat.st_size, stat.st_mtime_ns))
    return f"{files.resolve().name}@{seen.hexdigest()[:12]}"


def stored_dtype(model: str, revision: str | None) -> str:
    """Return the dtype in which the checkpoint says its weights are kept; float32 if it does not say."""
    config = _read_json(files_of(model, revision) / "config.json")
    return str(config.get("dtype") or config.get("torch_dtype") or "float32").removeprefix("torch.")


def chat_template_of(model: str, revision: str | None, given: str | None) -> str | None:
    """Return the text of the chat template: the given one, or the model's own; None if it has none."""
    if given is not None:
        return _given_template(given)
    files = files_of(model, revision)
    own = files / "chat_template.jinja"
    if own.is_file():
        return _text_of(own)
    template = _read_json(files / "tokenizer_config.json").get("chat_template")
    if isinstance(template, list):
        template = next((one["template"] for one in template if one.get("name") == "default"), None)
    return template if isinstance(template, str) else None


def template_hash(model: str, revision: str | None, given: str | None) -> str:
    """Return the first twelve digits of the SHA-256 of the chat template, or "none"."""
    template = chat_template_of(model, revision, given)
    return "none" if template is None else hashlib.sha256(template.encode()).hexdigest()[:12]


def _given_template(given: str) -> str:
    if given in TEMPLATES:
        return TEMPLATES[given]
    if "{" in given:
        return given
    path = Path(given).expanduser()
    if not path.is_file():
        raise ConfigError(f"chat_template {given!r} is no file, no Jinja text and none of {', '.join(TEMPLATES)}")
    return _text_of(path)


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the chat template {str(path)!r} cannot be read as UTF-8: {error}") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        loaded = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}") from error
    return loaded if isinstance(loaded, dict) else {}


@lru_cache(maxsize=256)
def _whole(path: str, size: int, changed_ns: int) -> bytes:
    """Return a hash of a file; its size and `changed_ns` only tell a rewritten file from the one read before."""
    del size, changed_ns
    return hashlib.sha256(Path(path).read_bytes()).digest()


@lru_cache(maxsize=256)
def _sampled(path: str, size: int, changed_ns: int) -> bytes:
    """Return a hash of a file's size and samples; `changed_ns` only tells a rewritten file from the one read before."""
    del changed_ns
    seen = hashlib.sha256(str(size).encode())
    with open(path, "rb") as file:
        seen.update(file.read(_EDGE))
        for number in range(_BLOCKS):
            file.seek(_EDGE + (size - _EDGE) * number // _BLOCKS if size > _EDGE else 0)
            seen.update(file.read(_BLOCK))
        file.seek(max(0, size - _EDGE))
        seen.update(file.read(_EDGE))
    return seen.digest()
