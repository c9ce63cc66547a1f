"""Models behind a server: the numbers of the model loaded here, whatever the batch; and what is refused, and how."""

from __future__ import annotations

import importlib.util
import math
import random
import socket
import threading
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the extra hf")
tf = pytest.importorskip("transformers", reason="needs the extra hf")

from rewardkit.errors import ConfigError, RewardError  # noqa: E402
from rewardkit_plugins.engine import client as client_module  # noqa: E402
from rewardkit_plugins.engine import server as server_module  # noqa: E402
from rewardkit_plugins.engine.config import EngineConfig  # noqa: E402
from rewardkit_plugins.engine.reader import Reading  # noqa: E402
from rewardkit_plugins.engine.server import ServerReader  # noqa: E402
from rewardkit_plugins.models.model_reward import open_engine  # noqa: E402

_FILE = importlib.util.spec_from_file_location("model_server", Path(__file__).parent / "model_server.py")
model_server = importlib.util.module_from_spec(_FILE)
_FILE.loader.exec_module(model_server)

KINDS = ["vllm", "sglang"]
CLASSES = {
    "causal": tf.AutoModelForCausalLM,
    "sequence": tf.AutoModelForSequenceClassification,
    "token": tf.AutoModelForTokenClassification,
}
READING = Reading([5, 6, 7, 8], [0, 2])


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(client_module, "WAITS", (0.01, 0.01, 0.01, 0.01))
    monkeypatch.delenv(client_module.KEY, raising=False)


@pytest.fixture
def serve(checkpoint):
    """`serve("llama")` is a server of a random model, as `checkpoint` makes it; stopped after the test."""
    started = []

    def start(name="llama", kind="causal", *, changes=None, **options):
        directory = checkpoint(name, kind, **(changes or {}))
        options = {"name": f"elsewhere/{Path(directory).name}", **options}
        server = model_server.ModelServer(CLASSES[kind].from_pretrained(directory).eval(), **options)
        server.directory, server.model_kind, server.readers = directory, kind, []
        started.append(server)
        return server

    yield start
    for server in started:
        for one in server.readers:
            one.close()
        server.close()


def reader(server, server_kind="vllm", **options):
    config = EngineConfig(model=server.directory, server=server.url, server_kind=server_kind, **options)
    server.readers.append(open_engine(config, server.model_kind))
    return server.readers[-1]


def some_readings(*, seed=0, count=24, longest=90, last=399):
    choose = random.Random(seed)
    found = []
    for _ in range(count):
        ids = [choose.randint(3, last) for _ in range(choose.randint(2, longest))]
        found.append(Reading(ids, sorted(choose.sample(range(len(ids) - 1), choose.randint(1, len(ids) - 1)))))
    return [*found, Reading([4, 4, 4], range(1, 2)), Reading([7, 8, 9], [])]


def worst_difference(found, expected):
    assert [a.shape for a in found] == [b.shape for b in expected]
    return max(float((a - b).abs().max()) for a, b in zip(found, expected, strict=True) if a.numel())


@pytest.mark.parametrize("server_kind", KINDS)
@pytest.mark.parametrize("batch_tokens", [1, 200, None])
def test_log_probabilities_are_those_of_the_model_loaded_here(serve, engine, server_kind, batch_tokens):
    readings = some_readings()
    found = reader(serve(), server_kind, batch_tokens=batch_tokens).logprobs(readings)
    assert all(one.dtype == torch.float32 for one in found)
    assert worst_difference(found, engine("llama").logprobs(readings)) < 1e-5


@pytest.mark.parametrize("server_kind", KINDS)
@pytest.mark.parametrize("num_labels", [1, 3])
def test_sequence_classes_are_raw_and_those_of_the_model_loaded_here(serve, checkpoint, server_kind, num_labels):
    server = serve(kind="sequence", changes={"num_labels": num_labels})
    here = open_engine(EngineConfig(model=server.directory), "sequence")
    readings = [Reading(r.ids, [len(r.ids) - 1]) for r in some_readings()]
    readings += [Reading(r.ids, [0, *r.positions]) for r in some_readings(seed=1, count=4, longest=12)]
    found = reader(server, server_kind).classes(readings)
    assert found[0].shape == (1, num_labels)
    assert worst_difference(found, here.classes(readings)) < 1e-5
    assert min(float(one.min()) for one in found if one.numel()) < 0


def test_an_encoder_classifies_the_whole(serve):
    server = serve("bert", "sequence", changes={"num_labels": 2})
    readings = [Reading(r.ids, [len(r.ids) - 1]) for r in some_readings(count=6)]
    here = open_engine(EngineConfig(model=server.directory), "sequence")
    assert worst_difference(reader(server).classes(readings), here.classes(readings)) < 1e-5


