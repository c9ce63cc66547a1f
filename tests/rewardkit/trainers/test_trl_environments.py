"""Environments for TRL, called as its trainer calls them: tools, rewards, rows, and what masks a sample."""

from __future__ import annotations

import inspect
import json
import pickle
from types import SimpleNamespace

import pytest

from rewardkit.errors import ConfigError
from rewardkit.trainers.trl import Spec, environment_factory, episode_reward, rollout_func


def tools_of(environment):
    """The tools that TRL finds: trl/trainer/grpo_trainer.py, `GRPOTrainer.__init__`, TRL 1.16."""
    return {
        name: getattr(environment, name)
        for name, _ in inspect.getmembers(type(environment), predicate=inspect.isfunction)
        if name not in ("reset", "get_reward") and not name.startswith("_")
    }


def said(text, **more):
    return [{"role": "assistant", "content": text, **more}]


def test_tools_are_typed_methods_with_docstrings():
    factory = environment_factory("trainers_test/Counter-v0", executor="serial", max_turns=9)
    (count,) = tools_of(factory()).values()
    assert count.__name__ == "count"
    assert str(inspect.signature(count)) == "(*, by: int, why: str = None) -> str"
    assert count.__doc__ == "Count on.\n\nArgs:\n    by: How far.\n    why: why\n\nReturns:\n    What follows."


def test_an_environment_without_tools_has_one_for_its_actions():
    environment = environment_factory("trainers_test/Sum-v0", executor="serial")()
    assert list(tools_of(environment)) == ["act"]
    assert environment.reset(task_id="3+3", prompt=[{"role": "user", "content": ""}]) == "3+3=?"
    environment.act(action="6")
    assert environment.get_reward() == 1.0
    environment._player.scorer = object()
    assert environment.get_reward() == 1.0  # TRL may ask twice, but nothing is scored twice
    assert environment.act(action="6") == "The episode is over: nothing happens any more."


def test_instances_are_of_one_class_and_play_apart_from_each_other():
    factory = environment_factory("trainers_test/Counter-v0", executor="serial", max_turns=9)
    one, two = factory(), factory()
    assert type(one) is type(two)  # TRL asks `type(e) is _env_type`
    assert type(one).__name__ == "Counter"
    for environment in (one, two):
        environment.reset(task_id="2+2", prompt="")
    assert [one.count(by=1), two.count(by=5), one.count(by=1)] == ["at 1", "at 5", "at 2"]


def test_reset_returns_only_what_the_prompt_does_not_show():
    environment = environment_factory("trainers_test/Counter-v0", executor="serial", max_turns=9)()
    assert environment.reset(task_id="3+3", prompt=[{"role": "user", "content": ""}]) == "3+3=?\n\nCount."
    assert environment.reset(task_id="3+3", prompt=[{"role": "user", "content": "3+3=?"}]) == "\n\nCount."
    whole = [{"role": "user", "content": "3+3=?"}, {"role": "user", "content": "Count."}]
    assert environment.reset(task_id="3+3", prompt=whole) is None


def test_a_row_may_be_the_task_itself_but_must_name_one():
    environment = environment_factory("trainers_test/Sum-v0", executor="serial")()
    prompt = [{"role": "user", "content": "half of 8?"}]
    assert environment.reset(prompt=prompt, answer="4") is None
    environment.act(action="4")
    assert environment.get_reward() == 1.0
    with pytest.raises(ConfigError, match=r"a row names no task: give it a `task_id`"):
        environment.reset(prompt=[{"role": "user", "content": ""}])


def test_the_same_seed_gives_all_of_a_group_the_same_task():
    factory = environment_factory("trainers_test/Sum-v0", executor="serial")
    assert len({factory().reset(seed=5, prompt="") for _ in range(4)}) == 1


def test_the_last_words_of_a_completion_are_the_answer():
    factory = environment_factory("trainers_test/Counter-v0", executor="serial", get_reward=False, max_turns=9)
    environments = [factory() for _ in range(4)]
    for environment in environments:
        environment.reset(task_id="2+2", prompt="")
        environment.count(by=1)
    call = {"type": "function", "function": {"name": "count", "arguments": {"by": 1}}}
    completions = [said("4"), said("5"), said("", tool_calls=[call]), [{"role": "tool", "content": "4"}]]
    assert episode_reward(completions, environments=environments) == [1.0, 0.0, 0.0, 0.0]
    assert not hasattr(environments[0], "get_reward")
    assert len(environments[2]._player.env.unwrapped.trajectory.steps) == 1


