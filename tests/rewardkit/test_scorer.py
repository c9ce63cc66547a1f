import asyncio
import math
from concurrent.futures import Future
from pathlib import Path

import pytest

from rewardkit import Failure, Message, RewardError, RewardSpec, Score, Scorer, Step, Task, Trajectory, reward
from rewardkit.errors import ConfigError, SandboxError, UnparsableError, WorkerError
from rewardkit.judging import judge
from rewardkit.plugins import Plugins

FILE = str(Path(__file__).parent / "rewards_for_tests.py")
NO_PLUGINS = Plugins()


def attempt(completion, task="q", **metadata):
    action = Message(role="assistant", content=completion)
    return Trajectory(task=Task(id=task), steps=(Step(action=action),), metadata=metadata)


@reward
def number(trajectory):
    return float(trajectory.completion) if trajectory.completion else None


@reward
def half(trajectory):
    return 0.5


@reward
def broken(trajectory):
    raise RewardError("no judge today")


def scorer(rewards):
    return Scorer(rewards, plugins=NO_PLUGINS)


def gated(value, *, gate=0.5, other=half, **table):
    both = scorer({"first": {"reward": number, "gate": gate, "weight": 2.0, **table}, "second": other})
    return both.score(attempt(value))


def test_the_total_is_the_weighted_sum():
    weighted = scorer({"a": {"reward": number, "weight": 2.0}, "b": {"reward": half, "weight": -1.0}})
    assert weighted.score(attempt("3")).total == 2.0 * 3.0 - 0.5


def test_an_abstention_is_left_out_of_the_sum():
    scored = scorer([number, half]).score(attempt(""))
    assert scored.total == 0.5
    assert scored.scores["number"].value is None


def test_the_total_is_none_when_all_abstain_or_only_unweighted_rewards_speak():
    assert scorer([number]).score(attempt("")).total is None
    monitored = scorer({"number": {"reward": number}, "half": {"reward": half, "weight": 0}})
    assert monitored.score(attempt("")).total is None
    assert monitored.score(attempt("1")).total == 1.0


def test_a_required_reward_that_fails_masks_the_sample_and_keeps_the_other_scores():
    scored = scorer([broken, half]).score(attempt("1"))
    assert scored.total is None
    assert scored.scores["half"].value == 0.5
    assert scored.failures == (Failure(reward="broken", kind="error", message="RewardError: no judge today"),)


def test_an_optional_reward_that_fails_is_left_out():
    scored = scorer({"broken": {"reward": broken, "required": False}, "half": half}).score(attempt("1"))
    assert scored.total == 0.5
    assert [f.reward for f in scored.failures] == ["broken"]


def test_a_closed_gate_leaves_only_gates_in_the_sum():
    assert gated("0.6").total == 2.0 * 0.6 + 0.5
    assert gated("0.4").total == 2.0 * 0.4
    assert gated("0.5").total == 2.0 * 0.5, "a gate opens above its threshold, not at it"
    assert gated("0", weight=0).total == 0.0


def test_a_gate_without_a_value_masks_the_sample():
    assert gated("").total is None
    assert gated("text", required=False).total is None


def test_failures_carry_the_name_that_the_scorer_uses():
    assert scorer({"judge": broken}).score(attempt("1")).failures[0].reward == "judge"


def test_a_sum_that_overflows_is_a_failure_not_infinity():
    scored = scorer({"a": {"reward": number, "weight": 10}}).score(attempt("1e308"))
    assert scored.total is None
    assert scored.failures[0].reward == "total"


def test_group_rewards_get_whole_groups_in_order():
    batch = [attempt("a", "q1"), attempt("bbb", "q2"), attempt("aaa", "q1"), attempt("b", "q2"), attempt("aa", "q1")]
    totals = [r.total for r in scorer({"rank": rank_object()}).score_batch(batch)]
    assert totals == [0.0, 1.0, 1.0, 0.0, 0.5]


def rank_object():
    return RewardSpec(name="rank", factory=f"{FILE}:Rank").build()


def test_a_batch_in_an_event_loop_gives_the_same_scores():
    batch = [attempt("1"), attempt("2")]
    assert asyncio.run(scorer([number]).score_batch_async(batch)) == scorer([number]).score_batch(batch)


def test_an_empty_batch_gives_no_results():
    assert scorer([number]).score_batch([]) == []


