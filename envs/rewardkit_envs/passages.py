"""Passages, and what finds them: BM25, embeddings, or any LangChain retriever; from a folder, a JSONL file or a list.

Passages are taken as they are. Not covered: cutting documents into passages, indexes on disk.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np

from rewardkit.errors import ConfigError, MissingExtraError

_LONGEST_QUERY = 64
_WORD = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]|[^\W_]+")
_STOPWORDS_TEXT = """
a an and are as at be by did do does for from had has have he her his how i in is it its of on or she that the
their they this to was were what when where which who whose why will with
"""
_STOPWORDS = frozenset(_STOPWORDS_TEXT.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A passage; `id` is what the agent opens it by."""

    id: str
    title: str = ""
    text: str


class Retriever(Protocol):
    """Finds passages."""

    def find(self, query: str, k: int, /) -> Sequence[Passage]:
        """Return at most `k` passages, the best first."""
        ...


class Bm25:
    """BM25 (the library bm25s) over titles and texts; passages without a word of the query are not found.

    Words are folded to lower case, and a script without spaces counts each character. Only the first 64 words of a
    query count. Equal scores keep the order of the passages. The index is built by the first search. Raises
    MissingExtraError.
    """

    def __init__(self, passages: Iterable[Passage]) -> None:
        if importlib.util.find_spec("bm25s") is None:
            raise MissingExtraError("searching passages needs 'bm25s': pip install 'agentic-rewardkit[rag]'")
        self.passages = list(passages)
        self._index: Any = None

    def find(self, query: str, k: int, /) -> list[Passage]:
        """Return at most `k` passages, the best first."""
        import bm25s

        words = list(dict.fromkeys(_words(query)))[:_LONGEST_QUERY]
        if not words or not self.passages:
            return []
        if self._index is None:
            corpus = [_words(f"{passage.title} {passage.text}") or ["\0"] for passage in self.passages]
            index = bm25s.BM25()
            index.index(corpus, show_progress=False)
            self._index = index  # only now that it is whole: other threads search the same passages
        return _best(self.passages, self._index.get_scores(words), k)


class Embedded:
    """The cosine of embeddings; `embed` turns a list of texts into as many vectors."""

    def __init__(self, passages: Iterable[Passage], embed: Callable[[list[str]], Any]) -> None:
        self.passages = list(passages)
        self._embed = embed
        self._vectors: Any = None

    def find(self, query: str, k: int, /) -> list[Passage]:
        """Return at most `k` passages with a cosine above 0, the best first."""
        if self._vectors is None:
            self._vectors = self._units([f"{passage.title}\n{passage.text}" for passage in self.passages])
        return _best(self.passages, self._vectors @ self._units([query])[0], k)

    def _units(self, texts: list[str]) -> Any:
        vectors = np.asarray(self._embed(texts), dtype=float)
        if vectors.ndim != 2 or len(vectors) != len(texts):
            raise ConfigError(f"embed gave an array of shape {vectors.shape} for {len(texts)} texts: one vector each")
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


class LangChain:
    """A LangChain `BaseRetriever`, or any object whose `invoke(query)` returns documents.

    A document has `page_content` and `metadata`; its id is `document.id`, `metadata["id"]`, or else made from its text.
    """

    def __init__(self, retriever: Any) -> None:
        self._retriever = retriever

    def find(self, query: str, k: int, /) -> list[Passage]:
        """Return the first `k` documents."""
        return [_of_document(document) for document in self._retriever.invoke(query)[:k]]


def open_passages(source: Any) -> list[Passage]:
    """Return the passages that `source` stands for.

    A list of passages (a Passage, a text, or a mapping with `text` and perhaps `id` and `title`), a JSONL file of such
    values, or a folder whose .txt and .md files are one passage each, named by their paths. Raises ConfigError.
    """
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.suffix in (".txt", ".md"))
            source = [
                Passage(id=file.relative_to(path).as_posix(), title=file.stem, text=_read(file)) for file in files
            ]
        else:
            source = [_decode(path, number, line) for number, line in enumerate(_read(path).splitlines(), 1) if line]
    if not isinstance(source, Sequence):
        raise ConfigError(f"passages={source!r}: give a folder, a JSONL file, or a list of passages")
    passages = [_of_value(value, number) for number, value in enumerate(source, start=1)]
    if len({passage.id for passage in passages}) < len(passages):
        raise ConfigError("two passages have the same id: each needs one of its own, by which it is opened")
    return passages


def open_retriever(*, retriever: Any = None, passages: Any = None, embed: Any = None) -> Retriever | None:
    """Return what finds the passages: `retriever` itself, or an index over `passages`; None if there is neither.

    `embed` is a function from a list of texts to vectors, or its address "package.module:function". Raises ConfigError.
    """
    if retriever is not None:
        if passages is not None or embed is not None:
            raise ConfigError("a retriever brings its own passages: leave out passages and embed")
        if hasattr(retriever, "find"):
            return retriever  # type: ignore[no-any-return]
        if not hasattr(retriever, "invoke"):
            raise ConfigError(f"retriever={retriever!r} has no invoke(query): give a LangChain retriever")
        return LangChain(retriever)
    if passages is None:
        return None
    found = open_passages(passages)
    if embed is None:
        return Bm25(found)
    return Embedded(found, _load(embed) if isinstance(embed, str) else embed)


def _best(passages: Sequence[Passage], scores: Any, k: int) -> list[Passage]:
    order = np.argsort(-np.asarray(scores), kind="stable")[:k]
    return [passages[i] for i in order if scores[i] > 0]


def _words(text: str) -> list[str]:
    return [word for word in _WORD.findall(text.lower()) if word not in _STOPWORDS]


def _of_document(document: Any) -> Passage:
    about = document.metadata or {}
    text = str(document.page_content)
    key = getattr(document, "id", None) or about.get("id") or hashlib.sha256(text.encode()).hexdigest()[:8]
    return Passage(id=str(key), title=str(about.get("title") or about.get("source") or ""), text=text)


def _of_value(value: Any, number: int) -> Passage:
    if isinstance(value, Passage):
        return value
    if isinstance(value, str):
        return Passage(id=str(number), text=value)
    if not isinstance(value, Mapping) or not isinstance(value.get("text"), str):
        raise ConfigError(f"passage {number} is {value!r}: give a text, or an object with `text`, `id` and `title`")
    return Passage(id=str(value.get("id", number)), title=str(value.get("title", "")), text=value["text"])


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"passages={str(path)!r} cannot be read: {error}") from error


def _decode(path: Path, number: int, line: str) -> Any:
    try:
        return msgspec.json.decode(line)
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path}:{number}: {error}: write one JSON object or text a line") from error


def _load(address: str) -> Any:
    module, _, name = address.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"embed={address!r} names no 'package.module:function': {error}") from error
