"""One `up` per data folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nordan_core.domain.errors import OperatorError
from nordan_core.embedded.lock import data_dir_lock, holder

HOLD = (
    "import sys, time, pathlib; from nordan_core.embedded.lock import data_dir_lock\n"
    "with data_dir_lock(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
)


def test_a_held_lock_is_refused_with_the_holders_pid_and_advice(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with data_dir_lock(lock):
        assert holder(lock) == os.getpid()
        wanted = rf"pid {os.getpid()}\) is running on {re.escape(str(tmp_path))}.*--data-dir"
        with pytest.raises(OperatorError, match=wanted), data_dir_lock(lock):
            pass
    assert holder(lock) is None


def test_the_lock_of_a_killed_process_is_free_although_its_file_stays(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        assert holder(lock) == process.pid
        process.kill()
    assert lock.read_text().strip() == str(process.pid)
    assert holder(lock) is None
    with data_dir_lock(lock):
        assert holder(lock) == os.getpid()


def test_no_file_means_no_holder(tmp_path: Path) -> None:
    assert holder(tmp_path / "lock") is None
