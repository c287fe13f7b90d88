"""The agent: a sidecar that speaks with the region for one rank, for as long as the pod lives.

Three threads: the main one asks for the deadline and hands it to the shim, one carries the log, one carries rank 0's
files. When the shim says that the job has ended, everything is carried to its end, the region is told, and then the
shim may go. SIGTERM comes when the job's container has ended: what is left is carried in the time that remains.
The region away, everything waits and is tried again; the deadline that the shim has stands meanwhile.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from nordan_workers.pod.client import TRANSFER_TIMEOUT_S, Away, Client, Refused
from nordan_workers.pod.control import Control
from nordan_workers.pod.settings import PodSettings
from nordan_workers.pod.shipping import LOG, FileCarrier, LogCarrier
from nordan_workers.pod.stage import LAID
from nordan_workers.pod.syncing import ENDED, RUNNING, WAITING, sync

#: How often a log that grows is sent, a folder looked into, and the end of the job looked for.
LOOK_S = 0.5
RETRY_S = 1.0
MOST_RETRY_S = 5.0
#: After SIGTERM without a word from the shim, which was killed with its container, the end is waited for so long.
LAST_WORD_S = 1.0
EXIT = "exit"
#: The longest is the list of checkpoints that were laid.
_MAX_FILE_BYTES = 1 << 20
Result = TypeVar("Result")


@dataclass(slots=True)
class Agent:
    """One rank's agent."""

    settings: PodSettings
    _term: threading.Event = field(default_factory=threading.Event)
    """The kubelet wants the agent to end."""
    _news: threading.Event = field(default_factory=threading.Event)
    """The region should be asked now."""
    _is_log_done: threading.Event = field(default_factory=threading.Event)
    _are_files_done: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Serve until SIGTERM, and after it until everything is carried."""
        # Blocked in every thread that follows, so that it comes to the one that waits for it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        work = [self._await_term, self._carry_log, self._carry_files]
        if self.settings.rank != 0:
            work.remove(self._carry_files)
            self._are_files_done.set()
        for one in work:
            threading.Thread(target=_guarded, args=(one,), daemon=True).start()
        self._keep_in_touch()

    def _await_term(self) -> None:
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
        self._term.set()
        self._news.set()

    def _keep_in_touch(self) -> None:
        """Ask the region again and again; let the shim go once everything is carried and the region knows the end."""
        client, control = Client(self.settings), Control(self.settings.control)
        is_collected, retry_s = False, RETRY_S
        while not (is_collected and self._term.is_set()):
            is_carried = self._is_log_done.is_set() and self._are_files_done.is_set()
            state, end = self._state()
            try:
                pause_s, retry_s = sync(client, control, state, end), RETRY_S
                if is_carried and not is_collected:
                    control.tell_collected()
                    is_collected = True
                    continue
            except Away as error:
                _say(f"the region is away: {error}")
                pause_s = retry_s = min(MOST_RETRY_S, retry_s * 2)
            except Refused as error:
                _say(f"the region refuses: {error}")
                # The attempt is over and its shim was told to stop: nobody waits for what is left.
                is_collected, pause_s = error.is_gone, MOST_RETRY_S
            self._news.wait(pause_s)
            self._news.clear()

    def _state(self) -> tuple[str, str]:
        """Return how far the rank is, and the shim's record of its end."""
        log = self.settings.work / "log"
        # The program can write this file, too: it counts when the shim has let go.
        if (end := _small_file(log / EXIT)) and not Control(self.settings.control).is_shim_at_work():
            return ENDED, end
        return (RUNNING if (log / LOG).exists() else WAITING), ""

    def _is_over(self) -> bool:
        """Tell whether nothing of the job will write any more."""
        if self._state()[0] == ENDED:
            return True
        if not self._term.is_set():
            return False
        # Its container is gone, and the shim with it: killed, if it has not said a last word.
        time.sleep(LAST_WORD_S)
        return True

    def _carry_log(self) -> None:
        carrier = LogCarrier(Client(self.settings), self.settings.work / "log" / LOG)
        while True:
            # Asked before reading: what was written until then is read below.
            is_over = self._is_over()
            while self._insist(carrier.carry):
                pass
            if is_over:
                break
            self._term.wait(LOOK_S)
        self._is_log_done.set()
        self._news.set()

    def _carry_files(self) -> None:
        work = self.settings.work
        laid = json.loads(_small_file(self.settings.control / LAID) or "{}")
        carrier = FileCarrier(Client(self.settings, TRANSFER_TIMEOUT_S), work / "checkpoints", work / "outputs", laid)
        self._insist(carrier.learn)
        while True:
            is_over = self._is_over()
            self._insist(carrier.carry_checkpoints)
            if is_over:
                break
            self._term.wait(LOOK_S)
        if _has_succeeded(self._state()[1]):
            self._insist(carrier.carry_outputs)
        self._are_files_done.set()
        self._news.set()

    def _insist(self, step: Callable[[], Result]) -> Result | None:
        """Take a step however often the region is away; None when it refuses for good."""
        retry_s = RETRY_S
        while True:
            try:
                return step()
            except Away:
                # The main thread says that the region is away.
                time.sleep(retry_s)
                retry_s = min(MOST_RETRY_S, retry_s * 2)
            except Refused as error:
                _say(f"the region refuses: {error}")
                return None


def _has_succeeded(end: str) -> bool:
    try:
        return bool(json.loads(end)["exit_code"] == 0)
    except (ValueError, KeyError, TypeError):
        return False


def _small_file(path: Path) -> str:
    """Return the file's text; empty for none, or for anything but a small plain file: the job can write here."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(descriptor, _MAX_FILE_BYTES).decode(errors="replace")
    except OSError:
        return ""
    finally:
        os.close(descriptor)


def _guarded(work: Callable[[], None]) -> None:
    """Run a thread's work; what was not foreseen ends the agent, and the kubelet starts another."""
    try:
        work()
    except BaseException:  # noqa: BLE001  whatever it is: half an agent would be worse than none
        traceback.print_exc()
        os._exit(1)


def _say(sentence: str) -> None:
    sys.stderr.write(f"[nordan] {sentence}\n")
    sys.stderr.flush()
