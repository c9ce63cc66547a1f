"""How answers are read: words, sentences, citations, declines, passages, and the lexical rule of entailment."""

from __future__ import annotations

import gzip
import json
import pickle
import time

import pytest

from rewardkit.errors import ConfigError, RewardError
from rewardkit.testing import trajectory
from rewardkit.types import Message, Step, Task, Trajectory
from rewardkit_plugins.rag.answer_f1 import remove_citations_released
from rewardkit_plugins.rag.attempts import answer_of, is_answerable, passages_of
from rewardkit_plugins.rag.declining import stance_of
from rewardkit_plugins.rag.entailment import Entailment, lexical
from rewardkit_plugins.rag.sentences import citations_of, sentences_of, without_citations
from rewardkit_plugins.rag.words import says, squad_normalised, token_f1


def entails(premise, claim):
    return lexical([(premise, claim)])[0]


def test_words_are_normalised_and_counted_as_in_alce(alce):
    for case in alce["normalize_answer"]:
        assert squad_normalised(case["s"]) == case["v"]
    for case in alce["token_f1"]:
        assert token_f1(case["gold"], case["pred"])[0] == case["f1"]
    for case in alce["remove_citations"]:
        assert remove_citations_released(case["s"]) == case["v"]


@pytest.mark.parametrize(
    ("text", "phrase", "expected"),
    [
        ("Modern art is fine", "ART", True),
        ("a particle", "art", False),
        ("8,849 metres", "8,849", True),
        ("18,849 metres", "8,849", False),
        ("3.14 rad", "3", False),
        ("New York City", "york city", True),
        ("York, New", "new york", False),
        ("O'Neill's boat", "O'Neill", False),
        ("班列从南宁启程", "南宁", True),
        ("anything", "", False),
        ("anything", "...", False),
    ],
)
def test_a_phrase_is_said_by_whole_words_in_order(text, phrase, expected):
    assert says(text, phrase) is expected


@pytest.mark.parametrize(
    ("text", "sentences", "cited"),
    [
        ("A is b [1]. C is d [2][3].", ["A is b [1].", "C is d [2][3]."], [[1], [2, 3]]),
        ("A is b. [1][2] C is d.[3]", ["A is b. [1][2]", "C is d.[3]"], [[1, 2], [3]]),
        ("A is b [1, 2].", ["A is b [1, 2]."], [[1, 2]]),
        ("A [1][1][0].", ["A [1][1][0]."], [[1, 0]]),
        ("Dr. Ng saw 3.5 m, e.g. here.  Then?  Yes!", ["Dr. Ng saw 3.5 m, e.g. here.", "Then?", "Yes!"], [[], [], []]),
        ("J. R. Tolkien wrote it. I. It ends", ["J. R. Tolkien wrote it.", "I.", "It ends"], [[], [], []]),
        ('He said "Go." Then left.', ['He said "Go."', "Then left."], [[], []]),
        ("one\ntwo [1]\n\n[2]\n...", ["one", "two [1]"], [[], [1]]),
        ("天是蓝的。[1]海是绿的[2]。", ["天是蓝的。[1]", "海是绿的[2]。"], [[1], [2]]),
        ("[x] [-1] [1-2] [1;2] [٣]", ["[x] [-1] [1-2] [1;2] [٣]"], [[]]),
        ("", [], []),
    ],
)
def test_sentences_and_their_citations(text, sentences, cited):
    assert sentences_of(text) == sentences
    assert [citations_of(sentence) for sentence in sentences] == cited


def test_citations_leave_no_space_behind():
    assert without_citations("A b [1][2]. C[3] d [4, 5] .") == "A b. C d ."


@pytest.mark.parametrize(
    ("answer", "stance"),
    [
        ("I don't know.", "declined"),
        ("I’m not sure", "declined"),
        ("Sorry, I can't answer that.", "declined"),
        ("I am unable to answer this from the passages.", "declined"),
        ("The passages do not answer this question.", "declined"),
        ("The provided documents don't contain that.", "declined"),
        ("The passages describe the canal, but do not mention its cost.", "declined"),
        ("None of the passages mention the cost.", "declined"),
        ("There is no information about it.", "declined"),
        ("The year is not mentioned. The passages only say that he made thermometers [2].", "declined"),
        ("Unanswerable", "declined"),
        ("The passages do not say. It is Paris.", "mixed"),
        ("I don't know, but it is Paris.", "mixed"),
        ("I don't know. According to the passages it is Paris.", "mixed"),
        ("It is Paris; the passages do not say.", "mixed"),
        ("Paris", "answered"),
        ("It was not built in his lifetime [1].", "answered"),
        ("The city was not known as Paris until 1900.", "answered"),
        ("He did not say no.", "answered"),
        ("", "silent"),
        ("[1] ...", "silent"),
    ],
)
def test_a_decline_is_told_from_an_answer(answer, stance):
    assert stance_of(answer) == stance


@pytest.mark.parametrize(
    ("premise", "claim", "expected"),
    [
        ("Neptune was first seen by Johann Galle in 1846.", "Galle saw Neptune.", False),  # saw is not seen
        ("Neptune was first seen by Johann Galle in 1846.", "In 1846 Galle's Neptune was seen", True),
        ("Neptune was first seen by Johann Galle in 1846.", "Neptune was first seen in 1847.", False),
        ("Ships pass locks.", "A ship passes a lock", False),  # stems are not found, but for a plural s
        ("The ships wait.", "The ship's wait", True),
        ("The engine was not built.", "The engine was built.", False),
        ("The engine was not built.", "The engine was never built.", True),
        ("The engine was built.", "The engine wasn't built.", False),
        ("It is blue. It is not red.", "It is blue.", True),
        ("It is blue.", "It is.", False),
        ("", "Blue.", False),
        ("天空是蓝的。", "天空是蓝", True),
    ],
)
def test_the_lexical_rule_wants_every_word_and_the_same_negation(premise, claim, expected):
    assert entails(premise, claim) is expected


