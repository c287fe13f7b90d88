"""Stopping the jobs of this machine, for `nordan up --stop-jobs`; without it they go on under their shims.

Used by `up` while all but the schedulers still runs: every end is reported, and what waits in the queue neither starts
now nor is lost. Cancelling comes first, since a job that somebody cancelled is not tried again; what is left then is
ended by the records that its shims wrote.
"""

from __future__ import annotations

import json
import signal
from contextlib import suppress

from nordan_core.domain.errors import NordanError
from nordan_core.embedded.admin import Admin
from nordan_core.embedded.files import matching
from nordan_core.embedded.layout import Layout
from nordan_core.embedded.proc import ProcessId, wait_gone

#: A job's own grace is 10 s unless it says otherwise, and cancelling takes a round or two to arrive.
CANCEL_TIMEOUT_S = 15.0
TERM_TIMEOUT_S = 3.0


def stop_jobs(layout: Layout, admin: Admin) -> int:
    """Stop every job that runs on this machine and return how many processes had to be ended by force."""
    # 1. Politely, through the api; jobs of other organisations are not ours to see.
    if running_ranks(layout):
        with suppress(NordanError):
            for job in admin.running_jobs():
                admin.cancel(job)
        wait_gone(running_ranks(layout), CANCEL_TIMEOUT_S)
    # 2. What is left.
    left = running_ranks(layout)
    for number, timeout_s in ((signal.SIGTERM, TERM_TIMEOUT_S), (signal.SIGKILL, TERM_TIMEOUT_S)):
        for rank in left:
            rank.send_to_group(number)
        wait_gone(left, timeout_s)
    return len(left)


def running_ranks(layout: Layout) -> list[ProcessId]:
    """Return the live processes of all attempts; each leads a group of its own."""
    ranks = []
    for record in matching(layout.regions, "*/attempts/*/rank-*/pid.json"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            values = json.loads(record.read_text())
            ranks.append(ProcessId(int(values["pid"]), int(values["start_time"]), str(values["boot_id"])))
    return [rank for rank in ranks if rank.is_alive()]
