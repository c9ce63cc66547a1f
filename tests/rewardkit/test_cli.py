import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

FILE = str(Path(__file__).parent / "rewards_for_tests.py")
LINES = """\
{"id": "a", "prompt": "how many?", "completion": "2", "answer": "2"}
{"id": "b", "prompt": "how many?", "completion": "three", "answer": "2"}
{"id": "c", "prompt": "how many?", "completion": "", "answer": "2"}
"""


def rewardkit(*arguments, stdin=None):
    command = [sys.executable, "-m", "rewardkit", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)


def score(*arguments, stdin=None):
    return rewardkit("score", *arguments, "--executor", "serial", stdin=stdin)


@pytest.fixture
def answers(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text(LINES)
    return path


def test_results_on_standard_output_are_clean_json_lines(answers):
    done = score(answers, "-r", f"{FILE}:words")
    assert [json.loads(line)["total"] for line in done.stdout.splitlines()] == [1.0, 1.0, 0.0]
    assert done.returncode == 0
    assert "3 lines" in done.stderr
    assert "signature: words|scale:1.0" in done.stderr


def test_standard_input_is_a_file_called_dash(answers):
    done = score("-", "-r", f"{FILE}:words", "-q", stdin=LINES)
    assert len(done.stdout.splitlines()) == 3
    assert done.stderr == ""


def test_the_exit_code_tells_that_something_failed(answers):
    done = score(answers, "-r", f"{FILE}:reads_number")
    assert done.returncode == 1
    assert [json.loads(line)["total"] for line in done.stdout.splitlines()] == [2.0, None, None]
    assert "1 error" in done.stderr


def test_the_table_shows_failures_as_failures(answers):
    done = score(answers, "-r", f"{FILE}:reads_number", "--table")
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    assert rows["a"].split()[1:] == ["2", "2"]
    assert "could not convert string to float: 'three'" in rows["b"]
    assert rows["c"].split()[1:] == ["-", "-"]


def test_config_and_rewards_together_make_the_total(answers, tmp_path):
    config = tmp_path / "rewards.toml"
    config.write_text(f'[rewards.style]\nreward = "{FILE}:words"\nweight = 0.5\noptions = {{ scale = 4 }}\n')
    done = score(answers, "--config", config, "-r", f"2*{FILE}:words", "-o", tmp_path / "out.jsonl")
    assert done.stdout == ""
    assert json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])["total"] == 0.5 * 4 + 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.jsonl", "-r", "bleu"], "absent.jsonl"),
        (["{answers}"], "name at least one reward"),
        (["{answers}", "-r", "belu"], "no reward is called 'belu'; did you mean 'bleu'?"),
        (["{answers}", "-r", "bleu:max_ordr=2"], "did you mean 'max_order'?"),
        (["{answers}", "-r", "bleu", "--resume"], "resuming needs an output file"),
        (["{answers}", "-r", "bleu", "--retry-failures"], "--retry-failures goes with --resume"),
        (["{answers}", "--config", "absent.toml"], "absent.toml"),
        (["{answers}", "-r", "absent.py:f"], "there is no file 'absent.py'"),
        (["{answers}", "-r", "no.such.module:f"], "no.such.module"),
        (["{answers}", "-r", "bleu", "--timeout", "0"], "--timeout"),
        (["{answers}", "-r", "bleu", "-o", "absent/out.jsonl"], "absent"),
        (["{answers}", "-r", "{broken}:f"], "SyntaxError"),
        (["{answers}", "-r", "{exits}:f"], "SystemExit"),
        (["{answers}", "-r", "bleu", "-o", "{answers}"], "would be lost"),
        (["{answers}", "-r", "bleu", "-o", "out.csv"], "must end in .jsonl"),
        (["{answers}", "-r", "bleu", "--timeout", "nan"], "a timeout must be"),
        (["{answers}", "-r", "bleu", "--workers", "2"], "go with --executor process"),
        (["{answers}", "-r", "bleu", "--memory", "2"], "go with --executor process"),
        (["{answers}", "-r", "bleu:max_order=1,max_order=2"], "'max_order' is there twice"),
    ],
)
def test_a_call_that_cannot_be_right_is_one_sentence_and_exit_code_2(answers, tmp_path, arguments, message):
    (tmp_path / "broken.py").write_text("this is no python\n")
    (tmp_path / "exits.py").write_text("import sys\nsys.exit(0)\n")
    places = {"answers": answers, "broken": tmp_path / "broken.py", "exits": tmp_path / "exits.py"}
    done = score(*(a.format(**places) for a in arguments))
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_what_a_reward_prints_stays_out_of_the_results(answers, tmp_path):
    code = "from rewardkit import reward\nprint('loading')\n\n@reward\ndef f(t):\n    print('scoring')\n    return 1\n"
    (tmp_path / "prints.py").write_text(code)
    done = score(answers, "-r", f"{tmp_path / 'prints.py'}:f", "-q")
    assert [json.loads(line)["total"] for line in done.stdout.splitlines()] == [1.0, 1.0, 1.0]
    assert done.stderr.split() == ["loading", *["scoring"] * 3]


