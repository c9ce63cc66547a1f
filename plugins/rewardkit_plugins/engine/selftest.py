"""The self-test of a loaded model: a batch must say what single sequences say, and the side of padding must not matter.

It uses 32 sequences of random ordinary tokens, four of them with a common beginning, so it costs about a thousand
tokens. Deviations are measured as the mean difference within a sequence over the root mean square of all numbers.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import torch

from rewardkit.errors import ConfigError
from rewardkit_plugins.engine.forest import Tree
from rewardkit_plugins.engine.packing import PackingUnsupported

if TYPE_CHECKING:
    from rewardkit_plugins.engine.config import EngineConfig
    from rewardkit_plugins.engine.engine import Engine
    from rewardkit_plugins.engine.replica import Replica

TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.15}
_SEQUENCES, _LONGEST, _COMMON = 32, 40, 36


def choose_layout(engine: Engine) -> None:
    """Pack where a packed batch says what single sequences say, else pad; raises ConfigError if neither does.

    Without `self_test` sequences are padded, unless `attention` is "packed".
    """
    config = engine.config
    wanted = config.attention == "packed" or (config.attention == "auto" and config.self_test)
    wanted = wanted and not engine.classifies_whole
    for replica in engine.replicas:
        problem = "" if wanted and replica.pack() else "its attention cannot be exchanged"
        if problem and config.attention == "packed":
            raise _unpackable(config, problem)
        if not config.self_test:
            continue
        sequences = _sequences(engine)
        singles = _singles(engine, replica, sequences)
        if wanted and not problem and not (problem := _packing_problem(replica, sequences, singles, engine.is_causal)):
            continue
        replica.unpack()
        if config.attention == "packed":
            raise _unpackable(config, problem)
        problem = _padding_problem(replica, sequences, singles, engine.is_causal)
        if problem := problem or (_whole_problem(replica, sequences) if engine.classifies_whole else ""):
            raise ConfigError(
                f"model {config.model!r} fails its self-test: {problem}; its scores would depend on the batch. "
                "Try another attention or dtype, or batch_tokens=1 with self_test=false"
            )


def sees_only_back(engine: Engine) -> bool:
    """Return whether what the model says of a token does not depend on those after it.

    It is measured, since not every encoder says of its attention that it is not causal.
    """
    if not all(getattr(module, "is_causal", True) for module in engine.model.modules()):
        return False
    one, *others = _sequences(engine)[:4]
    other = next((ids for ids in others if ids != one), one)
    if len(one) == 1:
        return True
    with torch.inference_mode():
        batches = [torch.tensor([ids], device=engine.replicas[0].device) for ids in (one, other)]
        states = [engine.model.base_model(input_ids=batch)[0][0, :-1].float() for batch in batches]
    allowed = TOLERANCE.get(engine.model.dtype, 1e-3) / 10
    return float((states[0] - states[1]).abs().mean()) <= allowed * float(states[0].std())


def _unpackable(config: EngineConfig, problem: str) -> ConfigError:
    return ConfigError(f"model {config.model!r} cannot be packed ({problem}): use attention=auto")


def _packing_problem(replica: Replica, sequences: list[list[int]], singles: list[torch.Tensor], is_causal: bool) -> str:
    rest = [Tree(0, (i,), len(ids)) for i, ids in enumerate(sequences)]
    trees = [Tree(len(sequences[0]) - 1, (0, 1, 2, 3), 0), *rest[4:]] if is_causal else rest
    try:
        with torch.inference_mode():
            states, rows_of = replica.hidden(sequences, trees)
    except (PackingUnsupported, LookupError, RuntimeError, TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    found = [states[rows_of(i, range(len(ids)))] for i, ids in enumerate(sequences)]
    return _difference(found, singles, "a packed batch")


def _padding_problem(replica: Replica, sequences: list[list[int]], singles: list[torch.Tensor], is_causal: bool) -> str:
    longest = max(map(len, sequences))
    with torch.inference_mode():
        right = replica.padded(sequences)
        if problem := _difference(
            [row[: len(ids)] for row, ids in zip(right, sequences, strict=True)], singles, "a batch padded on the right"
        ):
            return problem
        if not is_causal:
            return ""  # encoders count positions from the left edge and are never padded there
        left = replica.padded(sequences, left=True)
    return _difference(
        [row[longest - len(ids) :] for row, ids in zip(left, sequences, strict=True)],
        singles,
        "a batch padded on the left",
    )


def _whole_problem(replica: Replica, sequences: list[list[int]]) -> str:
    """Return what is wrong with the classes of whole sequences, whose end some models find in a way of their own."""
    with torch.inference_mode():
        singles = [replica.whole([ids]) for ids in sequences]
        try:
            together = replica.whole(sequences)
        except (RuntimeError, ValueError) as error:
            return f"a padded batch fails ({type(error).__name__}: {error})"
    return _difference([row[None] for row in together], singles, "a padded batch")


def _difference(found: list[torch.Tensor], singles: list[torch.Tensor], what: str) -> str:
    reference = torch.cat(singles).float()
    if not bool(torch.isfinite(reference).all()):
        return "it answers with numbers that are not finite"
    size = float(reference.square().mean().sqrt()) or 1.0
    worst = max(float((a.float() - b.float()).abs().mean()) for a, b in zip(found, singles, strict=True)) / size
    allowed = TOLERANCE.get(singles[0].dtype, 1e-3)
    if worst <= allowed:  # also false for NaN
        return ""
    return f"{what} of {len(singles)} differs from single sequences by {worst:.2g} of their size (allowed: {allowed:g})"


def _singles(engine: Engine, replica: Replica, sequences: list[list[int]]) -> list[torch.Tensor]:
    """Return the hidden states of each sequence as transformers computes them: no packing, no padding, no mask.

    Raises ConfigError when the logits or classes computed from them are not the model's own.
    """
    states: list[torch.Tensor] = []
    with replica.unpacked(), torch.inference_mode():
        for ids in sequences:
            batch = torch.tensor([ids], device=replica.device)
            states.append(replica.model.base_model(input_ids=batch)[0][0])
        _check_last_layer(engine, replica, sequences, states)
    return states


def _check_last_layer(engine: Engine, replica: Replica, sequences: list[list[int]], states: list[torch.Tensor]) -> None:
    if engine.kind == "embedding" or engine.classifies_whole:
        return
    pad = engine.model.config.pad_token_id  # where a sequence ends for a classifier
    place = next((i for i, ids in enumerate(sequences) if ids[-1] != pad), 0)
    own = replica.model(input_ids=torch.tensor([sequences[place]], device=replica.device)).logits.float().flatten(0, -2)
    ours = (replica.vocabulary if engine.kind == "causal" else replica.classes)(states[place][-len(own) :])
    if problem := _difference([ours], [own], "what its last layer makes of the rest"):
        raise ConfigError(f"model {engine.config.model!r} cannot be read: {problem}")


def _sequences(engine: Engine) -> list[list[int]]:
    choose_from = random.Random(0)  # noqa: S311  not for secrets
    special = set(engine.tokenizer.all_special_ids)
    size = min(len(engine.tokenizer), engine.model.config.get_text_config().vocab_size)
    ordinary = [i for i in range(size) if i not in special] or [0]
    longest = min(_LONGEST, engine.window or _LONGEST)
    common = choose_from.choices(ordinary, k=min(_COMMON, longest - 1))
    rest = [choose_from.choices(ordinary, k=choose_from.randint(1, longest)) for _ in range(_SEQUENCES - 4)]
    return [[*common, token] for token in choose_from.choices(ordinary, k=4)] + rest