def test_words_after_the_tool_act_are_no_action():
    environment = environment_factory("trainers_test/Patient-v0", executor="serial", get_reward=False, max_turns=9)()
    environment.reset(task_id="2+2", prompt="")
    assert episode_reward([said("4")], environments=[environment]) == [1.0]
    environment.reset(task_id="2+2", prompt="")
    environment.act(action="4")
    assert episode_reward([said("Done, it was 5")], environments=[environment]) == [1.0]


def test_who_stops_before_the_goal_is_paid_nothing_and_not_masked():
    paying = environment_factory("rewardkit/Agent-v0", executor="serial")()
    ending = environment_factory("rewardkit/Agent-v0", executor="serial", get_reward=False)()
    for content, paid in (("hello", 1.0), ("hell", 0.0)):
        for environment in (paying, ending):
            environment.reset(task_id="shell/greeting", prompt="")
            environment.write_file(path="greeting.txt", content=content)
        assert paying.get_reward() == paid
        assert episode_reward([said("I am done.")], environments=[ending]) == [paid]
    paying.reset(task_id="shell/greeting", prompt="")
    assert paying.get_reward() == 0.0


def test_a_sandbox_that_fails_masks_the_sample():
    environment = environment_factory("trainers_test/Broken-v0", executor="serial")()
    environment.reset(task_id="2+2", prompt="")
    environment.act(action="4")
    assert environment.get_reward() is None


def test_a_missing_reward_masks_the_sample():
    environment = environment_factory("trainers_test/Sum-v0", executor="serial")()
    environment.reset(prompt="what?")  # no reference: the reward abstains
    environment.act(action="4")
    assert environment.get_reward() is None


def test_an_environment_of_others_pays_what_its_steps_paid():
    environment = environment_factory("trainers_test/Foreign-v0")()
    assert environment.reset(seed=1, prompt="") == "go"
    assert environment.act(action="a") == "on"
    environment.act(action="b")
    assert environment.get_reward() == 3.0


def test_the_environments_own_rewards_pay_not_those_of_its_class():
    """Math-v0 asks for a number in its own sums; plain `math`, its class's default, would pay for the question."""
    environment = environment_factory("rewardkit/Math-v0", executor="serial")()
    question = environment.reset(task_id="17+25", prompt="")
    environment.act(action=question)
    assert environment.get_reward() == 0.0


def test_the_tools_of_mathematics_can_be_called():
    tools = ["calculator"]  # an option of the environment
    environment = environment_factory("rewardkit/Math-v0", executor="serial", get_reward=False, tools=tools)()
    environment.reset(task_id="17+25", prompt="")
    assert list(tools_of(environment)) == ["calculator"]
    assert environment.calculator(expression="17 + 25") == "42"
    assert episode_reward([said("It is 42.")], environments=[environment]) == [1.0]


def test_instances_share_their_tasks_and_their_workers():
    factory = environment_factory("trainers_test/Sum-v0", executor="serial", timeout=5.0)
    one, two = factory()._player, factory()._player
    assert one.env.unwrapped.tasks is two.env.unwrapped.tasks
    assert one.scorer is two.scorer
    assert one.scorer.timeout == 5.0
    factory.close()


def test_factories_pickle():
    factory = environment_factory("trainers_test/Sum-v0", executor="serial")
    factory()
    environment = pickle.loads(pickle.dumps(factory))()
    environment.reset(task_id="2+2", prompt="")
    environment.act(action="4")
    assert environment.get_reward() == 1.0


def test_a_spec_has_a_row_for_each_task_and_reads_no_further_than_asked():
    spec = Spec("trainers_test/Sum-v0", executor="serial")
    assert spec.rows[2] == {"prompt": [{"role": "user", "content": "2+2=?"}], "task_id": "2+2"}
    assert len(spec.rows) == 6
    assert spec.reward_funcs == [episode_reward]
    assert len(Spec("trainers_test/Sum-v0", executor="serial", count=3).rows) == 3
    assert Spec("trainers_test/Sum-v0", executor="serial", get_reward=True).reward_funcs == []


