"""Guided decoding: the vectors, a plain computation without caches or padding, and that it raises the reward."""

from __future__ import annotations

import copy
import importlib.util
import json
from pathlib import Path

import pytest

from rewardkit.errors import ConfigError, RewardError

torch = pytest.importorskip("torch", reason="torch is not installed: guided decoding is not tested")
transformers = pytest.importorskip(
    "transformers", reason="transformers is not installed: guided decoding is not tested"
)

from rewardkit_plugins.models.autoregressive_reward import AutoregressiveReward  # noqa: E402
from rewardkit_plugins.models.guided_decoding import Guide, GuidedDecoding, mix  # noqa: E402

_FILE = importlib.util.spec_from_file_location("couple", Path(__file__).parent / "couple.py")
couple = importlib.util.module_from_spec(_FILE)
_FILE.loader.exec_module(couple)

QUESTIONS = ["Why?", "What colour is the sky?", "What is the capital of Peru, and since when has it been that?"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return couple.make(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def liked(models):
    """The guide and the base model in float64: what was trained on right answers, and what answers anything."""
    return [couple.Exact(path) for path in models]


def guided(liked, *alphas, **options):
    guides = [Guide(one.model, one.tokenizer, alpha) for one, alpha in zip(liked, alphas, strict=False)]
    return GuidedDecoding(guides, tokenizer=liked[1].tokenizer, **options)


def generate(base, questions, *processors, **options):
    batch = base.tokenizer([couple.prompt_of(q) for q in questions], return_tensors="pt", padding=True)
    options = {"max_new_tokens": 12, "do_sample": False, **options}
    made = base.model.generate(
        **batch,
        logits_processor=transformers.LogitsProcessorList(processors),
        return_dict_in_generate=True,
        output_scores=True,
        **options,
    )
    return made.sequences[:, batch["input_ids"].shape[1] :].tolist(), made.scores


def plainly(base, guides, alphas, question, steps):
    """Greedy decoding of one prompt: every step reads everything anew with every model."""
    ids, rows = base.tokenizer.encode(couple.prompt_of(question)), []
    for _ in range(steps):
        mixed = base.after(ids)[-1] + sum(a * guide.after(ids)[-1] for guide, a in zip(guides, alphas, strict=True))
        rows.append(mixed.log_softmax(-1))
        ids.append(int(rows[-1].argmax()))
    return ids[-steps:], rows


def test_the_vectors_are_reproduced_in_both_forms(shared):
    for case in json.loads(shared("specs/vectors/steps_tokens.json").read_text())["genarm_mix"]:
        base, guide = (torch.tensor(case[name], dtype=torch.float64) for name in ("base_logp", "arm_logp"))
        alpha, temperature = case["alpha"], case["temperature"]
        ours = (mix(base, [guide], [alpha]) / temperature).softmax(-1)
        assert ours.tolist() == pytest.approx(case["probs"], abs=1e-12)
        mean = (base + alpha * guide) / (1 + alpha)
        assert (mean / (temperature / (1 + alpha))).softmax(-1).tolist() == pytest.approx(case["probs"], abs=1e-12)


def test_a_mixture_by_hand():
    half = torch.tensor([0.5, 0.5]).log()
    guide = torch.tensor([0.8, 0.2]).log()
    assert mix(half, [guide], [1.0]).exp().tolist() == pytest.approx([0.8, 0.2])
    assert mix(half, [guide, guide], [1.0, 1.0]).exp().tolist() == pytest.approx([0.64 / 0.68, 0.04 / 0.68])
    assert mix(guide, [half], [7.0]).exp().tolist() == pytest.approx([0.8, 0.2])


def test_what_the_base_model_rules_out_stays_out_and_a_guide_without_weight_is_not_looked_at():
    base = torch.tensor([0.0, -torch.inf])
    assert mix(base, [torch.tensor([-50.0, 0.0])], [3.0]).tolist() == [0.0, -torch.inf]
    assert mix(base, [torch.tensor([torch.nan, 0.0])], [0.0]).tolist() == [0.0, -torch.inf]


@pytest.mark.parametrize("alphas", [(1.0,), (0.3,), (2.0, 0.5)])
def test_a_padded_batch_with_caches_says_what_single_prompts_say_without(liked, alphas):
    base = liked[1]
    tokens, scores = generate(base, QUESTIONS, guided(liked, *alphas), eos_token_id=[])
    for row, question in enumerate(QUESTIONS):
        expected, rows = plainly(base, liked[: len(alphas)], alphas, question, len(scores))
        assert tokens[row] == expected
        for step, wanted in zip(scores, rows, strict=True):
            assert torch.allclose(step[row].double(), wanted, atol=1e-5)


def test_a_step_reads_one_new_token_and_another_text_is_read_anew(liked):
    lengths = []
    hook = liked[0].model.register_forward_pre_hook(
        lambda _, args, given: lengths.append(given["input_ids"].shape[1]), with_kwargs=True
    )
    processor = guided(liked, 1.0)
    try:
        generate(liked[1], QUESTIONS, processor, eos_token_id=[], max_new_tokens=4)
        generate(liked[1], QUESTIONS[:1], processor, eos_token_id=[], max_new_tokens=2)
    finally:
        hook.remove()
    longest, shortest = (len(liked[1].tokenizer.encode(couple.prompt_of(QUESTIONS[n]))) for n in (2, 0))
    assert lengths == [longest, 1, 1, 1, shortest, 1]


def test_beams_that_move_are_followed(liked):
    options = {"num_beams": 3, "max_new_tokens": 6}
    assert (
        generate(liked[1], QUESTIONS, guided(liked, 1.0), **options)[0]
        == (generate(liked[1], QUESTIONS, Uncached(liked, 1.0), **options)[0])
    )


class Uncached(transformers.LogitsProcessor):
    """Guided decoding that forgets everything between steps."""

    def __init__(self, liked, alpha):
        self.liked, self.alpha = liked, alpha

    def __call__(self, input_ids, scores):
        return guided(self.liked, self.alpha)(input_ids, scores)


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_what_is_sampled_with_a_guide_gets_a_higher_reward(models, liked, alpha):
    reward = AutoregressiveReward(model=models[0], self_test=False)
    means = []
    for processors in ([], [guided(liked, alpha)]):
        torch.manual_seed(1)
        questions = list(couple.ANSWERS) * 8
        tokens, _ = generate(liked[1], questions, *processors, do_sample=True, top_k=0, max_new_tokens=20)
        texts = liked[1].tokenizer.batch_decode(tokens, skip_special_tokens=True)
        attempts = [couple.dialogue(q, text) for q, text in zip(questions, texts, strict=True) if text.strip()]
        scores = [score.value for score in reward.score_batch(attempts)]
        means.append(sum(scores) / len(scores))
    assert means[1] > means[0] + 5


def test_a_guide_without_weight_changes_nothing(liked):
    assert generate(liked[1], QUESTIONS, guided(liked, 0.0))[0] == generate(liked[1], QUESTIONS)[0]


def test_numbers_that_only_fill_up_the_head_are_ruled_out(liked):
    size = len(liked[1].tokenizer)
    ids = torch.tensor([[3, 4]])
    wide = guided(liked, 1.0)(ids, torch.zeros(1, size + 8))
    assert torch.equal(wide[:, :size], guided(liked, 1.0)(ids, torch.zeros(1, size)))
    assert bool((wide[:, size:] == -torch.inf).all())
    with pytest.raises(ConfigError, match=f"the base model has {size - 1} outputs for {size} tokens"):
        guided(liked, 1.0)(ids, torch.zeros(1, size - 1))


def test_a_mask_is_needed_where_the_pad_token_begins_texts(liked):
    tokenizer = couple.make_tokenizer()
    tokenizer.bos_token = tokenizer.pad_token
    ids = torch.tensor([[0, 0, 5, 6], [5, 6, 5, 6]])
    mask = torch.tensor([[0, 1, 1, 1], [1, 1, 1, 1]])
    scores = torch.zeros(2, len(tokenizer))
    guides = [Guide(liked[0].model, tokenizer)]
    with pytest.raises(ConfigError, match="attention_mask"):
        GuidedDecoding(guides, tokenizer=tokenizer)(ids, scores)
    given = GuidedDecoding(guides, tokenizer=tokenizer, attention_mask=mask)
    found = given(ids, scores)
    expected = liked[0].after([0, 5, 6])[-1]
    assert torch.allclose(found[0].double(), expected, atol=1e-5)
    assert torch.equal(given(ids.repeat_interleave(2, 0), scores.repeat(2, 1))[:2], found[[0, 0]])
    with pytest.raises(ConfigError, match=r"\[2, 4\], which does not fit tokens of \[1, 4\]"):
        given(ids[:1], scores[:1])


def test_a_guide_is_loaded_with_the_checks_of_the_engine(models, liked, tmp_path):
    guide = Guide.load(models[0], alpha=0.5)
    assert guide.name == models[0]
    ids, scores = torch.tensor([[3, 4]]), torch.zeros(1, len(guide.tokenizer))
    found = GuidedDecoding([guide], tokenizer=liked[1].tokenizer)(ids, scores)
    assert torch.allclose(found, guided(liked, 0.5)(ids, scores), atol=1e-5)
    with pytest.raises(ConfigError, match="no directory"):
        Guide.load(str(tmp_path / "nothing"))


def test_what_cannot_be_right_is_refused(liked):
    one, base = liked
    with pytest.raises(ConfigError, match="at least one reward model"):
        GuidedDecoding([], tokenizer=base.tokenizer)
    with pytest.raises(ConfigError, match="alpha must be at least 0"):
        Guide(one.model, one.tokenizer, -1.0)
    with pytest.raises(ConfigError, match="eval"):
        Guide(copy.deepcopy(one.model).train(), one.tokenizer)
    other = couple.make_tokenizer()
    other.add_tokens(["<tag>"])
    with pytest.raises(ConfigError, match=r"'the base model' and .* do not share a tokenizer: '<tag>'"):
        GuidedDecoding([Guide(one.model, other)], tokenizer=base.tokenizer)
    with pytest.raises(RewardError, match="inputs_embeds"):
        guided(liked, 1.0)(torch.empty(1, 0, dtype=torch.long), torch.zeros(1, len(other)))
