"""Nudges that wait for the relay: written with the grant, claimed by region, deleted when the broker took them.

A claim only moves `not_before` on, so no transaction is open while the relay talks to a broker, and a relay that
dies leaves rows that fall due again. Rows are read by state, never behind a serial: one that commits late is found
by the next claim.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlmodel import Session

from nordan_core.domain.ids import GrantId, RegionCode

#: A claim that a crash forgets is made again; waiting for the disk would only delay the nudge.
_NO_WAIT_FOR_DISK = text("set local synchronous_commit = off")
_CLAIM = text(
    """
    update outbox set not_before = clock_timestamp() + make_interval(secs => :hold_s)
    where id in (
        select id from outbox where region = :region and not_before <= clock_timestamp()
        order by not_before, id limit :limit for update skip locked
    )
    returning id, grant_id
    """
)
_SENT = text("delete from outbox where id = any(:ids)")
_POSTPONE = text(
    "update outbox set not_before = clock_timestamp() + make_interval(secs => :delay_s) where id = any(:ids)"
)
_ADD = text(
    """
    insert into outbox (grant_id, region, not_before)
    select grant_id, region, clock_timestamp()
    from jsonb_to_recordset(cast(:rows as jsonb)) as v(grant_id text, region text)
    """
)
_REGIONS = text("select distinct region from outbox where not_before <= clock_timestamp()")
_UNREDEEMED = text(
    """
    select g.id, g.region from attempt_grant g
    where g.state = 'issued' and g.created_at < clock_timestamp() - make_interval(secs => :age_s)
      and not exists (select 1 from outbox o where o.grant_id = g.id)
    order by g.created_at limit :limit
    """
)


@dataclass(frozen=True, slots=True)
class Nudge:
    """One message to send: the grant's id is all that a broker may hold."""

    id: int
    grant: GrantId


class Outbox:
    """The rows of the outbox."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def claim(self, region: RegionCode, *, limit: int, hold_s: float) -> tuple[Nudge, ...]:
        """Take due nudges of one region, oldest first; they fall due again after `hold_s` unless `sent`."""
        self._session.execute(_NO_WAIT_FOR_DISK)
        rows = self._session.execute(_CLAIM, {"region": region, "limit": limit, "hold_s": hold_s})
        return tuple(Nudge(row.id, GrantId(row.grant_id)) for row in sorted(rows, key=lambda row: int(row.id)))

    def sent(self, ids: Sequence[int]) -> None:
        """Delete nudges that a broker took."""
        self._session.execute(_NO_WAIT_FOR_DISK)
        self._session.execute(_SENT, {"ids": list(ids)})

    def postpone(self, ids: Sequence[int], delay_s: float) -> None:
        """Put nudges back: the broker did not answer."""
        self._session.execute(_POSTPONE, {"ids": list(ids), "delay_s": delay_s})

    def due_regions(self) -> frozenset[RegionCode]:
        """Return the regions that have something to send now."""
        return frozenset(RegionCode(row.region) for row in self._session.execute(_REGIONS))

    def unredeemed(self, *, age_s: float, limit: int) -> tuple[tuple[GrantId, RegionCode], ...]:
        """Return grants that nobody redeemed `age_s` after their issue and that no waiting nudge announces."""
        rows = self._session.execute(_UNREDEEMED, {"age_s": age_s, "limit": limit})
        return tuple((GrantId(row.id), RegionCode(row.region)) for row in rows)

    def add(self, nudges: Iterable[tuple[GrantId, RegionCode]]) -> None:
        """Announce grants again, due at once."""
        rows = [{"grant_id": grant, "region": region} for grant, region in nudges]
        if rows:
            self._session.execute(_ADD, {"rows": _json(rows)})


def _json(rows: object) -> str:
    return json.dumps(rows)
