"""The lives of attempts as the log tells them: granted once, taken at most once, ended once.

Used by `replay`. Entries of two transactions may stand in the log in either order, so an order is not asked for; that
each act is there once is. What has been granted and has ended is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator

from nordan_core.proof.export import EntryLine

_STEPS = {
    "grant_issued": 1,
    "grant_redeemed": 2,
    "attempt_ended": 4,
    "attempt_fenced": 4,
}
_NAMES = {1: "granted", 2: "redeemed", 4: "ended"}
_GRANTED, _ENDED = 1, 4


class Lives:
    """Marks for each attempt that has not been seen to begin and to end."""

    def __init__(self) -> None:
        self._marks: dict[str, int] = {}

    def faults(self, line: EntryLine) -> Iterator[str]:
        """Yield what cannot be: a step of an attempt that the log has told of already."""
        step = _STEPS.get(line.act)
        attempt = line.body.get("attempt")
        if step is None:
            return
        if not isinstance(attempt, str):
            yield "it does not say which attempt it is about"
            return
        marks = self._marks.get(attempt, 0)
        if marks & step:
            yield f"the attempt {attempt} is {_NAMES[step]} a second time"
        marks |= step
        if marks & _GRANTED and marks & _ENDED:
            self._marks.pop(attempt, None)
        else:
            self._marks[attempt] = marks

    def leftovers(self) -> Iterator[str]:
        """Yield the attempts that were taken or ended without ever having been granted."""
        for attempt, marks in sorted(self._marks.items()):
            if not marks & _GRANTED:
                steps = " and ".join(name for step, name in _NAMES.items() if marks & step)
                yield f"the attempt {attempt} was {steps}, but the log has no grant of it"
