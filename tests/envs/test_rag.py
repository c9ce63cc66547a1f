"""The environment of questions over passages: its contract, its calls, its passages, its reward."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import bm25s
import gymnasium
import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

import rewardkit_envs  # noqa: F401  registers
from rewardkit.errors import ConfigError, MissingExtraError
from rewardkit.scorer import Scorer
from rewardkit.serialize import trajectory_from_json, trajectory_to_json
from rewardkit_envs.passages import Bm25, Embedded, Passage, open_passages
from rewardkit_envs.rag import RAGEnv, read_call
from rewardkit_envs.testing import EnvContract

SKY = [
    {"id": "sky", "title": "Sky", "text": "The sky is blue."},
    {"id": "sea", "title": "Sea", "text": "The sea is green and deep, " + "and wide, " * 60 + "and salty."},
]
TASK = {"id": "t", "prompt": "Which colour has the sky?", "references": ["blue", "The sky is blue."]}
UNANSWERABLE = {"id": "u", "prompt": "Who painted the sky?", "answerable": False}


class TestRAGContract(EnvContract):
    env = "rewardkit/RAG-v0"


class TestRAGOwnPassagesContract(EnvContract):
    env = "rewardkit/RAG-v0"
    options: ClassVar = {"tasks": [{**TASK, "passages": SKY}], "max_turns": 5}


class Colours(BaseRetriever):
    """A LangChain retriever that knows two documents."""

    def _get_relevant_documents(self, query, *, run_manager):
        if "storm" in query:
            raise ConnectionError("the index is gone")
        return [Document(page_content=one["text"], metadata={"id": one["id"], "title": one["title"]}) for one in SKY]


def played(*actions, **options):
    """Play `actions` and return the environment and what the last step gave."""
    env = RAGEnv(**{"tasks": [TASK], "passages": SKY, **options})
    env.reset(seed=0)
    last = None
    for action in actions:
        last = env.step(action)
    return env, last


@pytest.mark.parametrize(
    ("action", "call"),
    [
        ("search(blue sky)", ("search", "blue sky")),
        ('  search("blue sky")\n', ("search", "blue sky")),
        ("search('it's')", ("search", "'it's'")),
        ("open(a/b(1).txt)", ("open", "a/b(1).txt")),
        ("answer(It is blue [1].\nAnd deep (very) [2].)", ("answer", "It is blue [1].\nAnd deep (very) [2].")),
        ("<think>I could answer(now)</think>\nsearch(x)", ("search", "x")),
        ("now search(y)</think>search(x)", ("search", "x")),
        ("answer()", ("answer", "")),
        ("Search(x)", None),
        ("search x", None),
        ("I will search(x)", None),
        ("search(x) and then wait", None),
        ("search(x) search(y)", None),
        ("search(x)\nanswer(y)", None),
        ("<think>search(x)", None),
        ("", None),
    ],
)
def test_an_action_is_one_call_and_nothing_else(action, call):
    assert read_call(action) == call


def test_a_malformed_call_is_an_observation_and_costs_a_turn():
    env, (shown, reward, terminated, truncated, _) = played("I will search(x)", max_turns=2)
    assert "no single call" in shown
    assert (reward, terminated, truncated) == (0.0, False, False)
    assert env.step("what?")[3], "two malformed calls are two turns"


def test_passages_keep_the_numbers_under_which_they_were_first_shown():
    env, _ = played("search(deep sea)", "search(salty sea)", "search(blue sky)", "search(sea)")
    numbers = [[p["n"] for p in step.metadata["passages"]] for step in env.trajectory.steps]
    assert numbers == [[1], [1], [2], [1]]


def test_a_long_passage_is_cut_until_it_is_opened():
    env, (shown, *_) = played("search(deep sea)", snippet=40)
    assert shown.startswith("[1] Sea (id: sea)\nThe sea is green and deep, ")
    assert shown.endswith("…")
    assert env.step("open(sea)")[0].endswith("and salty.")


def test_only_what_was_shown_can_be_opened():
    _, (shown, *_) = played("open(sky)")
    assert shown == "No such passage was shown."


def test_a_search_without_a_hit_says_so():
    for query in ("zebra", "", "the of and", "!?"):
        assert played(f"search({query})")[1][0] == "Nothing was found."


def test_the_steps_say_what_was_shown_and_cited():
    env, _ = played("search(blue sky)", "answer(The sky is blue [1][7].)")
    first, last = env.trajectory.steps
    assert first.metadata == {
        "action": "search",
        "query": "blue sky",
        "passages": [{"n": 1, "id": "sky", "title": "Sky", "text": "The sky is blue."}],
    }
    assert last.metadata["answer"] == "The sky is blue [1][7]."
    assert last.metadata["cited"] == [{"n": "1", "id": "sky"}, {"n": "7", "id": None}]


def test_a_right_and_cited_answer_earns_everything_and_part_of_it_less():
    rewards = {
        "answer(The sky is blue [1].)": 1.0,
        "answer(blue [1])": 1.0,
        "answer(The sky is blue.)": 0.7,  # no citation
        "answer(The sky is blue [2].)": 0.7,  # of nothing
        "answer(The sky is blue [0].)": 0.7,
        "answer(The sky is so blue [1].)": 0.7 * 6 / 7 + 0.3,  # "so" is not in the reference
        "answer(The sky is green [1].)": 0.0,  # two of three words are right, and the answer is not
        "answer(Grass [1].)": 0.0,
        "answer()": 0.0,
    }
    for action, expected in rewards.items():
        _, (_, reward, terminated, _, _) = played("search(blue sky)", action)
        assert terminated
        assert reward == pytest.approx(expected), action


def test_an_unanswerable_question_pays_for_declining_only():
    for answer, expected in {
        "The passages do not say who painted it.": 1.0,
        "Nobody knows. It was Turner.": 0.0,
        "Turner painted the sky.": 0.0,
        "": 0.0,
    }.items():
        assert played("search(sky)", f"answer({answer})", tasks=[UNANSWERABLE])[1][1] == expected, answer


def test_declining_an_answerable_question_pays_nothing():
    assert played("search(sky)", "answer(The passages do not say.)")[1][1] == 0.0


def test_a_question_that_is_never_answered_pays_nothing_however_good_the_searches():
    _, (_, reward, terminated, truncated, report) = played("search(The sky is blue)", max_turns=1)
    assert (reward, terminated, truncated) == (0.0, False, True)
    assert not report["reward_missing"]


def test_gaming_by_an_answer_outside_of_the_call_pays_nothing():
    assert played("The sky is blue [1].", max_turns=1)[1][1] == 0.0
    assert played("answer(The sky is blue [1].) answer(no)", max_turns=1)[1][1] == 0.0


def test_a_saved_episode_is_scored_as_the_environment_did():
    env, (_, reward, *_) = played("search(blue sky)", "answer(The sky is blue [1]. It is wide [1].)")
    again = trajectory_from_json(json.loads(json.dumps(trajectory_to_json(env.trajectory))))
    with Scorer(RAGEnv.default_reward) as scorer:
        assert scorer.score(again).total == reward
    assert 0.0 < reward < 1.0


def test_a_langchain_retriever_finds_the_passages():
    env, (shown, *_) = played("search(anything)", passages=None, retriever=Colours(), k=1)
    assert shown == "[1] Sky (id: sky)\nThe sky is blue."
    assert env.step("answer(blue [1])")[1] == 1.0


def test_a_retriever_that_fails_is_not_the_agents_fault():
    _, (_, reward, terminated, truncated, report) = played("search(storm)", passages=None, retriever=Colours())
    assert (reward, terminated, truncated, report["reward_missing"]) == (0.0, False, True, True)
    assert "the index is gone" in report["reward_result"].failures[0].message


def test_no_query_of_an_agent_makes_a_service_fail():
    class Service:
        def find(self, query, k):
            if not query or len(query.encode()) > 1000:
                raise ValueError("status 400")
            return []

    for query in ("", "x" * 5000, "\ud800"):
        _, (shown, *_, report) = played(f"search({query})", passages=None, retriever=Service())
        assert shown == "Nothing was found."
        assert "reward_missing" not in report


def test_embeddings_that_fail_are_not_the_agents_fault():
    def embed(texts):
        raise ConnectionError("no such host")

    _, (*_, truncated, report) = played("search(sky)", embed=embed)
    assert truncated
    assert report["reward_missing"]


def test_passages_of_a_task_are_the_only_ones_for_it():
    task = {**TASK, "passages": ["Snow is white.", "Coal is black."]}
    env, (shown, *_) = played("search(white sky)", tasks=[task])
    assert shown == "[1]  (id: 1)\nSnow is white."
    assert env.step("search(blue sea)")[0] == "Nothing was found."


def test_embeddings_find_what_shares_no_word():
    def embed(texts):
        return np.array([["sk" in text.lower() or "heaven" in text, "sea" in text.lower()] for text in texts])

    _, (shown, *_) = played("search(heavens)", embed=embed)
    assert shown == "[1] Sky (id: sky)\nThe sky is blue."
    with pytest.raises(ConfigError, match="one vector each"):
        Embedded(open_passages(SKY), lambda texts: [1.0]).find("x", 1)


def test_passages_come_from_a_folder_or_a_file(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "sky.txt").write_text("The sky is blue.")
    (tmp_path / "notes.md").write_text("Nothing.")
    (tmp_path / "image.png").write_bytes(b"\x89")
    assert open_passages(tmp_path) == [
        Passage(id="deep/sky.txt", title="sky", text="The sky is blue."),
        Passage(id="notes.md", title="notes", text="Nothing."),
    ]
    (tmp_path / "all.jsonl").write_text('"One."\n\n{"id": 7, "title": "T", "text": "Two."}\n')
    assert open_passages(tmp_path / "all.jsonl") == [
        Passage(id="1", text="One."),
        Passage(id="7", title="T", text="Two."),
    ]


def test_bm25_ranks_by_rare_words_and_keeps_ties_in_order():
    index = Bm25(open_passages(["red apple", "green apple", "green pear", "green apple"]))
    assert [p.id for p in index.find("red apple", 3)] == ["1", "2", "4"]
    assert index.find("apples", 3) == []
    alike = Bm25(open_passages(["apple", "pear"] * 50))
    assert [p.id for p in alike.find("pear", 4)] == ["2", "4", "6", "8"]
    assert [p.id for p in Bm25(open_passages(["天空是蓝的", "海是绿的"])).find("海的颜色", 1)] == ["2"]
    assert Bm25([]).find("x", 3) == []


def test_bm25_is_searched_by_other_threads_while_its_index_is_being_built(monkeypatch):
    passages = Bm25(open_passages(["red apple", "green pear"]))
    build, meanwhile = bm25s.BM25.index, []

    def build_while_another_searches(index, corpus, **options):
        if not meanwhile:
            meanwhile.append("started")
            with ThreadPoolExecutor(1) as other:
                meanwhile.append(other.submit(passages.find, "pear", 1).result(timeout=10))
        build(index, corpus, **options)

    monkeypatch.setattr(bm25s.BM25, "index", build_while_another_searches)
    assert [p.id for p in passages.find("apple", 1)] == ["1"]
    assert [p.id for p in meanwhile[1]] == ["2"]


def test_bm25_finds_the_gold_passage_of_natural_questions(shared):
    import gzip

    with gzip.open(shared("data/rag/nq_open_oracle.jsonl.gz"), "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    passages = [Passage(id=str(i), **{k: row["ctxs"][0][k] for k in ("title", "text")}) for i, row in enumerate(rows)]
    index = Bm25(passages)
    found = sum(str(i) in {p.id for p in index.find(row["question"], 5)} for i, row in enumerate(rows))
    assert found / len(rows) > 0.93  # 685 questions; BM25 with k1=1.5, b=0.75


def test_what_the_extra_brings_is_missed_with_its_cure(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"agentic-rewardkit\[rag\]"):
        RAGEnv()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k=0 must be"),
        ({"snippet": True}, "snippet=True must be"),
        ({"retriever": object(), "passages": None}, "has no invoke"),
        ({"retriever": Colours()}, "leave out passages"),
        ({"passages": 3}, "give a folder"),
        ({"passages": "nowhere.jsonl"}, "cannot be read"),
        ({"passages": [{"title": "x"}]}, "passage 1 is"),
        ({"passages": [{"id": 1, "text": "x"}, "y", {"id": "1", "text": "z"}]}, "same id"),
        ({"embed": "nowhere:f"}, "names no"),
    ],
)
def test_an_option_that_cannot_be_right_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        RAGEnv(**{"tasks": [TASK], "passages": SKY, **options})


def test_a_task_without_passages_is_refused_when_it_begins():
    env = RAGEnv(tasks=[TASK])
    with pytest.raises(ConfigError, match="'t' has no passages"):
        env.reset()


def test_gold_answers_every_built_in_question():
    env = gymnasium.make("rewardkit/RAG-v0").unwrapped
    for task in env.tasks.tasks:
        env.reset(options={"task_id": task.id})
        reward, over = 0.0, False
        while not over:
            _, reward, *ended, _ = env.step(env.gold())
            over = any(ended[:2])
        assert reward == pytest.approx(1.0), task.id


def test_gold_of_a_task_without_a_gold_answer_is_its_reference_with_a_passage_that_says_it():
    env, _ = played("search(Which colour has the sky?)")
    assert env.gold() == "answer(blue [1])"
    env, _ = played("search(x)", tasks=[{"id": "n", "prompt": "x"}])
    with pytest.raises(ConfigError, match="no gold answer"):
        env.gold()
