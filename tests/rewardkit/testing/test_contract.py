import os
import string
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from rewardkit.errors import ConfigError
from rewardkit.registry import RewardSpec
from rewardkit.testing import RewardContract, run_contract, trajectory
from rewardkit.testing.checks import CHECKS, ContractViolation
from rewardkit.testing.subject import Subject

REWARDS = Path(__file__).with_name("broken_rewards.py")
BROKEN = {
    "it lists its options": {"ManyOptions": "'**options'", "OddDefault": "'order' is (1, 2)"},
    "it has one signature": {"ChangingSignature": "then 'ChangingSignature|object:"},
    "it pickles before setup": {"Unpicklable": "Open models, files and locks in setup"},
    "it closes without setup": {"ClosesWhatIsNotThere": "it raised AttributeError"},
    "it sets up and closes twice": {"SetsUpOnce": "already set up"},
    "it gives one score each": {
        "OneTooFew": "16 attempts got 1 scores",
        "PlainNumbers": "1.0, which is no Score",
        "TooManySteps": "1 steps got 2 step scores",
    },
    "it takes the smallest batch": {"NoEmptyBatch": "AssertionError", "RankNeedsTwo": "ZeroDivisionError"},
    "it repeats itself": {"Drifts": "attempt 0 (good) got 2 instead of 1"},
    "it scores alone as in a batch": {"LooksAtTheBatch": "got 1 instead of 0.0625", "FixedOrder": "attempt 0 (good)"},
    "it scores in a thread": {"UsesSignals": "signal only works in main thread"},
    "it scores in an event loop": {"RunsALoop": "got the failure 'RuntimeError: asyncio.run()"},
    "it scores in a worker process": {"KnowsItsProcess": "another process"},
    "its scores survive JSON": {"TupleMetadata": "{'pair': (1, 2)}, which JSON does not keep"},
    "it judges the samples": {"abstains": "it abstains on each of the 4 samples", "raises": "unit_tests"},
    "it abstains without references": {"zero_without_references": "a task without references got 0"},
    "silence does not beat a good answer": {"likes_silence": "silence gets 2 where the good answer gets 1"},
    "echo does not beat a good answer": {"likes_the_question": "echo gets 1 where the good answer gets 0"},
    "garbage does not beat a good answer": {"likes_variety": "garbage gets"},
    "it takes odd input": {"trusts_int": "a number of 5,000 digits raised ValueError"},
}
CASES = [(check, name, message) for check, cases in BROKEN.items() for name, message in cases.items()]


def spec_of(name, *needs):
    return RewardSpec(name=name, factory=f"{REWARDS}:{name}", needs=frozenset(needs))


def failures_of(spec, **options):
    return {one.name: one.message for one in run_contract(spec, options) if one.ok is False}


@pytest.mark.parametrize(("check", "name", "message"), CASES, ids=lambda x: x.replace(" ", "_")[:40])
def test_every_check_finds_the_reward_that_breaks_it(check, name, message, monkeypatch):
    monkeypatch.setenv("REWARDKIT_TEST_PROCESS", str(os.getpid()))
    needs = ["group"] if "Rank" in name else ["references"]
    (found,) = [one for one in CHECKS if one.name == check]
    with pytest.raises(ContractViolation) as caught:
        found.against(Subject(spec_of(name, *needs), {}))
    assert message in str(caught.value)
    assert str(caught.value).endswith(found.cure)


def test_there_is_a_broken_reward_for_every_check():
    assert set(BROKEN) == {check.name for check in CHECKS}


@pytest.mark.parametrize("name", ["sound", "Sound", "SoundButRefusesSilence"])
def test_a_sound_reward_passes_every_check(name):
    outcomes = run_contract(spec_of(name, "references"), {})
    assert {one.name: one.message for one in outcomes if one.ok is not True} == {}


def test_a_sound_group_reward_passes_what_applies_to_it():
    outcomes = run_contract(spec_of("SoundRank"), {})
    assert {one.name for one in outcomes if one.ok is None} == {
        "it scores alone as in a batch",
        "it abstains without references",
    }
    assert [one for one in outcomes if one.ok is False] == []


def test_a_reward_that_fails_one_check_is_told_about_that_one_alone():
    assert set(failures_of(spec_of("TupleMetadata", "references"))) == {"its scores survive JSON"}
    assert set(failures_of(spec_of("NoEmptyBatch", "references"))) == {"it takes the smallest batch"}


def test_a_reward_of_form_alone_passes_with_samples_that_deserve_its_highest_value():
    assert "garbage does not beat a good answer" in failures_of(spec_of("likes_variety"))
    samples = [trajectory("Use many characters.", string.printable)]
    outcomes = run_contract(spec_of("likes_variety"), {}, samples)
    assert [one for one in outcomes if one.ok is False] == []


def test_options_that_cannot_be_right_raise_before_any_check():
    with pytest.raises(ConfigError, match="no option 'scael'; did you mean 'scale'"):
        run_contract(spec_of("sound"), {"scael": 2.0})


class TestByAddress(RewardContract):
    reward = f"{REWARDS}:sound"
    options: ClassVar = {"scale": 2.0}


class TestByName(RewardContract):
    reward = "exact_match"

    def trajectories(self):
        return [trajectory("The capital of France?", "Paris", ["Paris"], id="paris")]


class Constant:
    """A class of this file: the contract finds it again in every process."""

    def setup(self):
        pass

    def score_batch(self, batch, /):
        from rewardkit import Score

        return [Score(value=1.0) for _ in batch]

    def close(self):
        pass


class TestByClass(RewardContract):
    reward = Constant


def test_the_message_of_an_inherited_test_names_reward_check_and_cure():
    class Inherits(RewardContract):
        reward = f"{REWARDS}:TupleMetadata"

    with pytest.raises(
        AssertionError, match=r"reward 'TupleMetadata', check 'its scores survive JSON': .*Put JSON values only"
    ):
        Inherits().test_its_scores_survive_JSON()


def test_the_contract_does_without_pytest():
    code = "import sys, rewardkit.testing.contract as c; sys.exit('pytest' in sys.modules or not c.RewardContract)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
