"""Child processes: restarts, back-off, stopping, logs, what a killed `up` left."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nordan_core.clock import ManualClock
from nordan_core.domain.errors import OperatorError
from nordan_core.embedded import processes
from nordan_core.embedded.layout import Identity
from nordan_core.embedded.proc import ProcessId
from nordan_core.embedded.processes import (
    HEALTHY_AFTER_S,
    ProcessSpec,
    ProcessTable,
    run_once,
    spawn,
    stop_leftovers,
    trim_log,
    wait_until,
)


def spec(folder: Path, code: str, name: str = "part", stop_timeout_s: float = 5.0) -> ProcessSpec:
    return ProcessSpec(
        name=name,
        command=(sys.executable, "-S", "-c", code),
        environment={},
        log=folder / f"{name}.log",
        identity=Identity.own(),
        stop_timeout_s=stop_timeout_s,
    )


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def table(tmp_path: Path, clock: ManualClock) -> Iterator[ProcessTable]:
    table = ProcessTable(tmp_path, clock)
    yield table
    table.stop(table.names())


def until(condition: object, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    assert callable(condition)
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_process_that_ends_is_started_again_after_a_growing_wait(
    tmp_path: Path, table: ProcessTable, clock: ManualClock
) -> None:
    process = table.ensure(spec(tmp_path, "raise SystemExit(3)"))
    waits = []
    for _ in range(4):
        until(lambda: process.exit_code is not None)
        before = process.restarts
        table.tick()
        waited = 0.0
        while process.restarts == before:
            clock.advance(0.1)
            waited += 0.1
            table.tick()
        waits.append(round(waited, 1))
    assert waits == [0.1, 0.2, 0.4, 0.8]


def test_a_process_that_lived_long_is_started_again_at_once(
    tmp_path: Path, table: ProcessTable, clock: ManualClock
) -> None:
    process = table.ensure(spec(tmp_path, "import time; time.sleep(60)"))
    for _ in range(3):
        clock.advance(HEALTHY_AFTER_S + 1)
        pid = process.pid
        assert pid
        os.kill(pid, signal.SIGKILL)
        until(lambda: process.pid is None)
        table.tick()
        clock.advance(0.11)
        table.tick()
        assert process.pid not in {None, pid}


def test_a_full_disk_refuses_the_record_of_one_process_and_ends_no_other(
    tmp_path: Path, table: ProcessTable, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = table.ensure(spec(tmp_path, "import time; time.sleep(60)", "first"))
    second = table.ensure(spec(tmp_path, "import time; time.sleep(60)", "second"))
    assert first.pid
    monkeypatch.setattr(processes, "write_file", full)
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: first.pid is None)
    table.tick()
    clock.advance(0.11)
    table.tick()
    assert first.restarts == 1
    assert first.pid
    assert second.pid
    monkeypatch.undo()
    table.tick()
    found = ProcessId.of(first.pid)
    assert found
    assert (tmp_path / "first.json").read_text() == found.to_json(), "the record is written as soon as there is room"


def test_a_process_whose_first_start_failed_is_started_later(tmp_path: Path, table: ProcessTable) -> None:
    """On a full disk its log cannot be made; nothing but a tick comes after room was made."""
    part = spec(tmp_path / "later", "import time; time.sleep(60)")
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            table.ensure(part)
    table.tick()
    part.log.parent.mkdir()
    table.tick()
    process = table.get("part")
    assert process
    assert process.pid
    assert table.ensure(part) is process
    assert process.restarts == 0


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_stopping_asks_first_and_kills_the_group_after_the_time(tmp_path: Path, table: ProcessTable) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(60)"
    polite = "import time; print('on', flush=True); time.sleep(60)"
    processes = [
        table.ensure(spec(tmp_path, deaf, "deaf", stop_timeout_s=0.3)),
        table.ensure(spec(tmp_path, polite, "polite", stop_timeout_s=0.3)),
    ]
    until(lambda: all("on" in process.spec.log.read_text() for process in processes))
    # The table's clock stands still, so waiting for the deadline is left to the system's.
    table.stop(["deaf", "polite"])
    assert [process.exit_code for process in processes] == [-signal.SIGKILL, -signal.SIGTERM]
    assert table.names() == ()


def test_a_changed_spec_replaces_the_process(tmp_path: Path, table: ProcessTable) -> None:
    first = table.ensure(spec(tmp_path, "import time; time.sleep(60)"))
    assert table.ensure(first.spec) is first
    second = table.ensure(spec(tmp_path, "import time; time.sleep(61)"))
    assert second is not first
    assert first.pid is None


def test_what_a_killed_up_left_is_stopped_and_a_stranger_with_its_pid_is_not(tmp_path: Path) -> None:
    child = spawn(spec(tmp_path, "import time; time.sleep(60)"))
    found = ProcessId.of(child.pid)
    assert found
    (tmp_path / "api.json").write_text(found.to_json())
    mine = ProcessId.of(os.getpid())
    assert mine
    (tmp_path / "stranger.json").write_text(ProcessId(mine.pid, mine.started_ticks - 1, mine.boot_id).to_json())
    (tmp_path / "broken.json").write_text("{")
    assert stop_leftovers(tmp_path) == ("api",)
    assert child.wait(5) == -signal.SIGTERM
    assert not list(tmp_path.glob("*.json"))


def test_a_run_that_fails_shows_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"exit code 4[\s\S]*last words"):
        run_once(spec(tmp_path, "print('last words'); raise SystemExit(4)"))


def test_a_run_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"did not end within 0.2 s"):
        run_once(spec(tmp_path, "import time; time.sleep(60)"), timeout_s=0.2)


def test_a_process_that_ends_while_it_should_get_ready_is_reported(tmp_path: Path, table: ProcessTable) -> None:
    process = table.ensure(spec(tmp_path, "print('no such table'); raise SystemExit(1)"))
    with pytest.raises(OperatorError, match=r"part ended with exit code 1 while starting[\s\S]*no such table"):
        wait_until(process, lambda: False, 10)


def test_a_missing_program_is_said_by_name(tmp_path: Path) -> None:
    missing = ProcessSpec("part", ("/no/such/program",), {}, tmp_path / "part.log", Identity.own())
    with pytest.raises(OperatorError, match=r"part cannot be started.*/no/such/program.*No such file"):
        spawn(missing)


def test_a_log_over_the_limit_moves_aside_and_its_writer_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    writer = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(writer, b"x" * 100)
    trim_log(log, limit_bytes=50)
    os.write(writer, b"after")
    os.close(writer)
    assert log.read_bytes() == b"after"
    assert (tmp_path / "part.log.1").read_bytes() == b"x" * 100
    assert (tmp_path / "part.log.1").stat().st_mode & 0o777 == 0o600