def test_a_full_disk_is_one_sentence_and_exit_code_1(answers):
    done = score(answers, "-r", f"{FILE}:words", "-o", "/dev/full")
    assert (done.returncode, done.stderr) == (1, "Error: cannot write '/dev/full': No space left on device\n")


def test_an_unforeseen_error_is_one_sentence_unless_the_traceback_is_asked_for(answers, tmp_path):
    name = "x" * 300 + ".jsonl"
    done = score(answers, "-r", f"{FILE}:words", "-o", tmp_path / name)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: File name too long")
    assert "Traceback" in score(answers, "-r", f"{FILE}:words", "-o", tmp_path / name, "--traceback").stderr


@pytest.mark.parametrize("executor", ["serial", "process"])
def test_ctrl_c_says_how_to_go_on(tmp_path, executor):
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    lines = [json.dumps({"id": str(i), "prompt": f"p{i}", "completion": "c"}) for i in range(300)]
    source.write_text("\n".join(lines))
    spec = f"{FILE}:slow_words:seconds=0.02,log={json.dumps(str(tmp_path / 'log'))}"
    command = [sys.executable, "-m", "rewardkit", "score", str(source), "-r", spec, "-o", str(output)]
    with subprocess.Popen([*command, "--executor", executor], stderr=subprocess.PIPE, text=True) as job:
        until = time.monotonic() + 30
        while not (tmp_path / "log").exists() and time.monotonic() < until:
            time.sleep(0.05)
        job.send_signal(signal.SIGINT)
        message = job.communicate(timeout=30)[1]
    assert (job.returncode, message) == (
        130,
        f"Stopped: what was scored is kept in '{output}.partial', --resume goes on\n",
    )
    done = rewardkit(*command[3:], "--resume", "--executor", executor)
    assert (done.returncode, len(output.read_text().splitlines())) == (0, 300)


def test_traceback_shows_where_an_error_comes_from(answers):
    assert "Traceback" in score(answers, "-r", "belu", "--traceback").stderr


def test_a_typo_in_the_command_is_answered():
    assert "did you mean 'score'?" in rewardkit("scor").stderr


def test_rewards_lists_all_rewards_and_shows_one():
    listed = rewardkit("rewards").stdout
    for name in ("math", "bleu", "exact_match"):
        assert f" {name} " in listed
    assert "max_order = 4" in rewardkit("rewards", "bleu").stdout
    assert {spec["name"] for spec in json.loads(rewardkit("rewards", "--json").stdout)} >= {"math", "bleu"}
    assert "did you mean 'bleu'" in rewardkit("rewards", "belu").stderr


@pytest.mark.parametrize("command", ["plugins", "envs", "sandboxes"])
def test_the_other_lists_print_tables_and_json(command):
    assert rewardkit(command).returncode == 0
    assert isinstance(json.loads(rewardkit(command, "--json").stdout), list)


