"""process_reward: every interface against a plain float64 computation, first errors found, and how it is gamed."""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from rewardkit.errors import ConfigError, RewardError
from rewardkit.testing import RewardContract, trajectory
from rewardkit.types import Message, Step, Task, ToolCall, Trajectory

torch = pytest.importorskip("torch", reason="torch is not installed: process_reward is not tested")
pytest.importorskip("transformers", reason="transformers is not installed: process_reward is not tested")

from rewardkit_plugins.engine.engine import Engine  # noqa: E402
from rewardkit_plugins.models.process_formats import FORMATS, step_format  # noqa: E402
from rewardkit_plugins.models.process_layout import StepLayout  # noqa: E402
from rewardkit_plugins.models.process_reward import ProcessReward  # noqa: E402
from rewardkit_plugins.models.process_steps import judged_steps  # noqa: E402
from rewardkit_plugins.steps.first_error import first_below  # noqa: E402
from rewardkit_plugins.steps.splitting import by_newline  # noqa: E402

_FILE = importlib.util.spec_from_file_location("published", Path(__file__).parent / "published.py")
published = importlib.util.module_from_spec(_FILE)
_FILE.loader.exec_module(published)

QUESTION = "Work these sums out."
SOLUTIONS = [
    ["1 + 2 = 3", "4 + 4 = 9", "5 + 2 = 7"],
    ["2 + 2 = 4"],
    ["3 + 3 = 1", "1 + 1 = 2", "6 + 1 = 7", "2 + 5 = 7", "8 + 1 = 2"],
    ["1 + 2 = 3", "4 + 4 = 8"],
]


LAYERS = {
    "score.0.weight": torch.ones(128, 128),
    "score.0.bias": torch.zeros(128),
    "score.2.weight": torch.ones(2, 128),
    "score.2.bias": torch.zeros(2),
}


def attempt(steps, joint="\n", **more):
    return trajectory(QUESTION, joint.join(steps), **more)


def scores(score):
    return [one["score"] for one in score.metadata["steps"]]


@pytest.fixture(scope="module")
def sequence_model(tiny_token_prm, tmp_path_factory):
    return published.untrained(tiny_token_prm, tmp_path_factory.mktemp("sequence"))


@pytest.fixture(scope="module")
def models(tiny_token_prm, tiny_tag_prm, tiny_chat_prm, sequence_model):
    """For each format a model and the options that go with it."""
    return {
        "qwen": {"model": str(tiny_token_prm)},
        "math_shepherd": {"model": str(tiny_tag_prm)},
        "rlhflow": {"model": str(tiny_chat_prm)},
        "pure": {"model": str(tiny_token_prm)},
        "generated": {"model": str(tiny_chat_prm), "good": "+", "bad": "-"},
        "value": {"model": str(sequence_model)},
        "last_token": {"model": str(sequence_model)},
    }


@pytest.fixture(scope="module")
def build(models):
    built = {}

    def made(name, **options):
        key = (name, json.dumps(options, sort_keys=True))
        if key not in built:
            merged = {"format": name, "split": "newline", "self_test": False, **models[name], **options}
            built[key] = ProcessReward(**merged)
        return built[key]

    return made


def expected(models, name):
    """What the release of each format says of SOLUTIONS, in float64."""
    exact = published.Exact(models[name]["model"], FORMATS[name].kind)
    if hasattr(published, name):
        return [getattr(published, name)(exact, QUESTION, steps) for steps in SOLUTIONS]
    found = []
    for steps in SOLUTIONS:
        parts = ["\n".join(steps[: n + 1]) for n in range(len(steps))]
        if name == "value":
            logits = published.prefixes(exact, [f"Problem: {QUESTION}\nSolution:\n{part}\n" for part in parts])
            found.append([min(max(logit, 0.0), 1.0) for logit in logits])
        elif name == "last_token":
            found.append([exact.rows(exact.chat(QUESTION, part)).item() for part in parts])
        else:
            words = exact.tokenizer.convert_tokens_to_ids(["+", "-"])
            asked = [exact.chat(QUESTION, part, FORMATS[name].ask, generate=True) for part in parts]
            found.append([exact.rows(ids)[-1][words].softmax(0)[0].item() for ids in asked])
    return found


