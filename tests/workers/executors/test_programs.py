"""What a program finds when it starts, what becomes of its output, and how bad programs end."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from nordan_core.clock import SystemClock
from nordan_core.domain.errors import OperatorError
from nordan_core.domain.ids import AttemptId
from nordan_core.domain.jobs import JobKind
from nordan_core.wire import ExitReport, LaunchOrder
from nordan_workers.executors.base import EVENTS_SOCKET, AttemptStatus, LaunchFailed
from nordan_workers.executors.local import LocalExecutor
from nordan_workers.executors.uids import UidRange
from support.attempts import launch_order, needs_root, until
from workers.executors.conftest import MakeExecutor
from workers.executors.contract import ended, running, started


def log_of(region_dir: Path, order: LaunchOrder, rank: int = 0) -> str:
    return (region_dir / "logs" / order.attempt_id / f"rank-{rank}.log").read_text()


def run(executor: LocalExecutor, order: LaunchOrder, rank: int = 0) -> ExitReport:
    report = ended(executor, started(executor, order)).ranks[rank].exit
    assert report is not None
    return report


def environment(executor: LocalExecutor, region_dir: Path, order: LaunchOrder, rank: int = 0) -> dict[str, str]:
    run(executor, order, rank)
    lines = log_of(region_dir, order, rank).splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith(("PWD=", "_=", "SHLVL=")))


def test_the_environment_is_the_jobs_and_nordans_and_nothing_else(
    executor: LocalExecutor, region_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NORDAN_JOIN_FILE", "/secret/join.json")
    order = launch_order(["env"], env={"EPOCHS": "20"}, ranks=2, gpus_per_rank=2)
    found = environment(executor, region_dir, order, rank=1)
    work = region_dir / "work" / order.attempt_id
    port = found.pop("MASTER_PORT")
    assert 1024 < int(port) < 65536
    assert found == {
        "EPOCHS": "20",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(work / "rank-1"),
        "TMPDIR": str(work / "tmp"),
        "NORDAN_JOB": order.job_id,
        "NORDAN_ATTEMPT": order.attempt_id,
        "NORDAN_FENCE": "7",
        "NORDAN_NODE_RANK": "1",
        "NORDAN_NODES": "2",
        "NORDAN_GPUS": "2",
        "NORDAN_INPUT_DIR": str(work / "inputs"),
        "NORDAN_CHECKPOINT_DIR": str(work / "checkpoints-1"),
        "NORDAN_OUTPUT_DIR": str(work / "outputs-1"),
        "MASTER_ADDR": "127.0.0.1",
        "CUDA_VISIBLE_DEVICES": "2,3",
    }


def test_ranks_of_a_gang_agree_on_the_master_port(executor: LocalExecutor, region_dir: Path) -> None:
    order = launch_order(["sh", "-c", "echo $MASTER_PORT"], ranks=3)
    run(executor, order)
    assert len({log_of(region_dir, order, rank) for rank in range(3)}) == 1


def test_a_job_may_set_its_path_and_home_but_not_nordans_names(executor: LocalExecutor, region_dir: Path) -> None:
    order = launch_order(["/usr/bin/env"], env={"PATH": "/opt", "HOME": "/x", "NORDAN_FENCE": "999"})
    found = environment(executor, region_dir, order)
    assert (found["PATH"], found["HOME"], found["NORDAN_FENCE"]) == ("/opt", "/x", "7")


def test_the_operators_folders_come_first_on_the_path(make_executor: MakeExecutor, region_dir: Path) -> None:
    tools = region_dir / "tools"
    tools.mkdir(mode=0o755)
    (tools / "greet").write_text("#!/bin/sh\necho hello from $0\n")
    (tools / "greet").chmod(0o755)
    executor = make_executor()
    executor._job_path = str(tools)
    order = launch_order(["greet"])
    assert run(executor, order).exit_code == 0
    assert log_of(region_dir, order) == f"hello from {tools}/greet\n"


def port_of(status: AttemptStatus) -> int | None:
    return status.address.port if status.address is not None else None


def test_a_replica_gets_the_port_that_its_job_names(executor: LocalExecutor, region_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        wanted = server.getsockname()[1]
    order = launch_order(["sh", "-c", "echo $NORDAN_HOST $NORDAN_PORT; sleep 60"], kind=JobKind.INFERENCE, port=wanted)
    assert port_of(running(executor, started(executor, order))) == wanted
    until(lambda: log_of(region_dir, order) == f"127.0.0.1 {wanted}\n", "the replica knows where to listen")


def test_a_replica_gets_another_port_when_the_named_one_is_taken(executor: LocalExecutor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        order = launch_order(["sleep", "60"], kind=JobKind.INFERENCE, port=taken)
        assert port_of(running(executor, started(executor, order))) not in {None, taken}


def test_two_replicas_that_start_together_get_ports_of_their_own(executor: LocalExecutor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        wanted = server.getsockname()[1]
    orders = [launch_order(["sleep", "60"], kind=JobKind.INFERENCE, port=wanted) for _ in range(2)]
    ports = [port_of(executor.poll(started(executor, order))) for order in orders]
    assert ports[0] == wanted
    assert ports[1] not in {None, wanted}


def test_laid_files_are_the_programs_and_inputs_are_read_only(executor: LocalExecutor, region_dir: Path) -> None:
    script = (
        "./hi.sh && cat $NORDAN_INPUT_DIR/patients/scans.csv && echo new > written && echo m > $NORDAN_OUTPUT_DIR/m"
    )
    order = launch_order(["sh", "-c", script])
    folders = executor.prepare(order)
    (folders.ranks[0].cwd / "hi.sh").write_text("#!/bin/sh\necho hi\n")
    (folders.ranks[0].cwd / "hi.sh").chmod(0o755)
    (folders.inputs / "patients").mkdir()
    (folders.inputs / "patients" / "scans.csv").write_text("1,2\n")
    assert run(executor, order).exit_code == 0
    assert log_of(region_dir, order) == "hi\n1,2\n"
    assert (folders.ranks[0].outputs / "m").read_text() == "m\n"
    assert (folders.inputs / "patients" / "scans.csv").stat().st_mode & 0o222 == 0


def test_a_staged_hard_link_is_refused(executor: LocalExecutor, region_dir: Path) -> None:
    blob = region_dir / "blob"
    blob.write_text("shared")
    folders = executor.prepare(launch_order())
    (folders.inputs / "blob").hardlink_to(blob)
    with pytest.raises(LaunchFailed, match="hard link"):
        executor.seal(folders)


def test_both_outputs_of_the_program_are_logged_in_order(executor: LocalExecutor, region_dir: Path) -> None:
    order = launch_order(["sh", "-c", "echo one; echo two >&2; echo three"])
    run(executor, order)
    assert log_of(region_dir, order) == "one\ntwo\nthree\n"


def test_much_output_arrives_whole(executor: LocalExecutor, region_dir: Path) -> None:
    order = launch_order(["sh", "-c", "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done"])
    run(executor, order)
    assert log_of(region_dir, order).splitlines() == [f"line {i}" for i in range(20_000)]


def test_a_log_stops_at_its_limit_and_says_so(make_executor: MakeExecutor, region_dir: Path) -> None:
    executor = make_executor()
    executor._log_limit_bytes = 1000
    order = launch_order(["sh", "-c", "i=0; while [ $i -lt 5000 ]; do echo 0123456789; i=$((i+1)); done; exit 3"])
    assert run(executor, order).exit_code == 3
    text = log_of(region_dir, order)
    assert text.startswith("0123456789\n")
    assert text.endswith("[nordan] the log has reached 1000 bytes; the rest is dropped\n")
    assert len(text) < 1200


@pytest.mark.parametrize(
    ("command", "code", "line"),
    [
        (["no-such-program"], 127, "no-such-program: command not found"),
        (["./missing.sh"], 127, "./missing.sh: command not found"),
        (["/etc/passwd"], 126, "/etc/passwd: permission denied"),
        (["/tmp"], 126, "/tmp: permission denied"),
        (["./blank"], 126, "./blank: cannot be started"),
    ],
)
def test_a_program_that_cannot_start_exits_as_in_a_shell(
    executor: LocalExecutor, region_dir: Path, command: list[str], code: int, line: str
) -> None:
    order = launch_order(command)
    folders = executor.prepare(order)
    (folders.ranks[0].cwd / "blank").write_text("\n")
    (folders.ranks[0].cwd / "blank").chmod(0o755)
    assert run(executor, order).exit_code == code
    assert log_of(region_dir, order).startswith(f"[nordan] {line}")


def test_an_environment_that_the_kernel_refuses_is_the_jobs_fault(executor: LocalExecutor, region_dir: Path) -> None:
    order = launch_order(["true"], env={"BIG": "x" * 300_000})
    assert run(executor, order).exit_code == 126
    assert "cannot be started" in log_of(region_dir, order)


def test_usage_is_measured(executor: LocalExecutor) -> None:
    report = run(executor, launch_order(["sh", "-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"]))
    assert report.user_s > 0.02
    assert report.max_rss_kib > 500


def test_signals_reach_the_program_as_if_nothing_was_ignored(executor: LocalExecutor, region_dir: Path) -> None:
    order = launch_order(["sh", "-c", "grep -E 'SigIgn|SigBlk' /proc/self/status"])
    run(executor, order)
    masks = [int(line.split()[1], 16) for line in log_of(region_dir, order).splitlines()]
    # Above 31 are the real-time signals, two of which the C library keeps to itself.
    assert [mask & 0x7FFFFFFF for mask in masks] == [0, 0]


def test_a_program_dies_of_its_own_signal(executor: LocalExecutor) -> None:
    report = run(executor, launch_order(["sh", "-c", "kill -SEGV $$"]))
    assert (report.exit_code, report.signal) == (None, signal.SIGSEGV)


def test_the_program_inherits_only_its_three_descriptors(executor: LocalExecutor, region_dir: Path) -> None:
    order = launch_order(["sh", "-c", "ls /proc/$$/fd"])
    run(executor, order)
    assert log_of(region_dir, order).split() == ["0", "1", "2"]


def test_start_and_end_are_announced(executor: LocalExecutor, region_dir: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(region_dir / "run" / EVENTS_SOCKET))
        listener.settimeout(5)
        order = launch_order(["true"])
        started(executor, order)
        assert [listener.recv(100) for _ in range(2)] == [order.attempt_id.encode()] * 2
        ended(executor, AttemptId(order.attempt_id))


def test_the_loss_of_a_shim_is_announced(executor: LocalExecutor, region_dir: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(region_dir / "run" / EVENTS_SOCKET))
        listener.settimeout(5)
        attempt_id = started(executor, launch_order(["sleep", "60"]))
        listener.recv(100)
        pid = running(executor, attempt_id).ranks[0].pid
        assert pid is not None
        shim = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
        os.kill(shim, signal.SIGKILL)
        assert listener.recv(100) == attempt_id.encode()


def test_a_placement_on_gpus_that_are_not_there_is_refused(executor: LocalExecutor) -> None:
    order = launch_order(ranks=1, gpus_per_rank=100, has_made_up_gpus=False)
    folders = executor.prepare(order)
    with pytest.raises(LaunchFailed, match="this machine has 0 GPUs, and 100 are needed"):
        executor.launch(order, folders, SystemClock().monotonic() + 60)


def test_an_id_that_is_none_makes_no_folder(executor: LocalExecutor, region_dir: Path) -> None:
    order = launch_order().model_copy(update={"attempt_id": "../../etc"})
    with pytest.raises(LaunchFailed, match="wrong form"):
        executor.prepare(order)
    assert list((region_dir / "work").iterdir()) == []


@needs_root
def test_root_without_a_range_of_users_is_refused(region_dir: Path) -> None:
    with pytest.raises(OperatorError, match="must not run as root"):
        LocalExecutor(region_dir, SystemClock())


@needs_root
def test_a_region_that_others_cannot_enter_is_refused(region_dir: Path) -> None:
    region_dir.chmod(0o700)
    with pytest.raises(OperatorError, match=f"cannot pass {region_dir}"):
        LocalExecutor(region_dir, SystemClock(), uid_range=UidRange(270_000, 270_001))
