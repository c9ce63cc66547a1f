"""Questions that are answered by searching passages, with citations: the environment `rewardkit/RAG-v0`.

Whether an answer is right and well cited is judged by rewards (`answer_f1`, `citation`, ...), from what is in the
trajectory: each step's metadata says what was shown. Not covered: building indexes of large collections.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from rewardkit.errors import ConfigError, RewardError, RewardkitError
from rewardkit.types import Task
from rewardkit_envs.env import TextEnv, Turn
from rewardkit_envs.passages import Passage, Retriever, open_retriever
from rewardkit_envs.tasks import TaskSource, open_tasks

_DATA = Path(__file__).parent / "data"
_LONGEST_QUERY = 1000  # characters: services refuse long ones, and who can make a search fail can mask an episode
_RULES = """Answer from passages that you find. Reply with exactly one call and nothing else:
search(words) shows passages, numbered [1], [2], ...
open(id) shows the whole of a passage that was cut short.
answer(text) ends the episode. Cite what supports each sentence by its number, as in "It is blue [2].".
If the passages do not hold the answer, say so in the answer."""
_MALFORMED = "That is no single call. Reply with search(words), open(id) or answer(text), and nothing else."
_CALL = re.compile(r"(search|open|answer)\((.*)\)", re.DOTALL)
_SECOND = re.compile(r"\)\s*(?:search|open|answer)\(")
_CITATION = re.compile(r"\[(\d+(?:\s*,\s*\d+)*)\]", re.ASCII)
_DECLINE = "The passages do not answer this question."

Call = tuple[Literal["search", "open", "answer"], str]


class RAGEnv(TextEnv):
    """An agent searches, reads, and answers with citations.

    Where it searches: `retriever` (a LangChain `BaseRetriever`, or what has `find`), or `passages` (a folder, a JSONL
    file or a list, see `passages.open_passages`) under BM25, or with `embed` under embeddings. A task with
    `metadata["passages"]` is searched there and nowhere else. Without any of these the built-in passages serve, for the
    built-in tasks only. A search takes 1,000 characters and shows up to `k` passages, each cut after `snippet`.

    Tasks know the right answer by `references`, or by `answerable` false that there is none; `wrong_answers` are what
    misleading passages say. `gold_search` (queries) and `gold_answer` (with ids for numbers: "It is blue [sky-1].")
    help `gold`. A step's metadata has `action` ("search", "open", "answer", "malformed"), `passages` (`n`, `id`,
    `title`, `text` as shown), and for the answer `answer` and `cited` (`n` and `id`; None for no such passage).
    """

    default_reward: ClassVar[Any] = {
        "abstention": {"weight": 0.0, "gate": 0.0},  # nothing for a wrong answer, however near its words are
        "answer_f1": 0.7,
        "citation": 0.3,
    }

    def __init__(
        self,
        *,
        retriever: Any = None,
        passages: Any = None,
        embed: Any = None,
        k: int = 3,
        snippet: int = 400,
        max_turns: int = 8,
        **options: Any,
    ) -> None:
        for name, value in {"k": k, "snippet": snippet}.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name}={value!r} must be a whole number above 0")
        super().__init__(max_turns=max_turns, **options)
        if options.get("tasks") is None and retriever is None and passages is None:
            passages = _DATA / "rag_passages.jsonl"
        self._retriever = open_retriever(retriever=retriever, passages=passages, embed=embed)
        self._embed = embed
        self._k, self._snippet = k, snippet
        self._own: tuple[Task, Retriever] | None = None

    def default_tasks(self) -> TaskSource:
        """Return twelve questions on the built-in passages: two need two of them, two have no answer."""
        return open_tasks(_DATA / "rag_tasks.jsonl")

    def begin(self, task: Task) -> str:
        """Show the rules."""
        self._searched(task)
        self.episode.memory = []
        return _RULES

    def act(self, action: str) -> Turn:
        """Search, open or answer."""
        call = read_call(action)
        if call is None:
            return Turn(observation=_MALFORMED, metadata={"action": "malformed"})
        name, argument = call
        if name == "answer":
            about = {"action": name, "answer": argument, "cited": self._cited(argument)}
            return Turn(terminated=True, metadata=about)
        if name == "search":
            query = argument[:_LONGEST_QUERY].encode(errors="replace").decode()
            return self._show(self._find(query) if query else (), {"action": name, "query": query}, self._snippet)
        opened = [passage for passage in self._shown if passage.id == argument]
        return self._show(opened, {"action": name, "id": argument}, None)

    def gold(self) -> str:
        """Return the next search, or the answer when all searches are done; needs `references` or `answerable`."""
        task = self.episode.task
        searches = task.metadata.get("gold_search") or [task.question]
        done = sum(step.metadata.get("action") == "search" for step in self.episode.steps)
        return f"search({searches[done]})" if done < len(searches) else f"answer({self._gold_answer(task)})"

    @property
    def _shown(self) -> list[Passage]:
        """The passages that the agent has seen; the first is number 1."""
        return cast("list[Passage]", self.episode.memory)

    def _searched(self, task: Task) -> Retriever:
        if (passages := task.metadata.get("passages")) is not None:
            if self._own is None or self._own[0] is not task:
                own = open_retriever(passages=passages, embed=self._embed)
                assert own is not None
                self._own = (task, own)
            return self._own[1]
        if self._retriever is None:
            raise ConfigError(f"task {task.id!r} has no passages: give it some, or RAGEnv passages or a retriever")
        return self._retriever

    def _find(self, query: str) -> Sequence[Passage]:
        """Search; a retriever that fails raises RewardError."""
        try:
            return self._searched(self.episode.task).find(query, self._k)
        except RewardkitError:
            raise
        except Exception as error:
            raise RewardError(f"the retriever failed: {type(error).__name__}: {error}") from error

    def _show(self, found: Any, about: dict[str, Any], longest: int | None) -> Turn:
        """Number the passages that are new, and show them all."""
        passages, blocks = [], []
        for passage in found:
            if passage not in self._shown:
                self._shown.append(passage)
            n = self._shown.index(passage) + 1
            text = passage.text if longest is None or len(passage.text) <= longest else passage.text[:longest] + "…"
            passages.append({"n": n, "id": passage.id, "title": passage.title, "text": text})
            blocks.append(f"[{n}] {passage.title} (id: {passage.id})\n{text}")
        nothing = "No such passage was shown." if about["action"] == "open" else "Nothing was found."
        return Turn(observation="\n\n".join(blocks) or nothing, metadata={**about, "passages": passages})

    def _cited(self, answer: str) -> list[dict[str, Any]]:
        numbers = dict.fromkeys(number for group in _CITATION.findall(answer) for number in re.split(r"\s*,\s*", group))
        ids = {str(n): passage.id for n, passage in enumerate(self._shown, start=1)}
        return [{"n": number, "id": ids.get(number)} for number in numbers]

    def _gold_answer(self, task: Task) -> str:
        if task.metadata.get("answerable") is False:
            return _DECLINE
        if (answer := task.metadata.get("gold_answer")) is not None:
            for n, passage in enumerate(self._shown, start=1):
                answer = answer.replace(f"[{passage.id}]", f"[{n}]")
            return str(answer)
        if not task.references:
            raise ConfigError(f"task {task.id!r} has no references, so there is no gold answer")
        right = task.references[0]
        holding = [n for n, passage in enumerate(self._shown, start=1) if right.lower() in passage.text.lower()]
        return f"{right} [{holding[0]}]" if holding else right


def read_call(action: str) -> Call | None:
    """Return the one call that `action` is, with its argument, or None.

    What comes before `</think>` does not count, and nothing else may stand around it. One pair of quotes around the
    argument is dropped.
    """
    thought, closed, spoken = action.partition("</think>")
    matched = _CALL.fullmatch((spoken if closed else thought).strip())
    if matched is None or _SECOND.search(matched[2]):
        return None
    argument = matched[2].strip()
    if len(argument) > 1 and argument[0] == argument[-1] and argument[0] in "\"'" and argument[0] not in argument[1:-1]:
        argument = argument[1:-1].strip()
    return cast("Call", (matched[1], argument))