def test_token_classes_are_raw_and_those_of_the_model_loaded_here(serve, engine):
    readings = some_readings()
    found = reader(serve(kind="token")).classes(readings)
    assert found[-1].shape == (0, 2)
    assert worst_difference(found[:-1], engine("llama", "token").classes(readings)[:-1]) < 1e-5


def test_sglang_does_not_classify_tokens(serve):
    with pytest.raises(ConfigError, match="SGLang does not classify tokens"):
        reader(serve(kind="token"), "sglang")


def test_answers_keep_their_order_when_requests_overtake_each_other(serve, engine, monkeypatch):
    server = serve()
    first, lock = [True], threading.Lock()
    gate = threading.Event()

    def before():
        with lock:
            slow, first[0] = first[0], False
        if slow:
            gate.wait(5)  # the first request is answered last
        elif server.under_way <= 2:
            gate.set()

    asked = reader(server, batch_tokens=60)
    server.before = before
    readings = some_readings(count=40)
    assert worst_difference(asked.logprobs(readings), engine("llama").logprobs(readings)) < 1e-5
    assert 1 < server.most_under_way <= server_module.IN_FLIGHT


def test_requests_keep_to_the_budget_and_connections_are_used_again(serve):
    server = serve()
    asked = reader(server, batch_tokens=200)
    asked.logprobs(some_readings(count=60))
    sizes = [[len(ids) for ids in body["prompt"]] for path, body, _ in server.requests if path == "/v1/completions"]
    assert len(sizes) > 8
    assert all(sum(size) <= 200 for size in sizes)
    assert max(map(len, sizes)) > 1
    assert server.connections <= server_module.IN_FLIGHT
    asked.close()
    asked.close()


@pytest.mark.parametrize("trouble", [503, 500, 429, None, (429, {"Retry-After": "0.2"}, None)])
def test_what_passes_is_asked_again(serve, engine, trouble):
    server = serve()
    asked = reader(server)
    server.refuse = [trouble, trouble]
    assert worst_difference(asked.logprobs([READING]), engine("llama").logprobs([READING])) < 1e-5
    assert not server.refuse


def test_a_server_may_ask_for_time(serve, monkeypatch):
    slept = []
    monkeypatch.setattr(client_module.time, "sleep", slept.append)
    server = serve()
    asked = reader(server)
    server.refuse = [(429, {"Retry-After": "3"}, None), (503, {"Retry-After": "1000"}, None), 503]
    asked.logprobs([READING])
    assert slept == [3.0, 30.0, 0.01]


def test_what_does_not_pass_is_an_error_after_five_attempts_and_then_after_one(serve):
    server = serve()
    asked = reader(server)
    server.requests.clear()
    server.refuse = [503] * 20
    with pytest.raises(RewardError, match=r"127.*/v1/completions answers 503: no luck"):
        asked.logprobs([READING])
    assert len(server.requests) == 5
    with pytest.raises(RewardError, match="503"):
        asked.logprobs([READING])
    assert len(server.requests) == 6
    server.refuse = []
    asked.logprobs([READING])
    server.refuse = [503]
    asked.logprobs([READING])  # it answers again, so it is asked again


def test_a_refused_request_is_an_error_at_once_with_what_the_server_says(serve):
    server = serve()
    asked = reader(server)
    server.requests.clear()
    for body, said in [
        ({"error": {"message": "too long"}}, "too long"),
        ({"object": "error", "message": "too long"}, "too long"),
        ({"detail": [{"msg": "too long"}]}, "too long"),
    ]:
        server.refuse = [(400, {}, body)]
        with pytest.raises(RewardError, match=f"answers 400: .*{said}"):
            asked.logprobs([READING])
    assert len(server.requests) == 3


def test_a_server_that_goes_away_is_an_error(serve):
    server = serve()
    asked = reader(server)
    asked.close()
    server.stop()
    with pytest.raises(RewardError, match="cannot be reached"):
        asked.logprobs([READING])


def test_a_server_that_is_not_there_is_refused_at_setup(serve, checkpoint):
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ConfigError, match=rf"{url}/v1/models cannot be reached .*start it, or correct server="):
        open_engine(EngineConfig(model=checkpoint("llama"), server=url), "causal")


def test_a_server_that_is_silent_is_given_up(serve, monkeypatch):
    server = serve()
    asked = reader(server)
    gate = threading.Event()
    server.before = lambda: gate.wait(5)
    monkeypatch.setattr(client_module, "SECONDS", 0.2)
    with pytest.raises(RewardError, match=r"did not answer within 0.2 s"):
        asked.logprobs([READING])
    gate.set()


