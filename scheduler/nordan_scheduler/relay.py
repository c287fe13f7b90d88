"""Tells regions that a grant waits for them: outbox to broker, one thread per region.

A broker that is away or slow delays its own region only. Sending happens outside any transaction: a nudge is claimed
for `HOLD_S`, sent, deleted. A relay that dies in between sends it twice, which harms nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from threading import Event, Lock
from typing import Protocol

import structlog

from nordan_core.domain.errors import OperatorError, Unavailable
from nordan_core.domain.ids import RegionCode
from nordan_core.queue import MOST_GRANTS, nudge
from nordan_core.sealing import SealingKey, broker_label
from nordan_core.store.outbox import Nudge
from nordan_core.store.unit_of_work import Store
from nordan_scheduler.leader import Leader
from nordan_scheduler.loops import LeaderLoop

_log = structlog.get_logger()
BATCH = 100
#: After it a nudge that was claimed and not sent falls due again: so long does a relay that died delay its batch. One
#: thread sends a region's batches, one after the other, so a batch that takes longer is not claimed meanwhile.
HOLD_S = 5.0
POLL_S = 1.0
#: Waits after a broker did not answer double from the first to the second.
BACKOFF_S = 0.5
BACKOFF_MAX_S = 8.0


class Send(Protocol):
    """Sends grant ids to a broker URL; raises `Unavailable` within two seconds when the broker does not take them."""

    def __call__(self, broker_url: str, /, *grant_ids: str) -> None:
        """Send one message."""
        ...


class RegionRelay:
    """Sends the nudges of one region."""

    def __init__(self, region: RegionCode, store: Store, key: SealingKey, send: Send = nudge) -> None:
        self._region = region
        self._store = store
        self._key = key
        self._send = send
        self._backoff_s = BACKOFF_S

    def step(self, epoch: int) -> float:
        """Send what is due and return the seconds to wait."""
        # 1. Claim, so that no transaction is open while the broker is spoken to.
        with self._store.begin() as work:
            work.leadership.assert_leader(epoch)
            sealed = work.places.broker(self._region)
            claimed = work.outbox.claim(self._region, limit=BATCH, hold_s=HOLD_S) if sealed is not None else ()
        url = self._opened(sealed) if sealed is not None and claimed else None
        if url is None:
            return POLL_S
        # 2. Send.
        sent = self._send_all(url, claimed)
        # 3. Forget what the broker took; the rest falls due after the back-off.
        unsent = [one.id for one in claimed if one.id not in sent]
        with self._store.begin() as work:
            work.leadership.assert_leader(epoch)
            work.outbox.sent(sorted(sent))
            if unsent:
                work.outbox.postpone(unsent, self._backoff_s)
        return self._pause_s(is_failing=bool(unsent), has_more=len(claimed) == BATCH)

    def _opened(self, sealed: bytes) -> str | None:
        try:
            return self._key.open(sealed, broker_label(self._region))
        except OperatorError as error:
            _log.error("broker_url_not_opened", region=self._region, error=str(error))
            return None

    def _send_all(self, url: str, nudges: Sequence[Nudge]) -> set[int]:
        sent: set[int] = set()
        for start in range(0, len(nudges), MOST_GRANTS):
            some = nudges[start : start + MOST_GRANTS]
            try:
                self._send(url, *(one.grant for one in some))
            except Unavailable:
                _log.warning("broker_unavailable", region=self._region)
                break
            sent.update(one.id for one in some)
        return sent

    def _pause_s(self, *, is_failing: bool, has_more: bool) -> float:
        if not is_failing:
            self._backoff_s = BACKOFF_S
            return 0.0 if has_more else POLL_S
        pause_s, self._backoff_s = self._backoff_s, min(self._backoff_s * 2, BACKOFF_MAX_S)
        return pause_s


class Relay:
    """A region relay and its thread for each region that has a broker."""

    def __init__(
        self,
        store: Store,
        key: SealingKey,
        leader: Leader,
        *,
        start: Callable[[str, Callable[[], None]], None],
        stopping: Event,
        send: Send = nudge,
    ) -> None:
        self._store = store
        self._key = key
        self._leader = leader
        self._start = start
        self._stopping = stopping
        self._send = send
        self._lock = Lock()
        self._joined: frozenset[RegionCode] = frozenset()
        self._loops: dict[RegionCode, LeaderLoop] = {}

    def step(self, epoch: int) -> float:
        """Start relays for regions that joined, wake those that have something due."""
        with self._store.begin() as work:
            work.leadership.assert_leader(epoch)
            due = work.outbox.due_regions()
            self._joined = work.places.with_broker()
        self.wake(due)
        return POLL_S

    def wake(self, regions: Iterable[RegionCode]) -> None:
        """Let these regions' relays look at once; a region that just joined is found by the next step."""
        for region in regions:
            if region in self._joined:
                self._loop(region).wake()

    def _loop(self, region: RegionCode) -> LeaderLoop:
        with self._lock:
            if region not in self._loops:
                relay = RegionRelay(region, self._store, self._key, self._send)
                loop = LeaderLoop(f"relay-{region}", relay.step, self._leader, self._stopping)
                self._loops[region] = loop
                self._start(loop.name, loop.run)
            return self._loops[region]
