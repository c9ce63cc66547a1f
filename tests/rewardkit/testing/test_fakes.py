import subprocess
import sys

import pytest

import rewardkit.testing
from rewardkit import RewardError, Scorer
from rewardkit.testing import EchoReward, FailingReward, HangingReward, trajectory


def test_a_trajectory_is_built_from_texts():
    one = trajectory("2 + 2?", "4", ["4"], id="sum", metadata={"level": 1})
    assert (one.task.question, one.completion, one.task.references) == ("2 + 2?", "4", ("4",))
    assert (one.id, one.task.id, one.task.metadata) == ("sum", "sum", {"level": 1})


def test_an_echo_counts_its_calls():
    echo = EchoReward(value=0.5)
    with Scorer([echo]) as scorer:
        assert [r.total for r in scorer.score_batch([trajectory("a", "b")] * 2)] == [0.5, 0.5]
    assert echo.calls == ["setup", "score_batch(2)", "close"]


def test_a_failing_reward_fails_where_its_word_occurs():
    with Scorer([FailingReward(word="bomb")]) as scorer:
        good, bad = scorer.score_batch([trajectory("a", "fine"), trajectory("a", "bomb")])
    assert good.total == 1.0
    assert (bad.total, bad.failures[0].kind) == (None, "error")
    with pytest.raises(RewardError):
        FailingReward().score_batch([trajectory("a", "")])


def test_a_hanging_reward_answers_in_the_end():
    assert [s.value for s in HangingReward(seconds=0.01).score_batch([trajectory("a", "b")])] == [1.0]


def test_the_names_of_the_package_exist_and_are_sorted():
    assert sorted(rewardkit.testing.__all__) == rewardkit.testing.__all__
    assert all(hasattr(rewardkit.testing, name) for name in rewardkit.testing.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = rewardkit.testing.nothing


def test_fixtures_build_and_score(make_trajectory, score):
    assert score("regex:pattern=[0-9]+", make_trajectory("2 + 2?", "4")).total == 1.0


def test_the_pytest_plugin_imports_nothing_but_the_types():
    code = (
        "import sys, pytest; before = set(sys.modules); import rewardkit.testing.pytest_plugin;"
        "heavy = {'click', 'rich', 'msgspec', 'gymnasium', 'rewardkit.scorer', 'rewardkit.plugins'};"
        "print(sorted(heavy & (set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