def test_a_connection_that_the_server_closed_meanwhile_is_replaced(serve, monkeypatch):
    server = serve()
    asked = reader(server)
    server.refuse = [None]  # the kept connection is cut
    monkeypatch.setattr(client_module, "WAITS", ())
    asked.logprobs([READING])


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://host", "http://", "http://host:port", "http://host/?a=b", "http://a:b@host"]
)
def test_an_address_that_cannot_be_right_is_refused(checkpoint, url):
    with pytest.raises(ConfigError, match="server"):
        open_engine(EngineConfig(model=checkpoint("llama"), server=url), "causal")


def test_an_address_may_end_as_openai_clients_want_it(serve):
    server = serve()
    server.url += "/v1/"
    reader(server).logprobs([READING])
    assert [path for path, _, _ in server.requests] == ["/v1/models", "/v1/completions"]


def test_the_key_is_sent_and_never_said(serve, monkeypatch):
    server = serve(key="sesame-1")
    with pytest.raises(ConfigError, match=r"401: Unauthorized .*set REWARDKIT_SERVER_KEY"):
        reader(server)
    monkeypatch.setenv(client_module.KEY, "sesame-2")
    with pytest.raises(ConfigError) as wrong:
        reader(server)
    assert "sesame" not in str(wrong.value)
    monkeypatch.setenv(client_module.KEY, "sesame-1")
    assert len(reader(server).logprobs([READING])[0]) == 2
    monkeypatch.setenv(client_module.KEY, "sesame\n1")
    with pytest.raises(ConfigError, match="printable") as wrong:
        reader(server)
    assert "sesame" not in str(wrong.value)


def test_the_served_model_is_the_one_of_that_name_or_of_its_last_part(serve):
    server = serve(served=["other"])
    with pytest.raises(ConfigError, match=r"holds 'other', which does not say which is '/.*--served-model-name"):
        reader(server)  # else a policy and its reference would be read from the same model
    for served in ([], [server.name, f"b/{Path(server.directory).name}"]):
        server.served = served
        with pytest.raises(ConfigError, match="does not say which"):
            reader(server)
    for name in (server.directory, server.name):
        server.name, server.served = name, ["other", name]
        reader(server).logprobs([READING])


@pytest.mark.parametrize("version", ["0.11.2", "0.9.0", "dev"])
def test_a_vllm_that_gives_only_probabilities_is_refused_for_classes(serve, version):
    reader(serve(version=version)).logprobs([READING])
    with pytest.raises(ConfigError, match=f"runs vLLM '{version}'.*0.12.0 or newer"):
        reader(serve(kind="sequence", version=version))


@pytest.mark.parametrize(
    ("server_kind", "kind", "kept_back"),
    [("vllm", "causal", 1), ("vllm", "sequence", 0), ("sglang", "causal", 7), ("sglang", "sequence", 7)],
)
def test_the_window_is_what_the_server_takes(serve, server_kind, kind, kept_back):
    asked = reader(serve(kind=kind, window=40), server_kind)
    assert asked.window == 40 - kept_back
    with pytest.raises(RewardError, match=f"at most {asked.window} fit"):
        asked.classes([Reading([5] * 41, [40])])
    assert reader(serve(window=40), max_length=10).window == 10


def test_hidden_states_and_chosen_logits_are_refused(serve):
    asked = reader(serve())
    for read in (
        lambda: asked.hidden([READING]),
        lambda: asked.logits([READING], [[1]]),
        lambda: asked.read([READING], None),
    ):
        with pytest.raises(ConfigError, match="without server="):
            read()
    config = EngineConfig(model="nowhere", server="http://127.0.0.1:1")
    with pytest.raises(ConfigError, match="no hidden states"):
        ServerReader(config, "embedding")


def test_a_tokenizer_that_does_not_load_leaves_no_connection_open(serve, tmp_path):
    server = serve(served=[tmp_path.name])
    server.directory = str(tmp_path)
    with pytest.raises(ConfigError, match=r"config\.json"):
        reader(server)


def test_a_last_token_has_no_successor(serve):
    with pytest.raises(RewardError, match="no token follows the last"):
        reader(serve()).logprobs([Reading([5, 6], [1])])


def first_choice(answer):
    return answer["choices"][0]["prompt_logprobs"]


def first_tokens(answer):
    return answer[0]["meta_info"]["input_token_logprobs"]


def spoiled(change):
    def spoil(path, answer):
        change(answer)
        return answer

    return spoil


