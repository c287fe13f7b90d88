"""The one task of a region's Celery worker: hand a grant id to the supervisor, and return.

It decides nothing and keeps nothing: if the supervisor is away the nudge is dropped, and the control plane's sweep
sends another. Ids are checked again here, because the task may be called by a message that passed the gate.
"""

from __future__ import annotations

import socket
from pathlib import Path

import structlog
from celery import Celery

from nordan_core.domain.ids import is_id
from nordan_core.queue import TASK

#: The longest wait for the supervisor to make room in its socket.
HAND_OVER_TIMEOUT_S = 2.0
SUPERVISOR_SOCKET = "supervisor.sock"


def register(app: Celery, supervisor_socket: Path) -> None:
    """Give a Celery application its task."""

    @app.task(name=TASK, ignore_result=True, typing=True, soft_time_limit=4, time_limit=5, max_retries=0)
    def nudge(grant_id: str) -> None:
        hand_over(grant_id, supervisor_socket)


def hand_over(grant_id: object, supervisor_socket: Path) -> bool:
    """Send a grant id to the supervisor's socket; returns whether it was taken. Never raises."""
    log = structlog.get_logger()
    if not isinstance(grant_id, str) or not is_id(grant_id, "grt"):
        log.warning("nudge_dropped", error="not_a_grant_id")
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.settimeout(HAND_OVER_TIMEOUT_S)
        try:
            sender.sendto(grant_id.encode("ascii") + b"\n", str(supervisor_socket))
        except OSError as error:
            log.warning("nudge_dropped", grant_id=grant_id, error=type(error).__name__)
            return False
    return True
