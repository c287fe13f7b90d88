"""The residency epoch: the one number that any change of law or fact raises."""

from __future__ import annotations

from sqlalchemy import text
from sqlmodel import Session

#: Sharers of a row never wait for one who wants it alone, so with regions that speak all the time a change of law
#: would wait for ever. Locks of a table are given in the order in which they were asked for: who shares holds ROW
#: SHARE by `for share`, and whoever comes after one who asked for EXCLUSIVE waits behind.
_TAKE_TURN = text("lock table residency_epoch in exclusive mode")
#: Whoever judges again what is there already looks at once when this commits.
_WAKE = text("select pg_notify('nordan_law', '')")


class ResidencyEpoch:
    """Taken alone by whoever changes what is judged, shared by whoever acts on a judgement.

    First in the lock order, so a change waits for acts under way, and acts that follow see the new number. A thread
    that shares it in one transaction must not ask for it in another: between the two, a change may be waiting.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def current(self) -> int:
        """Return the number without a lock: for reads that judge again before they act."""
        return int(self._session.execute(text("select epoch from residency_epoch where id = 1")).scalar_one())

    def share(self) -> int:
        """Return the number and hold it still until this transaction ends."""
        statement = text("select epoch from residency_epoch where id = 1 for share")
        return int(self._session.execute(statement).scalar_one())

    def hold(self) -> int:
        """Return the number and keep everyone else from sharing or raising it until this transaction ends."""
        self._session.execute(_TAKE_TURN)
        return self.current()

    def step(self) -> int:
        """Raise the number by one; other changes and all acts wait for this transaction. Keep it short."""
        self._session.execute(_TAKE_TURN)
        self._session.execute(_WAKE)
        statement = text("update residency_epoch set epoch = epoch + 1 where id = 1 returning epoch")
        return int(self._session.execute(statement).scalar_one())
