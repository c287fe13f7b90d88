"""Gives audit entries their place in the Merkle tree, and signs checkpoints and certificates.

Runs on the leader. Entries are taken by state, so one that commits late goes into a later batch and none is lost.
Index, nodes and signed checkpoint are one transaction. The only holder of the certificate key, which it changes when it
finds the next one beside it: the entry that introduces that one is the first under its own head.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import structlog

from nordan_core.clock import Clock
from nordan_core.domain.errors import NordanError
from nordan_core.domain.ids import JobId
from nordan_core.proof.checkpoint import Checkpoint, origin_of, sign_checkpoint
from nordan_core.proof.dsse import signer_of
from nordan_core.proof.errors import KeyUnusable
from nordan_core.proof.keys import SigningKey, trusted
from nordan_core.proof.leaf import commitment
from nordan_core.proof.merkle import EMPTY_ROOT, Appended, append, frontier, root
from nordan_core.proof.rotation import Held
from nordan_core.proof.succession import Purpose
from nordan_core.signing import Choice, chain_of, choose, introduction
from nordan_core.store.ledger import Head, LoggedEntry
from nordan_core.store.unit_of_work import Store, UnitOfWork
from nordan_scheduler.certifying import Certifier
from nordan_scheduler.metrics import Metrics

_log = structlog.get_logger()
BATCH = 1_000
INTERVAL_S = 0.5
#: Certificates signed between two batches of entries.
CERTIFICATES = 25
#: Redacted ones made between two batches: each was asked for by a person.
REDACTIONS = 5
#: A certificate that cannot be signed is tried again after this.
PUT_OFF_S = 60.0
#: A tree that does not fit its own signed root is an operator's matter; nothing is sealed on top of it.
BROKEN_S = 60.0
#: Whoever may not sign looks again for a key that may.
KEYLESS_S = 5.0


class KeyMissing(NordanError):
    """No key here may sign the log as it stands."""


class LedgerBroken(NordanError):
    """The stored nodes do not give the root that was signed: the log was changed behind our back."""


class Sealer:
    """Seals and certifies."""

    def __init__(
        self, store: Store, clock: Clock, held: Callable[[], Held], *, certifier: Certifier, metrics: Metrics
    ) -> None:
        self._store = store
        self._clock = clock
        self._held = held
        """The private keys here, read again when their files change."""
        self._chosen: tuple[int, Held, SigningKey] | None = None
        """For which leadership and out of which keys one was chosen."""
        self._certifier = certifier
        self._metrics = metrics
        self._retry_at: dict[JobId, float] = {}

    def step(self, epoch: int) -> float:
        """Seal a batch, issue certificates that were waiting for it, and return the wait until the next."""
        try:
            sealed = self.seal(epoch)
        except LedgerBroken as error:
            _log.critical("ledger_broken", detail=str(error))
            return BROKEN_S
        except (KeyMissing, KeyUnusable) as error:
            _log.critical("certificate_key_missing", detail=str(error))
            return KEYLESS_S
        began = self._clock.monotonic()
        issued = self.certify(epoch)
        self.redact(epoch)
        if sealed == BATCH or issued == CERTIFICATES:
            # More wait: go on, but leave the cycle its share of the processor.
            return self._clock.monotonic() - began
        return INTERVAL_S

    def seal(self, epoch: int) -> int:
        """Append unsealed entries to the tree under a new signed checkpoint; returns how many.

        Raises:
            LedgerBroken: the tree at hand is not the one that was signed.
            KeyMissing, KeyUnusable: there is no key here that may sign it.
        """
        key = self._key(epoch)
        with self._store.begin() as work:
            work.leadership.assert_leader(epoch)
            entries = work.ledger.unsealed(BATCH)
            if not entries:
                return 0
            self._append(work, entries, key)
        self._metrics.note_sealed(len(entries))
        return len(entries)

    def _key(self, epoch: int) -> SigningKey:
        """Return the key to sign with; where another one is to take its place, that one, once it is introduced."""
        held = self._held()
        if self._chosen is not None and self._chosen[:2] == (epoch, held):
            return self._chosen[2]
        with self._store.begin() as work:
            work.leadership.assert_leader(epoch)
            head = work.ledger.head()
            choice = choose(
                held, chain_of(work, Purpose.CERTIFICATE), None if head is None else signer_of(head.envelope)
            )
            if choice.key is None:
                raise KeyMissing(choice.why_not)
            if choice.signs_in is not None:
                self._introduce(work, choice, 0 if head is None else head.size)
        self._chosen = (epoch, held, choice.key)
        return choice.key

    def _introduce(self, work: UnitOfWork, choice: Choice, size: int) -> None:
        """Seal the entry that introduces a key by itself, under the first head that the key signs."""
        assert choice.key is not None, "it was chosen"
        now = self._clock.now()
        [written] = work.audit.write(introduction(choice, Purpose.CERTIFICATE, at=now, until=now, size=size))
        self._append(work, [work.ledger.entry(written)], choice.key)
        _log.warning("certificate_key_changed", key=choice.key.public.key_id, size=size)

    def _append(self, work: UnitOfWork, entries: Sequence[LoggedEntry], key: SigningKey) -> None:
        head = work.ledger.head()
        size = head.size if head else 0
        appended = _appended(entries, size, head.root if head else EMPTY_ROOT, work.ledger.nodes(frontier(size)))
        at = self._clock.now()
        # The log keeps its name when its key changes.
        origin = origin_of(head.envelope) if head else f"log:{key.public.key_id[:16]}"
        envelope = sign_checkpoint(Checkpoint(origin, appended.size, appended.root, at), key)
        work.ledger.place((entry.id, leaf) for leaf, entry in enumerate(entries, start=size))
        work.ledger.add_nodes((node.level, node.index, node.hash) for node in appended.nodes)
        work.ledger.add_head(Head(appended.size, appended.root, envelope, at))

    def certify(self, epoch: int) -> int:
        """Sign the certificates of jobs that have ended and whose entries are sealed; returns how many it tried."""
        # 1. Read, in one transaction.
        key = self._key(epoch)
        with self._store.begin() as work:
            work.leadership.assert_leader(epoch)
            jobs = work.certificates.ready(CERTIFICATES, self._put_off())
            batch = self._certifier.gather(work, jobs)
        if batch is None:
            return 0
        # 2. Build and sign, with no transaction open.
        envelopes = self._certifier.sign(batch, key)
        # 3. Store.
        if envelopes:
            with self._store.begin() as work:
                work.leadership.assert_leader(epoch)
                work.certificates.issue(envelopes, self._clock.now())
            self._metrics.note_certificates(len(envelopes))
        # 4. What could not be signed is tried again later, and does not stand in the way of the others.
        retry_at = self._clock.monotonic() + PUT_OFF_S
        self._retry_at.update((job, retry_at) for job in jobs if job not in envelopes)
        return len(jobs)

    def redact(self, epoch: int) -> int:
        """Sign what may be shown to third parties of certificates, where somebody asked for that; returns how many."""
        with self._store.begin() as work:
            work.leadership.assert_leader(epoch)
            asked = work.certificates.asked(REDACTIONS)
            ring = chain_of(work, Purpose.CERTIFICATE).ring(self._held().current.public) if asked else trusted()
        if not asked:
            return 0
        key = self._key(epoch)
        made = {job: self._certifier.redacted(envelope, key, ring) for job, envelope in asked.items()}
        with self._store.begin() as work:
            work.leadership.assert_leader(epoch)
            work.certificates.redact(made)
        return len(made)

    def _put_off(self) -> Collection[JobId]:
        now = self._clock.monotonic()
        self._retry_at = {job: at for job, at in self._retry_at.items() if at > now}
        return self._retry_at.keys()


def _appended(
    entries: Sequence[LoggedEntry], size: int, signed_root: bytes, nodes: Mapping[tuple[int, int], bytes]
) -> Appended:
    missing = [named for named in frontier(size) if named not in nodes]
    if missing or root(size, lambda level, index: nodes[level, index]) != signed_root:
        raise LedgerBroken(f"the tree of {size} entries does not have the root that was signed for it")
    leaves = [commitment(entry.salt, entry.document()) for entry in entries]
    return append(size, leaves, lambda level, index: nodes[level, index])
