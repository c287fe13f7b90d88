"""Statements by which one signing key makes way for the next, and the chain of them that a reader follows.

Whoever pinned a key once can tell every later one from an impostor's: each is introduced by the one before it. The
api and the sealer make statements and log them; supervisors, gateways and everybody who verifies offline read them.

A key that was lost or stolen cannot introduce anybody. Its successor then speaks for itself, which convinces only
readers who have come to trust that one in another way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from nordan_core.proof.canonical import canonical_json, from_canonical
from nordan_core.proof.dsse import envelope_bytes, open_envelope, sign_envelope, signer_of, unproven_payload
from nordan_core.proof.errors import EnvelopeError, EnvelopeMalformed, KeyUnusable, NotCanonical, ProofError
from nordan_core.proof.keys import KeyRing, PublicKey, Retirement, SigningKey, trusted

PAYLOAD_TYPE = "application/vnd.nordan.succession+json"
#: The act in the audit log, and what its subject begins with.
ACT = "signing_key_changed"
SUBJECT = "signing_key:"
#: Keys change a few times a year; a longer chain is nonsense and is not followed.
LONGEST_CHAIN = 1000
_FIELDS = frozenset({"purpose", "old", "new", "at", "until", "size"})
Statement = Mapping[str, object]


class Purpose(StrEnum):
    """What a key signs."""

    GRANT = "grant"
    """Grants, renewals and passes to gateways."""
    CERTIFICATE = "certificate"
    """Heads of the audit log, and certificates."""

    @property
    def subject(self) -> str:
        """Return the subject of its entries in the audit log."""
        return SUBJECT + self.value


@dataclass(frozen=True, slots=True)
class Succession:
    """One key makes way for another."""

    purpose: Purpose
    old: PublicKey
    new: PublicKey
    at: datetime
    """When the statement was signed, aware UTC."""
    until: datetime
    """What the old key signs with a later instant does not hold: grants that live then have been renewed."""
    size: int
    """Entries of the log at that moment: for a certificate key, the largest that it may sign. The statement itself
    is the next entry, and lies under the new key's first head."""


def sign_succession(succession: Succession, key: SigningKey) -> dict[str, object]:
    """Return the signed envelope of a statement: by the old key, or by the new one where the old one is gone.

    Raises:
        ValueError: an instant is naive.
    """
    document = {
        "purpose": succession.purpose.value,
        "old": succession.old.pem(),
        "new": succession.new.pem(),
        "at": _written(succession.at),
        "until": _written(succession.until),
        "size": succession.size,
    }
    return sign_envelope(PAYLOAD_TYPE, canonical_json(document), key)


def read_succession(statement: Statement, ring: KeyRing) -> Succession:
    """Return what a statement says, once a trusted key has signed it that is the old or the new one.

    Raises:
        EnvelopeError: another form, or signed by a key that is not trusted here.
        ProofError: signed by a trusted key that has no say in it.
    """
    found = _succession_of(open_envelope(statement, PAYLOAD_TYPE, ring))
    if signer_of(statement) not in {found.old.key_id, found.new.key_id}:
        raise ProofError("a key is introduced by the one before it, and by no other")
    _check_in_office(signer_of(statement), found, ring)
    return found


def read_unpinned(statement: Statement) -> Succession:
    """Return what a statement says, signed by one of the two keys that it names itself: for a log's own keeper.

    Raises:
        ProofError: another form, or signed by neither.
    """
    found = _succession_of(unproven_payload(statement, PAYLOAD_TYPE))
    return read_succession(statement, trusted(found.old, found.new))


def with_succession(ring: KeyRing, succession: Succession) -> KeyRing:
    """Return the ring after a statement that was read with it.

    Raises:
        ProofError: the old key has named another successor, or the new one was retired itself.
    """
    old, new = succession.old.key_id, succession.new.key_id
    end = Retirement(new, succession.until, succession.size)
    known = ring.retired.get(old)
    if known == end:
        return ring
    if known is not None:
        raise ProofError(f"the key {old[:12]}… has made way for two: {known.successor[:12]}… and {new[:12]}…")
    if _leads_to(ring, new, old):
        raise ProofError(f"the key {new[:12]}… was retired and cannot take another's place")
    keys = {**ring, old: succession.old, new: succession.new}
    return KeyRing(keys, {**ring.retired, old: end})


