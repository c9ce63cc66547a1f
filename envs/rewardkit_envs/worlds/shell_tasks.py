"""The built-in tasks of the shell world: a dozen small ones that need nothing but `sh` and `python3`."""

from __future__ import annotations

from typing import Any

from rewardkit.types import Message, Task

_FRUIT = "pear 3\napple 5\nfig 12\nplum 7\n"
_LOG = "10:01 INFO start\n10:02 ERROR disk full\n10:03 INFO retry\n10:04 ERROR disk full\n10:05 INFO stop\n"
_MEAN = "def mean(numbers):\n    return sum(numbers) / (len(numbers) + 1)\n"
_MEAN_RIGHT = "def mean(numbers):\n    return sum(numbers) / len(numbers)\n"
_CHECK_MEAN = "from mean import mean\nprint(mean([2, 4, 9]), mean([7]))\n"
_GREET = "import sys\nprint('Hello, ' + sys.argv[1] + '!')\n"


def shell_tasks() -> list[Task]:
    """Return the tasks; each knows its own plan (`gold`)."""
    return [
        _task("greeting", "Write the word hello into the file greeting.txt.", {}, {"files": {"greeting.txt": "hello"}},
              _write("greeting.txt", "hello\n")),
        _task("sort", "Sort the lines of fruit.txt by name into sorted.txt. Leave fruit.txt as it is.",
              {"fruit.txt": _FRUIT},
              {"files": {"sorted.txt": "apple 5\nfig 12\npear 3\nplum 7\n"}, "unchanged": ["fruit.txt"]},
              _run("python3 -c \"open('sorted.txt', 'w').writelines(sorted(open('fruit.txt')))\"")),
        _task("sum", "Add up the numbers in fruit.txt and write the sum into sum.txt.", {"fruit.txt": _FRUIT},
              {"files": {"sum.txt": "27"}, "unchanged": ["fruit.txt"]},
              _run("s=0; while read name n; do s=$((s + n)); done < fruit.txt; echo $s > sum.txt")),
        _task("count-errors", "How many lines of server.log say ERROR? Finish with the number.", {"server.log": _LOG},
              {"answer": "2", "unchanged": True}, ("read_file", {"path": "server.log"}), _finish("2")),
        _task("only-errors", "Keep only the lines of server.log that say ERROR.", {"server.log": _LOG},
              {"files": {"server.log": "10:02 ERROR disk full\n10:04 ERROR disk full\n"}},
              _write("server.log", "10:02 ERROR disk full\n10:04 ERROR disk full\n")),
        _task("rename", "Rename notes.txt to archive/notes.txt.", {"notes.txt": "buy milk\n"},
              {"files": {"archive/notes.txt": "buy milk\n", "notes.txt": None}},
              _run("python3 -c \"import os; os.renames('notes.txt', 'archive/notes.txt')\"")),
        _task("delete", "Delete all files whose names end in .tmp, and nothing else.",
              {"a.tmp": "1", "keep.txt": "2", "b/c.tmp": "3", "b/tmp.txt": "4"},
              {"files": {"a.tmp": None, "b/c.tmp": None}, "unchanged": True},
              _run("python3 -c \"import os; os.remove('a.tmp'); os.remove('b/c.tmp')\"")),
        _task("replace", "In letter.txt, replace every Tom by Ann.", {"letter.txt": "Dear Tom,\nsee you, Tom\n"},
              {"files": {"letter.txt": "Dear Ann,\nsee you, Ann\n"}}, ("read_file", {"path": "letter.txt"}),
              _write("letter.txt", "Dear Ann,\nsee you, Ann\n")),
        _task("fix-mean", "The function in mean.py is wrong: it should return the mean of its numbers. Repair it.",
              {"mean.py": _MEAN},
              {"commands": [{"command": "python3 check_mean.py", "stdout": "5.0 7.0\n"}],
               "check_files": {"check_mean.py": _CHECK_MEAN}},
              _write("mean.py", _MEAN_RIGHT), _run("python3 -c 'from mean import mean; print(mean([2, 4, 9]))'")),
        _task("write-greet", "Write greet.py: called with a name, as in `python3 greet.py Ann`, it prints Hello, Ann!",
              {}, {"commands": [{"command": "python3 greet.py Ann", "stdout": "Hello, Ann!\n"},
                                {"command": "python3 greet.py Bo", "stdout": "Hello, Bo!\n"}]},
              _write("greet.py", _GREET)),
        _task("squares", "Write the squares of 1 to 50 into squares.txt, one a line.", {},
              {"files": {"squares.txt": "".join(f"{n * n}\n" for n in range(1, 51))}},
              _run("n=1; while [ $n -le 50 ]; do echo $((n * n)); n=$((n + 1)); done > squares.txt")),
        _task("find-key", "One of the files holds a line that begins with key=. Finish with what follows on that line.",
              {"a/one.txt": "nothing\n", "a/two.txt": "here\nkey=amber-41\n", "b/three.txt": "nor here\n"},
              {"answer": "amber-41", "unchanged": True}, ("list_files", {}), ("read_file", {"path": "a/two.txt"}),
              _finish("amber-41")),
    ]  # fmt: skip


def _task(name: str, text: str, files: dict[str, str], goal: dict[str, Any], *plan: tuple[str, dict[str, str]]) -> Task:
    calls = [*plan] if plan[-1][0] == "finish" else [*plan, _finish("done")]
    gold = [{"name": name, "arguments": arguments} for name, arguments in calls]
    metadata = {"files": files, "goal": goal, "gold": gold}
    return Task(id=f"shell/{name}", prompt=(Message(role="user", content=text),), metadata=metadata)


def _write(path: str, content: str) -> tuple[str, dict[str, str]]:
    return "write_file", {"path": path, "content": content}


def _run(command: str) -> tuple[str, dict[str, str]]:
    return "run", {"command": command}


def _finish(answer: str) -> tuple[str, dict[str, str]]:
    return "finish", {"answer": answer}
