"""Who leads, by the database's clock: one row per role.

The leader's every transaction calls `assert_leader`, which holds the row's key until the commit; a takeover must wait
for such transactions, and those that begin later find the new epoch and stop. Renewals touch no key, so they never
wait for work under way. A process that was stopped for a while can therefore do nothing that its successor does not
see. The scheduler ends sessions that sit idle in a transaction, so a stopped leader delays a takeover by seconds.
"""

from __future__ import annotations

from sqlalchemy import text
from sqlmodel import Session

from nordan_core.domain.errors import NordanError

SCHEDULER = "scheduler"

_VACANT = text("select epoch from leader where role = :role and until <= clock_timestamp() for update skip locked")
_TAKE = text(
    "update leader set epoch = epoch + 1, holder = :holder, until = clock_timestamp() + make_interval(secs => :lease_s)"
    " where role = :role returning epoch"
)
_RENEW = text(
    "update leader set until = clock_timestamp() + make_interval(secs => :lease_s)"
    " where role = :role and epoch = :epoch and holder = :holder returning epoch"
)
_RESIGN = text(
    "update leader set until = clock_timestamp() where role = :role and epoch = :epoch and until > clock_timestamp()"
)
_HOLD = text("select epoch from leader where role = :role for key share")


class NotLeader(NordanError):
    """Another process leads now: drop the work, change nothing."""

    def __init__(self, mine: int, current: int | None) -> None:
        super().__init__(f"epoch {mine} does not lead; the present one is {current}")
        self.mine = mine
        self.current = current


class Leadership:
    """The row of one role."""

    def __init__(self, session: Session, role: str = SCHEDULER) -> None:
        self._session = session
        self._role = role

    def campaign(self, holder: str, lease_s: float) -> int | None:
        """Take the lead if nobody holds it and return the new epoch; None while another's lease runs.

        Waits for nothing: a row that somebody works under counts as held.
        """
        if self._session.execute(_VACANT, {"role": self._role}).first() is None:
            return None
        taken = self._session.execute(_TAKE, {"role": self._role, "holder": holder, "lease_s": lease_s})
        return int(taken.scalar_one())

    def renew(self, holder: str, epoch: int, lease_s: float) -> None:
        """Lengthen the lease of the present leader.

        Raises:
            NotLeader: another has taken over.
        """
        values = {"role": self._role, "holder": holder, "epoch": epoch, "lease_s": lease_s}
        if self._session.execute(_RENEW, values).first() is None:
            raise NotLeader(epoch, None)

    def resign(self, epoch: int) -> None:
        """End the lease now, so that a standby need not wait for it; nothing happens if it was lost already."""
        self._session.execute(_RESIGN, {"role": self._role, "epoch": epoch})

    def assert_leader(self, epoch: int) -> None:
        """Hold the lead still until this transaction ends.

        Raises:
            NotLeader: the epoch is over.
        """
        current = self._session.execute(_HOLD, {"role": self._role}).scalar_one_or_none()
        if current != epoch:
            raise NotLeader(epoch, current)
