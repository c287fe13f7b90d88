"""Wakes the cycle when something was committed: LISTEN on a connection of its own.

A notice says only "look now". One that is lost costs at most a second, because the cycle looks by itself that often.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

import psycopg
import structlog

from nordan_core.store.unit_of_work import QUEUE

_log = structlog.get_logger()
#: How often the thread looks whether it should end.
LOOK_S = 0.5
RECONNECT_S = 1.0


def listen(sqlalchemy_url: str, wake: Callable[[], None], stopping: Event) -> None:
    """Call `wake` for every notice until the process stops; connects again whenever the connection breaks."""
    url = sqlalchemy_url.replace("postgresql+psycopg://", "postgresql://", 1)
    while not stopping.is_set():
        try:
            with psycopg.connect(
                url, autocommit=True, connect_timeout=5, application_name="nordan-listen"
            ) as connection:
                connection.execute(f"listen {QUEUE}")
                # What was committed before the ear was open.
                wake()
                _hear(connection, wake, stopping)
        except psycopg.OperationalError as error:
            _log.warning("listener_disconnected", error=type(error).__name__)
            stopping.wait(RECONNECT_S)


def _hear(connection: psycopg.Connection[tuple[object, ...]], wake: Callable[[], None], stopping: Event) -> None:
    while not stopping.is_set():
        if any(True for _ in connection.notifies(timeout=LOOK_S, stop_after=1)):
            wake()
