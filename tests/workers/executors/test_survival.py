"""Whoever is killed, the job is noticed, adopted or ended: supervisor, warm parent, shim, machine."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nordan_core.clock import SystemClock
from nordan_core.domain.ids import AttemptId
from nordan_workers.executors import local
from nordan_workers.executors.base import RankState
from nordan_workers.executors.local import LocalExecutor
from nordan_workers.shim import linux
from nordan_workers.shim.records import CLAIM, DEADLINE, EXIT, PID, Claim, Deadline, PidRecord, read, write
from support.attempts import launch_order, until
from workers.executors.conftest import MakeExecutor
from workers.executors.contract import ended, running, started

SLEEP = ["sleep", "60"]
#: A child in a session of its own, whose parent is gone: the usual way to escape.
ESCAPE = [
    "sh",
    "-c",
    "(setsid sh -c 'echo $$ > child; exec env -i sleep 60' &) ; until [ -s child ]; do :; done; {end}",
]


def rank_dir(region_dir: Path, attempt_id: AttemptId, rank: int = 0) -> Path:
    return region_dir / "attempts" / attempt_id / f"rank-{rank}"


def pid_record(region_dir: Path, attempt_id: AttemptId, rank: int = 0) -> PidRecord:
    path = rank_dir(region_dir, attempt_id, rank) / PID
    until(lambda: read(path, PidRecord) is not None, f"rank {rank} has begun")
    record = read(path, PidRecord)
    assert record is not None
    return record


def escaped_child(region_dir: Path, attempt_id: AttemptId) -> linux.Process:
    note = region_dir / "work" / attempt_id / "rank-0" / "child"
    until(lambda: note.exists() and note.read_text().strip() != "", "the escaped child")
    child = linux.process(int(note.read_text()))
    assert child is not None
    return child


def is_gone(one: linux.Process) -> bool:
    return not linux.is_alive(one.pid, one.start_time)


def escape(end: str) -> list[str]:
    return [part.replace("{end}", end) for part in ESCAPE]


def parent_pid(executor: LocalExecutor) -> int:
    pid = executor._parent._started_pid
    assert pid is not None
    return pid


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def stranger() -> Iterator[linux.Process]:
    """A process that has nothing to do with any attempt."""
    child = subprocess.Popen(SLEEP, start_new_session=True)
    found = linux.process(child.pid)
    assert found is not None
    yield found
    child.kill()
    child.wait()


def test_another_executor_adopts_what_runs_and_sees_its_end(make_executor: MakeExecutor) -> None:
    first = make_executor()
    attempt_id = started(first, launch_order(["sh", "-c", "sleep 0.3; exit 3"]))
    before = running(first, attempt_id)
    second = make_executor()
    assert second.adopt() == (attempt_id,)
    assert second.poll(attempt_id).ranks[0].pid == before.ranks[0].pid
    assert ended(second, attempt_id).ranks[0].exit == ended(first, attempt_id).ranks[0].exit


def test_another_executor_knows_an_end_that_nobody_saw(make_executor: MakeExecutor, region_dir: Path) -> None:
    attempt_id = started(make_executor(), launch_order(["false"]))
    until((rank_dir(region_dir, attempt_id) / EXIT).exists, "the exit record")
    status = make_executor().poll(attempt_id)
    assert status.ranks[0].exit is not None
    assert status.ranks[0].exit.exit_code == 1


def test_what_a_removal_that_was_cut_short_has_left_is_cleared_away(
    make_executor: MakeExecutor, region_dir: Path
) -> None:
    executor = make_executor()
    attempt_id = started(executor, launch_order(["true"]))
    ended(executor, attempt_id)
    (region_dir / "attempts" / attempt_id / "prepared.json").unlink()
    assert make_executor().adopt() == ()
    assert not (region_dir / "attempts" / attempt_id).exists()


def test_another_executor_can_extend_and_stop(make_executor: MakeExecutor) -> None:
    attempt_id = started(make_executor(), launch_order(SLEEP), life_s=2.5)
    second = make_executor()
    running(second, attempt_id)
    second.extend({attempt_id: SystemClock().monotonic() + 60})
    second.stop(attempt_id, 30.0)
    status = ended(second, attempt_id)
    assert status.ranks[0].exit is not None
    assert (status.ranks[0].exit.signal, status.ranks[0].exit.at_deadline) == (15, False)


def test_launching_again_after_a_restart_starts_nothing_twice(make_executor: MakeExecutor) -> None:
    order = launch_order(SLEEP)
    attempt_id = started(make_executor(), order)
    second = make_executor()
    before = running(second, attempt_id)
    started(second, order)
    assert second.poll(attempt_id).ranks == before.ranks


def test_a_killed_parent_takes_no_shim_along_and_is_replaced(executor: LocalExecutor) -> None:
    survivor = started(executor, launch_order(["sh", "-c", "sleep 1; exit 5"]))
    running(executor, survivor)
    os.kill(parent_pid(executor), signal.SIGKILL)
    later = ended(executor, started(executor, launch_order(["true"])))
    assert not later.has_failed
    status = ended(executor, survivor)
    assert status.ranks[0].exit is not None
    assert status.ranks[0].exit.exit_code == 5


def test_a_rank_whose_shim_is_killed_is_lost_and_leaves_nothing(executor: LocalExecutor, region_dir: Path) -> None:
    attempt_id = started(executor, launch_order(escape("sleep 60")))
    running(executor, attempt_id)
    child = escaped_child(region_dir, attempt_id)
    record = pid_record(region_dir, attempt_id)
    os.kill(record.shim_pid, signal.SIGKILL)
    status = ended(executor, attempt_id)
    assert status.ranks[0].state is RankState.LOST
    assert status.ranks[0].exit is not None
    assert status.ranks[0].exit.exit_code is None
    assert status.has_failed
    until(lambda: is_gone(child), "the escaped child's end")
    until(lambda: not linux.is_alive(record.pid, record.start_time), "the program's end")


def test_a_lost_rank_stays_lost_for_the_next_executor(
    executor: LocalExecutor, make_executor: MakeExecutor, region_dir: Path
) -> None:
    attempt_id = started(executor, launch_order(SLEEP))
    running(executor, attempt_id)
    os.kill(pid_record(region_dir, attempt_id).shim_pid, signal.SIGKILL)
    status = ended(executor, attempt_id)
    assert make_executor().poll(attempt_id).ranks == status.ranks


def test_losing_one_rank_leaves_the_others_to_the_supervisor(executor: LocalExecutor, region_dir: Path) -> None:
    attempt_id = started(executor, launch_order(SLEEP, ranks=2))
    running(executor, attempt_id)
    os.kill(pid_record(region_dir, attempt_id, 1).shim_pid, signal.SIGKILL)
    until(lambda: executor.poll(attempt_id).has_failed, "the loss")
    assert [rank.state for rank in executor.poll(attempt_id).ranks] == [RankState.RUNNING, RankState.LOST]


def test_shim_and_parent_killed_together_leave_nothing(executor: LocalExecutor, region_dir: Path) -> None:
    """Without the parent nobody inherits the orphans: the poll finds them by user, or by the mark they carry."""
    attempt_id = started(executor, launch_order(["sh", "-c", "(setsid sh -c 'echo $$ > child; sleep 60' &); sleep 60"]))
    running(executor, attempt_id)
    child = escaped_child(region_dir, attempt_id)
    os.kill(parent_pid(executor), signal.SIGKILL)
    os.kill(pid_record(region_dir, attempt_id).shim_pid, signal.SIGKILL)
    assert ended(executor, attempt_id).ranks[0].state is RankState.LOST
    until(lambda: is_gone(child), "the escaped child's end")


def test_what_a_gangs_lost_rank_left_behind_is_gone_before_its_user_is_used_again(
    executor: LocalExecutor, region_dir: Path
) -> None:
    if executor.tenancy == ("single",):
        pytest.skip("one user for all attempts: nothing tells what was left from what others run")
    attempt_id = started(executor, launch_order(escape("sleep 60"), ranks=2))
    child = escaped_child(region_dir, attempt_id)
    shims = [pid_record(region_dir, attempt_id, rank).shim_pid for rank in (0, 1)]
    for pid in (parent_pid(executor), *shims):
        os.kill(pid, signal.SIGKILL)
    ended(executor, attempt_id)
    executor.forget(attempt_id)
    assert is_gone(child)
    assert attempt_id not in executor.adopt()


@pytest.mark.parametrize("is_same_boot", [True, False])
def test_a_stranger_with_a_number_used_again_is_not_killed(
    executor: LocalExecutor, region_dir: Path, stranger: linux.Process, *, is_same_boot: bool
) -> None:
    """The machine restarted, or the shim died long ago, and another process has the program's number now."""
    attempt_id = started(executor, launch_order(SLEEP))
    running(executor, attempt_id)
    record = pid_record(region_dir, attempt_id)
    os.kill(record.shim_pid, signal.SIGKILL)
    until(lambda: not linux.is_alive(record.pid, record.start_time), "the program's end")
    boot_id = linux.boot_id() if is_same_boot else "another-boot"
    start_time = stranger.start_time - 1 if is_same_boot else stranger.start_time
    folder = rank_dir(region_dir, attempt_id)
    write(folder / CLAIM, Claim(boot_id, stranger.pid, start_time))
    write(folder / PID, PidRecord(boot_id, stranger.pid, start_time, stranger.pid, start_time, 1.0))
    assert ended(executor, attempt_id).ranks[0].state is RankState.LOST
    executor.forget(attempt_id)
    assert not is_gone(stranger)