def test_known_outcomes_are_not_computed_again():
    seen = []

    class Watched:
        def submit(self, spec, options, batch, *, timeout):
            seen.append([t.completion for t in batch])
            future = Future()
            future.set_result([Score(value=9.0)] * len(batch))
            return future

        def close(self):
            pass

    watched = Scorer([f"{FILE}:words"], executor=Watched(), plugins=NO_PLUGINS)
    batch = [attempt("a"), attempt("b"), attempt("c")]
    known = [{1: Score(value=5.0)}]
    assert [r.total for r in watched.submit(batch, known=known).results()] == [9.0, 5.0, 9.0]
    assert seen == [["a", "c"]]
    assert [r.total for r in watched.submit(batch[1:2], known=[{0: Score(value=5.0)}]).results()] == [5.0]
    assert len(seen) == 1


def test_an_object_cannot_be_sent_to_workers():
    class Elsewhere:
        def submit(self, *_, **__):
            raise AssertionError

        def close(self):
            pass

    class Local:
        def score_batch(self, batch, /):
            return []

    with pytest.raises(ConfigError, match=r"'Local' was given as an object.*package.module:attribute"):
        Scorer([Local()], executor=Elsewhere(), plugins=NO_PLUGINS)


def test_observers_see_every_result():
    from rewardkit.hookspecs import hookimpl

    class Observer:
        def __init__(self):
            self.seen = []

        @hookimpl
        def rewardkit_scored(self, trajectory, result):
            self.seen.append((trajectory.completion, result.total))

    plugins, observer = Plugins(), Observer()
    plugins.add(observer, name="observer")
    Scorer([number], plugins=plugins).score_batch([attempt("1"), attempt("2")])
    assert observer.seen == [("1", 1.0), ("2", 2.0)]


# judging: what one reward may do wrong

SPEC = RewardSpec(name="r", factory="")


class Batchwise:
    def __init__(self, score_batch):
        self.score_batch = score_batch


def test_a_batch_that_raises_is_split_until_the_culprit_stands_alone():
    batch = [attempt(text) for text in ("1", "2", "x", "4", "5")]
    outcomes = judge(SPEC, Batchwise(lambda b: [Score(value=float(t.completion)) for t in b]), batch)
    assert [o.value if isinstance(o, Score) else o.kind for o in outcomes] == [1.0, 2.0, "error", 4.0, 5.0]
    assert "could not convert string to float: 'x'" in outcomes[2].message


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda b: [Score(value=1.0)] * (len(b) + 1), "got 2"),
        (lambda b: [], "got 0"),
        (lambda b: None, "NoneType"),
        (lambda b: "x" * len(b), "got str"),
        (lambda b: [0.5] * len(b), "expected a Score, got float"),
        (lambda b: [Score(value=math.nan)] * len(b), "nan"),
        (lambda b: [Score(value=1.0, steps=(1.0, 2.0))] * len(b), "2 step scores for 1 steps"),
    ],
)
def test_a_wrong_answer_is_a_failure_that_says_what_was_wrong(wrong, message):
    (outcome,) = judge(SPEC, Batchwise(wrong), [attempt("1")])
    assert isinstance(outcome, Failure)
    assert message in outcome.message


@pytest.mark.parametrize(
    ("error", "kind", "retryable"),
    [
        (UnparsableError("no verdict"), "unparsable", False),
        (SandboxError("daemon gone"), "sandbox", True),
        (TimeoutError(), "timeout", True),
        (KeyError("k"), "error", False),
        (RecursionError(), "error", False),
    ],
)
def test_exceptions_have_kinds(error, kind, retryable):
    def raising(batch):
        raise error

    (outcome,) = judge(SPEC, Batchwise(raising), [attempt("1")])
    assert (outcome.kind, outcome.retryable) == (kind, retryable)


def test_a_group_fails_as_a_whole():
    spec = RewardSpec(name="r", factory="", needs=frozenset({"group"}))

    class Broken:
        def score_group(self, group, /):
            raise ValueError("odd")

    outcomes = judge(spec, Broken(), [attempt("1"), attempt("2")])
    assert [o.message for o in outcomes] == ["ValueError: odd"] * 2


# misuse


def test_what_is_no_trajectory_raises_and_says_how_to_make_one():
    with pytest.raises(TypeError, match=r"not dict.*trajectory_from_json"):
        scorer([number]).score({"prompt": "a", "completion": "b"})


def test_a_closed_scorer_scores_no_more():
    closed = scorer([number])
    closed.close()
    closed.close()
    with pytest.raises(WorkerError, match="closed"):
        closed.score(attempt("1"))


def test_an_async_function_cannot_be_lifted():
    async def judge_later(trajectory):
        return 1.0

    with pytest.raises(ConfigError, match="'judge_later', which is async"):
        reward(judge_later)


def test_tasks_without_an_id_are_grouped_by_what_they_ask():
    def asked(question):
        return Trajectory(task=Task(prompt=(Message(role="user", content=question),)))

    assert asked("a").group == asked("a").group != asked("b").group
