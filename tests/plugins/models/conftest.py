"""Tiny models as folders: trained once, kept below pytest's cache, and broken ones made from them.

The folder's name holds a hash of tiny.py and of the versions, so that a change trains anew; old ones are freed by
`pytest --cache-clear`. Without torch and transformers the tests that ask for a model are skipped.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
NOT_TWICE = """{% for m in messages %}{% if m.role == 'system' or (m.role == 'user' and loop.previtem is defined
    and loop.previtem.role == 'user') %}{{ raise_exception('Roles must alternate, beginning with user') }}{% endif %}
{% endfor %}"""


@pytest.fixture(scope="session")
def tiny():
    """The module tiny.py: the texts that the models know, by seed."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    spec = importlib.util.spec_from_file_location("tiny", HERE / "tiny.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["tiny"] = module
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("tiny", None)


@pytest.fixture(scope="session")
def tiny_models(tiny, request, tmp_path_factory):
    """The folder of all trained models; a minute of training the first time."""
    from tokenizers import __version__ as tokenizers
    from torch import __version__ as torch
    from transformers import __version__ as transformers

    made_of = (HERE / "tiny.py").read_text(encoding="utf-8"), tiny.LIKED, tiny.DISLIKED, torch, transformers, tokenizers
    key = hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]
    cache = getattr(request.config, "cache", None)
    folder = cache.mkdir("tiny-models") if cache else tmp_path_factory.mktemp("tiny-models")
    if not (folder / key).exists():
        with tempfile.TemporaryDirectory(dir=folder) as place:
            made = Path(place) / key
            tiny.save(made, prose=(ROOT / "LICENSE").read_text(encoding="utf-8"))
            with contextlib.suppress(OSError):  # another run was faster
                made.rename(folder / key)
    return folder / key


@pytest.fixture(scope="session")
def tiny_tokenizer(tiny_models):
    """A byte-level BPE with a ChatML template; `<|im_end|>` ends, `<|endoftext|>` pads, nothing begins."""
    return tiny_models / "lm"


@pytest.fixture(scope="session")
def tiny_lm(tiny_models):
    """A causal LM of dialogues in which users react to right and to wrong answers."""
    return tiny_models / "lm"


@pytest.fixture(scope="session")
def tiny_reward_model(tiny_models):
    """One logit for a chat that ends with an answer: the log odds that it is right."""
    return tiny_models / "reward_model"


@pytest.fixture(scope="session")
def tiny_token_prm(tiny_models):
    """Two classes (wrong, right) at `<extra_0>` or at the line break behind each step."""
    return tiny_models / "token_prm"


@pytest.fixture(scope="session")
def tiny_tag_prm(tiny_models):
    """The language model again: it says "+" or "-" at the tag behind each step."""
    return tiny_models / "lm"


@pytest.fixture(scope="session")
def tiny_chat_prm(tiny_models):
    """The language model again: it answers "+" or "-" to a step that the user says."""
    return tiny_models / "lm"


@pytest.fixture(scope="session")
def altered(tmp_path_factory):
    """`altered(folder, tokenizer=f, weights=g, files={...})` is a copy so changed; `files` holds fields of JSON."""
    from safetensors.torch import load_file, save_file
    from transformers import AutoTokenizer

    def alter(source, *, tokenizer=None, weights=None, files=()):
        folder = tmp_path_factory.mktemp("altered") / source.name
        shutil.copytree(source, folder)
        if tokenizer:
            tok = AutoTokenizer.from_pretrained(folder)
            tokenizer(tok)
            tok.save_pretrained(folder)
        if weights:
            tensors = load_file(folder / "model.safetensors")
            weights(tensors)
            save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        for name in files:
            fields = json.loads((folder / name).read_text(encoding="utf-8"))
            (folder / name).write_text(json.dumps(fields | files[name]), encoding="utf-8")
        return folder

    return alter


@pytest.fixture(scope="session")
def no_pad_lm(tiny_lm, altered):
    """Neither the tokenizer nor the configuration knows a token that pads."""

    def unset(tok):
        tok.pad_token = None

    return altered(tiny_lm, tokenizer=unset, files={"config.json": {"pad_token_id": None}})


@pytest.fixture(scope="session")
def nan_lm(tiny_lm, altered):
    """One weight of the last norm is NaN, and with it every logit."""

    def spoil(tensors):
        tensors["model.norm.weight"][0] = float("nan")

    return altered(tiny_lm, weights=spoil)


@pytest.fixture(scope="session")
def strict_template_lm(tiny_lm, altered):
    """Its template raises on a system message and where a user speaks twice."""

    def refuse(tok):
        tok.chat_template = NOT_TWICE + tok.chat_template

    return altered(tiny_lm, tokenizer=refuse)


@pytest.fixture(scope="session")
def bos_lm(tiny_lm, altered, tiny):
    """Its template writes BOS and its tokenizer adds BOS: encoding a rendered chat plainly doubles it."""
    from tokenizers.processors import TemplateProcessing

    def begin(tok):
        tok.bos_token = tiny.BOS
        tok.chat_template = "{{ bos_token }}" + tok.chat_template
        tok.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"{tiny.BOS} $A", pair=f"{tiny.BOS} $A $B", special_tokens=[(tiny.BOS, tok.bos_token_id)]
        )

    return altered(tiny_lm, tokenizer=begin)


@pytest.fixture(scope="session")
def left_pad_lm(tiny_lm, altered):
    """It pads on the left."""
    return altered(tiny_lm, files={"tokenizer_config.json": {"padding_side": "left"}})


@pytest.fixture(scope="session")
def pad_is_eos_rm(tiny_reward_model, altered):
    """It pads with `<|im_end|>`, which also ends its chats (no line break behind): pooling stops one token early."""

    def confuse(tok):
        tok.pad_token = tok.eos_token
        end = "<|im_end|>{% if not loop.last or add_generation_prompt %}{{ '\\n' }}{% endif %}{% endfor %}"
        tok.chat_template = tok.chat_template.replace("<|im_end|>\n{% endfor %}", end)

    eos = json.loads((tiny_reward_model / "config.json").read_text(encoding="utf-8"))["eos_token_id"]
    return altered(tiny_reward_model, tokenizer=confuse, files={"config.json": {"pad_token_id": eos}})


@pytest.fixture(scope="session")
def random_rm(tiny_lm):
    """No reward model: AutoModelForSequenceClassification would give it a head of random weights."""
    return tiny_lm