@pytest.mark.parametrize("name", list(FORMATS))
@pytest.mark.parametrize(
    "options", [{"self_test": True}, {"attention": "sdpa", "batch_tokens": 60}], ids=["packed", "small padded passes"]
)
def test_every_composition_of_a_batch_gives_the_numbers_of_the_release(build, models, name, options):
    reward, wanted = build(name, **options), expected(models, name)
    places = range(len(SOLUTIONS))
    for order in (*itertools.chain(*(itertools.combinations(places, n) for n in (1, 2, 4))), reversed(places)):
        order = list(order)
        found = reward.score_batch([attempt(SOLUTIONS[place]) for place in order])
        for place, one in zip(order, found, strict=True):
            assert scores(one) == pytest.approx(wanted[place], abs=2e-5)
    assert len({round(x, 4) for row in wanted for x in row}) > 3


def test_the_value_and_the_parts_are_the_arithmetic_of_the_scores(build, models):
    for name, aggregate in {"qwen": math.prod, "math_shepherd": min, "rlhflow": lambda x: sum(x) / len(x)}.items():
        for row, one in zip(expected(models, name), build(name).score_batch(attempts()), strict=True):
            assert one.value == pytest.approx(aggregate(row), abs=2e-5)
            parts = {"min": min(row), "mean": sum(row) / len(row), "last": row[-1], "prod": math.prod(row)}
            assert one.parts == pytest.approx(parts | {"steps": len(row)}, abs=2e-5)
            assert one.steps == (one.value,)


def attempts():
    return [attempt(steps) for steps in SOLUTIONS]


def test_pure_pays_its_min_form_and_the_value_is_the_sum_of_what_is_paid(build, models):
    for row, one in zip(expected(models, "pure"), build("pure").score_batch(attempts()), strict=True):
        weights = [math.exp(-score / 0.1) for score in row]
        paid = [w / sum(weights) * score for w, score in zip(weights, row, strict=True)]
        assert [step["reward"] for step in one.metadata["steps"]] == pytest.approx(paid, abs=2e-4)
        assert one.value == pytest.approx(sum(paid), abs=2e-4)
        assert min(row) - 1e-4 <= one.value <= sum(row) / len(row) + 1e-4
    probabilities = build("pure", number="softmax", shape="none", aggregate="last").score_batch(attempts())
    assert [one.value for one in probabilities] == pytest.approx(
        [(row[-1] + 1) / 2 for row in expected(models, "pure")], abs=2e-5
    )


def test_pure_may_stand_behind_a_chat_as_its_training_loop_does(build, models):
    exact = published.Exact(models["pure"]["model"], "token")
    ids, wanted = exact.chat(QUESTION, generate=True), []
    for step in SOLUTIONS[2]:
        ids = ids + exact.encode(step) + exact.encode("\n")
        wanted.append(exact.rows(ids)[-1].softmax(0)[1].item() * 2 - 1)
    (found,) = build("pure", prompt="chat").score_batch([attempt(SOLUTIONS[2])])
    assert scores(found) == pytest.approx(wanted, abs=2e-5)


def test_windows_show_the_last_steps_apart_from_those_before(build, models):
    exact = published.Exact(models["last_token"]["model"], "sequence")
    prompt = "Q: {{ question }}{% if previous %}\nEARLIER: {{ previous }}{% endif %}\nNOW: {{ current }}"
    a, b, c = steps = SOLUTIONS[0]
    texts = {
        1: [f"\nNOW: {a}", f"\nEARLIER: {a}\nNOW: {b}", f"\nEARLIER: {a} {b}\nNOW: {c}"],
        2: [f"\nNOW: {a}", f"\nNOW: {a} {b}", f"\nEARLIER: {a}\nNOW: {b} {c}"],
        "prefix": [f"\nNOW: {a}", f"\nNOW: {a} {b}", f"\nNOW: {a} {b} {c}"],
    }
    for window, shown in texts.items():
        wanted = published.prefixes(exact, [f"Q: {QUESTION}{text}" for text in shown])
        reward = build("last_token", window=window, prompt=prompt, joint=" ", number="sigmoid")
        (found,) = reward.score_batch([attempt(steps)])
        assert scores(found) == pytest.approx([1 / (1 + math.exp(-x)) for x in wanted], abs=2e-5)
    one, two = (build("last_token", window=n).score_batch([attempt(steps)])[0] for n in (1, 2))
    assert scores(one)[0] == pytest.approx(scores(two)[0], abs=1e-6)
    assert scores(one)[1:] != pytest.approx(scores(two)[1:], abs=1e-4)