def test_an_endless_task_source_needs_a_count():
    with pytest.raises(ConfigError, match=r"has no list of tasks: say how many to draw with count="):
        _ = Spec("rewardkit/Math-v0", executor="serial").rows
    assert len(Spec("rewardkit/Math-v0", executor="serial", count=4).rows) == 4


def test_episode_reward_without_episodes_says_what_is_missing():
    with pytest.raises(ConfigError, match="environment_factory= or rollout_func="):
        episode_reward(["4"])


class Letters:
    """A tokenizer of characters whose chat template writes `<role>content;` and a line; `;` ends a turn."""

    eos_token_id = ord(";")

    def apply_chat_template(self, messages, add_generation_prompt, tokenize, return_dict):
        text = "".join(f"<{m['role']}>{m['content']};\n" for m in messages)
        return [ord(letter) for letter in text + ("<assistant>" if add_generation_prompt else "")]

    def decode(self, ids, skip_special_tokens=True):
        return "".join(map(chr, ids)).replace(";" if skip_special_tokens else "-", "")


def rollout(replies, **options):
    """Play one episode of `replies` in an environment that counts."""
    spec = Spec("trainers_test/Counter-v0", executor="serial", max_turns=9)
    left = list(replies)

    def generate(ids, trainer):
        text = left.pop(0)
        return [[ord(letter) for letter in text]], [[-0.5] * len(text)]

    trainer = SimpleNamespace(processing_class=Letters(), max_completion_length=500)
    func = spec.rollout_func(generate=generate, **options)
    return func([spec.rows[2]["prompt"]], trainer)


@pytest.mark.parametrize("ending", ["", ";"])
def test_a_rollout_keeps_what_the_model_said_apart_from_what_it_saw(ending):
    call = json.dumps({"name": "count", "arguments": {"by": 4}})
    played = rollout([call + ending, "4;"])
    text = Letters().decode(played["completion_ids"][0], skip_special_tokens=False)
    assert text == f"{call};\n<user>at 4;\n<assistant>4;"
    spoken = "".join(c for c, mask in zip(text, played["env_mask"][0], strict=True) if mask)
    assert spoken == call + ending + "4;"
    assert played["environment_reward"] == [1.0]
    assert len(played["logprobs"][0]) == len(played["completion_ids"][0])
    assert {x for x, mask in zip(played["logprobs"][0], played["env_mask"][0], strict=True) if not mask} == {0.0}
    assert Letters().decode(played["prompt_ids"][0]).endswith("<user>Count.\n<assistant>")
    assert episode_reward(environment_reward=played["environment_reward"]) == [1.0]


def test_a_rollout_ends_where_its_tokens_end():
    call = json.dumps({"name": "count", "arguments": {"by": 1}})
    for limit, length in ((45, len(call)), (20, 20)):  # no room for what it saw; none for all that it said
        played = rollout([call, "4"], max_length=limit)
        assert len(played["completion_ids"][0]) == len(played["logprobs"][0]) == length
        assert played["environment_reward"] == [0.0]


def test_a_rollout_needs_no_spec():
    trainer = SimpleNamespace(processing_class=Letters(), max_completion_length=50)
    play = rollout_func("trainers_test/Sum-v0", executor="serial", generate=lambda ids, _: ([[ord("4")]], None))
    played = play([[{"role": "user", "content": "2+2=?"}]], trainer)
    assert (played["environment_reward"], played["logprobs"], played["env_mask"]) == ([1.0], None, [[1]])


def test_a_prompt_of_another_dataset_is_refused():
    spec = Spec("trainers_test/Sum-v0", executor="serial")
    trainer = SimpleNamespace(processing_class=Letters(), max_completion_length=50)
    with pytest.raises(ConfigError, match="no row has the prompt"):
        spec.rollout_func(generate=lambda ids, trainer: (ids, None))([[{"role": "user", "content": "?"}]], trainer)
