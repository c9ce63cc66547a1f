"""implicit_reward: DPO's identity and vectors, the numbers of a plain float64 computation, and how it is gamed."""

from __future__ import annotations

import importlib.util
import itertools
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rewardkit.errors import ConfigError, RewardError
from rewardkit.testing import RewardContract, trajectory

torch = pytest.importorskip("torch", reason="torch is not installed: implicit_reward is not tested")
pytest.importorskip("transformers", reason="transformers is not installed: implicit_reward is not tested")

from rewardkit_plugins.models.implicit_reward import ImplicitReward  # noqa: E402

_FILE = importlib.util.spec_from_file_location("couple", Path(__file__).parent / "couple.py")
couple = importlib.util.module_from_spec(_FILE)
_FILE.loader.exec_module(couple)

TURNS = [
    ("What colour is the sky?", "The sky is blue."),
    ("What colour is grass?", "Grass, if you ask me, is mostly of some green or other, except in August."),
    ("Who wrote Faust?", "Goethe wrote it.", "Are you sure?", "Yes: the first part in 1808."),
    ("?", "é"),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return couple.make(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def exact(models):
    return [couple.Exact(path) for path in models]


@pytest.fixture(scope="module")
def reward(models):
    made = build(models)
    yield made
    made.close()


def build(models, **options):
    return ImplicitReward(model=models[0], reference=models[1], **{"self_test": False, **options})


def expected(exact, turns, *, beta=0.1, end=couple.END):
    """β·(log π - log π_ref) for each token of each answer, in float64."""
    policy, reference = (one.answers(*turns, end=end) for one in exact)
    return [[beta * (a - b) for a, b in zip(*rows, strict=True)] for rows in zip(policy, reference, strict=True)]


class TestContract(RewardContract):
    reward = "rewardkit_plugins.models.implicit_reward:ImplicitReward"

    @pytest.fixture(autouse=True)
    def two_models(self, models):
        type(self).options = {"model": models[0], "reference": models[1]}

    def trajectories(self):
        return [trajectory(question, answer) for question, answer in couple.ANSWERS.items()]


@pytest.mark.parametrize(
    "options",
    [{"attention": "packed", "self_test": True}, {"attention": "sdpa"}, {"attention": "eager", "batch_tokens": 40}],
    ids=["packed", "padded", "small passes"],
)
def test_every_composition_of_a_batch_gives_the_numbers_of_float64(models, exact, options):
    reward = build(models, **options)
    wanted = [sum(expected(exact, turns)[-1]) for turns in TURNS]
    places = range(len(TURNS))
    for order in itertools.chain(*(itertools.permutations(places, n) for n in (1, 2, 4))):
        found = reward.score_batch([couple.dialogue(*TURNS[place]) for place in order])
        assert [one.value for one in found] == pytest.approx([wanted[place] for place in order], abs=1e-5)


def test_steps_tokens_and_parts_are_the_sums_of_what_each_token_earns(models, exact):
    turns = TURNS[2]
    rows = expected(exact, turns, beta=0.5)
    policy, reference = ([x for row in one.answers(*turns) for x in row] for one in exact)
    ids = [exact[0].tokenizer.encode(answer + couple.END) for answer in turns[1::2]]
    attempt = couple.dialogue(*turns, sampled=ids)
    for level, total in {"sequence": sum, "mean": lambda row: sum(row) / len(row)}.items():
        (found,) = build(models, beta=0.5, actions="all", level=level, per_token=True).score_batch([attempt])
        assert found.value == pytest.approx(total(rows[0] + rows[1]), abs=1e-5)
        assert found.steps == pytest.approx([total(row) for row in rows], abs=1e-5)
        assert found.tokens == pytest.approx(rows[0] + rows[1], abs=1e-5)
        assert found.metadata == {}
        parts = {"logprob": sum(policy), "reference_logprob": sum(reference), "tokens": len(policy)}
        assert found.parts == pytest.approx(parts, abs=1e-4)


def test_tokens_other_than_the_sampled_ones_are_told_with_their_texts(models, exact):
    turns = TURNS[0]
    sampled = exact[0].tokenizer.encode(turns[1])  # cut off: the end was never sampled
    reward = build(models, per_token=True)
    (cut,) = reward.score_batch([couple.dialogue(*turns, sampled=[sampled])])
    assert cut.tokens is None
    texts, rewards = zip(*cut.metadata["token_rewards"], strict=True)
    assert "".join(texts) == turns[1] + couple.END
    assert list(rewards) == pytest.approx(expected(exact, turns)[0], abs=1e-5)
    (open_ended,) = build(models, per_token=True, end_of_turn=False).score_batch(
        [couple.dialogue(*turns, sampled=[sampled])]
    )
    assert open_ended.tokens == pytest.approx(expected(exact, turns, end="")[0], abs=1e-5)
    assert len(open_ended.tokens) == len(cut.metadata["token_rewards"]) - 1


def test_a_policy_that_is_its_own_reference_earns_nothing(models):
    for path in models:
        same = build((path, path), per_token=True)
        for score in same.score_batch([couple.dialogue(*turns) for turns in TURNS]):
            assert score.value == pytest.approx(0.0, abs=1e-6)
            assert [x for _, x in score.metadata["token_rewards"]] == pytest.approx(
                [0.0] * len(score.metadata["token_rewards"]), abs=1e-6
            )


def test_swapping_policy_and_reference_gives_the_negative(models, reward):
    batch = [couple.dialogue(*turns) for turns in TURNS]
    swapped = build(models[::-1]).score_batch(batch)
    assert [s.value for s in swapped] == pytest.approx([-s.value for s in reward.score_batch(batch)], abs=1e-6)


class Told:
    """A model that gives an answer the log-probability it was told, spread over its tokens."""

    def __init__(self, reader, total):
        self.reader, self.total = reader, total
        self.renderer, self.tokenizer, self.window, self.fit = reader.renderer, reader.tokenizer, 512, reader.fit

    def logprobs(self, readings):
        return [torch.full((len(r.positions),), self.total / len(r.positions)) for r in readings]

    def close(self):
        pass


def test_the_vectors_of_dpo_are_reproduced(models, reward, shared):
    for case in json.loads(shared("specs/vectors/preference.json").read_text())["dpo_implicit"]:
        for side in "wl":
            told = build(models, beta=case["beta"])
            told._engine = Told(reward.engine, case[f"policy_{side}"])
            told._reference_engine = Told(reward.engine, case[f"ref_{side}"])
            (score,) = told.score_batch([couple.dialogue(*TURNS[0])])
            assert score.value == pytest.approx(case[f"reward_{side}"], abs=1e-6)
            assert score.parts["logprob"] == pytest.approx(case[f"policy_{side}"], abs=1e-5)


def test_what_the_policy_was_trained_on_earns_more_than_what_it_was_not(reward):
    for question, answer in couple.ANSWERS.items():
        others = [other for other in couple.ANSWERS.values() if other != answer]
        scores = reward.score_batch([couple.dialogue(question, text) for text in [answer, *others]])
        assert scores[0].value > 0
        assert scores[0].value > max(score.value for score in scores[1:])


def test_gaming_by_copies_does_not_pay_where_the_policy_learned_to_stop(models):
    question, answer = "What colour is the sky?", "The sky is blue."
    attempts = [
        couple.dialogue(question, text) for text in (answer, f"{answer} {answer}", f"{answer} {answer} {answer}")
    ]
    for level in ("sequence", "mean"):
        once, *more = [score.value for score in build(models, level=level).score_batch(attempts)]
        assert max(more) < 0 < once


def test_gaming_by_never_ending_pays_where_the_end_is_not_counted(models):
    question, cut = "What colour is the sky?", "The sky is"
    for counted in (True, False):
        (score,) = build(models, end_of_turn=counted).score_batch([couple.dialogue(question, cut)])
        assert (score.value > 0) is not counted


def test_what_is_too_long_is_cut_on_the_left_or_refused(models, exact):
    turns = ("Long ago. " * 20 + "What colour is the sky?", "The sky is blue.")
    with pytest.raises(RewardError, match="at most 40 fit"):
        build(models, max_length=40).score_batch([couple.dialogue(*turns)])
    (found,) = build(models, max_length=40, truncation="left").score_batch([couple.dialogue(*turns)])
    ids = [one.tokenizer.encode(couple.prompt_of(turns[0]) + turns[1] + couple.END) for one in exact]
    assert found.metadata == {"truncated_tokens": len(ids[0]) - 40 + 1}  # the line break behind the end


def test_bad_attempts_are_refused(reward):
    for turns, message in {
        ("Hi", "   "): "empty",
        ("Hi", "a<|im_end|>b"): "control token",
        ("Hi", "word " * 600): "at most 512 fit",
    }.items():
        with pytest.raises(RewardError, match=message):
            reward.score_batch([couple.dialogue(*turns)])
    with pytest.raises(RewardError, match="never acted"):
        reward.score_batch([couple.dialogue("Hi")])
    assert reward.score_batch([]) == []


def test_models_that_do_not_share_tokens_are_refused(models, tmp_path):
    other = Path(shutil.copytree(models[1], tmp_path / "other"))
    vocabulary = json.loads((other / "tokenizer.json").read_text())
    entries = vocabulary["model"]["vocab"]
    entries["a"], entries["b"] = entries["b"], entries["a"]
    (other / "tokenizer.json").write_text(json.dumps(vocabulary))
    with pytest.raises(ConfigError, match="do not share a tokenizer: 'a' is number"):
        build((models[0], str(other))).setup()


def test_models_with_other_templates_are_refused_unless_one_is_given(models, tmp_path):
    other = Path(shutil.copytree(models[1], tmp_path / "other"))
    (other / "chat_template.jinja").write_text("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
    with pytest.raises(ConfigError, match=r"chat templates of .* differ.*chat_template"):
        build((models[0], str(other))).setup()
    given = build((models[0], str(other)), chat_template="chatml")
    batch = [couple.dialogue(*TURNS[0])]
    assert given.score_batch(batch)[0].value == pytest.approx(build(models).score_batch(batch)[0].value, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 0.0}, "beta must be above 0"),
        ({"beta": float("nan")}, "beta must be a number"),
        ({"level": "token"}, "level must be one of"),
        ({"actions": "first"}, "actions must be one of"),
        ({"end_of_turn": "no"}, "end_of_turn must be true or false"),
        ({"per_token": 1}, "per_token must be true or false"),
        ({"reference": ""}, "reference must be"),
        ({"reference": "/nowhere"}, "no directory"),
        ({"windw": 3}, "no option 'windw'"),
    ],
)
def test_options_that_cannot_be_right_are_refused(models, options, message):
    with pytest.raises(ConfigError, match=message):
        ImplicitReward(**{"model": models[0], "reference": models[1], **options}).setup()


def test_the_signature_names_both_models_and_survives_pickling(models, reward):
    fields = reward.signature_fields()
    assert fields["model"].startswith("policy@")
    assert fields["reference"].startswith("reference@")
    assert fields["model"] != fields["reference"]
    assert (fields["reference_dtype"], fields["beta"]) == ("float32", "0.1")
    apart = build(models, reference_server="http://127.0.0.1:1")
    assert (apart.config.server, apart.reference.server) == (None, "http://127.0.0.1:1")
    assert apart.signature_fields()["reference_server"] == "vllm"
    copied = pickle.loads(pickle.dumps(reward))
    assert copied.signature_fields() == fields
    batch = [couple.dialogue(*TURNS[0])]
    assert copied.score_batch(batch)[0] == reward.score_batch(batch)[0]


def test_listing_the_reward_imports_nothing_heavy():
    heavy = {"torch", "transformers", "jinja2", "numpy"}
    code = f"import sys, rewardkit_plugins.models.implicit_reward; print({heavy!r} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