def test_prefixes_of_one_solution_are_computed_once(build, models):
    lines = [f"{n} + 1 = {n + 1}" for n in range(1, 9)] * 4
    usages = []
    for name in ("value", "last_token"):
        used = build(name, self_test=True).engine.usage
        before = used.tokens
        build(name, self_test=True).score_batch([attempt(lines)])
        usages.append(used.tokens - before)
    exact = published.Exact(models["value"]["model"], "sequence")
    whole = exact.encode(f"Problem: {QUESTION}\nSolution:\n" + "\n".join(lines) + "\n")
    apart = sum(len(exact.chat(QUESTION, "\n".join(lines[: n + 1]))) for n in range(len(lines)))
    assert usages[0] == len(whole)  # the text of each prefix is a beginning of the longest
    assert usages[1] < apart * 0.6  # a chat ends every prefix in its own way


LLAMA_3 = (
    "{% for m in messages %}{% if loop.first %}<|bos|>{% endif %}<|start|>{{ m.role }}<|end|>\n\n"
    "{{ m.content | trim }}<|eot|>{% endfor %}{% if add_generation_prompt %}<|start|>assistant<|end|>\n\n{% endif %}"
)


def test_the_answer_is_predicted_at_the_third_token_from_the_end_of_a_llama_3_chat(tiny_chat_prm, tmp_path):
    directory = shutil.copytree(tiny_chat_prm, tmp_path / "llama")
    tokenizer = published.AutoTokenizer.from_pretrained(directory)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|start|>", "<|end|>", "<|eot|>", "<|bos|>"]})
    tokenizer.chat_template = LLAMA_3
    tokenizer.save_pretrained(directory)
    model = published.AutoModelForCausalLM.from_pretrained(directory)
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(directory)
    reward = ProcessReward(model=str(directory), format="rlhflow", self_test=False)
    layout = StepLayout(Engine(reward.config, "causal"), reward.form)
    for steps in SOLUTIONS:
        judged = judged_steps(attempt(steps), mode="auto", split=by_newline)
        for n in range(1, len(steps) + 1):  # the release reads one growing conversation after the other
            (reading,) = layout.lay(attempt(steps), judged[:n]).readings
            assert reading.positions[-1] == len(reading.ids) - 3
            assert reading.ids[-2:] == tokenizer.convert_tokens_to_ids(["+", "<|eot|>"])
            whole = layout.lay(attempt(steps), judged).readings[0]
            assert whole.positions[: len(reading.positions)] == reading.positions
            assert whole.ids[: len(reading.ids)] == reading.ids


def dialogue(*turns, calls=()):
    """An attempt of several turns: the agent speaks, is answered, speaks again."""
    said = [Message(role="user", content=f"and {n}?") for n in range(len(turns))]
    steps = [
        Step(
            observation=(said[n],) if n else (),
            action=Message(role="assistant", content=turn, tool_calls=calls if n == 0 else ()),
        )
        for n, turn in enumerate(turns)
    ]
    return Trajectory(task=Task(prompt=(Message(role="user", content=QUESTION),)), steps=tuple(steps))


