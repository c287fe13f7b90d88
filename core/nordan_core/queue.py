"""The nudge: one small message through a region's broker that says "there are grants, come and redeem them".

`nudge` is called by the scheduler's relay, `celery_app` also by a region's Celery worker. The body holds grant ids
and nothing else, and losing a message costs time only: a sweep sends it again. Nothing is read back from a
broker here, and nothing but `nudge` sends.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from celery import Celery
from kombu import Exchange, Queue
from kombu.exceptions import OperationalError

from nordan_core.domain.errors import Unavailable

TASK = "nordan.nudge"
QUEUE = "nudges"
#: Ids in one message. A message costs Celery a few milliseconds on both sides, whatever it holds.
MOST_GRANTS = 32
#: A nudge that nobody took by then is dropped; the sweep has made another one long before.
EXPIRES_S = 60
#: Of one step with the broker: connecting, or an answer. Two of them are the longest that `nudge` takes.
STEP_TIMEOUT_S = 0.9
#: Brokers that a process keeps a connection to; beyond it the one that was unused longest is closed.
MAX_BROKERS = 64


def celery_app(broker_url: str) -> Celery:
    """Return a Celery application for one broker: JSON only, no results, no events, no remote control."""
    app = Celery("nordan", broker=broker_url, set_as_current=False, fixups=[])
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_default_queue=QUEUE,
        task_create_missing_queues=False,
        # Taking a nudge off the list is all the acknowledgement it needs; the sweep knows better than the broker.
        task_queues=[Queue(QUEUE, Exchange(QUEUE, "direct"), routing_key=QUEUE, no_ack=True)],
        task_acks_late=False,
        task_track_started=False,
        task_send_sent_event=False,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        worker_prefetch_multiplier=1,
        worker_concurrency=1,
        worker_pool="solo",
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_pool_limit=1,
        broker_connection_timeout=STEP_TIMEOUT_S,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "priority_steps": [0],
            "fanout_prefix": True,
            "fanout_patterns": True,
            "socket_keepalive": True,
            "socket_connect_timeout": STEP_TIMEOUT_S,
        },
        enable_utc=True,
    )
    return app


def nudge(broker_url: str, *grant_ids: str) -> None:
    """Send grant ids, at most `MOST_GRANTS`, to a region's broker; returns or raises within two seconds.

    Connections are kept per broker; one caller at a time uses each. A failed one is thrown away, so the next call
    starts fresh.

    Raises:
        Unavailable: the broker does not take it now.
    """
    producer = _producers.of(broker_url)
    try:
        producer.send(grant_ids)
    except OperationalError as error:
        _producers.drop(broker_url, producer)
        raise Unavailable("the region's broker does not answer") from error


class _Producer:
    """One connection to one broker."""

    def __init__(self, broker_url: str) -> None:
        self._app = celery_app(broker_url)
        self._app.conf.broker_transport_options |= {
            "socket_timeout": STEP_TIMEOUT_S,
            "max_retries": 1,
            "connect_retries_timeout": STEP_TIMEOUT_S,
            "interval_start": 0,
            "interval_step": 0,
        }
        self._lock = Lock()

    def send(self, grant_ids: tuple[str, ...]) -> None:
        with self._lock:
            self._app.send_task(
                TASK, args=list(grant_ids), queue=QUEUE, ignore_result=True, expires=EXPIRES_S, retry=False
            )

    def close(self) -> None:
        self._app.close()


class _Producers:
    """The producers of this process by broker, the longest unused first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Producer] = OrderedDict()
        self._lock = Lock()

    def of(self, broker_url: str) -> _Producer:
        with self._lock:
            producer = self._kept.pop(broker_url, None) or _Producer(broker_url)
            self._kept[broker_url] = producer
            stale = self._kept.popitem(last=False)[1] if len(self._kept) > MAX_BROKERS else None
        if stale is not None:
            stale.close()
        return producer

    def drop(self, broker_url: str, producer: _Producer) -> None:
        with self._lock:
            if self._kept.get(broker_url) is producer:
                del self._kept[broker_url]
        producer.close()


_producers = _Producers()
