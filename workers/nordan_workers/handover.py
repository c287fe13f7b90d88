"""How a grant id gets from the Celery worker to the supervisor: one datagram on a socket in the region's run folder.

The Celery task sends, the supervisor's inbox receives. A nudge that is not taken is dropped: the sweep sends another.
"""

from __future__ import annotations

import socket
from pathlib import Path

import structlog

from nordan_core.domain.ids import is_id

SUPERVISOR_SOCKET = "supervisor.sock"
#: The longest wait for the supervisor to make room in its socket.
TIMEOUT_S = 2.0


def hand_over(grant_id: object, supervisor_socket: Path) -> bool:
    """Send a grant id to the supervisor's socket; returns whether it was taken. Never raises."""
    log = structlog.get_logger()
    if not isinstance(grant_id, str) or not is_id(grant_id, "grt"):
        log.warning("nudge_dropped", error="not_a_grant_id")
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.settimeout(TIMEOUT_S)
        try:
            sender.sendto(grant_id.encode("ascii") + b"\n", str(supervisor_socket))
        except OSError as error:
            log.warning("nudge_dropped", grant_id=grant_id, error=type(error).__name__)
            return False
    return True
