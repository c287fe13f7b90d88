"""`nordan up` as a process of its own: signals, logins, kills, exit codes, other users, the background."""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from nordan_core.domain.errors import OperatorError
from nordan_core.embedded.detached import start_detached, stop_detached
from support.stand_ins import EVERYTHING, StandIns, live, until, up_process

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")


def is_up(data: Path, process: subprocess.Popen[str]) -> bool:
    assert process.poll() is None, process.communicate()[1]
    return (data / "up.json").exists()


def test_what_a_killed_up_left_is_stopped_and_ctrl_c_stops_the_next_one(
    stand_ins: StandIns, data_dir: Path, own_home: Path
) -> None:
    # 1. Killed, it leaves everything running.
    first = up_process(stand_ins, data_dir)
    until(lambda: is_up(data_dir, first))
    first.kill()
    first.communicate()
    (data_dir / "up.json").unlink()
    orphans = live(data_dir)
    assert set(orphans) == EVERYTHING
    # 2. The next one stops all that and starts anew; the invoking user is logged in.
    second = up_process(stand_ins, data_dir)
    until(lambda: is_up(data_dir, second))
    assert not any(process.is_alive() for process in orphans.values())
    assert set(live(data_dir)) == EVERYTHING
    config = own_home / ".config" / "nordan" / "config.json"
    until(config.exists)
    assert json.loads(config.read_text())["key"] == "nordan_admin"
    # 3. Ctrl-C ends it in order.
    second.send_signal(signal.SIGINT)
    output, errors = second.communicate(timeout=60)
    assert second.returncode == 0, errors
    assert "Nordan is ready at http://127.0.0.1:" in output
    assert "an earlier run left behind" in errors
    assert live(data_dir) == {}


def test_an_error_is_one_paragraph_and_exit_code_1(stand_ins: StandIns, data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = up_process(stand_ins, data_dir, f"--port={taken.getsockname()[1]}")
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in errors
    assert "is taken by another program" in errors


def test_a_detached_stack_says_where_it_is_and_down_stops_it(stand_ins: StandIns, data_dir: Path) -> None:
    url = start_detached(data_dir, [f"--data-dir={data_dir}", "--port=0"], program=stand_ins.command)
    assert url.startswith("http://127.0.0.1:")
    assert set(live(data_dir)) == EVERYTHING
    assert stop_detached(data_dir)
    assert live(data_dir) == {}


def test_a_detached_stack_that_cannot_start_shows_why(stand_ins: StandIns, data_dir: Path) -> None:
    arguments = [f"--data-dir={data_dir}", "--world=/no/such.yaml"]
    with pytest.raises(OperatorError, match=r"could not be started[\s\S]*/no/such.yaml cannot be read"):
        start_detached(data_dir, arguments, program=stand_ins.command)


@pytest.mark.root
@as_root
def test_an_ordinary_user_starts_the_same_stack(stand_ins: StandIns, data_dir: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    own = data_dir / "own"
    own.mkdir()
    os.chown(own, nobody.pw_uid, nobody.pw_gid)
    process = subprocess.Popen(
        [*stand_ins.command, f"--data-dir={own}", "--port=0"],
        env={**stand_ins.runtime.environment, "PATH": stand_ins.runtime.path, "HOME": str(own)},
        user=nobody.pw_uid,
        group=nobody.pw_gid,
        extra_groups=[],
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: is_up(own, process))
    processes = live(own)
    users = {Path(f"/proc/{one.pid}").stat().st_uid for one in processes.values()}
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert set(processes) == EVERYTHING
    assert users == {nobody.pw_uid}
    assert json.loads((own / "control" / "joined-home-1.json").read_text())["offers_tenancy"] == ["single"]
    assert "`tenancy: single`" in errors
    assert live(own) == {}


@pytest.mark.root
@as_root
def test_a_folder_of_another_user_is_refused_with_advice(stand_ins: StandIns, data_dir: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    done = subprocess.run(
        [*stand_ins.command, f"--data-dir={data_dir}"],
        env={**stand_ins.runtime.environment, "PATH": stand_ins.runtime.path, "HOME": "/nonexistent"},
        user=nobody.pw_uid,
        group=nobody.pw_gid,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "No permission" in done.stderr
    assert "--data-dir" in done.stderr
