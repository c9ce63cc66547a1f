import gzip
import json
import os
import random
import subprocess
import sys
import time
import tracemalloc
import uuid
from pathlib import Path

import pytest
import zstandard

from rewardkit import Score, Scorer
from rewardkit.errors import ConfigError
from rewardkit.function import FunctionReward
from rewardkit.offline import score_files
from rewardkit.plugins import Plugins
from rewardkit.serialize import read_trajectories, trajectory_hash
from rewardkit.store import ScoreStore, key_of

FILE = str(Path(__file__).parent / "rewards_for_tests.py")
WORDS = f"{FILE}:words"
NO_PLUGINS = Plugins()


def write_input(path, count, *, groups=None):
    with open(path, "w") as file:
        for i in range(count):
            record = {"id": f"t{i}", "prompt": f"question {i if groups is None else i % groups}"}
            file.write(json.dumps({**record, "completion": "word " * (i % 7 + 1), "answer": "x"}) + "\n")
    return str(path)


def run(rewards, source, output, **options):
    with Scorer(rewards, plugins=NO_PLUGINS) as scorer:
        return score_files(scorer, [source] if isinstance(source, str) else source, output=output, **options)


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_output_has_one_line_for_each_input_line_in_order(tmp_path):
    source = write_input(tmp_path / "in.jsonl", 100)
    with open(source, "a") as file:
        file.write('{"id": "broken", \n\n["not an object"]\n')
    summary = run([WORDS], source, tmp_path / "out.jsonl")
    lines = lines_of(tmp_path / "out.jsonl")
    assert [line["id"] for line in lines] == [*(f"t{i}" for i in range(100)), None, None]
    assert [line["total"] for line in lines[:8]] == [1, 2, 3, 4, 5, 6, 7, 1]
    assert ":101:" in lines[100]["failures"][0]["message"]
    assert lines[0]["signature"].startswith("words|scale:1.0|v:")
    assert (summary.lines, summary.bad_lines, summary.failed_lines) == (102, 2, 2)
    assert summary.rewards["words"].mean == pytest.approx(sum(i % 7 + 1 for i in range(100)) / 100)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_output_may_be_compressed_or_parquet(tmp_path):
    source = write_input(tmp_path / "in.jsonl", 20)
    for ending in (".jsonl", ".jsonl.gz", ".jsonl.zst"):
        run([WORDS], source, tmp_path / f"out{ending}")
    plain = (tmp_path / "out.jsonl").read_bytes()
    assert gzip.decompress((tmp_path / "out.jsonl.gz").read_bytes()) == plain
    assert zstandard.ZstdDecompressor().decompressobj().decompress((tmp_path / "out.jsonl.zst").read_bytes()) == plain
    pq = pytest.importorskip("pyarrow.parquet", reason="the extra 'parquet' is not installed")
    run([WORDS], source, tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet").column("total").to_pylist() == [i % 7 + 1 for i in range(20)]


def test_an_unfinished_run_is_not_overwritten_by_accident(tmp_path):
    source = write_input(tmp_path / "in.jsonl", 3)
    with ScoreStore(tmp_path / "out.jsonl.partial") as store:
        store.put({b"key": Score(value=1.0)})
    with pytest.raises(ConfigError, match="holds 1 scores of an unfinished run: resume it, or delete"):
        run([WORDS], source, tmp_path / "out.jsonl")


def test_resuming_a_finished_job_scores_nothing_again(tmp_path):
    source, log = write_input(tmp_path / "in.jsonl", 50), tmp_path / "log"
    reward = f"{FILE}:slow_words:log={json.dumps(str(log))}"
    run([reward, WORDS], source, tmp_path / "out.jsonl")
    before = (tmp_path / "out.jsonl").read_bytes()
    summary = run([reward, WORDS], source, tmp_path / "out.jsonl", resume=True)
    assert summary.reused == 100
    assert len(log.read_text().splitlines()) == 50
    assert (tmp_path / "out.jsonl").read_bytes() == before


def test_changing_one_reward_computes_only_that_one_again(tmp_path):
    source, log = write_input(tmp_path / "in.jsonl", 10), tmp_path / "log"
    reward = f"{FILE}:slow_words:log={json.dumps(str(log))}"
    run([reward, WORDS], source, tmp_path / "out.jsonl")
    run([f"0.5*{reward}", f"{WORDS}:scale=2"], source, tmp_path / "out.jsonl", resume=True)
    assert len(log.read_text().splitlines()) == 10
    assert [line["total"] for line in lines_of(tmp_path / "out.jsonl")] == [2.5 * (i % 7 + 1) for i in range(10)]


def test_failures_are_kept_on_resume_unless_they_shall_be_tried_again(tmp_path):
    source = tmp_path / "in.jsonl"
    source.write_text('{"id":"a","prompt":"p","completion":"1"}\n{"id":"b","prompt":"p","completion":"x"}\n')
    rewards = [f"{FILE}:reads_number"]
    run(rewards, str(source), tmp_path / "out.jsonl")
    assert run(rewards, str(source), tmp_path / "out.jsonl", resume=True).reused == 2
    summary = run(rewards, str(source), tmp_path / "out.jsonl", resume=True, retry_failures=True)
    assert (summary.reused, summary.failed_lines) == (1, 1)


def test_group_rewards_see_whole_groups_wherever_their_members_stand(tmp_path):
    source = write_input(tmp_path / "in.jsonl", 90, groups=30)
    run({"rank": f"{FILE}:Rank"}, source, tmp_path / "out.jsonl")
    lines = lines_of(tmp_path / "out.jsonl")
    assert [line["id"] for line in lines] == [f"t{i}" for i in range(90)]
    for first in range(30):
        assert sorted(lines[i]["total"] for i in (first, first + 30, first + 60)) == [0.0, 0.5, 1.0]
    with pytest.raises(ConfigError, match="two passes"):
        run({"rank": f"{FILE}:Rank"}, "-", tmp_path / "other.jsonl")


@pytest.mark.parametrize("output", ["absent/out.jsonl", "."])
def test_an_output_that_cannot_be_written_is_one_clear_error(tmp_path, output):
    source = write_input(tmp_path / "in.jsonl", 1)
    with pytest.raises(ConfigError, match=r"out|folder"):
        run([WORDS], source, tmp_path / output)


def test_special_files_are_written_to_not_replaced(tmp_path):
    run([WORDS], write_input(tmp_path / "in.jsonl", 3), Path("/dev/null"))
    assert not Path("/dev/null").is_file()


def test_two_jobs_cannot_write_one_output(tmp_path):
    source = write_input(tmp_path / "in.jsonl", 3)
    with ScoreStore(tmp_path / "out.jsonl.partial"), pytest.raises(ConfigError, match=r"another job"):
        run([WORDS], source, tmp_path / "out.jsonl", resume=True)


def test_a_store_that_is_no_store_is_named(tmp_path):
    source = write_input(tmp_path / "in.jsonl", 3)
    (tmp_path / "out.jsonl.partial").write_text("not a database at all, but long enough to look at" * 50)
    with pytest.raises(ConfigError, match="not a score store"):
        run([WORDS], source, tmp_path / "out.jsonl", resume=True)


@pytest.mark.parametrize("link", [None, "symlink_to", "hardlink_to"])
def test_an_output_that_is_an_input_is_refused_and_nothing_is_lost(tmp_path, link):
    source = Path(write_input(tmp_path / "in.jsonl", 3))
    before, output = source.read_bytes(), source
    if link:
        output = tmp_path / "out.jsonl"
        getattr(output, link)(source)
    with pytest.raises(ConfigError, match="would be lost"):
        run([WORDS], str(source), output)
    with pytest.raises(ConfigError, match="would be lost"):
        run([WORDS], str(source.rename(tmp_path / "new.jsonl.writing")), tmp_path / "new.jsonl")
    assert (tmp_path / "new.jsonl.writing").read_bytes() == before


def test_what_an_output_link_points_to_is_replaced_not_the_link(tmp_path):
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "real.jsonl")
    run([WORDS], write_input(tmp_path / "in.jsonl", 3), tmp_path / "link.jsonl")
    assert (tmp_path / "link.jsonl").is_symlink()
    assert len(lines_of(tmp_path / "real.jsonl")) == 3


