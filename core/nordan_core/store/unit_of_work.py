"""One transaction: the only place that commits.

`with store.begin() as work:` opens a session; leaving it commits, an exception rolls back. Repositories hang off the
unit of work and share its session. No network call and no solving while one is open.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

from sqlalchemy import Engine, text
from sqlmodel import Session

from nordan_core.store.atlases import AtlasVersions
from nordan_core.store.attempts import Attempts
from nordan_core.store.audit import Audit
from nordan_core.store.certificates import Certificates
from nordan_core.store.contents import Contents
from nordan_core.store.derogations import Derogations
from nordan_core.store.epoch import ResidencyEpoch
from nordan_core.store.fencing import Fencing
from nordan_core.store.idempotency import Idempotency
from nordan_core.store.jobs import Jobs
from nordan_core.store.law_in_use import LawInUse
from nordan_core.store.leadership import Leadership
from nordan_core.store.ledger import Ledger
from nordan_core.store.lineage import Lineage
from nordan_core.store.nodes import Nodes
from nordan_core.store.outbox import Outbox
from nordan_core.store.places import Places
from nordan_core.store.policy_versions import PolicyVersions
from nordan_core.store.readings import Readings
from nordan_core.store.scheduling import Scheduling
from nordan_core.store.tenants import Tenants


class UnitOfWork:
    """Repositories over one open transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @cached_property
    def tenants(self) -> Tenants:
        """Organisations, projects, keys."""
        return Tenants(self._session)

    @cached_property
    def places(self) -> Places:
        """Entities, regions, pools, the cell."""
        return Places(self._session)

    @cached_property
    def nodes(self) -> Nodes:
        """Nodes, as clusters report them and operators hold them back."""
        return Nodes(self._session)

    @cached_property
    def jobs(self) -> Jobs:
        """Jobs as their owners see them."""
        return Jobs(self._session)

    @cached_property
    def attempts(self) -> Attempts:
        """Attempts, grants and leases as regions move them."""
        return Attempts(self._session)

    @cached_property
    def contents(self) -> Contents:
        """Datasets, artifacts, locations, uploads."""
        return Contents(self._session)

    @cached_property
    def derogations(self) -> Derogations:
        """Leave to fall short of a facet."""
        return Derogations(self._session)

    @cached_property
    def policy_versions(self) -> PolicyVersions:
        """What floors and datasets said at each time."""
        return PolicyVersions(self._session)

    @cached_property
    def atlases(self) -> AtlasVersions:
        """What law is read with, now and before."""
        return AtlasVersions(self._session)

    @cached_property
    def law_in_use(self) -> LawInUse:
        """All that is judged today, for whoever asks what another atlas would do."""
        return LawInUse(self._session)

    @cached_property
    def readings(self) -> Readings:
        """Leave to read that may be about."""
        return Readings(self._session)

    @cached_property
    def lineage(self) -> Lineage:
        """What was made of what, and declassifications."""
        return Lineage(self._session)

    @cached_property
    def fencing(self) -> Fencing:
        """What became unlawful, and what is lawful again."""
        return Fencing(self._session)

    @cached_property
    def scheduling(self) -> Scheduling:
        """What the cycle loads and applies."""
        return Scheduling(self._session)

    @cached_property
    def outbox(self) -> Outbox:
        """Nudges that wait for the relay."""
        return Outbox(self._session)

    @cached_property
    def audit(self) -> Audit:
        """Acts, written by whoever does them."""
        return Audit(self._session)

    @cached_property
    def ledger(self) -> Ledger:
        """The sealed tree over the acts."""
        return Ledger(self._session)

    @cached_property
    def certificates(self) -> Certificates:
        """Certificates, pending and issued."""
        return Certificates(self._session)

    @cached_property
    def leadership(self) -> Leadership:
        """Who leads."""
        return Leadership(self._session)

    @cached_property
    def epoch(self) -> ResidencyEpoch:
        """The residency epoch."""
        return ResidencyEpoch(self._session)

    @cached_property
    def idempotency(self) -> Idempotency:
        """Answers already given."""
        return Idempotency(self._session)

    def notify(self, channel: str) -> None:
        """Wake listeners of a channel when this transaction commits; equal calls in one transaction count once."""
        self._session.execute(text("select pg_notify(:channel, '')"), {"channel": channel})


class Store:
    """PostgreSQL behind units of work."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reading = engine.execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def begin(self) -> Iterator[UnitOfWork]:
        """Open a transaction; commits on leaving, rolls back on an exception."""
        with Session(self._engine, expire_on_commit=False, autoflush=False) as session:
            yield UnitOfWork(session)
            session.commit()

    @contextmanager
    def look(self) -> Iterator[UnitOfWork]:
        """Read without a transaction: each statement sees what is committed when it begins, as in `begin`.

        Two rounds to the database less, for requests that are many. Nothing may be locked or written here.
        """
        with Session(self._reading, expire_on_commit=False, autoflush=False) as session:
            yield UnitOfWork(session)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


#: The NOTIFY channels of the queue and of the residency epoch. They only wake; every reader finds its work by state.
QUEUE = "nordan_queue"
LAW = "nordan_law"