def test_a_rank_that_was_asked_for_before_a_restart_of_the_machine_is_lost(
    executor: LocalExecutor, make_executor: MakeExecutor, region_dir: Path
) -> None:
    order = launch_order(SLEEP)
    folders = executor.prepare(order)
    attempt_id = AttemptId(order.attempt_id)
    executor._book.note_launched(attempt_id, replace(executor._choose(attempt_id, order), boot_id="another-boot"))
    second = make_executor()
    assert ended(second, attempt_id).ranks[0].state is RankState.LOST
    second.launch(order, folders, SystemClock().monotonic() + 60)
    assert second.poll(attempt_id).ranks[0].state is RankState.LOST


@pytest.mark.parametrize("end", ["exit 0", "kill -9 $$"])
def test_what_a_program_leaves_running_ends_with_it(executor: LocalExecutor, region_dir: Path, end: str) -> None:
    attempt_id = started(executor, launch_order(escape(end)))
    child = escaped_child(region_dir, attempt_id)
    status = ended(executor, attempt_id)
    assert status.ranks[0].state is RankState.EXITED
    assert is_gone(child)


def test_one_rank_that_ends_does_not_take_the_other_along(executor: LocalExecutor) -> None:
    command = ["sh", "-c", 'if [ "$NORDAN_NODE_RANK" = 0 ]; then (setsid sleep 60 &); exit 0; else sleep 60; fi']
    attempt_id = started(executor, launch_order(command, ranks=2))
    until(lambda: executor.poll(attempt_id).ranks[0].is_over, "the first rank's end")
    assert executor.poll(attempt_id).ranks[1].state is RankState.RUNNING