def test_sandboxes_says_which_work_and_why_others_do_not(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///absent/docker.sock")
    monkeypatch.delenv("REWARDKIT_SANDBOX_URL", raising=False)
    listed = {spec["name"]: spec for spec in json.loads(rewardkit("sandboxes", "--json").stdout)}
    assert listed["auto"]["works"] is None
    assert listed["docker"]["works"] is False
    assert "docker" in listed["docker"]["finding"].lower()
    assert "url" in listed["remote"]["finding"]
    assert listed["namespace"]["works"] in (True, False)
    assert "/absent/docker.sock" in rewardkit("sandboxes").stdout or "not installed" in listed["docker"]["finding"]
    assert f"-    sandbox    docker: {listed['docker']['finding']}\n" in rewardkit("doctor").stdout


def test_a_broken_plugin_shows_in_plugins_rewards_and_doctor(tmp_path, monkeypatch):
    (tmp_path / "broken_plugin.py").write_text("import absent_module\n")
    folder = tmp_path / "broken-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[rewardkit]\nbroken = broken_plugin\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for command in ("plugins", "rewards", "doctor"):
        done = rewardkit(command)
        assert "absent_module" in done.stdout + done.stderr
    assert rewardkit("doctor").returncode == 1


def test_doctor_names_a_rival_that_owns_the_package(tmp_path, monkeypatch):
    folder = tmp_path / "harbor_rewardkit-0.2.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: harbor-rewardkit\nVersion: 0.2\n")
    (folder / "top_level.txt").write_text("rewardkit\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = rewardkit("doctor")
    assert "pip uninstall harbor-rewardkit" in done.stdout
    assert done.returncode == 1


def test_check_runs_the_contract():
    done = rewardkit("check", "exact_match")
    assert done.returncode == 0, done.stdout
    assert "checks passed" in done.stdout
    assert rewardkit("check", f"{FILE}:words").returncode == 1, "counting words rewards garbage"


def test_the_summary_says_why_lines_failed_and_why_a_reward_never_spoke(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text('{"id": "a", "prompt": "p", "completion": "x"}\n{"question": "p"}\n')
    done = score(path, "-r", f"{FILE}:reads_number", "-r", "bleu")
    assert "first of its kind: a: reads_number ValueError: could not convert" in done.stderr
    assert f"first of its kind: {path}:2: expected the keys" in done.stderr
    assert "bleu abstained on all 1 that it did not fail on: the task has no reference" in done.stderr


def test_a_reward_in_a_file_is_shown_with_its_options():
    assert "scale = 1.0" in rewardkit("rewards", f"{FILE}:words").stdout


@pytest.fixture
def elsewhere(tmp_path):
    """A rewards.toml with a reward that runs programs, in a sandbox that does not exist, and one that does not."""
    path = tmp_path / "rewards.toml"
    path.write_text('[rewards.length.options]\nmaximum = 9\n[rewards.executes.options]\nsandbox = "nowhere"\n')
    return path


def test_a_sandbox_is_the_option_of_the_rewards_that_need_one(answers, elsewhere):
    assert "no sandbox is called 'nowhere'" in score(answers, "--config", elsewhere).stderr
    done = score(answers, "--config", elsewhere, "-r", "repetition", "--sandbox", "remote")
    assert "no sandbox is called" not in done.stderr
    assert "'remote'" in done.stderr  # it says what it misses, which is where its server is
    assert done.returncode == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-r", "executes", "--sandbox", "dokcer"), "no sandbox is called 'dokcer'; did you mean 'docker'?"),
        (("-r", "length:maximum=9", "--sandbox", "docker"), "--sandbox docker: none of the rewards runs programs"),
    ],
)
def test_a_sandbox_that_cannot_be_right_is_a_usage_error(answers, arguments, message):
    done = score(answers, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