def test_the_lexical_rule_cannot_see_who_did_what():
    assert entails("Romeo loves Juliet.", "Juliet loves Romeo.")


def test_the_lexical_rule_agrees_with_people_on_most_sentences(shared):
    """Of 801 sentences people marked 134 as wrongly grounded or unverifiable in the passages shown."""
    right = {True: [], False: []}
    with gzip.open(shared("data/rag/finegrained_qa_feedback.jsonl.gz"), "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            text, at = row["prediction 1"], 0
            for sentence in sentences_of(text):
                start = text.find(sentence, at)
                at = start + len(sentence)
                faults = [e for e in row["feedback"]["errors"] if e["start"] < at and e["end"] > start]
                grounded = not any(e["error type"] in ("Wrong-Grounding", "Unverifiable") for e in faults)
                said = any(entails(f"{title}\n{' '.join(body)}", sentence) for title, *body in row["passages"])
                right[grounded].append(said == grounded)
    rates = [sum(marks) / len(marks) for marks in right.values()]
    assert len(right[True]) > 600
    assert sum(rates) / 2 > 0.79


def test_a_judge_is_asked_once_for_each_pair_and_its_answers_are_probabilities():
    asked = []

    def judge(pairs):
        asked.extend(pairs)
        return [0.51 if "a" in premise else 0.5 for premise, _ in pairs]

    assert Entailment(judge).of([("a", "x"), ("b", "x"), ("a", "x")]) == [True, False, True]
    assert asked == [("a", "x"), ("b", "x")]
    with pytest.raises(RewardError, match="gave 0 answers to 1 pairs"):
        Entailment(lambda pairs: []).of([("a", "b")])


def test_groups_of_pairs_are_asked_in_pieces_and_answered_in_order():
    sizes = []

    def judge(pairs):
        sizes.append(len(pairs))
        return [premise == claim for premise, claim in pairs]

    groups = [[(str(i), str(i)), (str(i), "x")][: i % 3] for i in range(100)]
    expected = [[True, False][: i % 3] for i in range(100)]
    assert Entailment(judge).of_each(groups) == expected
    assert sizes == [sum(i % 3 for i in range(64)), sum(i % 3 for i in range(64, 100))]


def test_a_judge_is_named_by_its_address_and_pickles_by_it():
    named = Entailment("rewardkit_plugins.rag.entailment:lexical")
    assert pickle.loads(pickle.dumps(named)).of([("The sky is blue", "blue sky")]) == [True]
    for wrong in ("lexicla", 3, None):
        with pytest.raises(ConfigError, match="entailment must be"):
            Entailment(wrong)
    with pytest.raises(ConfigError, match="cannot be loaded"):
        Entailment("nowhere:judge").setup()


def shown(*passages, **step):
    return Step(action=Message(role="assistant", content="search(x)"), metadata={"passages": list(passages), **step})


def test_passages_are_those_that_an_environment_showed_and_else_those_of_the_task():
    short = {"n": 2, "id": "b", "title": "B", "text": "cut…"}
    whole = {"n": 2, "id": "b", "title": "B", "text": "cut no more"}
    other = {"n": 1, "id": "a", "title": "", "text": "A"}
    task = Task(metadata={"passages": ["never shown"]})
    steps = (shown(short, other, action="search"), shown(whole, action="open"), shown(short, action="search"))
    found = passages_of(Trajectory(task=task, steps=steps))
    assert {n: passage.premise for n, passage in found.items()} == {1: "A", 2: "B\ncut no more"}
    assert [p.text for p in passages_of(Trajectory(task=task)).values()] == ["never shown"]
    assert passages_of(trajectory("q", "a")) is None
    with pytest.raises(RewardError, match="a passage is 3"):
        passages_of(trajectory("q", "a", metadata={"docs": [3]}))


def test_the_answer_is_that_of_the_call_and_else_the_completion():
    def last(**metadata):
        step = Step(action=Message(role="assistant", content="answer(x)"), metadata=metadata)
        return answer_of(Trajectory(task=Task(), steps=(step,)))

    assert last() == "answer(x)"
    assert last(action="answer", answer="x") == "x"
    assert last(action="malformed") == last(action="search", passages=[]) == ""
    assert last(action="something of another environment") == "answer(x)"


def test_a_task_says_whether_it_has_an_answer():
    assert is_answerable(Task(references=("x",))) is True
    assert is_answerable(Task(references=("x",), metadata={"answerable": False})) is False
    assert is_answerable(Task(metadata={"answerable": True})) is True
    assert is_answerable(Task(references=(" ",))) is None


@pytest.mark.parametrize(
    "text",
    [
        "a" + " " * 100_000 + "b",
        "passages " * 10_000,
        "!" * 100_000 + "x",
        "[1" * 50_000,
        ".[1 1 " * 15_000,
        "e.g. " * 20_000,
        "I do not " * 10_000,
        "passages x but " * 6_000,
        "[1," + "1," * 50_000,
        "a" * 100_000,
    ],
    ids=lambda text: text[:12],
)
def test_hostile_answers_are_read_in_time(text):
    start = time.process_time()
    stance_of(text)
    lexical([(text, "a b"), ("a b", text)])
    without_citations(text)
    assert time.process_time() - start < 5
