"""What the kernel tells of processes, and signals that reach the one that is meant."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from nordan_workers.shim import linux
from support.attempts import needs_root, until


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(["sleep", "60"], env={"NORDAN_ATTEMPT": "att_x", "NORDAN_NODE_RANK": "1"})
    yield child
    child.kill()
    child.wait()


def found(child: subprocess.Popen[bytes]) -> linux.Process:
    process = linux.process(child.pid)
    assert process is not None
    return process


def test_a_process_is_known_by_number_and_start(sleeper: subprocess.Popen[bytes]) -> None:
    one = found(sleeper)
    assert one.parent == os.getpid()
    assert linux.is_alive(one.pid, one.start_time)
    assert not linux.is_alive(one.pid, one.start_time + 1)


def test_a_name_with_brackets_and_blanks_is_read_right() -> None:
    code = "import ctypes, sys; ctypes.CDLL(None).prctl(15, b') R 1 (x', 0, 0, 0); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert found(child).parent == os.getpid()
        child.communicate()


def test_a_zombie_is_not_alive() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    one = linux.process(child)
    assert one is not None
    until(lambda: not linux.is_alive(child, one.start_time), "the zombie")
    os.waitpid(child, 0)
    assert linux.process(child) is None


def test_descendants_are_found_below_the_roots_and_not_beside_them() -> None:
    with subprocess.Popen(["sh", "-c", "sleep 60 & echo; wait"], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        (below,) = linux.descendants([child.pid])
        assert below.parent == child.pid
        assert child.pid not in {one.pid for one in linux.descendants([child.pid])}
        linux.send(below, signal.SIGKILL)


def test_a_signal_never_reaches_a_later_process_with_the_number(sleeper: subprocess.Popen[bytes]) -> None:
    one = found(sleeper)
    assert not linux.send(replace(one, start_time=one.start_time - 1), signal.SIGKILL)
    assert sleeper.poll() is None
    assert linux.send(one, signal.SIGKILL)
    assert sleeper.wait() == -signal.SIGKILL
    assert not linux.send(one, signal.SIGKILL)


def test_marks_are_read_from_the_environment(sleeper: subprocess.Popen[bytes]) -> None:
    until(lambda: linux.has_marks(sleeper.pid, {"NORDAN_ATTEMPT": "att_x"}), "the program's start")
    assert linux.has_marks(sleeper.pid, {"NORDAN_ATTEMPT": "att_x", "NORDAN_NODE_RANK": "1"})
    assert not linux.has_marks(sleeper.pid, {"NORDAN_ATTEMPT": "att_x", "NORDAN_NODE_RANK": "2"})
    assert not linux.has_marks(sleeper.pid, {"NORDAN_ATTEMPT": "att_"})


def test_the_user_of_a_process_is_told(sleeper: subprocess.Popen[bytes]) -> None:
    assert linux.user_of(sleeper.pid) == os.geteuid()
    assert linux.user_of(2**22 + 1) is None


@needs_root
@pytest.mark.root
def test_killing_a_user_spares_everybody_else(sleeper: subprocess.Popen[bytes]) -> None:
    victims = [subprocess.Popen(["sleep", "60"], user=270_300, group=270_300, extra_groups=[]) for _ in range(3)]
    linux.kill_user(270_300)
    assert [victim.wait() for victim in victims] == [-signal.SIGKILL] * 3
    assert sleeper.poll() is None


@needs_root
@pytest.mark.root
def test_root_is_never_killed_as_a_user(sleeper: subprocess.Popen[bytes]) -> None:
    linux.kill_user(0)
    assert sleeper.poll() is None


def test_the_boot_has_an_identity() -> None:
    assert len(linux.boot_id()) == 36
    assert linux.oom_kills() >= 0
