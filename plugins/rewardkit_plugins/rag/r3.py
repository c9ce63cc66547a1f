"""The `r3` reward: length, relevance and variety multiplied, the "reward branching" of R3; it knows no truth.

Source: *Rethinking the Role of Proxy Rewards in Language Model Alignment* (arXiv 2402.03469) and its released code.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from rewardkit.errors import ConfigError, RewardError
from rewardkit.types import Score, Trajectory
from rewardkit_plugins.rag.attempts import answer_of
from rewardkit_plugins.rag.entailment import STOPWORDS, load
from rewardkit_plugins.rag.words import words_of
from rewardkit_plugins.rules.rule import Rule, check_choice

Branch = Literal["open", "constrained"]

_TOKEN = re.compile(r"\w+|[^\w\s]+")
_ENDINGS = ("### Instruction:", "### Response:", "\n\n\n\n", "\n\n--", "\n\n____")
_LONGEST = 512  # tokens, at the highest relevance
_HIGHEST = 3.5  # relevance (a dot product of Contriever's embeddings)
_BRANCHES: dict[str, Branch] = {"OPENENDED": "open", "CONSTRAINED": "constrained"}


class R3(Rule):
    """Multiplies what makes an answer look good; how depends on the question.

    Open questions: length incentive x relevance to the question x repetition penalty. Constrained ones: relevance to
    the reference, stretched from 0..3.5 to 0..5.12, x repetition penalty.

    Length incentive: tokens / 100. Repetition penalty: the share of distinct trigrams (1.0 without any). The branch is
    `metadata["qtype"]` ("OPENENDED" or "CONSTRAINED"), else `branch`. Of several references the most relevant counts.

    `embedding` is the address "package.module:name" of a function (or of a class, built by `setup`) from a list of
    texts to vectors, whose dot product is the relevance; "lexical" takes the cosine of word counts, in [0, 1], which
    needs no model and has no synonyms. The value has no upper bound, and is negative where the relevance is. A
    constrained question without a reference abstains.
    """

    def __init__(self, *, embedding: Any = "lexical", branch: Branch = "open") -> None:
        check_choice("r3: branch", branch, get_args(Branch))
        if isinstance(embedding, str) and embedding != "lexical" and ":" not in embedding:
            raise ConfigError(f"r3: embedding must be 'lexical' or 'package.module:name', not {embedding!r}")
        self._embedding = embedding
        self._branch: Branch = branch
        self._embed: Any = None

    def signature_fields(self) -> Mapping[str, str]:
        """Return the options."""
        embedding = self._embedding
        name = embedding if isinstance(embedding, str) else getattr(embedding, "__qualname__", type(embedding).__name__)
        return {"embedding": name, "branch": self._branch}

    def setup(self) -> None:
        """Load the embedding. Idempotent."""
        if self._embedding != "lexical" and self._embed is None:
            self._embed = load(self._embedding)

    def close(self) -> None:
        """Let go of the embedding."""
        self._embed = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_embed": None}

    def score_batch(self, batch: Sequence[Trajectory], /) -> list[Score]:
        """Return one Score each; all texts of the batch are embedded in one call."""
        self.setup()
        responses = [cleaned(answer_of(trajectory)) for trajectory in batch]
        branches: list[Branch] = [self._branch_of(trajectory) for trajectory in batch]
        asked = [_asked(trajectory, branch) for trajectory, branch in zip(batch, branches, strict=True)]
        pairs = [(text, answer) for texts, answer in zip(asked, responses, strict=True) for text in texts]
        relevances = dict(zip(pairs, self._relevances(pairs), strict=True))
        scores = []
        for texts, branch, answer in zip(asked, branches, responses, strict=True):
            if not texts:
                scores.append(Score(value=None, explanation="a constrained question needs a reference"))
                continue
            relevance = max(relevances[text, answer] for text in texts)
            incentive, penalty = length_incentive(answer), repetition_penalty(answer)
            parts = {"length": incentive, "relevance": relevance, "repetition": penalty}
            scores.append(Score(value=combined(relevance, branch, answer), parts=parts))
        return scores

    def score(self, trajectory: Trajectory, /) -> Score:
        """Return the Score of one trajectory."""
        return self.score_batch([trajectory])[0]

    def _branch_of(self, trajectory: Trajectory) -> Branch:
        return _BRANCHES.get(str(trajectory.task.metadata.get("qtype")), self._branch)

    def _relevances(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        if self._embed is None:
            return [lexical_relevance(text, answer) for text, answer in pairs]
        texts = list(dict.fromkeys(text for pair in pairs for text in pair))
        vectors = [[float(x) for x in vector] for vector in self._embed(texts)] if texts else []
        if len(vectors) != len(texts):
            raise RewardError(f"r3: the embedding gave {len(vectors)} vectors for {len(texts)} texts")
        at = dict(zip(texts, vectors, strict=True))
        return [sum(x * y for x, y in zip(at[a], at[b], strict=True)) for a, b in pairs]


def cleaned(response: str) -> str:
    """Return `response` up to the first role header, rule or gap of four lines."""
    return response[: min((at for end in _ENDINGS if (at := response.find(end)) >= 0), default=len(response))]


def length_incentive(response: str) -> float:
    """Return a hundredth of the number of tokens (words, and runs of punctuation)."""
    return len(_TOKEN.findall(response)) / 100


def repetition_penalty(response: str) -> float:
    """Return the share of trigrams of tokens that are distinct; 1.0 if there are none."""
    tokens = _TOKEN.findall(response)
    trigrams = list(zip(tokens, tokens[1:], tokens[2:], strict=False))
    return len(set(trigrams)) / len(trigrams) if trigrams else 1.0


def combined(relevance: float, branch: Branch, response: str) -> float:
    """Return the reward of a cleaned `response` of that relevance."""
    if branch == "open":
        return length_incentive(response) * relevance * repetition_penalty(response)
    return relevance / _HIGHEST * (_LONGEST / 100) * repetition_penalty(response)


def lexical_relevance(text: str, other: str) -> float:
    """Return the cosine of the counts of content words of two texts, in [0, 1]; 0.0 if one has none."""
    a, b = (Counter(word for word in words_of(one) if word not in STOPWORDS) for one in (text, other))
    norm = math.sqrt(sum(n * n for n in a.values()) * sum(n * n for n in b.values()))
    return sum(n * b[word] for word, n in a.items()) / norm if norm else 0.0


def _asked(trajectory: Trajectory, branch: Branch) -> list[str]:
    if branch == "open":
        return [trajectory.task.question]
    return [reference for reference in trajectory.task.references if reference.strip()]
