from types import ModuleType

import pytest

from rewardkit import RewardResult, Scorer, Task, Trajectory
from rewardkit.errors import DuplicateNameError, PluginError, UnknownNameError
from rewardkit.function import FunctionReward
from rewardkit.hookspecs import hookimpl
from rewardkit.plugins import Plugins
from rewardkit.registry import RewardSpec


def plugin_of(*specs):
    class Plugin:
        @hookimpl
        def rewardkit_rewards(self):
            return specs

    return Plugin()


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """`installed(name, source)` puts a distribution with one entry point on the path."""

    def install(name, source):
        module = f"{name}_{abs(hash(source))}"
        (tmp_path / f"{module}.py").write_text(source)
        folder = tmp_path / f"{name}-1.2.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-dist\nVersion: 1.2\n")
        (folder / "entry_points.txt").write_text(f"[rewardkit]\n{name} = {module}\n")

    monkeypatch.syspath_prepend(tmp_path)
    return install


GOOD = """
from rewardkit.hookspecs import hookimpl
from rewardkit.registry import RewardSpec

@hookimpl
def rewardkit_rewards():
    return [RewardSpec(name="extra_reward", factory="x:y")]
"""


def test_builtin_rewards_are_found_through_the_entry_point():
    plugins = Plugins.load(only=["builtin"])
    assert plugins.rewards.get("bleu").owner == "agentic-rewardkit"
    assert [p.problem for p in plugins.found] == [""]


def test_a_third_party_plugin_is_found_with_its_owner_and_version(installed):
    installed("good", GOOD)
    spec = Plugins.load().rewards.get("extra_reward")
    assert (spec.owner, spec.version) == ("good-dist", "1.2")


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("import no_such_module", "no_such_module"),
        ("1/0", "ZeroDivisionError"),
        (GOOD.replace("rewardkit_rewards", "rewardkit_rewrads"), "rewardkit_rewrads"),
        (GOOD.replace("():", "(surplus):"), "surplus"),
        (GOOD.replace('[RewardSpec(name="extra_reward", factory="x:y")]', "[1]"), "must return RewardSpecs, not int"),
        (GOOD.replace("return ", "raise KeyError("[:-1] + "(1) or "), "KeyError"),
    ],
)
def test_a_broken_plugin_is_named_and_breaks_no_other(installed, source, problem):
    installed("bad", source)
    installed("good", GOOD.replace("extra_reward", "other_reward"))
    plugins = Plugins.load()
    (bad,) = [p for p in plugins.found if p.name == "bad"]
    assert bad.problem
    assert problem in bad.problem
    assert "bleu" in plugins.rewards
    assert "other_reward" in plugins.rewards


def test_a_disabled_plugin_is_not_imported(installed, monkeypatch):
    installed("bad", "1/0")
    monkeypatch.setenv("REWARDKIT_DISABLE_PLUGINS", "other, bad")
    (bad,) = [p for p in Plugins.load().found if p.name == "bad"]
    assert "disabled" in bad.problem


def test_a_duplicate_name_raises_and_names_both_owners(installed):
    installed("rival", GOOD.replace("extra_reward", "bleu"))
    with pytest.raises(DuplicateNameError, match=r"'agentic-rewardkit' and 'rival-dist'.*_DISABLE_PLUGINS=rival$"):
        Plugins.load()


def test_loading_a_plugin_that_is_not_installed_raises():
    with pytest.raises(UnknownNameError, match="no plugin is called 'absent'"):
        Plugins.load(only=["absent"])


def test_a_typo_is_answered():
    plugins = Plugins()
    plugins.add(plugin_of(RewardSpec(name="bleu", factory="x:y")), name="p")
    with pytest.raises(UnknownNameError, match=r"^no reward is called 'belu'; did you mean 'bleu'\?$"):
        plugins.rewards.get("belu")


@pytest.mark.parametrize("name", ["", "two words", "a:b", "2*a", 5])
def test_a_name_that_no_spec_could_hold_is_refused(name):
    with pytest.raises(PluginError, match="is no name"):
        Plugins().add(plugin_of(RewardSpec(name=name, factory="x:y")), name="p")


def test_one_name_for_two_plugins_is_refused():
    plugins = Plugins()
    plugins.add(plugin_of(), name="p")
    with pytest.raises(PluginError, match="'p'"):
        plugins.add(plugin_of(), name="p")


class Observer:
    def __init__(self):
        self.seen = []

    @hookimpl
    def rewardkit_scored(self, trajectory, result):
        self.seen.append(result.total)


class BrokenObserver:
    @hookimpl
    def rewardkit_scored(self, trajectory):
        raise RuntimeError("no dashboard")


def test_tracing_prints_hook_calls(monkeypatch, capsys):
    monkeypatch.setenv("REWARDKIT_TRACE", "1")
    plugins = Plugins()
    plugins.add(Observer(), name="p")
    plugins.scored(Trajectory(task=Task()), RewardResult(total=None))
    assert "rewardkit_scored" in capsys.readouterr().err


def test_an_observer_that_raises_is_named_and_stops_no_other_and_no_score():
    plugins, before, after = Plugins(), Observer(), Observer()
    for name, plugin in (("before", before), ("broken", BrokenObserver()), ("after", after)):
        plugins.add(plugin, name=name)
    scorer = Scorer({"one": FunctionReward(lambda trajectory: 1.0)}, plugins=plugins)
    with pytest.warns(RuntimeWarning, match="observer of plugin 'broken' failed: RuntimeError: no dashboard"):
        assert scorer.score(Trajectory(task=Task())).total == 1.0
    assert (before.seen, after.seen) == ([1.0], [1.0])


def test_a_hook_without_its_marker_counts_and_a_misspelt_one_is_refused():
    plugins, observer = Plugins(), ModuleType("unmarked")
    observer.rewardkit_scored = lambda trajectory, result: None
    plugins.add(observer, name="unmarked")
    assert plugins.has_observers
    observer.rewardkit_scord = observer.rewardkit_scored
    with pytest.raises(PluginError, match="rewardkit_scord"):
        Plugins().add(observer, name="misspelt")


def test_a_plugin_that_exits_on_import_is_named(installed):
    installed("exits", "import sys\nsys.exit(0)")
    (plugin,) = [p for p in Plugins.load().found if p.name == "exits"]
    assert "SystemExit" in plugin.problem
