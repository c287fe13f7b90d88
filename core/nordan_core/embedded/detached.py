"""`nordan up --detach` and `nordan down`: a stack without a terminal.

Used by `up_command`. The detached stack is an ordinary `up` in a session of its own; its lock file says who it is.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Thread

from nordan_core.domain.errors import OperatorError
from nordan_core.embedded.data_dir import prepare_data_dir
from nordan_core.embedded.layout import Identities, Layout, check_data_dir
from nordan_core.embedded.lock import holder
from nordan_core.embedded.processes import log_hint

START_TIMEOUT_S = 600.0
STOP_TIMEOUT_S = 90.0
_POLL_S = 0.1
_PROGRAM = (sys.executable, "-P", "-m", "nordan_core.embedded.up_command")


def start_detached(data_dir: Path, arguments: Sequence[str], program: Sequence[str] = _PROGRAM) -> str:
    """Run `nordan up` with these arguments in the background, wait until it is ready, and return the api's URL.

    Raises:
        OperatorError: it ended, or was not ready in time; it is stopped then.
    """
    layout = Layout(check_data_dir(data_dir))
    prepare_data_dir(layout, Identities.of_this_process())
    log = layout.logs / "up.log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            [*program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            start_new_session=True,
        )
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if url := _url(layout, child.pid):
            # Should we outlive it, somebody has to take note of its end.
            Thread(target=child.wait, daemon=True).start()
            return url
        if child.poll() is not None:
            raise OperatorError(f"The stack could not be started. {log_hint(log, lines=20)}")
        time.sleep(_POLL_S)
    child.terminate()
    child.wait()
    raise OperatorError(f"The stack was not ready within {START_TIMEOUT_S:g} s. {log_hint(log)}")


def stop_detached(data_dir: Path) -> bool:
    """Ask the `up` that runs on this folder to stop and wait for its end; False when there is none.

    Raises:
        OperatorError: it belongs to another user, or does not end in time.
    """
    layout = Layout(check_data_dir(data_dir))
    pid = holder(layout.lock)
    if not pid:
        return False
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while holder(layout.lock):
        if time.monotonic() > deadline:
            raise OperatorError(f"`nordan up` (pid {pid}) has not ended within {STOP_TIMEOUT_S:g} s.")
        time.sleep(_POLL_S)
    return True


def _url(layout: Layout, pid: int) -> str:
    with suppress(OSError, ValueError, KeyError):
        status = json.loads(layout.status.read_text())
        if status["pid"] == pid:
            return str(status["url"])
    return ""
