"""Which tokens of a conversation are the agent's, for the templates there are."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from rewardkit.errors import RewardError
from rewardkit.types import Message, Step, ToolCall

pytest.importorskip("torch", reason="torch is not installed: the agent's tokens are not tested")
pytest.importorskip("transformers", reason="transformers is not installed: the agent's tokens are not tested")

from rewardkit_plugins.engine.config import EngineConfig
from rewardkit_plugins.engine.reader import Reader
from rewardkit_plugins.models.actions import find_actions

_FILE = importlib.util.spec_from_file_location("couple", Path(__file__).parent / "couple.py")
couple = importlib.util.module_from_spec(_FILE)
_FILE.loader.exec_module(couple)

BLANK_BEFORE_THE_END = "{% for m in messages %}<|im_start|>{{ m.role }}: {{ m.content }} \n<|im_end|>{% endfor %}"
CALLS = """{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}{% for c in m.tool_calls or [] %}[{{ c.function.name }} {{ c.function.arguments.x }}]{% endfor -%}
<|im_end|>
{% endfor %}"""
NOTHING_BEFORE = "{{ messages[-1].content }}"
DIALOGUE = ("Is it?", "Yes it is.", "Sure?", "No.")


class Deaf(Reader):
    """A reader that has a tokenizer and no model."""

    def logprobs(self, readings):
        raise NotImplementedError

    classes = logprobs

    def close(self):
        pass


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer")
    couple.make_tokenizer().save_pretrained(path)
    (path / "config.json").write_text("{}")
    return str(path)


def reader(directory, **options):
    return Deaf(EngineConfig(model=directory, **options), couple.make_tokenizer())


def texts(found):
    text = found.rendered.text
    offsets = [[found.rendered.offsets[i] for i in step] for step in found.steps]
    return [text[row[0][0] : row[-1][1]] if row else "" for row in offsets]


@pytest.mark.parametrize(
    ("template", "end"), [("chatml", "<|im_end|>"), ("plain", ""), (BLANK_BEFORE_THE_END, " \n<|im_end|>")]
)
def test_the_agents_words_and_what_ends_its_turn_are_judged(directory, template, end):
    engine = reader(directory, chat_template=template)
    for which, expected in {"last": ["", "No."], "all": ["Yes it is.", "No."]}.items():
        for ended in (True, False):
            (found,) = find_actions(engine, [couple.dialogue(*DIALOGUE)], which=which, end_of_turn=ended)
            assert [t.strip() if template == "plain" else t for t in texts(found)] == [
                t + (end if ended else "") if t else "" for t in expected
            ]


def test_a_model_is_read_before_each_judged_token(directory):
    (found,) = find_actions(reader(directory), [couple.dialogue(*DIALOGUE)], which="all")
    assert [i + 1 for i in found.reading.positions] == found.tokens
    assert found.ids == [found.reading.ids[i] for i in found.tokens]
    assert "".join(found.texts) == "Yes it is.<|im_end|>No.<|im_end|>"


def test_tool_calls_are_the_agents_words_and_a_silent_step_has_none(directory):
    attempt = couple.dialogue(*DIALOGUE)
    call = Message(role="assistant", tool_calls=(ToolCall(name="add", arguments='{"x": 1}'),))
    silent = Message(role="assistant")
    steps = (replace(attempt.steps[0], action=call), Step(action=silent), attempt.steps[1])
    (found,) = find_actions(reader(directory, chat_template=CALLS), [replace(attempt, steps=steps)], which="all")
    assert texts(found) == ["[add 1]<|im_end|>", "", "No.<|im_end|>"]


def test_cutting_drops_the_oldest_tokens_and_moves_the_judged_ones(directory):
    whole, cut = (
        find_actions(reader(directory, **options), [couple.dialogue(*DIALOGUE)])[0]
        for options in ({}, {"max_length": 12, "truncation": "left"})
    )
    assert len(cut.rendered.ids) == 12
    assert cut.dropped == len(whole.rendered.ids) - 12
    assert (cut.ids, cut.texts) == (whole.ids, whole.texts)
    with pytest.raises(RewardError, match="at most 12 fit"):
        find_actions(reader(directory, max_length=12), [couple.dialogue(*DIALOGUE)])


def test_an_answer_with_nothing_before_it_has_no_first_prediction(directory):
    with pytest.raises(RewardError, match="opens its turn"):
        find_actions(reader(directory, chat_template=NOTHING_BEFORE), [couple.dialogue("", "Yes.")])
    assert find_actions(reader(directory), []) == []