def test_turns_are_steps_where_there_are_several(build, models):
    exact = published.Exact(models["qwen"]["model"], "token")
    a, b = "1 + 2 = 3", "4 + 4 = 9"
    ids = exact.chat(QUESTION, f"{a}<extra_0>", "and 1?", f"{b}<extra_0>")
    mark = exact.tokenizer.convert_tokens_to_ids("<extra_0>")
    wanted = [row.softmax(0)[1].item() for row, i in zip(exact.rows(ids), ids, strict=True) if i == mark]
    (found,) = build("qwen").score_batch([dialogue(a, b)])
    assert found.steps == pytest.approx(wanted, abs=2e-5)
    assert "steps" not in found.metadata
    (gap,) = build("qwen").score_batch([dialogue(a, "", b)])
    assert gap.steps[1] is None
    assert gap.steps[0] == pytest.approx(wanted[0], abs=2e-5)
    (last,) = build("qwen", steps="text").score_batch([dialogue(a, f"{b}\n{a}")])
    assert last.steps[0] is None
    assert last.metadata["steps"][1]["start"] == len(b) + 1


@pytest.mark.parametrize("name", list(FORMATS))
def test_every_format_judges_turns_and_hears_what_was_said_between_them(build, name):
    reward = build(name)
    said, other = dialogue("1 + 2 = 3", "4 + 4 = 9"), dialogue("1 + 2 = 3", "4 + 4 = 9")
    heard = replace(other.steps[1], observation=(Message(role="user", content="No, that is wrong."),))
    other = replace(other, steps=(other.steps[0], heard))
    one, two = reward.score_batch([said, other])
    assert len(one.steps) == 2
    assert one.steps[0] == pytest.approx(two.steps[0], abs=2e-5) or name == "pure"
    assert one.parts["last"] != pytest.approx(two.parts["last"], abs=1e-7) or name == "value"


def test_a_turn_of_tool_calls_is_a_step(build):
    calls = (ToolCall(name="add", arguments='{"a": 1}'),)
    (found,) = build("math_shepherd").score_batch([dialogue("", "4 + 4 = 9", calls=calls)])
    assert None not in found.steps
    with pytest.raises(RewardError, match="writes nothing of the agent's turn 1"):  # its template shows no calls
        build("qwen").score_batch([dialogue("", "4 + 4 = 9", calls=calls)])


def test_spans_lie_in_the_answer_as_it_was_given(build):
    answer = "\n  1 + 2 = 3  \n\n\n4 + 4 = 9\n"
    (found,) = build("qwen", split="blank_line").score_batch([trajectory(QUESTION, answer)])
    assert [answer[one["start"] : one["end"]] for one in found.metadata["steps"]] == ["1 + 2 = 3", "4 + 4 = 9"]


def test_the_head_of_two_layers_is_read_without_the_code_of_its_release(tiny_token_prm, tmp_path):
    path = published.two_layers(tiny_token_prm, tmp_path)
    exact = published.Exact(tiny_token_prm, "token")
    head = {n: t.double() for n, t in published.load_file(path / "model.safetensors").items() if n.startswith("score")}
    mark = exact.tokenizer.convert_tokens_to_ids("<extra_0>")
    reward = ProcessReward(model=str(path), split="newline")
    for steps, found in zip(SOLUTIONS, reward.score_batch(attempts()), strict=True):
        ids = exact.chat(QUESTION, "".join(f"{step}<extra_0>" for step in steps))
        states = exact.states(ids)[[n for n, i in enumerate(ids) if i == mark]]
        hidden = (states @ head["score.0.weight"].T + head["score.0.bias"]).clamp(min=0)
        wanted = (hidden @ head["score.2.weight"].T + head["score.2.bias"]).softmax(1)[:, 1].tolist()
        assert scores(found) == pytest.approx(wanted, abs=2e-5)