def follow(ring: KeyRing, statements: Iterable[Statement], purpose: Purpose) -> KeyRing:
    """Return the ring with every key that statements lead to from it; what no trusted key signed is passed over.

    Raises:
        ProofError: a key has two successors, or the chain has no end.
    """
    left = list(statements)
    if len(left) > LONGEST_CHAIN:
        raise ProofError(f"a chain of keys has at most {LONGEST_CHAIN} statements")
    # Who made way for whom is known before any key says whose place it took: a retired one might say so late.
    waiting = dict(sorted(_distinct(left), key=lambda one: _is_by_successor(one[1][1])))
    while (known := next((one for one, (signer, _) in waiting.items() if signer in ring), None)) is not None:
        # Each is read once: what a signer did not sign when it became trusted, it has never signed.
        said = _read_here(waiting.pop(known)[1], ring)
        if said is not None and said.purpose is purpose:
            ring = with_succession(ring, said)
    return ring


def _distinct(statements: Iterable[Statement]) -> Iterator[tuple[bytes, tuple[str, Statement]]]:
    """Yield each statement with its text, by which copies are told, and the key that it says signed it."""
    for one in statements:
        try:
            yield envelope_bytes(one), (signer_of(one), one)
        except (EnvelopeError, NotCanonical):
            continue


def _read_here(statement: Statement, ring: KeyRing) -> Succession | None:
    try:
        return read_succession(statement, ring)
    except EnvelopeError:
        return None


def _is_by_successor(statement: Statement) -> bool:
    try:
        return signer_of(statement) != _succession_of(unproven_payload(statement, PAYLOAD_TYPE)).old.key_id
    except EnvelopeError:
        return False


def _check_in_office(signer: str, said: Succession, ring: KeyRing) -> None:
    """Raise where a retired key gives a key that it puts before itself more than it may sign itself."""
    end = ring.retired.get(signer)
    if end is not None and signer != said.old.key_id and (said.size > end.size or said.until > end.until):
        raise ProofError(f"the key {signer[:12]}… was retired, and has no say in who signs after that")


def _leads_to(ring: KeyRing, start: str, goal: str) -> bool:
    """Tell whether one key is another, or made way for it; a ring has no circle, so this ends."""
    step: str | None = start
    while step is not None and step != goal:
        end = ring.retired.get(step)
        step = end.successor if end is not None else None
    return step == goal


def _succession_of(payload: bytes) -> Succession:
    try:
        return _parsed(from_canonical(payload))
    except (NotCanonical, KeyUnusable, ValueError) as error:
        raise EnvelopeMalformed(f"the payload is no statement about a key: {error}") from error


def _parsed(document: object) -> Succession:
    if not isinstance(document, dict) or set(document) != _FIELDS:
        raise ValueError(f"it has exactly the fields {', '.join(sorted(_FIELDS))}")
    purpose, old, new, at, until = (document[name] for name in ("purpose", "old", "new", "at", "until"))
    if not all(isinstance(one, str) for one in (purpose, old, new, at, until)):
        raise ValueError("all but size are texts")
    size = document["size"]
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ValueError("size is a whole number")
    instants = datetime.fromisoformat(at), datetime.fromisoformat(until)
    if any(one.tzinfo is None for one in instants):
        raise ValueError("at and until have a time zone")
    return Succession(Purpose(purpose), PublicKey.from_pem(old), PublicKey.from_pem(new), *instants, size)


def _written(instant: datetime) -> str:
    if instant.tzinfo is None:
        raise ValueError("an instant of a statement needs a time zone")
    return instant.astimezone(UTC).isoformat()