def test_a_stop_in_the_very_moment_of_the_start_is_heard(executor: LocalExecutor) -> None:
    for _ in range(20):
        attempt_id = started(executor, launch_order(SLEEP))
        running(executor, attempt_id)
        executor.stop(attempt_id, grace_s=60.0)
        report = ended(executor, attempt_id).ranks[0].exit
        assert report is not None
        assert report.signal == signal.SIGTERM


def test_a_program_that_ignores_sigterm_is_killed_after_its_grace(executor: LocalExecutor, region_dir: Path) -> None:
    command = ["sh", "-c", "trap '' TERM; touch deaf; while :; do sleep 0.05; done"]
    attempt_id = started(executor, launch_order(command))
    until((region_dir / "work" / attempt_id / "rank-0" / "deaf").exists, "the trap")
    executor.stop(attempt_id, grace_s=0.4)
    stopped_s = SystemClock().monotonic()
    status = ended(executor, attempt_id)
    assert status.ranks[0].exit is not None
    assert (status.ranks[0].exit.signal, status.ranks[0].exit.oom) == (9, False)
    assert status.ranks[0].ended_at_s is not None
    assert 0.3 < status.ranks[0].ended_at_s - stopped_s < 2.0


@pytest.mark.parametrize("is_asked", [True, False], ids=["by a stop", "at its deadline"])
def test_a_rank_whose_shim_stands_still_is_killed_all_the_same(
    executor: LocalExecutor, region_dir: Path, monkeypatch: pytest.MonkeyPatch, *, is_asked: bool
) -> None:
    monkeypatch.setattr(local, "OVERDUE_S", 0.2)
    attempt_id = started(executor, launch_order(SLEEP), life_s=60.0 if is_asked else 4.0)
    running(executor, attempt_id)
    record = pid_record(region_dir, attempt_id)
    os.kill(record.shim_pid, signal.SIGSTOP)
    if is_asked:
        executor.stop(attempt_id, grace_s=0.1)
    assert ended(executor, attempt_id).ranks[0].state is RankState.LOST
    assert not linux.is_alive(record.pid, record.start_time)


def test_a_second_stop_can_only_shorten_the_grace(executor: LocalExecutor, region_dir: Path) -> None:
    command = ["sh", "-c", "trap '' TERM; touch deaf; while :; do sleep 0.05; done"]
    attempt_id = started(executor, launch_order(command))
    until((region_dir / "work" / attempt_id / "rank-0" / "deaf").exists, "the trap")
    executor.stop(attempt_id, grace_s=60.0)
    executor.stop(attempt_id, grace_s=0.2)
    executor.stop(attempt_id, grace_s=60.0)
    assert ended(executor, attempt_id).ranks[0].exit is not None


