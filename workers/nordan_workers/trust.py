"""The keys of the control plane that a region believes: those that it was told when it joined, and all that follow.

Supervisor and gateway keep one each. A key is followed by statement, never by what the api's answer says: an impostor
who speaks for the control plane has none that the key before signed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from nordan_core.clock import Clock
from nordan_core.proof.errors import ProofError
from nordan_core.proof.keys import KeyRing, PublicKey
from nordan_core.proof.succession import Purpose, Statement, follow


class Trust:
    """Grows with what it learns, and lets go of keys whose time is over."""

    def __init__(self, pinned: Mapping[str, PublicKey], clock: Clock) -> None:
        self._clock = clock
        self._ring = KeyRing(pinned)
        self._heard: tuple[Statement, ...] = ()

    def learn(self, statements: Sequence[Statement]) -> None:
        """Take up every key that statements lead to from one that is known; the rest changes nothing."""
        heard = tuple(statements)
        if not heard or heard == self._heard:
            return
        try:
            self._ring = follow(self._ring, heard, Purpose.GRANT)
        except ProofError as error:
            structlog.get_logger().error("succession_refused", detail=str(error))
        self._heard = heard

    def live(self) -> KeyRing:
        """Return the keys whose signatures hold now."""
        return self._ring.live(self._clock.now())