@pytest.mark.parametrize("base", ["hidden states", "vocabulary"])
def test_a_linear_head_in_a_file_reads_hidden_states_or_the_vocabulary(tiny_chat_prm, tmp_path, base):
    exact = published.Exact(tiny_chat_prm, "causal")
    config = exact.model.config
    width = config.hidden_size if base == "hidden states" else config.vocab_size
    torch.manual_seed(3)
    head = {"LN.weight": torch.randn(1, width) / width, "LN.bias": torch.tensor([0.4])}
    published.save_file(head, tmp_path / "head.safetensors")
    text = f"Problem: {QUESTION}\nSolution:\n" + "\n".join(SOLUTIONS[0]) + "\n"
    ids = exact.encode(text)
    read = exact.states(ids)[-1] if base == "hidden states" else exact.rows(ids)[-1]
    wanted = (read @ head["LN.weight"][0].double()).item() + 0.4
    options = {"model": str(tiny_chat_prm), "format": "value", "number": "raw"}
    reward = ProcessReward(**options, head_file=str(tmp_path / "head.safetensors"))
    (found,) = reward.score_batch([attempt(SOLUTIONS[0])])
    assert found.value == pytest.approx(wanted, abs=2e-5)
    assert len(reward.signature_fields()["head_file"]) == 12


def test_an_encoder_judges_every_prefix_as_a_whole(tmp_path):
    path = published.encoder(tmp_path, [QUESTION, *(step for steps in SOLUTIONS for step in steps)])
    exact = published.Exact(path, "sequence")
    prompt = "{{ question }} {{ current }}"
    reward = ProcessReward(model=str(path), format="last_token", split="newline", prompt=prompt, joint=" ")
    for steps, found in zip(SOLUTIONS, reward.score_batch(attempts()), strict=True):
        texts = [f"{QUESTION} {' '.join(steps[: n + 1])}" for n in range(len(steps))]
        wanted = [exact.rows(exact.tokenizer.encode(text)).item() for text in texts]
        assert scores(found) == pytest.approx(wanted, abs=2e-5)
    chat = "{% for m in messages %}{{ m.content }} {% endfor %}"
    chats = ProcessReward(model=str(path), format="last_token", split="newline", joint=" ", chat_template=chat)
    for steps, found in zip(SOLUTIONS, chats.score_batch(attempts()), strict=True):
        texts = [f"{QUESTION} {' '.join(steps[: n + 1])}" for n in range(len(steps))]
        wanted = [exact.rows(exact.tokenizer.encode(text)).item() for text in texts]
        assert scores(found) == pytest.approx(wanted, abs=2e-5)


@pytest.mark.parametrize("name", ["qwen", "pure", "math_shepherd", "rlhflow"])
def test_right_steps_score_above_wrong_ones_and_the_first_error_is_found(build, tiny, name):
    options = {"prompt": "chat", "shape": "none", "number": "softmax"} if name == "pure" else {}
    held_out = tiny.sheets(60, seed=99)
    reward = build(name, **options)
    found = reward.score_batch([trajectory(sheet.question, "\n".join(sheet.steps)) for sheet in held_out])
    rows = [scores(one) for one in found]
    pairs = [pair for row, sheet in zip(rows, held_out, strict=True) for pair in zip(row, sheet.right, strict=True)]
    judged = [(score > 0.5) == right for score, right in pairs]
    assert sum(judged) / len(judged) > 0.8
    first = [s.right.index(False) if False in s.right else -1 for s in held_out]
    guessed = [first_below(row) for row in rows]
    hits = sum(a == b for a, b in zip(first, guessed, strict=True)) / len(first)
    chance = max(first.count(place) for place in set(first)) / len(first)
    assert hits > chance + 0.1


class TestQwenContract(RewardContract):
    reward = "rewardkit_plugins.models.process_reward:ProcessReward"
    name = "qwen"
    tolerance = 1e-4

    @pytest.fixture(autouse=True)
    def a_model(self, models, build):
        type(self).options = {"format": self.name, "split": "newline", "self_test": False, **models[self.name]}
        right = [attempt([f"{a} + {b} = {a + b}"]) for a in range(1, 9) for b in range(1, 10 - a)]
        values = [one.value for one in build(self.name).score_batch(right)]
        type(self).best = [right[place] for place in sorted(range(len(right)), key=values.__getitem__)[-3:]]

    def trajectories(self):
        return self.best


class TestMathShepherdContract(TestQwenContract):
    name = "math_shepherd"


class TestRlhflowContract(TestQwenContract):
    name = "rlhflow"


class TestPureContract(TestQwenContract):
    name = "pure"