VLLM_SPOILS = {
    "the token is not there": (
        lambda a: first_choice(a).__setitem__(1, {"399": {"logprob": -1.0}}),
        "token 6 is missing",
    ),
    "nothing is there": (lambda a: a["choices"][0].pop("prompt_logprobs"), "0 tokens instead of 4"),
    "null": (lambda a: first_choice(a).__setitem__(1, None), "token 6 is missing"),
    "a token too few": (lambda a: first_choice(a).pop(), "3 tokens instead of 4"),
    "a sequence too few": (lambda a: a["choices"].pop(), "0 answers instead of 1"),
    "NaN": (lambda a: first_choice(a)[1]["6"].update(logprob=math.nan), "cannot be used"),
    "no number": (lambda a: first_choice(a)[1]["6"].update(logprob=None), "token 6 is None"),
    "minus infinity": (lambda a: first_choice(a)[1]["6"].update(logprob=-9999.0), "token 6 is -9999.0"),
    "a logit": (lambda a: first_choice(a)[1]["6"].update(logprob=3.5), "3.5 for token 6 is no log-probability"),
    "another protocol": (lambda a: a.pop("choices"), "check server_kind=vllm"),
}
SGLANG_SPOILS = {
    "another token": (lambda a: first_tokens(a)[1].__setitem__(1, 9), "token 9 where 6 was sent"),
    "token 0": (lambda a: first_tokens(a)[1].__setitem__(1, 0), "token 0 where 6 was sent"),
    "a token too few": (lambda a: first_tokens(a).pop(), "3 tokens instead of 4"),
    "a sequence too few": (lambda a: a.pop(), "0 answers instead of 1"),
    "no number": (lambda a: first_tokens(a)[1].__setitem__(0, None), "token 6 is None"),
    "NaN": (lambda a: first_tokens(a)[1].__setitem__(0, math.nan), "cannot be used"),
    "another protocol": (lambda a: a[0].pop("meta_info"), "check server_kind=sglang"),
}


@pytest.mark.parametrize(
    ("server_kind", "name"), [("vllm", name) for name in VLLM_SPOILS] + [("sglang", name) for name in SGLANG_SPOILS]
)
def test_no_log_probability_is_made_up(serve, server_kind, name):
    change, said = (VLLM_SPOILS if server_kind == "vllm" else SGLANG_SPOILS)[name]
    server = serve()
    asked = reader(server, server_kind)
    server.spoil = spoiled(change)
    with pytest.raises(RewardError, match=said):
        asked.logprobs([READING])


@pytest.mark.parametrize("server_kind", KINDS)
def test_the_last_token_of_the_vocabulary_is_read(serve, engine, server_kind):
    readings = [Reading([5, 399, 6, 399], [0, 1, 2])]
    assert worst_difference(reader(serve(), server_kind).logprobs(readings), engine("llama").logprobs(readings)) < 1e-5


POOLING_SPOILS = {
    "sequence": {
        "truncated": (lambda a: a["usage"].update(prompt_tokens=3), "3 tokens instead of 4"),
        "a sequence too few": (lambda a: a["data"].pop(), "0 answers instead of 1"),
        "every token": (lambda a: a["data"][0].update(data=[[0.5]] * 4), "cannot be used"),
        "no number": (lambda a: a["data"][0].update(data=[None]), "cannot be used"),
    },
    "token": {
        "steps only": (lambda a: a["data"][0].update(data=[[0.5, 0.5]]), "classified 1 tokens of 4"),
        "the whole": (lambda a: a["data"][0].update(data=[0.5, 0.5]), "cannot be used"),
        "other classes": (lambda a: a["data"][0].update(data=[[0.5]] * 3 + [[0.1, 0.2]]), "the same classes"),
    },
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in POOLING_SPOILS for name in POOLING_SPOILS[kind]])
def test_no_class_is_made_up(serve, kind, name):
    change, said = POOLING_SPOILS[kind][name]
    server = serve(kind=kind)
    asked = reader(server)
    server.spoil = spoiled(change)
    with pytest.raises(RewardError, match=said):
        asked.classes([Reading([5, 6, 7, 8], [3])])


def test_sglang_may_not_truncate_nor_squeeze(serve):
    server = serve(kind="sequence")
    asked = reader(server, "sglang")
    server.spoil = spoiled(lambda a: a[0]["meta_info"].update(prompt_tokens=3))
    with pytest.raises(RewardError, match="3 tokens instead of 4"):
        asked.classes([Reading([5, 6, 7, 8], [3])])
    server.spoil = spoiled(lambda a: a[0].update(embedding=0.5))
    with pytest.raises(RewardError, match="cannot be used"):
        asked.classes([Reading([5, 6, 7, 8], [3])])


def test_nothing_asked_is_nothing_answered(serve):
    asked = reader(serve())
    assert asked.logprobs([]) == []
    assert asked.logprobs([Reading([5], [])])[0].shape == (0,)
