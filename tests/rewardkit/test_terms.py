import re
from pathlib import Path
from typing import Literal

import pytest

from rewardkit.errors import ConfigError, MissingExtraError, PluginError, UnknownNameError
from rewardkit.function import FunctionReward, reward
from rewardkit.registry import Registry, RewardSpec, check_options
from rewardkit.terms import parse_term, read_config, read_terms

HERE = Path(__file__).parent
FILE = str(HERE / "rewards_for_tests.py")


@pytest.fixture
def registry():
    rewards = Registry("reward")
    rewards.add(RewardSpec(name="words", factory=f"{FILE}:words", owner="tests", version="1"))
    rewards.add(RewardSpec(name="scaled", factory=f"{FILE}:make_words", owner="tests"))
    rewards.add(RewardSpec(name="heavy", factory=f"{FILE}:Heavy", extra="hf", owner="some-dist"))
    return rewards


@pytest.mark.parametrize(
    ("text", "name", "weight", "options"),
    [
        ("words", "words", 1.0, {}),
        ("words:scale=2", "words", 1.0, {"scale": 2}),
        ("0.3*words:scale=2.5", "words", 0.3, {"scale": 2.5}),
        (" -1e-1 * words", "words", -0.1, {}),
        ('words:scale="a,b",x=[1,2],y={"k": 1},z=plain text,w=true', "words", 1.0,
         {"scale": "a,b", "x": [1, 2], "y": {"k": 1}, "z": "plain text", "w": True}),
        ("words:a=1.2.3,b=13a", "words", 1.0, {"a": "1.2.3", "b": "13a"}),
        (f"2*{FILE}:words:scale=3", "words", 2.0, {"scale": 3}),
        ("os.path:join", "join", 1.0, {}),
    ],
)  # fmt: skip
def test_a_spec_reads_as_weight_name_and_options(registry, text, name, weight, options):
    term = parse_term(text, registry)
    assert (term.name, term.weight, dict(term.options)) == (name, weight, options)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("wrods", UnknownNameError, "did you mean 'words'"),
        ("words:scale", ConfigError, "option=value"),
        ('words:scale="a" b', ConfigError, "commas"),
        ("my.module", ConfigError, "names no attribute"),
        ("", UnknownNameError, "no reward is called ''"),
    ],
)
def test_a_spec_that_cannot_be_right_says_why(registry, text, error, message):
    with pytest.raises(error, match=message):
        parse_term(text, registry)


def test_build_refuses_unknown_and_missing_options(registry):
    with pytest.raises(ConfigError, match="no option 'scael'; did you mean 'scale'"):
        parse_term("words:scael=1", registry).build()
    with pytest.raises(ConfigError, match=r"needs the option 'scale': scaled:scale=\.\.\."):
        parse_term("scaled", registry).build()


def test_a_missing_extra_is_one_sentence_with_the_cure(registry):
    with pytest.raises(
        MissingExtraError, match=r"^reward 'heavy' needs 'no_such_package': pip install 'some-dist\[hf\]'$"
    ):
        parse_term("heavy", registry).build()


def test_a_wrong_attribute_or_file_is_named(registry):
    with pytest.raises(PluginError, match="did you mean 'words'"):
        parse_term(f"{FILE}:wrods", registry).build()
    with pytest.raises(ConfigError, match="there is no file"):
        parse_term("nowhere.py:f", registry).build()
    with pytest.raises(PluginError, match="not callable"):
        parse_term(f"{FILE}:NOT_A_FACTORY", registry).build()


def test_signatures_hold_every_option_and_what_decides_the_total(registry):
    term = read_terms({"style": {"reward": "words", "weight": 0.5, "gate": 0.1, "required": False}}, registry)[0]
    assert str(term.signature()) == "words|scale:1.0|v:1"
    assert str(term.signature_in_total()) == "words|scale:1.0|v:1|as:style|weight:0.5|gate:0.1|required:no"


def test_rewards_may_be_a_list_a_table_of_weights_or_tables(registry):
    assert [t.weight for t in read_terms(["words", "2*scaled:scale=1"], registry)] == [1.0, 2.0]
    assert read_terms({"words": 3}, registry)[0].weight == 3.0
    assert read_terms({"style": "0.5*words"}, registry)[0].name == "style"
    table = {"words": {"weight": 2, "options": {"scale": 3}}}
    assert read_terms(table, registry)[0].options == {"scale": 3}


@reward
def scaled(trajectory, *, k: float = 1.0):
    return k