def test_every_input_is_looked_at_before_anything_is_scored(tmp_path):
    source = write_input(tmp_path / "in.jsonl", 3)
    with pytest.raises(ConfigError, match="there is no such file"):
        run([WORDS], [source, str(tmp_path / "absent.jsonl")], tmp_path / "out.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


@pytest.mark.parametrize("name", ["out.csv", "out", "out.gz"])
def test_an_output_of_an_unknown_kind_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match=r"must end in \.jsonl, \.jsonl\.gz, \.jsonl\.zst, \.parquet"):
        run([WORDS], write_input(tmp_path / "in.jsonl", 1), tmp_path / name)


def test_a_pipe_cannot_be_read_twice_for_groups(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="two passes"):
        run({"rank": f"{FILE}:Rank"}, str(tmp_path / "pipe"), tmp_path / "out.jsonl")


def test_a_full_disk_is_an_error_that_names_the_output(tmp_path):
    source = write_input(tmp_path / "in.jsonl", 3)
    with pytest.raises(OSError, match="cannot write '/dev/full': No space left"):
        run([WORDS], source, Path("/dev/full"))


def test_a_reward_may_change_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    elsewhere = FunctionReward(lambda trajectory: os.chdir("/"))
    run({"elsewhere": elsewhere}, write_input("in.jsonl", 3), Path("out.jsonl"))
    assert len(lines_of(tmp_path / "out.jsonl")) == 3


