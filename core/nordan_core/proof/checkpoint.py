"""The signed head of the audit log: how many entries there were, under which root, at which instant.

The sealer signs one with the certificate key in the transaction that appends; api, certificates and auditors hand
it on; whoever holds two may ask for a consistency proof between them. No entry can be read from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from nordan_core.proof.canonical import canonical_json, from_canonical
from nordan_core.proof.dsse import open_envelope, sign_envelope, signer_of, unproven_payload
from nordan_core.proof.errors import EnvelopeMalformed, NotCanonical, SignatureInvalid
from nordan_core.proof.keys import KeyRing, SigningKey
from nordan_core.proof.merkle import HASH_BYTES

PAYLOAD_TYPE = "application/vnd.nordan.checkpoint+json"
_FIELDS = frozenset({"origin", "size", "root", "at"})


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's head."""

    origin: str
    """Name of the log: the cell's host name or id."""
    size: int
    """Number of entries."""
    root: bytes
    """Root hash over them, 32 bytes."""
    at: datetime
    """When it was signed, aware UTC."""


def sign_checkpoint(checkpoint: Checkpoint, key: SigningKey) -> dict[str, object]:
    """Return the checkpoint's signed envelope.

    Raises:
        ValueError: `at` is naive.
    """
    if checkpoint.at.tzinfo is None:
        raise ValueError("a checkpoint's instant needs a time zone")
    document = {
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "root": checkpoint.root.hex(),
        "at": checkpoint.at.astimezone(UTC).isoformat(),
    }
    return sign_envelope(PAYLOAD_TYPE, canonical_json(document), key)


def verify_checkpoint(envelope: Mapping[str, object], keys: KeyRing) -> Checkpoint:
    """Return the checkpoint of an envelope signed by one of the keys, while that key was the log's.

    Raises:
        EnvelopeError: the envelope cannot be opened, what a trusted key signed is no checkpoint, or the key was
            retired when the log was smaller or introduced when it was larger.
    """
    payload = open_envelope(envelope, PAYLOAD_TYPE, keys)
    head = _read(payload)
    check_in_office(signer_of(envelope), head.size, keys)
    _check_introduced(signer_of(envelope), head.size, keys)
    return head


def check_in_office(key_id: str, size: int, keys: KeyRing) -> None:
    """Raise `SignatureInvalid` where a key was retired before the log had this many entries."""
    end = keys.retired.get(key_id)
    if end is not None and size > end.size:
        raise SignatureInvalid(
            f"the key {key_id[:12]}… was retired when the log had {end.size} entries; it cannot sign one of {size}"
        )


def _check_introduced(key_id: str, size: int, keys: KeyRing) -> None:
    """Raise `SignatureInvalid` where a head does not hold the entry by which its key was introduced.

    Certificates are another matter: a key redacts those of before its time.
    """
    begin = max((end.size for end in keys.retired.values() if end.successor == key_id), default=-1)
    if size <= begin:
        raise SignatureInvalid(
            f"the key {key_id[:12]}… was introduced when the log had {begin} entries; it cannot sign one of {size}"
        )


def origin_of(envelope: Mapping[str, object]) -> str:
    """Return the name of the log in a head, whoever signed it: for the log's own keeper.

    Raises:
        EnvelopeError: it is no head.
    """
    return _read(unproven_payload(envelope, PAYLOAD_TYPE)).origin


def _read(payload: bytes) -> Checkpoint:
    try:
        return _checkpoint_of(from_canonical(payload))
    except (NotCanonical, ValueError) as error:
        raise EnvelopeMalformed(f"the signed payload is no checkpoint: {error}") from error


def _checkpoint_of(document: object) -> Checkpoint:
    if not isinstance(document, dict) or set(document) != _FIELDS:
        raise ValueError("it has exactly the fields origin, size, root and at")
    origin, size, root, at = (document[name] for name in ("origin", "size", "root", "at"))
    if not isinstance(origin, str) or not isinstance(root, str) or not isinstance(at, str):
        raise ValueError("origin, root and at are texts")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ValueError("size is a whole number")
    digest, instant = bytes.fromhex(root), datetime.fromisoformat(at)
    if len(digest) != HASH_BYTES or instant.tzinfo is None:
        raise ValueError("root has 32 bytes and at has a time zone")
    return Checkpoint(origin, size, digest, instant)