def test_a_function_given_as_an_object_takes_its_options_along(registry):
    (term,) = read_terms([scaled.with_options(k=3.0)], registry)
    assert term.spec.factory.endswith(":scaled")
    assert term.options == {"k": 3.0}


def test_a_constructor_that_fails_or_exits_is_a_plugin_error(registry, tmp_path):
    file = tmp_path / "fails.py"
    file.write_text("import sys\n\ndef broken():\n    raise OSError('no model')\n\ndef exits():\n    sys.exit(0)\n")
    with pytest.raises(PluginError, match=r"'broken' cannot be built with .*OSError: no model"):
        parse_term(f"{file}:broken", registry).build()
    with pytest.raises(PluginError, match="SystemExit"):
        parse_term(f"{file}:exits", registry).build()


def test_weights_stand_in_signatures_exactly(registry):
    weights = [str(parse_term(f"{w}*words", registry).signature_in_total()) for w in ("0.1234567", "0.1234568", "2")]
    assert [text.rpartition(":")[2] for text in weights] == ["0.1234567", "0.1234568", "2"]


@pytest.mark.parametrize(
    ("rewards", "message"),
    [
        ([], "at least one"),
        ("words", "must be a list"),
        (["words", "words"], "two rewards are called 'words'"),
        ({"words": {"wieght": 1}}, "did you mean 'weight'"),
        ({"words": {"weight": float("nan")}}, "finite"),
        ({"words": {"weight": "1"}}, "finite"),
        ({"words": {"required": "yes"}}, "true or false"),
        ({"words": None}, "must be a spec"),
        ([7], "must be a spec"),
        ({"words": {"weight": True}}, "finite"),
        ({"words": {"weight": 10**400}}, "finite"),
        ({"words": {"reward": 3}}, "'reward' must be a spec"),
        ({"total": "words"}, "no reward may be called 'total'"),
        ([FunctionReward], "is a class: give an instance"),
    ],
)
def test_rewards_that_cannot_be_right_say_why(registry, rewards, message):
    with pytest.raises(ConfigError, match=message):
        read_terms(rewards, registry)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[rewards", "not valid TOML"),
        ("", "names no reward"),
        ("[reward.x]", "unknown table 'reward'"),
        ("rewards = 1", "no"),
    ],
)
def test_a_config_that_cannot_be_right_says_why(tmp_path, text, message):
    path = tmp_path / "rewards.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_config(path)
    with pytest.raises(ConfigError, match="cannot read"):
        read_config(tmp_path / "absent.toml")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("words:scale=two", "scale='two' cannot be right: Expected `float`, got `str`"),
        ("words:scale=NaN", "finite"),
        ("words:scale=1e400", "finite"),
        ("words:scale=[1]", "Expected `float`, got `array`"),
        ("scaled:scale=true", "Expected `float`, got `bool`"),
    ],
)
def test_an_option_of_the_wrong_type_is_refused(registry, spec, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse_term(spec, registry).build()


def test_a_value_that_is_none_of_those_to_choose_from_is_told_which_there_are():
    def pay(*, value: Literal["all", "fraction"] = "all") -> None: ...

    check_options("reward 'pay'", pay, {"value": "fraction"})
    with pytest.raises(ConfigError, match="value='some' cannot be right: choose 'all' or 'fraction'"):
        check_options("reward 'pay'", pay, {"value": "some"})


def test_an_option_that_no_annotation_describes_is_taken_as_it_is(registry):
    assert parse_term(f"{FILE}:slow_words:seconds=0", registry).build() is not None


def test_a_class_that_lacks_a_method_is_refused(registry):
    with pytest.raises(PluginError, match="Unfinished has no method 'close'"):
        parse_term(f"{FILE}:Unfinished", registry).build()


def test_a_function_without_the_decorator_is_told_of_it(registry):
    with pytest.raises(ConfigError, match="put @reward above it"):
        parse_term(f"{FILE}:bare", registry).build()


def test_an_extra_that_is_missing_is_missed_when_the_reward_is_built():
    spec = RewardSpec(name="r", factory=f"{FILE}:words", extra="math", requires=("no_such_module",), owner="some-dist")
    with pytest.raises(
        MissingExtraError, match=r"^reward 'r' needs 'no_such_module': pip install 'some-dist\[math\]'$"
    ):
        spec.build()


def test_a_file_is_found_from_any_folder(registry, monkeypatch, tmp_path):
    monkeypatch.chdir(HERE)
    term = parse_term("rewards_for_tests.py:words", registry)
    monkeypatch.chdir(tmp_path)
    assert term.build() is not None
