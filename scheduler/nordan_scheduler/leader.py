"""Keeps this process's claim to the lead: campaigns while it stands by, renews while it leads.

One thread runs `Leader.keep`; the leader's loops ask `epoch` before each step and report `lost` when the store told
them so. What this process believes decides only whether it works at all: each transaction checks the lead for itself.
"""

from __future__ import annotations

import os
import socket
from threading import Event, Lock

import structlog
from sqlalchemy.exc import SQLAlchemyError

from nordan_core.clock import Clock
from nordan_core.identifiers import new_id
from nordan_core.store.leadership import NotLeader
from nordan_core.store.unit_of_work import Store

_log = structlog.get_logger()
#: Renewals per lease: two may fail before the lead is lost.
RENEWALS_PER_LEASE = 3


class Leader:
    """The lead as this process knows it."""

    def __init__(self, store: Store, clock: Clock, lease_s: float) -> None:
        self._store = store
        self._clock = clock
        self._lease_s = lease_s
        self._holder = f"{socket.gethostname()}:{os.getpid()}:{new_id('ldr')}"
        self._lock = Lock()
        self._epoch: int | None = None
        self._sure_until = 0.0
        self.changed = Event()
        """Set whenever the lead is won; loops that stand by wait for it."""

    @property
    def interval_s(self) -> float:
        """Seconds between two calls of `keep`."""
        return self._lease_s / RENEWALS_PER_LEASE

    def epoch(self) -> int | None:
        """Return the epoch that this process leads in, or None while it stands by."""
        with self._lock:
            if self._epoch is not None and self._clock.monotonic() >= self._sure_until:
                self._stand_by("lease_ran_out")
            return self._epoch

    def keep(self) -> None:
        """Campaign or renew once; a database that does not answer leaves the claim to run out."""
        asked_at = self._clock.monotonic()
        epoch = self.epoch()
        try:
            won = self._campaign() if epoch is None else self._renew(epoch)
        except NotLeader:
            self.lost(epoch)
        except SQLAlchemyError as error:
            _log.warning("leadership_unknown", error=type(error).__name__)
        else:
            self._note(won, asked_at)

    def lost(self, epoch: int | None) -> None:
        """Stand by: the store says that another leads."""
        with self._lock:
            if self._epoch is not None and self._epoch == epoch:
                self._stand_by("another_leads")

    def resign(self) -> None:
        """Give the lead up at once, so that a standby takes over without waiting for the lease."""
        with self._lock:
            epoch, self._epoch = self._epoch, None
            self.changed.clear()
        if epoch is None:
            return
        try:
            with self._store.begin() as work:
                work.leadership.resign(epoch)
        except SQLAlchemyError as error:
            _log.warning("leadership_not_resigned", error=type(error).__name__)

    def _campaign(self) -> int | None:
        with self._store.begin() as work:
            return work.leadership.campaign(self._holder, self._lease_s)

    def _renew(self, epoch: int) -> int:
        with self._store.begin() as work:
            work.leadership.renew(self._holder, epoch, self._lease_s)
        return epoch

    def _note(self, won: int | None, asked_at: float) -> None:
        if won is None:
            return
        with self._lock:
            if self._epoch != won:
                _log.info("leadership_won", epoch=won)
            self._epoch = won
            self._sure_until = asked_at + self._lease_s
            self.changed.set()

    def _stand_by(self, why: str) -> None:
        _log.warning("leadership_lost", epoch=self._epoch, why=why)
        self._epoch = None
        self.changed.clear()
