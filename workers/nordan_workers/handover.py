"""How grant ids get from the Celery worker to the supervisor: datagrams on a socket in the region's run folder.

The Celery task sends one for all ids of a message, the supervisor's inbox receives. A nudge that is not taken is
dropped: the sweep sends another.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

import structlog

from nordan_core.domain.ids import is_id

SUPERVISOR_SOCKET = "supervisor.sock"
#: The longest wait for the supervisor to make room in its socket.
TIMEOUT_S = 2.0


def hand_over(grant_ids: Sequence[object], supervisor_socket: Path) -> bool:
    """Send grant ids to the supervisor's socket; returns whether they were taken. Never raises."""
    log = structlog.get_logger()
    known = [one for one in grant_ids if isinstance(one, str) and is_id(one, "grt")]
    if not known or len(known) < len(grant_ids):
        log.warning("nudge_dropped", error="not_a_grant_id")
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.settimeout(TIMEOUT_S)
        try:
            sender.sendto("".join(f"{one}\n" for one in known).encode("ascii"), str(supervisor_socket))
        except OSError as error:
            log.warning("nudge_dropped", grants=len(known), grant_id=known[0], error=type(error).__name__)
            return False
    return True