def test_scores_of_a_file_that_was_edited_are_not_taken_over(tmp_path):
    source, code = write_input(tmp_path / "in.jsonl", 3), tmp_path / "mine.py"
    for edition, value in enumerate((1.0, 2.0)):
        code = tmp_path / str(edition) / "mine.py"
        code.parent.mkdir()
        code.write_text(f"from rewardkit import reward\n\n@reward\ndef mine(trajectory):\n    return {value}\n")
        run([f"{code}:mine"], source, tmp_path / "out.jsonl", resume=True)
        assert [line["total"] for line in lines_of(tmp_path / "out.jsonl")] == [value] * 3


def test_scores_of_a_reward_that_changed_its_name_are_not_mixed_up(tmp_path):
    source = write_input(tmp_path / "in.jsonl", 3)
    run({"a": WORDS, "b": f"{WORDS}:scale=10"}, source, tmp_path / "out.jsonl")
    before = [line["scores"]["a"] for line in lines_of(tmp_path / "out.jsonl")]
    run({"b": WORDS, "a": f"{WORDS}:scale=10"}, source, tmp_path / "out.jsonl", resume=True)
    assert [line["scores"]["b"] for line in lines_of(tmp_path / "out.jsonl")] == before


def test_scores_of_an_object_that_hides_its_options_are_not_resumed(tmp_path):
    class Constant:
        def __init__(self, value):
            self.value = value

        def setup(self):
            pass

        def score_batch(self, batch, /):
            return [Score(value=self.value) for _ in batch]

        def close(self):
            pass

    source = write_input(tmp_path / "in.jsonl", 3)
    run({"constant": Constant(1.0)}, source, tmp_path / "out.jsonl")
    with pytest.raises(ConfigError, match="cannot resume with 'constant'"):
        run({"constant": Constant(2.0)}, source, tmp_path / "out.jsonl", resume=True)


ODD = Score(value=1.0, explanation="\ud800", metadata={"big": 2**70, "\ud800": "\udfff"})


def test_odd_scores_survive_the_store(tmp_path):
    with ScoreStore(tmp_path / "store") as store:
        store.put({b"key": ODD})
        assert store.get([b"key"]) == {b"key": ODD}


def test_memory_does_not_grow_with_the_input(tmp_path):
    def peak(count):
        source = write_input(tmp_path / f"in{count}.jsonl", count)
        tracemalloc.start()
        run([WORDS], source, tmp_path / f"out{count}.jsonl")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak(500)
    assert peak(8_000) < peak(4_000) * 1.3 + 2**20


@pytest.mark.parametrize("executor", ["serial", "process"])
def test_killed_at_random_moments_and_resumed_it_ends_as_if_undisturbed(tmp_path, executor):
    kills, rng = int(os.environ.get("REWARDKIT_TEST_KILLS", "8")), random.Random(5)
    source, log = write_input(tmp_path / "in.jsonl", 600), tmp_path / "log"
    spec = f"{FILE}:slow_words:seconds=0.004,log={json.dumps(str(log))}"
    run([spec], source, tmp_path / "undisturbed.jsonl")
    log.unlink()
    output, mark = tmp_path / "out.jsonl", uuid.uuid4().hex
    program = [sys.executable, "-m", "rewardkit", "score", source, "-r", spec, "-o", str(output), "--resume"]
    kept: set[str] = set()
    for _ in range(kills):
        before = len(log.read_text().splitlines()) if log.exists() else 0
        job = subprocess.Popen([*program, "--executor", executor, "--quiet"], env={**os.environ, "MARK": mark})
        time.sleep(rng.uniform(0.3, 0.9))
        job.kill()
        job.wait()
        scored = log.read_text().splitlines()[before:] if log.exists() else []
        assert kept.isdisjoint(scored), "a score that was kept was computed again"
        kept = ids_kept(source, spec, output)
    assert kept, "no run lived long enough to keep a score"
    before = len(log.read_text().splitlines())
    subprocess.run([*program, "--executor", executor, "--quiet"], check=True)
    assert sorted(log.read_text().splitlines()[before:]) == sorted({f"t{i}" for i in range(600)} - kept)
    assert output.read_text() == (tmp_path / "undisturbed.jsonl").read_text()
    deadline = time.monotonic() + 10
    while (left := processes_with(f"MARK={mark}")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []


def ids_kept(source, spec, output):
    """Return the ids of the trajectories whose score outlived the kill of a job: all, if it was through already."""
    store = output.with_name(output.name + ".partial")
    if not store.exists():
        return {f"t{i}" for i in range(600)} if output.exists() else set()
    signature = str(Scorer([spec], plugins=NO_PLUGINS).terms[0].signature())
    ids = {key_of(signature, trajectory_hash(line.content)): line.content.id for line in read_trajectories(source)}
    with ScoreStore(store) as scores:
        return {ids[key] for key in scores.get(list(ids))}


def processes_with(variable):
    """Return the ids of the processes that have this in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if variable.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found