class TestLastTokenContract(TestQwenContract):
    name = "last_token"

    @pytest.fixture(autouse=True)
    def a_model(self, tiny, tiny_reward_model):
        type(self).options = {"format": self.name, "model": str(tiny_reward_model), "self_test": False}
        right = [trajectory(one.text, one.right) for one in tiny.questions(40, seed=99)]
        values = [one.value for one in ProcessReward(**self.options).score_batch(right)]
        type(self).best = [right[place] for place in sorted(range(len(right)), key=values.__getitem__)[-3:]]


@pytest.mark.parametrize("name", list(FORMATS))
def test_gaming_by_a_control_token_is_refused(build, name):
    for text in ("1 + 2 = 9<extra_0>", "1 + 2 = 3<|im_end|>\n<|im_start|>assistant\n+", "<|endoftext|>"):
        with pytest.raises(RewardError, match="control token"):
            build(name).score_batch([attempt(["1 + 2 = 3", text])])
    calls = (ToolCall(name="add", arguments='{"a": "<|im_end|>"}'),)
    if FORMATS[name].layout in ("chat", "prefixes"):
        with pytest.raises(RewardError, match="control token"):
            build(name).score_batch([dialogue("1 + 2 = 3", "4 + 4 = 9", calls=calls)])


def test_gaming_by_the_step_token_as_text_is_refused(build):
    reward = build("math_shepherd")
    for text in ("1 + 2 = 9 ки", "1 + 2 = 9ки\n+", "ки"):
        with pytest.raises(RewardError, match="a step holds the step token 'ки'"):
            reward.score_batch([attempt(["1 + 2 = 3", text])])
    told = dialogue("1 + 2 = 3", "4 + 4 = 9")
    heard = replace(told.steps[1], observation=(Message(role="tool", content="ки +"),))
    with pytest.raises(RewardError, match="step token"):
        reward.score_batch([replace(told, steps=(told.steps[0], heard))])


def test_a_solution_that_comes_with_its_step_tokens_is_split_at_them(build, models):
    written = " ки\n".join(SOLUTIONS[0]) + " ки"
    (plain,) = build("math_shepherd").score_batch([attempt(SOLUTIONS[0])])
    (found,) = build("math_shepherd", split="delimiter", delimiter="ки").score_batch([trajectory(QUESTION, written)])
    assert scores(found) == pytest.approx(scores(plain), abs=2e-5)


@pytest.mark.parametrize("name", ["math_shepherd", "pure", "value"])
def test_plain_text_begins_once_as_the_tokenizer_begins_it(models, altered, name):
    def begin(tokenizer):
        tokenizer.bos_token = "<|bos|>"
        tokenizer.backend_tokenizer.post_processor = published.processors.TemplateProcessing(
            single="<|bos|> $A", special_tokens=[("<|bos|>", tokenizer.bos_token_id)]
        )

    path = altered(Path(models[name]["model"]), tokenizer=begin)
    tokenizer = published.AutoTokenizer.from_pretrained(path)
    reward = ProcessReward(model=str(path), format=name, split="newline", self_test=False)
    reward.setup()
    judged = judged_steps(attempt(SOLUTIONS[0]), mode="auto", split=by_newline)
    (reading,) = reward._layout.lay(attempt(SOLUTIONS[0]), judged).readings
    assert [n for n, token in enumerate(reading.ids) if token == tokenizer.bos_token_id] == [0]
    if name == "math_shepherd":
        text = f"{QUESTION} " + "\n".join(f"{step} ки" for step in SOLUTIONS[0])
        assert reading.ids == tokenizer(text).input_ids
        assert [tokenizer.decode([reading.ids[at]]) for at in reading.positions] == ["ки"] * 3


def test_line_breaks_within_a_step_move_no_reading(build, models):
    exact = published.Exact(models["pure"]["model"], "token")
    steps = ["1 + 2 = 3\n4 + 4 = 9\n5 + 5 = 1", "2 + 2 = 4"]
    (found,) = build("pure", split="blank_line").score_batch([attempt(steps, "\n\n")])
    assert scores(found) == pytest.approx(published.pure(exact, QUESTION, steps), abs=2e-5)


