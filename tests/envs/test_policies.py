"""Policies act as they say; a real server plays the other end."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from rewardkit import Message, Task
from rewardkit.errors import ConfigError, MissingExtraError
from rewardkit_envs import calls
from rewardkit_envs.env import TextEnv, Turn
from rewardkit_envs.policies import PolicyError, open_policy
from rewardkit_envs.wrappers import Transcript

GOLD = "the whole answer"


class Answering(TextEnv):
    def __init__(self):
        prompt = (Message(role="system", content="Be brief."), Message(role="user", content="Well?"))
        super().__init__(tasks=[Task(id="q", prompt=prompt)], reward=None, max_turns=3)

    def act(self, action):
        return Turn(observation=(Message(role="tool", content="seen"),))

    def gold(self):
        return GOLD


@pytest.fixture
def env():
    env = Answering()
    env.reset(seed=0)
    return env


def actions(policy, env, n=400, seed=0):
    return [policy.act(env, np.random.default_rng([seed, i])) for i in range(n)]


def test_gold_takes_the_known_answer_through_wrappers_too(env):
    assert actions(open_policy("gold"), env, 3) == [GOLD] * 3
    assert actions(open_policy("gold"), Transcript(env), 1) == [GOLD]


def test_noisy_spoils_as_often_as_asked_half_of_it_by_cutting_in_half(env):
    said = actions(open_policy("noisy:0.5"), env)
    gold, half = said.count(GOLD), said.count(GOLD[:8])
    assert 150 < gold < 250
    assert 60 < half < 140
    assert len(set(said)) > 60
    assert said == actions(open_policy("noisy:0.5"), env)
    assert said != actions(open_policy("noisy:0.5"), env, seed=1)
    assert set(actions(open_policy("noisy:0"), env)) == {GOLD}
    assert GOLD not in actions(open_policy("noisy:1"), env)
    assert 240 < actions(open_policy("noisy"), env).count(GOLD) < 320


def test_random_knows_nothing(env):
    said = actions(open_policy("random"), env)
    assert max(map(len, said)) == 32
    assert len(set(said)) > 350


@pytest.mark.parametrize(
    ("spec", "options", "what"),
    [
        ("gild", {}, "no policy is called 'gild'; did you mean 'gold'"),
        ("noisy:x", {}, "no probability"),
        ("noisy:1.5", {}, "from 0 to 1"),
        ("noisy:nan", {}, "from 0 to 1"),
        ("openai", {}, "write openai:URL"),
        ("hf:", {}, "write hf:PATH"),
        ("gold:1", {}, "write gold"),
        ("gold", {"model": "m"}, "policy 'gold' has no option 'model'"),
        ("openai:http://h", {"url": "http://i"}, "cannot be made with"),
        ("openai:http://h", {"retries": "x"}, "retries='x' cannot be right"),
        ("openai:localhost:8000", {}, "must begin with http"),
        (7, {}, "neither act nor invoke"),
    ],
)
def test_what_cannot_be_a_policy_is_refused(spec, options, what):
    with pytest.raises(ConfigError, match=what):
        open_policy(spec, **options)


def test_an_environment_without_gold_says_so():
    import gymnasium

    with pytest.raises(ConfigError, match="FrozenLakeEnv knows no gold policy"):
        open_policy("gold").act(gymnasium.make("FrozenLake-v1"), np.random.default_rng(0))


# ---- over HTTP


def ask(server, env, suffix="", **options):
    policy = open_policy(f"openai:{server.url}{suffix}", **{"wait": 0.01, **options})
    return policy.act(env, np.random.default_rng(0))


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/", "/v1/chat/completions"])
def test_a_server_is_asked_with_the_whole_dialogue(server, env, suffix, monkeypatch):
    monkeypatch.setenv("MY_KEY", "secret")
    env.step("first")
    said = ask(
        server, env, suffix, model="m", temperature=0.25, max_tokens=9, extra={"top_p": 0.5}, api_key_env="MY_KEY"
    )
    assert said == "hello"
    ((path, headers, body),) = server.requests
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer secret"
    seed = body.pop("seed")
    assert seed == int(np.random.default_rng(0).integers(2**31))
    assert body == {
        "model": "m",
        "temperature": 0.25,
        "max_tokens": 9,
        "top_p": 0.5,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Well?"},
            {"role": "assistant", "content": "first"},
            {"role": "user", "content": "seen"},
        ],
    }


def test_the_model_that_is_served_is_found_and_the_seed_can_stay_away(server, env, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    ask(server, env, send_seed=False)
    ((_, headers, body),) = server.requests
    assert body["model"] == "served"
    assert "seed" not in body
    assert "Authorization" not in headers


def test_a_server_that_is_gone_is_not_asked_for_its_models_by_everyone(env):
    policy = open_policy("openai:http://127.0.0.1:9", retries=1, wait=0.3)
    started = time.monotonic()
    for _ in range(20):
        with pytest.raises(PolicyError, match="no answer in 2 attempts"):
            policy.act(env, np.random.default_rng(0))
    assert time.monotonic() - started < 2


def test_what_may_pass_is_tried_again(server, env):
    server.answers = [503, 429, "hang up", "no json {", {"content": "at last"}]
    assert ask(server, env, model="m", retries=4) == "at last"
    assert len(server.requests) == 5
    assert len({json.dumps(body) for _, _, body in server.requests}) == 1  # the same question each time


def test_the_server_says_how_long_to_wait(server, env, monkeypatch):
    waited = []
    monkeypatch.setattr("rewardkit_envs.model_policies.time.sleep", waited.append)
    server.headers = {"Retry-After": "7"}
    server.answers = [429, {"content": "now"}]
    assert ask(server, env, model="m") == "now"
    assert 7 * 0.8 <= waited[0] <= 7 * 1.2


def test_what_will_not_pass_fails_at_once_and_what_does_not_pass_fails_at_last(server, env):
    server.answers = [400]
    with pytest.raises(PolicyError, match="refuses: status 400"):
        ask(server, env, model="m")
    assert len(server.requests) == 1
    server.answers = [500]
    with pytest.raises(PolicyError, match="no answer in 3 attempts: status 500"):
        ask(server, env, model="m", retries=2)
    assert len(server.requests) == 4
    server.http.server_close()
    with pytest.raises(PolicyError, match="no answer in 1 attempts: URLError"):
        open_policy("openai:http://127.0.0.1:9", model="m", retries=0).act(env, np.random.default_rng(0))


@pytest.mark.parametrize("answer", ['{"choices": []}', "[]", '{"choices": [{"message": "text"}]}', "null"])
def test_an_answer_of_another_shape_is_an_error(server, env, answer):
    server.answers = [answer]
    with pytest.raises(PolicyError, match="no chat completion"):
        ask(server, env, model="m")


CALL = {"id": "c1", "type": "function", "function": {"name": "search", "arguments": '{"q": "rain"}'}}


@pytest.mark.parametrize(
    ("message", "action"),
    [
        ({"content": None}, ""),
        ({"content": [{"type": "text", "text": "in "}, {"type": "text", "text": "parts"}]}, "in parts"),
        ({"content": "half \ud800 a pair"}, "half ? a pair"),
        ({"content": "x", "tool_calls": [CALL]}, json.dumps({"tool_calls": [CALL]})),
    ],
)
def test_messages_of_every_kind_become_actions(server, env, message, action):
    server.answers = [message]
    assert ask(server, env, model="m") == action


def test_a_tool_call_of_the_server_is_one_that_environments_read(server, env):
    server.answers = [{"content": None, "tool_calls": [CALL]}]
    call = calls.parse_call(ask(server, env, model="m"), ["search"])
    assert (call.name, call.arguments) == ("search", {"q": "rain"})


# ---- LangChain, transformers


def test_a_chat_model_of_langchain_is_a_policy(env):
    models = pytest.importorskip("langchain_core.language_models.fake_chat_models")
    messages = pytest.importorskip("langchain_core.messages")
    seen = []

    class Model(models.GenericFakeChatModel):
        def invoke(self, given, *args, **kwargs):
            seen.append(given)
            return super().invoke(given, *args, **kwargs)

    tool_call = {"name": "search", "args": {"q": "rain"}, "id": "c1"}
    said = iter([messages.AIMessage(content="one"), messages.AIMessage(content="", tool_calls=[tool_call])])
    policy = open_policy(Model(messages=said))
    assert policy.act(env, np.random.default_rng(0)) == "one"
    assert seen[0][-1] == {"role": "user", "content": "Well?"}
    call = calls.parse_call(policy.act(env, np.random.default_rng(0)), ["search"])
    assert (call.name, call.arguments, call.id) == ("search", {"q": "rain"}, "c1")


def test_a_policy_of_ones_own_is_one(env):
    class Mine:
        def act(self, env, random, /):
            return "mine"

    assert actions(open_policy(Mine()), env, 1) == ["mine"]


def test_without_transformers_the_cure_is_named(env, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(MissingExtraError, match="pip install torch transformers"):
        open_policy("hf:somewhere").act(env, np.random.default_rng(0))


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    """A model of transformers with random weights, whose words are characters."""
    transformers, tokenizers = pytest.importorskip("transformers"), pytest.importorskip("tokenizers")
    torch = pytest.importorskip("torch")
    path = tmp_path_factory.mktemp("model")
    characters = [chr(n) for n in range(32, 127)] + ["\n", "<end>"]
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel({c: i for i, c in enumerate(characters)}, unk_token=" "))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    inner.decoder = tokenizers.decoders.Fuse()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>")
    tokenizer.save_pretrained(path)
    torch.manual_seed(0)
    sizes = {"vocab_size": len(characters), "n_positions": 256, "n_embd": 16, "n_layer": 1, "n_head": 2}
    config = transformers.GPT2Config(**sizes, bos_token_id=96, eos_token_id=96)
    transformers.GPT2LMHeadModel(config).save_pretrained(path)
    return path


@pytest.mark.parametrize("template", [None, "{% for m in messages %}{{ m.role }}:{{ m.content }}\n{% endfor %}"])
def test_a_model_of_transformers_goes_on_with_the_dialogue(env, tiny_model, template):
    policy = open_policy(f"hf:{tiny_model}", max_tokens=12, device="cpu")
    policy.act(env, np.random.default_rng(0))
    policy._loaded[1].chat_template = template
    said = [policy.act(env, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert said[0] == said[1] != said[2]
    assert 0 < len(said[0]) <= 12
    greedy = open_policy(f"hf:{tiny_model}", max_tokens=5, temperature=0, device="cpu")
    assert greedy.act(env, np.random.default_rng(0)) == greedy.act(env, np.random.default_rng(1))
