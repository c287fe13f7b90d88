"""The key that signs grants, renewals and passes, and how it makes way for the next one while the api serves.

Every api process looks at its key files and at the log every few seconds. The one that first finds the next key
introduces it in the log; the others follow. What the old key signed holds on for as long as a grant or pass may live.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from nordan_core.clock import Clock
from nordan_core.domain.errors import Unavailable
from nordan_core.proof.keys import KeyRing, SigningKey
from nordan_core.proof.rotation import Held, KeyFiles
from nordan_core.proof.succession import Purpose, Statement
from nordan_core.signing import Chain, Choice, chain_of, choose, introduction
from nordan_core.store.unit_of_work import Store, UnitOfWork

_log = structlog.get_logger()
#: How often files and log are looked at.
LOOK_S = 5.0


@dataclass(frozen=True, slots=True)
class _State:
    key: SigningKey | None
    chain: Chain


class GrantKeys:
    """What the api signs with now, and every key that it ever signed with."""

    def __init__(self, path: Path, store: Store, clock: Clock, overlap_s: float) -> None:
        self._files = KeyFiles(path)
        self._store = store
        self._clock = clock
        self._overlap = timedelta(seconds=overlap_s)
        self._state = _State(self._files.held().current, Chain(Purpose.GRANT))

    @property
    def current(self) -> SigningKey:
        """Return the key to sign with.

        Raises:
            Unavailable: the log goes on under a key that this process has not been given yet.
        """
        key = self._state.key
        if key is None:
            raise Unavailable("this api has not been given the key that grants are signed with now; ask again")
        return key

    @property
    def statements(self) -> tuple[Statement, ...]:
        """Return how the keys followed each other: regions follow it from the key that they know."""
        return self._state.chain.statements

    def ring(self) -> KeyRing:
        """Return every key that ever signed, and which of them are retired."""
        state = self._state
        return state.chain.ring(*([state.key.public] if state.key else []))

    def live(self, now: datetime) -> Mapping[str, str]:
        """Return the keys whose signatures hold now, as PEM by id."""
        return {key_id: key.pem() for key_id, key in self.ring().live(now).items()}

    def refresh(self) -> None:
        """Look at files and log; introduce the next key where one lies there."""
        held = self._files.held()
        with self._store.look() as work:
            chain = chain_of(work, Purpose.GRANT)
        choice = choose(held, chain)
        if choice.signs_in is not None:
            choice, chain = self._introduce(held)
        self._state = _State(choice.key or self._on_its_way_out(held, choice, chain), chain)

    def _on_its_way_out(self, held: Held, choice: Choice, chain: Chain) -> SigningKey | None:
        """Return a key that was retired while what it signs still holds: files of all processes take their time."""
        _log.error("grant_key_missing", detail=choice.why_not)
        still = chain.ring().live(self._clock.now())
        return held.current if held.current.public.key_id in still else None

    def _introduce(self, held: Held) -> tuple[Choice, Chain]:
        with self._store.begin() as work:
            # One process after the other: two entries about one key would be two successors.
            work.epoch.hold()
            chain = chain_of(work, Purpose.GRANT)
            choice = choose(held, chain)
            if choice.signs_in is not None:
                self._write(work, choice)
        with self._store.look() as work:
            return choice, chain_of(work, Purpose.GRANT)

    def _write(self, work: UnitOfWork, choice: Choice) -> None:
        assert choice.key is not None, "it is introduced"
        head = work.ledger.head()
        now = self._clock.now()
        # A lost key has no say from this moment on; one that is changed holds on for what it signed.
        until = now if choice.signs_in is choice.key else now + self._overlap
        size = 0 if head is None else head.size
        work.audit.write(introduction(choice, Purpose.GRANT, at=now, until=until, size=size))
        _log.warning("grant_key_changed", key=choice.key.public.key_id)