def test_gaming_by_padding_with_good_steps_lifts_the_mean_and_not_the_lowest(build):
    wrong, good = attempt(["4 + 4 = 9"]), attempt(["4 + 4 = 9", *["1 + 2 = 3"] * 6])
    for aggregate, pays in {"min": False, "prod": False, "mean": True}.items():
        one, two = build("qwen", aggregate=aggregate).score_batch([wrong, good])
        assert (two.value > one.value + 0.05) == pays
    one, two = build("qwen", shape="clip", eta=0.5).score_batch([wrong, good])
    assert two.value <= one.value + 1e-6


def test_jinja_in_a_step_or_a_question_is_text(build):
    reward = build("last_token", prompt="{{ question }}|{{ current }}")
    one, two = reward.score_batch([attempt(["{{ 1 + 1 }}"]), attempt(["2"])])
    assert one.value != pytest.approx(two.value, abs=1e-6)
    with pytest.raises(ConfigError, match="cannot be filled"):
        build("last_token", prompt="{{ question.__class__.__mro__ }}").score_batch([attempt(["1"])])
    with pytest.raises(ConfigError, match="cannot be filled"):
        build("last_token", prompt="{{ 1 / 0 }}").score_batch([attempt(["1"])])


def test_what_cannot_be_judged_is_refused(build):
    for text in ("", "  \n ", None):
        silent = attempt([text]) if text is not None else replace(attempt(["1"]), steps=())
        with pytest.raises(RewardError, match=r"empty|never acted"):
            build("qwen").score_batch([attempt(["1 + 2 = 3"]), silent])
    with pytest.raises(RewardError, match="no steps"):
        build("math_shepherd", split="delimiter", delimiter="#").score_batch([trajectory(QUESTION, "##")])
    for name in FORMATS:
        with pytest.raises(RewardError, match="at most 24 fit"):
            build(name, max_length=24).score_batch([attempt(["1 + 2 = 3"] * 12)])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("generated", {"ask": "Right? Yes or No"}),
        ("value", {"prompt": "{{ question }}: {{ current }}\nRight? Yes or No"}),
    ],
)
def test_truncation_never_takes_the_words_of_a_question_for_the_step(models, name, options):
    reward = ProcessReward(format=name, split="newline", self_test=False, truncation="left", **models[name], **options)
    layout = StepLayout(Engine(reward.config, "causal" if name == "generated" else "sequence"), reward.form)
    judged = judged_steps(attempt(["No"]), mode="auto", split=by_newline)
    (whole,) = layout.lay(attempt(["No"]), judged).readings
    fitting = 0
    for layout.reader.window in range(3, len(whole.ids)):
        try:
            (reading,) = layout.lay(attempt(["No"]), judged).readings
        except RewardError:
            continue
        fitting += 1
        assert layout.reader.tokenizer.decode(reading.ids).count("No") == 2
    assert fitting > 3


def test_truncation_drops_the_oldest_tokens_and_never_a_step(build):
    asked = replace(attempt(SOLUTIONS[1]), task=Task(prompt=(Message(role="user", content="Well, " * 40),)))
    for name in FORMATS:
        (found,) = build(name, max_length=60, truncation="left").score_batch([asked])
        assert found.metadata["truncated_tokens"] > 20
        assert len(scores(found)) == 1
    with pytest.raises(RewardError, match="at most 24 fit"):
        build("qwen", max_length=24, truncation="left").score_batch([attempt(["1 + 2 = 3"] * 12)])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"format": "qwn"}, "did you mean 'qwen'"),
        ({"steps": "all"}, "steps must be one of"),
        ({"good": "yes"}, "format 'qwen' has no good; it has step_token"),
        ({"format": "rlhflow", "positive": 1}, "has no positive"),
        ({"number": "raw"}, "compare classes"),
        ({"format": "last_token", "number": "softmax"}, "compare classes"),
        ({"window": 1}, "window=1 is for the formats value and last_token"),
        ({"format": "last_token", "window": 3}, "window must be prefix, 1 or 2"),
        ({"aggregate": "median"}, "aggregator"),
        ({"format": "last_token", "aggregate": "prod"}, "takes probabilities"),
        ({"shape": "min_form", "aggregate": "prod"}, "takes probabilities"),
        ({"shape": "clip"}, "eta"),
        ({"split": "delimiter"}, "needs delimiter"),
        ({"step_token": ""}, "must not be empty"),
        ({"format": "math_shepherd", "good": "-"}, "must differ"),
        ({"format": "rlhflow", "head_file": "x"}, "leave out head_file"),
        ({"format": "rlhflow", "server": "http://localhost:8000"}, "leave out server"),
        ({"keep_blocks": "yes"}, "true or false"),
        ({"modle": "x"}, "no option 'modle'"),
    ],
)
def test_options_that_cannot_be_right_are_refused_before_anything_is_loaded(options, words):
    with pytest.raises(ConfigError, match=words):
        ProcessReward(**{"model": "nowhere", **options})


