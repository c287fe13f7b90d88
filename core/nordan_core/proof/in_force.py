"""Which atlas was in force when, as the log tells it: whatever was judged must have been judged under that one.

Used by `replay`. Before the first that the log tells of, the cell went by what came with its version of Nordan, and any
is let pass. Clocks of a control plane's machines differ. An act is written a moment after it was judged, but names the
instant of the judgement, so that the atlas before has no longer than the clocks differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from nordan_core.proof.judgement import Judgement


@dataclass(frozen=True, slots=True)
class Application:
    """One atlas's coming into force."""

    at: datetime
    digest: str


class InForce:
    """The atlases of a log in the order in which they came into force."""

    def __init__(self, applied: Sequence[Application], *, late: timedelta, skew: timedelta) -> None:
        self._applied = sorted(applied, key=lambda one: one.at)
        self._late = late
        self._skew = skew

    def faults(self, judgement: Judgement) -> Iterator[str]:
        """Yield a fault where the atlas of a judgement was not in force at its instant."""
        begun = [one for one in self._applied if one.at <= judgement.at + self._skew]
        ends = [one.at for one in begun[1:]] + [datetime.max.replace(tzinfo=judgement.at.tzinfo)]
        known = {one.digest for one, end in zip(begun, ends, strict=False) if judgement.at - self._skew < end}
        is_first_known = bool(begun) and begun[0].at <= judgement.at - self._late
        if is_first_known and judgement.atlas not in known:
            yield f"it was judged under the atlas {judgement.atlas[:12]}…, which was not in force at {judgement.at}"
