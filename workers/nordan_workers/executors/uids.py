"""A user of its own for each attempt, so that the kernel keeps attempts apart.

A uid is taken until its attempt is forgotten. Who holds which is read from the attempts' records and from the owners of
work folders, so that not even a lost record frees a uid whose files still lie there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nordan_core.domain.errors import OperatorError
from nordan_core.domain.ids import AttemptId
from nordan_workers.executors.base import LaunchFailed

#: Below are the users of the system and of people.
_LOWEST = 1000


@dataclass(frozen=True, slots=True)
class UidRange:
    """Users that belong to one region's attempts and to nobody else; both ends included."""

    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> UidRange:
        """Read `200000-200999`.

        Raises:
            OperatorError: it has another form, is empty, or reaches into the system's users.
        """
        first, dash, last = text.partition("-")
        if not (dash and first.isdecimal() and last.isdecimal()):
            raise OperatorError(f"NORDAN_UID_RANGE is {text!r}; write two numbers, as in 200000-200999")
        found = cls(int(first), int(last))
        if not _LOWEST <= found.first <= found.last:
            raise OperatorError(f"NORDAN_UID_RANGE is {text!r}; it must rise and start at {_LOWEST} or above")
        return found

    def __contains__(self, uid: int) -> bool:
        return self.first <= uid <= self.last


class UidAllocator:
    """Gives uids in turn: the one freed last comes last, so that what an attempt left elsewhere stays foreign."""

    def __init__(self, span: UidRange) -> None:
        self._span = span
        self._held: dict[AttemptId, int] = {}
        self._orphaned: set[int] = set()
        self._next = span.first

    def restore(self, held: dict[AttemptId, int], orphaned: Iterable[int]) -> None:
        """Learn, after a restart, which attempts hold which uids and whose files lie there without a record."""
        self._held = dict(held)
        self._orphaned = {uid for uid in orphaned if uid in self._span}
        self._next = max((uid + 1 for uid in (*held.values(), *self._orphaned)), default=self._span.first)

    def take(self, attempt_id: AttemptId) -> int:
        """Return the attempt's uid: the one that it has, else a free one.

        Raises:
            LaunchFailed: every uid of the range is in use.
        """
        if (uid := self._held.get(attempt_id)) is not None:
            return uid
        used = {*self._held.values(), *self._orphaned}
        count = self._span.last - self._span.first + 1
        for step in range(count):
            uid = self._span.first + (self._next - self._span.first + step) % count
            if uid not in used:
                self._held[attempt_id] = uid
                self._next = uid + 1
                return uid
        raise LaunchFailed(f"all {count} user ids of NORDAN_UID_RANGE are in use; widen the range")

    def give_back(self, attempt_id: AttemptId) -> None:
        """Free the attempt's uid; its folders are gone by now."""
        self._held.pop(attempt_id, None)
