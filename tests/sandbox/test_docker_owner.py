"""Whose a container is: a process that lives, one that has ended, and those that cannot be seen from here."""

import subprocess
import sys

from rewardkit_sandbox.docker_owner import is_dead, this_process

SAY = "from rewardkit_sandbox.docker_owner import this_process; print(this_process(), flush=True); input()"


def test_a_process_is_dead_once_it_has_ended_and_not_before():
    other = subprocess.Popen([sys.executable, "-c", SAY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    owner = other.stdout.readline().strip()
    assert not is_dead(owner)
    other.communicate("\n")
    assert is_dead(owner)


def test_this_process_lives():
    assert not is_dead(this_process())
    assert this_process() == this_process()


def test_a_process_that_took_over_the_id_of_a_dead_one_is_another():
    place, pid, started = this_process().split(":")
    assert is_dead(f"{place}:{pid}:{int(started) - 1}")


def test_processes_of_other_machines_and_strange_labels_are_never_dead():
    place, pid, _started = this_process().split(":")
    for label in (f"x{place}:{pid}:1", f"{place.split('/')[0]}/1:1:1", f"{place}:x:1", place, ""):
        assert not is_dead(label)
