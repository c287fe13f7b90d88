"""Wakes the leader's loops when something was committed: LISTEN on a connection of its own.

A notice says only "look now". One that is lost costs at most a second, because each loop looks by itself that often.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Event

import psycopg
import structlog
from psycopg import sql

_log = structlog.get_logger()
#: How often the thread looks whether it should end.
LOOK_S = 0.5
RECONNECT_S = 1.0


def listen(sqlalchemy_url: str, wakes: Mapping[str, Callable[[], None]], stopping: Event) -> None:
    """Call what belongs to a channel for every notice until the process stops; connects again whenever it breaks."""
    url = sqlalchemy_url.replace("postgresql+psycopg://", "postgresql://", 1)
    while not stopping.is_set():
        try:
            with psycopg.connect(
                url, autocommit=True, connect_timeout=5, application_name="nordan-listen"
            ) as connection:
                for channel, wake in wakes.items():
                    connection.execute(sql.SQL("listen {}").format(sql.Identifier(channel)))
                    # What was committed before the ear was open.
                    wake()
                _hear(connection, wakes, stopping)
        except psycopg.OperationalError as error:
            _log.warning("listener_disconnected", error=type(error).__name__)
            stopping.wait(RECONNECT_S)


def _hear(
    connection: psycopg.Connection[tuple[object, ...]], wakes: Mapping[str, Callable[[], None]], stopping: Event
) -> None:
    while not stopping.is_set():
        for channel in {notice.channel for notice in connection.notifies(timeout=LOOK_S, stop_after=1)}:
            wakes[channel]()