def test_a_full_disk_does_not_keep_an_attempt_running(executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt_id = started(executor, launch_order(SLEEP))
    running(executor, attempt_id)
    monkeypatch.setattr(executor._book, "note_stop", no_space)
    executor.stop(attempt_id, grace_s=60.0)
    assert ended(executor, attempt_id).ranks[0].exit is not None


def test_a_deadline_that_a_full_disk_refuses_leaves_the_others_extended(
    executor: LocalExecutor, region_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, fine = (started(executor, launch_order(SLEEP)) for _ in range(2))
    note = executor._book.note_deadline
    monkeypatch.setattr(
        executor._book, "note_deadline", lambda one, limit: note(one, limit) if one == fine else no_space()
    )
    far_s = SystemClock().monotonic() + 900
    executor.extend({full: far_s, fine: far_s})
    written = read(region_dir / "attempts" / fine / DEADLINE, Deadline)
    assert written is not None
    assert written.at_s == far_s


def test_a_deaf_program_is_gone_at_its_deadline_and_no_later(executor: LocalExecutor) -> None:
    limit_s = SystemClock().monotonic() + 3.0
    command = ["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"]
    attempt_id = started(executor, launch_order(command), life_s=3.0)
    status = ended(executor, attempt_id)
    assert status.ranks[0].exit is not None
    assert (status.ranks[0].exit.signal, status.ranks[0].exit.at_deadline) == (9, True)
    assert status.ranks[0].ended_at_s is not None
    assert limit_s - 0.1 < status.ranks[0].ended_at_s < limit_s + 0.5


def test_the_deadline_is_kept_without_executor_and_parent(
    make_executor: MakeExecutor, executor: LocalExecutor, region_dir: Path
) -> None:
    attempt_id = started(executor, launch_order(SLEEP), life_s=3.0)
    running(executor, attempt_id)
    record = pid_record(region_dir, attempt_id)
    os.kill(parent_pid(executor), signal.SIGKILL)
    until(lambda: not linux.is_alive(record.pid, record.start_time), "the deadline", limit_s=6.0)
    status = ended(make_executor(), attempt_id)
    assert status.ranks[0].exit is not None
    assert status.ranks[0].exit.at_deadline


def test_the_executors_process_may_be_killed_while_jobs_run(make_executor: MakeExecutor, region_dir: Path) -> None:
    """A real process that launches and is killed at once, as a supervisor would be."""
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from nordan_core.clock import SystemClock\n"
        "from nordan_core.wire import LaunchOrder\n"
        "from nordan_workers.executors import local\n"
        "from nordan_workers.executors.uids import UidRange\n"
        "order = LaunchOrder.model_validate_json(sys.argv[2])\n"
        "local._check_users = lambda region_dir, uid_range: None\n"
        "uids = UidRange(*map(int, sys.argv[3:])) if sys.argv[3:] else None\n"
        "executor = local.LocalExecutor(Path(sys.argv[1]), SystemClock(), uid_range=uids)\n"
        "folders = executor.prepare(order)\n"
        "executor.seal(folders)\n"
        "executor.launch(order, folders, SystemClock().monotonic() + 60)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    order = launch_order(["sh", "-c", "sleep 0.5; exit 4"])
    span = make_executor()._uids
    uids = [] if span is None else [str(span._span.first), str(span._span.last)]
    done = subprocess.run([sys.executable, "-c", script, region_dir, order.model_dump_json(), *uids], check=False)
    assert done.returncode == -signal.SIGKILL
    second = make_executor()
    assert second.adopt() == (order.attempt_id,)
    status = ended(second, AttemptId(order.attempt_id))
    assert status.ranks[0].exit is not None
    assert status.ranks[0].exit.exit_code == 4


def test_the_parent_ends_when_nobody_needs_it(executor: LocalExecutor, region_dir: Path) -> None:
    ended(executor, started(executor, launch_order(["true"])))
    parent = linux.process(parent_pid(executor))
    assert parent is not None
    executor.close()
    until(lambda: is_gone(parent), "the parent's end")
    until(lambda: not (region_dir / "run" / "shim.sock").exists(), "its socket's end")


def test_a_closed_executor_leaves_its_jobs_running(executor: LocalExecutor, make_executor: MakeExecutor) -> None:
    attempt_id = started(executor, launch_order(["sh", "-c", "sleep 0.3; exit 6"]))
    running(executor, attempt_id)
    executor.close()
    status = ended(make_executor(), attempt_id)
    assert status.ranks[0].exit is not None
    assert status.ranks[0].exit.exit_code == 6


def test_a_shim_ends_its_rank_when_the_machine_goes_down(executor: LocalExecutor, region_dir: Path) -> None:
    attempt_id = started(executor, launch_order(SLEEP))
    running(executor, attempt_id)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid_record(region_dir, attempt_id).shim_pid, signal.SIGTERM)
    status = ended(executor, attempt_id)
    assert status.ranks[0].exit is not None
    assert (status.ranks[0].exit.signal, status.ranks[0].exit.at_deadline) == (15, False)