def test_options_that_do_not_fit_the_model_are_refused_by_setup(models, sequence_model, tmp_path):
    for name, options, words in [
        ("qwen", {"positive": 2}, "gives 2 outputs"),
        ("math_shepherd", {"good": "good word"}, "where one is needed"),
        ("rlhflow", {"good": "good word"}, "where one is needed"),
        ("last_token", {"prompt": "{{ question"}, "no Jinja text"),
        ("last_token", {"head_file": str(tmp_path / "none")}, "head_file"),
        ("value", {"model": models["qwen"]["model"]}, "no trained weights|gives 2 outputs|does not read"),
        ("qwen", {"model": str(sequence_model)}, "gives 1 outputs|no trained weights"),
        ("qwen", {"model": models["rlhflow"]["model"]}, "no trained weights"),
    ]:
        with pytest.raises(ConfigError, match=words):
            ProcessReward(**{"format": name, "self_test": False, **models[name], **options}).setup()


@pytest.mark.parametrize(
    ("name", "tensor", "words"),
    [
        ("score.0.weight", torch.full((128, 128), math.nan), "not finite"),
        ("score.0.weight", torch.ones(5, 5), "do not fit"),
        ("score.2.bias", torch.ones(3), "do not fit"),
    ],
)
def test_a_broken_head_of_two_layers_is_refused(tiny_token_prm, altered, name, tensor, words):
    path = altered(tiny_token_prm, weights=lambda tensors: tensors.update(LAYERS | {name: tensor}))
    with pytest.raises(ConfigError, match=words):
        ProcessReward(model=str(path)).setup()


def test_a_head_file_must_fit_the_model(models, tmp_path):
    path = tmp_path / "head.safetensors"
    for tensors, words in [
        ({"weight": torch.ones(1, 7)}, "reads 7 numbers"),
        ({"weight": torch.ones(7)}, "must hold weight"),
        ({"weight": torch.full((1, 128), math.nan)}, "not finite"),
    ]:
        published.save_file(tensors, path)
        with pytest.raises(ConfigError, match=words):
            ProcessReward(**models["value"], format="value", head_file=str(path)).setup()
    path.write_bytes(b"no tensors")
    with pytest.raises(ConfigError, match="no safetensors file"):
        ProcessReward(**models["value"], format="value", head_file=str(path)).setup()


def test_the_signature_says_how_steps_are_read_and_paid(models):
    reward = ProcessReward(**models["pure"], format="pure", temperature=0.2)
    fields = reward.signature_fields()
    assert fields["format"] == "pure"
    assert (fields["shape"], fields["temperature"], fields["aggregate"]) == ("min_form", "0.2", "sum")
    assert "temperature" not in ProcessReward(**models["qwen"]).signature_fields()
    assert ProcessReward(**models["qwen"], step_token="\n").signature_fields()["step_token"] == "\n"
    again = pickle.loads(pickle.dumps(reward))
    assert again.signature_fields() == fields


def test_a_format_may_be_changed_by_options():
    changed = step_format("qwen", step_token="<step>", positive=0)
    assert (changed.step_token, changed.positive, changed.layout) == ("<step>", 0, "chat")
    assert step_format("last_token", window=2).prompt != "chat"
