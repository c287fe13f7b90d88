"""The gate between a region's broker and Celery: lets nudges in, and drops everything else unread.

Whoever can write to the broker can write anything. Celery assumes that messages were made by Celery: other bytes
stop its worker, and an ETA, a retry or a foreign task name moves it to work for the sender. So each message is
compared with the one form that `nordan_core.queue.nudge` makes before Celery sees it. Used by `app` alone.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from celery.bootsteps import StartStopStep
from kombu import Connection
from kombu.transport import redis

from nordan_core.clock import Clock, SystemClock
from nordan_core.domain.ids import is_id
from nordan_core.queue import MOST_GRANTS, QUEUE, TASK
from nordan_workers.pulse import INTERVAL_S

MAX_BODY = 2048
_DROPPABLE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
#: Headers by which a message would make Celery do more than run one task once, now.
_IDLE_HEADERS = ("eta", "group", "group_index", "shadow", "parent_id", "stamped_headers", "stamps")


class _Dropped:
    """Counts what was dropped and says so at most once a second: a flood of messages is no flood of lines."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._count = 0
        self._told_at_s = -math.inf

    def count(self, error: str) -> None:
        self._count += 1
        now_s = self._clock.monotonic()
        if now_s >= self._told_at_s + 1:
            structlog.get_logger().warning("broker_messages_dropped", count=self._count, last_error=error)
            self._count, self._told_at_s = 0, now_s


_dropped = _Dropped(SystemClock())


def patient_connection(beat: Callable[[], None]) -> type[Connection]:
    """Return a connection that tries again every two seconds while the broker is away, and calls `beat` each time.

    Celery would wait for up to thirty.
    """

    class PatientConnection(Connection):
        def ensure_connection(self, *arguments: Any, **options: Any) -> Any:  # Any: handed on as they came
            """Connect, however long it takes, as far as the caller's options allow."""
            given = options.get("callback")

            def callback() -> None:
                beat()
                if given is not None:
                    given()

            return super().ensure_connection(*arguments, **{**options, "interval_max": 2, "callback": callback})

    return PatientConnection


def beating(beat: Callable[[], None]) -> type[StartStopStep]:
    """Return a part of Celery's consumer that calls `beat` for as long as its loop turns."""

    class Beating(StartStopStep):
        requires = ("celery.worker.consumer.tasks:Tasks",)

        def start(self, consumer: Any) -> None:  # Any: Celery's own, without types
            beat()
            self.entry = consumer.timer.call_repeatedly(INTERVAL_S, beat)

        def stop(self, _consumer: Any) -> None:  # Any: as above
            self.entry.cancel()

    return Beating


class GatedChannel(redis.Channel):
    """Reads the queue; bytes that are no message are dropped instead of stopping the worker."""

    def _brpop_read(self, **options: Any) -> bool:  # Any: the base class passes them to redis-py
        try:
            return bool(super()._brpop_read(**options))  # type: ignore[misc]  # kombu's stubs leave it out
        except _DROPPABLE as error:
            _dropped.count(type(error).__name__)
            return True


class GatedTransport(redis.Transport):
    """Kombu's Redis transport with the gate in front of delivery."""

    Channel = GatedChannel

    def _deliver(self, message: Any, queue: str | None) -> None:  # Any: whatever JSON was on the list
        if queue != QUEUE or not nudged_grants(message):
            _dropped.count("not_a_nudge")
            return
        super()._deliver(message, queue)


def nudged_grants(message: object) -> tuple[str, ...]:
    """Return the grant ids of a message that is exactly a nudge, none for every other value."""
    try:
        return _grants_of(message)
    except _DROPPABLE:
        return ()


def _grants_of(message: Any) -> tuple[str, ...]:  # Any: whatever JSON holds; a wrong shape raises and is dropped
    headers, properties, body = message["headers"], message["properties"], message["body"]
    if not isinstance(headers, Mapping) or not isinstance(body, str) or len(body) > MAX_BODY:
        return ()
    has_form = (
        headers["task"] == TASK
        and isinstance(headers["id"], str)
        and len(headers["id"]) <= 64
        and not any(headers.get(name) for name in _IDLE_HEADERS)
        and headers.get("retries") == 0
        and message["content-type"] == "application/json"
        and message["content-encoding"] == "utf-8"
        and properties["body_encoding"] == "base64"
        and isinstance(properties["delivery_tag"], str)
        and isinstance(properties["delivery_info"], Mapping)
    )
    return _only_arguments(body) if has_form else ()


def _only_arguments(body: str) -> tuple[str, ...]:
    try:
        arguments, options, embedded = json.loads(base64.b64decode(body, validate=True))
    except binascii.Error:
        return ()
    if options or not isinstance(embedded, Mapping) or any(embedded.values()):
        return ()
    if not isinstance(arguments, list) or len(arguments) > MOST_GRANTS:
        return ()
    return tuple(arguments) if all(isinstance(one, str) and is_id(one, "grt") for one in arguments) else ()
