"""Programs that cannot be right are refused when they are made, by name."""

from __future__ import annotations

import pytest

from rewardkit.errors import ConfigError
from rewardkit.programs import Execution, Limits, Program


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../up", "a/../b", ".", "./", "./.", "a\0b"])
def test_a_file_outside_the_programs_directory_is_refused(path):
    for fields in ({"files": {path: b""}}, {"fetch": (path,)}):
        with pytest.raises(ConfigError, match="must be a relative path"):
            Program(code="", **fields)


@pytest.mark.parametrize("files", [("a", "a/b"), ("a/b/c", "a/b"), ("a/b/c/d", "a")])
def test_a_file_in_another_file_is_refused(files):
    with pytest.raises(ConfigError, match="no folder, but a file"):
        Program(code="", files=dict.fromkeys(files, b""))


def test_files_beside_each_other_are_taken():
    names = ("a", "ab", "b/a", "b/c/a", "..b", "...")
    assert len(Program(code="", files=dict.fromkeys(names, b""), fetch=("*", "a/b")).files) == 6


@pytest.mark.parametrize(("name", "text"), [("", "x"), ("A=B", "x"), ("A\0", "x"), ("A", "\0")])
def test_a_variable_that_no_environment_can_hold_is_refused(name, text):
    with pytest.raises(ConfigError, match="the variable"):
        Program(code="", env={name: text})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("code", b"print(1)"),
        ("stdin", "7"),
        ("argv", "ls -l"),
        ("argv", (b"ls",)),
        ("fetch", "out.txt"),
        ("inputs", b"7"),
        ("inputs", ("7",)),
        ("files", {"in.txt": "7"}),
        ("env", {"A": 1}),
        ("limits", {"wall_s": 1.0}),
    ],
)
def test_a_field_of_another_type_is_refused_by_name(name, value):
    with pytest.raises(ConfigError, match=f"a program's {name}="):
        Program(**{"code": "", name: value})


def test_arguments_with_a_zero_byte_are_refused():
    with pytest.raises(ConfigError, match="zero byte"):
        Program(argv=("a", "b\0c"))


def test_a_program_with_nothing_to_run_is_refused_and_so_are_inputs_beside_a_peer():
    with pytest.raises(ConfigError, match="needs code, or argv"):
        Program()
    peer = Program(code="")
    for fields in ({"inputs": (b"",), "peer": peer}, {"peer": Program(code="", inputs=(b"",))}):
        with pytest.raises(ConfigError, match="neither inputs nor a peer"):
            Program(code="", **fields)


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan"), True, "3"])
def test_limits_are_positive_numbers(value):
    with pytest.raises(ConfigError, match="wall_s"):
        Limits(wall_s=value)


def test_limits_of_what_comes_in_pieces_are_whole_numbers():
    assert Limits(wall_s=0.5, cpu_s=0.5)
    for name in ("memory_mb", "processes", "disk_mb", "files", "output_kb"):
        with pytest.raises(ConfigError, match=f"{name}=32.0 must be a positive whole number"):
            Limits(**{name: 32.0})


def test_limits_are_lowered_to_a_ceiling_and_never_raised():
    lowered = Limits(wall_s=5, memory_mb=1000).within(Limits(wall_s=2, memory_mb=2000))
    assert (lowered.wall_s, lowered.memory_mb) == (2, 1000)


def test_an_execution_is_ok_only_with_status_zero_within_its_limits():
    assert Execution(exit_code=0).ok
    assert not Execution(exit_code=1).ok
    assert not Execution(exit_code=0, limit="output_kb").ok
