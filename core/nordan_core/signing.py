"""Which private key signs now, and what the log says of those before it: shared by the api and the sealer.

The audit log is the only record of how keys followed each other. `choose` decides from the files that a process holds
and that record; whoever calls it writes the entry that a change takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from nordan_core.proof.keys import KeyRing, PublicKey, SigningKey, trusted
from nordan_core.proof.rotation import Held
from nordan_core.proof.succession import (
    Purpose,
    Statement,
    Succession,
    read_unpinned,
    sign_succession,
    with_succession,
)
from nordan_core.store.audit import Act, AuditEntry
from nordan_core.store.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class Chain:
    """The keys of one purpose in the order in which they followed each other, as the log has it."""

    purpose: Purpose
    statements: tuple[Statement, ...] = ()

    @property
    def newest(self) -> str | None:
        """Return the id of the key that may sign now; None where no key was ever changed."""
        return read_unpinned(self.statements[-1]).new.key_id if self.statements else None

    def ring(self, *keys: PublicKey) -> KeyRing:
        """Return all keys of the chain and those given, and which of them are retired."""
        ring = trusted(*keys)
        for statement in self.statements:
            ring = with_succession(ring, read_unpinned(statement))
        return ring


@dataclass(frozen=True, slots=True)
class Choice:
    """What to sign with; None: no key here may sign."""

    key: SigningKey | None
    signs_in: SigningKey | None = None
    """`key` has to be introduced first, by this one."""
    old: PublicKey | None = None
    """The key whose place it takes."""
    why_not: str = ""


def chain_of(work: UnitOfWork, purpose: Purpose) -> Chain:
    """Return how the keys of a purpose followed each other."""
    found = work.ledger.of_subjects([purpose.subject]).get(purpose.subject, [])
    statements = (one.body.get("statement") for one in found)
    return Chain(purpose, tuple(one for one in statements if isinstance(one, Mapping)))


def choose(held: Held, chain: Chain, signed_last: str | None = None) -> Choice:
    """Decide with which key to go on.

    `signed_last` is the id of the key under the newest head of the log, where no key was ever changed; None where
    nothing says which one came before.
    """
    # What replaces a lost key takes its place also where no key was ever changed: the log has to tell of it.
    newest = chain.newest or signed_last or (held.replaces or held.current.public).key_id
    ring = chain.ring(held.current.public)
    if held.next is not None and newest == held.next.public.key_id:
        return Choice(held.next)
    if newest == held.current.public.key_id:
        if held.next is None:
            return Choice(held.current)
        if held.next.public.key_id in ring:
            return Choice(held.current, why_not="the next key was used before; make another one")
        return Choice(held.next, signs_in=held.current, old=held.current.public)
    if held.replaces is not None and held.replaces.key_id == newest and held.current.public.key_id not in ring.retired:
        return Choice(held.current, signs_in=held.current, old=held.replaces)
    return Choice(None, why_not=f"the log goes on under the key {newest[:12]}…, which is not here")


def introduction(choice: Choice, purpose: Purpose, *, at: datetime, until: datetime, size: int) -> AuditEntry:
    """Return the act by which the chosen key takes another's place."""
    assert choice.key is not None, "a key is introduced"
    assert choice.signs_in is not None, "by another, or itself"
    assert choice.old is not None, "in another's place"
    told = Succession(purpose, choice.old, choice.key.public, at, until, size)
    body: dict[str, object] = {
        "purpose": purpose.value,
        "old": told.old.key_id,
        "new": told.new.key_id,
        "statement": sign_succession(told, choice.signs_in),
    }
    return AuditEntry(Act.SIGNING_KEY_CHANGED, purpose.subject, "operator", at, None, body)
