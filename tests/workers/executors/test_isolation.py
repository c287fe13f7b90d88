"""Attempts under users of their own: what a hostile job tries, and fails."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from nordan_core.clock import SystemClock
from nordan_core.domain.ids import AttemptId
from nordan_core.wire import LaunchOrder
from nordan_workers.executors.base import LaunchFailed
from nordan_workers.executors.local import LocalExecutor
from nordan_workers.shim import linux
from support.attempts import launch_order, needs_root, own_uids, until
from workers.executors.contract import ended, running, started

pytestmark = [pytest.mark.root, needs_root]
SPAN = own_uids(200, 209)
TWO = own_uids(210, 211)


@pytest.fixture
def executor(region_dir: Path) -> Iterator[LocalExecutor]:
    made = LocalExecutor(region_dir, SystemClock(), uid_range=SPAN)
    yield made
    for attempt_id in made.adopt():
        made.forget(attempt_id)
    made.close()


@pytest.fixture
def nordan_files(region_dir: Path) -> dict[str, Path]:
    """Secrets as `up` lays them: owned by others than the attempts, closed to everybody else."""
    keys = region_dir / "keys"
    keys.mkdir(mode=0o700)
    sockets = region_dir / "postgres"
    sockets.mkdir(mode=0o700)
    files = {
        "signing key": keys / "grant.key",
        "join bundle": region_dir / "join.json",
        "database socket": sockets / ".s.PGSQL.5432",
        "broker password": region_dir / "broker-password",
    }
    for file in files.values():
        file.write_text("secret")
        file.chmod(0o600)
    return files


def said(executor: LocalExecutor, region_dir: Path, command: str) -> tuple[int | None, str]:
    """Run a shell line as an attempt; return its exit code and what it printed."""
    order = launch_order(["sh", "-c", command])
    report = ended(executor, started(executor, order)).ranks[0].exit
    assert report is not None
    return report.exit_code, (region_dir / "logs" / order.attempt_id / "rank-0.log").read_text()


def neighbour(executor: LocalExecutor) -> tuple[LaunchOrder, int]:
    """Run another attempt with a secret in its environment and its folder."""
    order = launch_order(["sh", "-c", "echo secret > note; exec sleep 60"], env={"TOKEN": "secret"})
    attempt_id = started(executor, order)
    pid = running(executor, attempt_id).ranks[0].pid
    assert pid is not None
    return order, pid


def of_user(uid: int | None) -> list[linux.Process]:
    return [one for one in linux.processes() if one.is_alive and linux.user_of(one.pid) == uid]


@pytest.mark.parametrize("name", ["signing key", "join bundle", "database socket", "broker password"])
def test_a_job_cannot_read(executor: LocalExecutor, region_dir: Path, nordan_files: dict[str, Path], name: str) -> None:
    code, text = said(executor, region_dir, f"cat {nordan_files[name]}")
    assert code == 1
    assert "Permission denied" in text
    assert "secret" not in text


@pytest.mark.parametrize("path", ["attempts", "run/shim.sock", "run/shim.lock", "logs"])
def test_a_job_cannot_touch_the_executors_files(executor: LocalExecutor, region_dir: Path, path: str) -> None:
    code, text = said(executor, region_dir, f"ls {region_dir}/{path} && cat {region_dir}/{path}; touch {region_dir}/x")
    assert code != 0
    assert "denied" in text
    assert not (region_dir / "x").exists()


def test_a_job_cannot_enter_another_attempts_folder(executor: LocalExecutor, region_dir: Path) -> None:
    order, _ = neighbour(executor)
    code, text = said(executor, region_dir, f"cat {region_dir}/work/{order.attempt_id}/rank-0/note")
    assert code == 1
    assert "denied" in text


def test_a_job_cannot_list_the_attempts(executor: LocalExecutor, region_dir: Path) -> None:
    code, text = said(executor, region_dir, f"ls {region_dir}/work {region_dir}/attempts")
    assert code == 2
    assert "att_" not in text


@pytest.mark.parametrize("what", ["environ", "mem", "root", "cwd", "fd"])
def test_a_job_cannot_look_into_another_attempts_process(executor: LocalExecutor, region_dir: Path, what: str) -> None:
    _, pid = neighbour(executor)
    command = (
        f"cat /proc/{pid}/environ" if what == "environ" else f"ls /proc/{pid}/{what}/ || head -c 1 /proc/{pid}/{what}"
    )
    code, text = said(executor, region_dir, command)
    assert code != 0
    assert "secret" not in text


def test_a_job_cannot_signal_another_attempt_nor_its_own_shim(executor: LocalExecutor, region_dir: Path) -> None:
    order, pid = neighbour(executor)
    for target in (str(pid), "$PPID"):
        code, _ = said(executor, region_dir, f"kill -9 {target}")
        assert code != 0
    assert not executor.poll(AttemptId(order.attempt_id)).is_over


def test_a_job_is_its_own_user_and_in_no_other_group(executor: LocalExecutor, region_dir: Path) -> None:
    code, text = said(executor, region_dir, "id -u; id -g; id -G; umask")
    uid = int(text.split()[0])
    assert code == 0
    assert uid in SPAN
    assert text.split() == [str(uid), str(uid), str(uid), "0077"]


def test_a_setuid_program_gives_a_job_nothing(executor: LocalExecutor, region_dir: Path) -> None:
    tool = region_dir / "tool"
    tool.write_bytes(Path("/usr/bin/id").read_bytes())
    tool.chmod(0o4755)
    code, text = said(executor, region_dir, f"{tool} -u; grep NoNewPrivs /proc/self/status")
    assert code == 0
    assert int(text.split()[0]) in SPAN
    assert text.split()[-1] == "1"


def test_a_job_cannot_change_its_inputs_however_it_tries(executor: LocalExecutor) -> None:
    order = launch_order(
        [
            "sh",
            "-c",
            "cd $NORDAN_INPUT_DIR; echo x > data; rm -f data; chmod 777 data; mv data d; mv ../inputs ../in; :",
        ]
    )
    folders = executor.prepare(order)
    (folders.inputs / "data").write_text("true")
    ended(executor, started(executor, order))
    assert (folders.inputs / "data").read_text() == "true"


def test_a_job_cannot_write_into_its_log_but_through_its_output(executor: LocalExecutor, region_dir: Path) -> None:
    _, text = said(executor, region_dir, f"echo x > {region_dir}/logs/$NORDAN_ATTEMPT/rank-0.log; echo said")
    assert "denied" in text
    assert text.endswith("said\n")


def test_a_fork_bomb_ends_with_its_attempt(executor: LocalExecutor) -> None:
    command = (
        "n=0; while [ $n -lt 200 ]; do (setsid sh -c 'while :; do sleep 0.01; done' &); n=$((n+1)); done; sleep 60"
    )
    attempt_id = started(executor, launch_order(["sh", "-c", command]))
    uid = executor._prepared[attempt_id].uid
    running(executor, attempt_id)
    until(lambda: len(of_user(uid)) > 100, "a crowd")
    executor.stop(attempt_id, 0.0)
    ended(executor, attempt_id)
    assert of_user(uid) == []


@pytest.mark.skipif(not shutil.which("ipcmk"), reason="needs ipcmk, of util-linux")
@pytest.mark.parametrize(("kind", "option"), [("shm", "-M 4096"), ("msg", "-Q"), ("sem", "-S 1")])
def test_shared_memory_queues_and_semaphores_go_with_the_attempt(
    executor: LocalExecutor, kind: str, option: str
) -> None:
    attempt_id = started(executor, launch_order(["ipcmk", *option.split()]))
    ended(executor, attempt_id)
    uid = f" {executor._prepared[attempt_id].uid} "
    table = Path(f"/proc/sysvipc/{kind}")
    assert uid in table.read_text()
    executor.forget(attempt_id)
    assert uid not in table.read_text()


def test_files_left_in_shared_places_go_with_the_attempt(executor: LocalExecutor) -> None:
    order = launch_order(["sh", "-c", 'touch "/tmp/left-$NORDAN_ATTEMPT"; mkdir "/dev/shm/left-$NORDAN_ATTEMPT"'])
    attempt_id = started(executor, order)
    ended(executor, attempt_id)
    left = [Path(f"/tmp/left-{attempt_id}"), Path(f"/dev/shm/left-{attempt_id}")]
    assert all(one.exists() for one in left)
    executor.forget(attempt_id)
    assert not any(one.exists() for one in left)


def test_a_uid_is_given_again_only_when_its_attempt_is_forgotten(region_dir: Path) -> None:
    executor = LocalExecutor(region_dir, SystemClock(), uid_range=TWO)
    first, second, third = (launch_order() for _ in range(3))
    uids = [executor.prepare(order).uid for order in (first, second)]
    assert sorted(uids, key=str) == [TWO.first, TWO.last]
    with pytest.raises(LaunchFailed, match="in use"):
        executor.prepare(third)
    again = LocalExecutor(region_dir, SystemClock(), uid_range=TWO)
    assert again.prepare(first).uid == uids[0]
    again.forget(AttemptId(first.attempt_id))
    assert again.prepare(third).uid == uids[0]
    for attempt_id in again.adopt():
        again.forget(attempt_id)


def test_the_uid_of_files_without_a_record_stays_taken(region_dir: Path) -> None:
    executor = LocalExecutor(region_dir, SystemClock(), uid_range=TWO)
    folders = executor.prepare(launch_order())
    (region_dir / "attempts" / folders.attempt_id / "prepared.json").unlink()
    again = LocalExecutor(region_dir, SystemClock(), uid_range=TWO)
    assert again.prepare(launch_order()).uid != folders.uid


def test_the_shim_is_roots_so_that_the_job_cannot_outlive_it(executor: LocalExecutor) -> None:
    _, pid = neighbour(executor)
    program = linux.process(pid)
    assert program is not None
    assert linux.user_of(program.parent) == os.geteuid() == 0
