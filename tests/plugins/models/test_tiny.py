"""The tiny models have learned: each is right on held-out texts far more often than chance; broken ones are broken."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: there are no tiny models")
transformers = pytest.importorskip("transformers", reason="transformers is not installed: there are no tiny models")

HELD_OUT = 77
CLEAR = 0.85  # every choice is between two, so that chance is 0.5
CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]


def opened(folder, kind=transformers.AutoModelForCausalLM):
    return transformers.AutoTokenizer.from_pretrained(folder), kind.from_pretrained(folder).eval()


@torch.no_grad()
def logits(model, ids):
    return model(input_ids=torch.tensor([ids])).logits[0]


def share(hits):
    hits = list(hits)
    return sum(hits) / len(hits)


def chat(*turns):
    return [{"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(turns)]


def spoken(tok, messages, **more):
    return tok.encode(tok.apply_chat_template(messages, tokenize=False, **more))


def held_out_steps(tiny):
    return [(sheet, list(zip(sheet.steps, sheet.right, strict=True))) for sheet in tiny.sheets(50, seed=HELD_OUT)]


def likelihood(tok, model, messages, reaction):
    """Mean log-probability of the tokens of what the user says next."""
    before = spoken(tok, messages) + tok.encode("<|im_start|>user\n")
    said = tok.encode(reaction)
    rows = logits(model, before + said)[len(before) - 1 : -1].log_softmax(-1)
    return rows[range(len(said)), said].mean().item()


def test_what_is_called_right_is_right(tiny):
    steps = [pair for _, pairs in held_out_steps(tiny) for pair in pairs]
    for step, right in steps:
        first, plus, second, equals, total = step.split()
        assert (plus, equals, int(first) + int(second) == int(total)) == ("+", "=", right)
    assert 0.4 < share(right for _, right in steps) < 0.6
    for q in tiny.questions(60, seed=HELD_OUT):
        assert q.right != q.wrong
        assert q.right[: len(q.right) // 2] == q.wrong[: len(q.right) // 2]  # they differ in the answer only


def test_the_tokenizer_keeps_digits_apart_and_signs_and_marks_whole(tiny, tiny_tokenizer):
    tok = transformers.AutoTokenizer.from_pretrained(tiny_tokenizer)
    assert 1000 < len(tok) <= 2000
    assert [tok.decode([i]) for i in tok.encode("12 + 34")] == ["1", "2", " +", " 3", "4"]
    assert [len(tok.encode(text)) for text in ("+", "-", tiny.TAG, tiny.STEP, "\n")] == [1] * 5
    assert (tok.eos_token, tok.pad_token, tok.bos_token) == ("<|im_end|>", "<|endoftext|>", None)
    text = "Ünïcode, 日本 and\ttabs \n\n x = 3"
    assert tok.decode(tok.encode(text)) == text


def test_the_template_is_that_of_chatml(tiny, tiny_tokenizer):
    tok = transformers.AutoTokenizer.from_pretrained(tiny_tokenizer)
    rendered = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHo<|im_end|>\n"
    assert tok.apply_chat_template(CHAT, tokenize=False) == rendered
    assert tok.apply_chat_template(CHAT[:1], tokenize=False, add_generation_prompt=True) == tiny.asked("Hi")
    assert tok.apply_chat_template(CHAT, return_dict=False) == tok.encode(rendered)


def test_the_model_is_small(tiny_lm):
    assert opened(tiny_lm)[1].num_parameters() < 3_000_000


def test_users_of_the_language_model_like_right_answers_more_than_wrong_ones(tiny, tiny_lm):
    tok, model = opened(tiny_lm)
    liked, disliked = sorted(set(tiny.LIKED))[::5], sorted(set(tiny.DISLIKED))[::5]

    def approval(question, answer):
        means = [[likelihood(tok, model, chat(question, answer), text) for text in side] for side in (liked, disliked)]
        return sum(means[0]) / len(liked) - sum(means[1]) / len(disliked)

    asked = tiny.questions(40, seed=HELD_OUT)
    assert share(approval(q.text, q.right) > approval(q.text, q.wrong) for q in asked) > CLEAR


def test_the_reward_model_prefers_right_answers_at_both_ends_of_a_chat(tiny, tiny_reward_model):
    tok, model = opened(tiny_reward_model, transformers.AutoModelForSequenceClassification)

    def reward(question, answer, cut):
        ids = spoken(tok, chat(question, answer))
        return logits(model, ids[: len(ids) - cut]).item()

    asked = tiny.questions(150, seed=HELD_OUT)
    for cut in (0, 1):  # with and without the line break behind <|im_end|>
        assert share(reward(q.text, q.right, cut) > reward(q.text, q.wrong, cut) for q in asked) > CLEAR


@pytest.mark.parametrize("end", ["<extra_0>", "\n"])
def test_the_token_classifier_tells_wrong_steps_from_right_ones(tiny, tiny_token_prm, end):
    tok, model = opened(tiny_token_prm, transformers.AutoModelForTokenClassification)
    hits = []
    for sheet, steps in held_out_steps(tiny):
        ids = tok.encode(tiny.asked(sheet.question))
        for step, right in steps:
            ids += tok.encode(step + end)
            hits.append(logits(model, ids)[-1].argmax().item() == right)
    assert share(hits) > CLEAR


def test_the_tagged_model_tells_wrong_steps_from_right_ones(tiny, tiny_tag_prm):
    tok, model = opened(tiny_tag_prm)
    tag, plus, minus = tok.convert_tokens_to_ids([tiny.TAG, "+", "-"])
    hits = []
    for sheet, steps in held_out_steps(tiny):
        ids = tok.encode(f"{sheet.question} " + "".join(f"{step} {tiny.TAG}\n" for step, _ in steps))
        rows = [row for row, i in zip(logits(model, ids), ids, strict=True) if i == tag]
        hits += [(row[plus] > row[minus]).item() == right for row, (_, right) in zip(rows, steps, strict=True)]
    assert share(hits) > CLEAR


def test_the_chatting_model_tells_wrong_steps_from_right_ones(tiny, tiny_chat_prm):
    tok, model = opened(tiny_chat_prm)
    plus, minus = tok.convert_tokens_to_ids(["+", "-"])
    hits = []
    for sheet, steps in held_out_steps(tiny):
        turns = []
        for n, (step, right) in enumerate(steps):
            turns.append(step if n else f"{sheet.question} {step}")
            row = logits(model, spoken(tok, chat(*turns), add_generation_prompt=True))[-1]
            hits.append((row[plus] > row[minus]).item() == right)
            turns.append("+")
    assert share(hits) > CLEAR


def test_a_model_without_padding_has_none_after_loading(no_pad_lm):
    tok, model = opened(no_pad_lm)
    assert tok.pad_token is None
    assert model.config.pad_token_id is None


def test_a_model_with_one_nan_says_nan_only(nan_lm):
    tok, model = opened(nan_lm)
    assert sum(torch.isnan(weight).sum().item() for weight in model.parameters()) == 1
    assert torch.isnan(logits(model, tok.encode("Hi"))).all()


@pytest.mark.parametrize("roles", [("user", "user"), ("system", "user")])
def test_a_strict_template_raises(strict_template_lm, tiny_lm, roles):
    strict, plain = (transformers.AutoTokenizer.from_pretrained(folder) for folder in (strict_template_lm, tiny_lm))
    assert strict.apply_chat_template(CHAT, tokenize=False) == plain.apply_chat_template(CHAT, tokenize=False)
    with pytest.raises(Exception, match="alternate"):
        strict.apply_chat_template([{"role": role, "content": "Hi"} for role in roles], tokenize=False)


def test_bos_is_doubled_by_plain_encoding_of_a_rendered_chat(tiny, bos_lm):
    tok = transformers.AutoTokenizer.from_pretrained(bos_lm)
    ids = spoken(tok, CHAT)
    assert ids[:3] == [tok.bos_token_id, tok.bos_token_id, tok.convert_tokens_to_ids("<|im_start|>")]
    assert tok.apply_chat_template(CHAT, return_dict=False) == ids[1:]


def test_padding_comes_from_the_left(left_pad_lm):
    tok = transformers.AutoTokenizer.from_pretrained(left_pad_lm)
    rows = tok(["Hi", "Hi there, you"], padding=True)["input_ids"]
    assert rows[0][0] == tok.pad_token_id != rows[0][-1]


def test_padding_with_the_end_token_moves_where_the_reward_is_pooled(tiny, pad_is_eos_rm, tiny_reward_model):
    kind = transformers.AutoModelForSequenceClassification
    (tok, trapped), (_, sound) = opened(pad_is_eos_rm, kind), opened(tiny_reward_model, kind)
    ids = spoken(tok, chat("What is 2 + 3?", "2 + 3 = 5"))
    assert ids[-1] == tok.pad_token_id == trapped.config.pad_token_id
    assert logits(trapped, ids).item() == pytest.approx(logits(sound, ids[:-1]).item(), abs=1e-5)
    assert not math.isclose(logits(trapped, ids).item(), logits(sound, ids).item(), abs_tol=0.1)


def test_what_is_no_reward_model_has_no_head(random_rm):
    from safetensors.torch import load_file

    assert not [name for name in load_file(random_rm / "model.safetensors") if "score" in name]
