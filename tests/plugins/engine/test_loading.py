"""What a checkpoint holds that its model does not read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the extra hf")

from safetensors.torch import load_file, save_file  # noqa: E402

from rewardkit.errors import ConfigError  # noqa: E402
from rewardkit_plugins.engine import loading  # noqa: E402
from rewardkit_plugins.engine.config import EngineConfig  # noqa: E402


def with_tensor(source, directory, name):
    shutil.copytree(source, directory)
    file = Path(directory) / "model.safetensors"
    save_file({**load_file(file), name: torch.ones(1)}, file, metadata={"format": "pt"})
    return EngineConfig(model=str(directory))


@pytest.mark.parametrize(
    ("model", "kind", "name"),
    [
        ("llama", "sequence", "score.bias"),
        ("llama", "causal", "lm_head.bias"),
        ("bert", "sequence", "classifier.dense.weight"),
    ],
)
def test_tensors_of_a_foreign_head_are_refused_and_named(checkpoint, tmp_path, model, kind, name):
    config = with_tensor(checkpoint(model, kind), tmp_path / "model", name)
    with pytest.raises(ConfigError, match=f"holds '{name}', which the {kind} model of transformers does not read"):
        loading.load_model(config, kind, torch.device("cpu"))


@pytest.mark.parametrize(
    ("kind", "name"), [("sequence", "lm_head.weight"), ("embedding", "score.bias"), ("causal", "v_head.bias")]
)
def test_tensors_of_a_head_that_is_not_read_do_no_harm(checkpoint, tmp_path, kind, name):
    config = with_tensor(checkpoint("llama", kind), tmp_path / "model", name)
    loading.load_model(config, kind, torch.device("cpu"))
