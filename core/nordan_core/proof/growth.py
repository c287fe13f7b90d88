"""Two signed heads of the audit log and the proof that the older log is a prefix of the newer one.

The api makes the proof (RFC 9162, 2.1.4); `nordan admin audit compare` and `nordan certificate verify` check it by the
certificate key alone. Whoever kept an older head learns so whether anything before it was rewritten.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nordan_core.proof.canonical import from_canonical
from nordan_core.proof.checkpoint import Checkpoint, verify_checkpoint
from nordan_core.proof.errors import EnvelopeMalformed, NotCanonical, ProofError
from nordan_core.proof.keys import KeyRing
from nordan_core.proof.merkle import HASH_BYTES, verify_consistency

_FIELDS = frozenset({"old", "new", "proof"})
#: A log of 2**62 entries needs fewer hashes; a longer proof is nonsense and is not hashed.
LONGEST_PROOF = 128


@dataclass(frozen=True, slots=True)
class Growth:
    """A log at two instants, as two signed heads say."""

    old: Checkpoint
    new: Checkpoint
    proof: tuple[bytes, ...]


def growth_document(
    old: Mapping[str, object], new: Mapping[str, object], proof: tuple[bytes, ...]
) -> dict[str, object]:
    """Return the file of a proof: both envelopes, and the hashes between them in hex."""
    return {"old": dict(old), "new": dict(new), "proof": [digest.hex() for digest in proof]}


def read_growth(data: bytes, keys: KeyRing) -> Growth:
    """Return what a proof's file says, once both heads are known to be signed by one of the keys.

    Raises:
        ProofError: another form, or a head that no trusted key signed.
    """
    try:
        document = from_canonical(data.removesuffix(b"\n"))
    except NotCanonical as error:
        raise ProofError(f"no proof of a log's growth: {error}") from error
    return growth_of(document, keys)


def growth_of(document: object, keys: KeyRing) -> Growth:
    """Return what a proof's document says; see `read_growth`.

    Raises:
        ProofError: another form, or a head that no trusted key signed.
    """
    if not isinstance(document, Mapping) or set(document) != _FIELDS:
        raise ProofError("a proof of a log's growth has exactly the fields old, new and proof")
    old, new, hashes = (document[name] for name in ("old", "new", "proof"))
    return Growth(verify_checkpoint(_object(old), keys), verify_checkpoint(_object(new), keys), _hashes(hashes))


def growth_faults(growth: Growth) -> Iterator[str]:
    """Yield what speaks against the newer log being the older one with entries added."""
    old, new = growth.old, growth.new
    if old.origin != new.origin:
        yield f"the heads are of two logs: {old.origin} and {new.origin}"
    if old.size > new.size:
        yield f"the log shrank from {old.size} to {new.size} entries"
    elif old.at > new.at:
        yield f"the head of {old.size} entries was signed at {old.at}, after that of {new.size} at {new.at}"
    elif not verify_consistency(old.size, new.size, growth.proof, old_root=old.root, new_root=new.root):
        yield f"the log of {old.size} entries is not the beginning of that of {new.size}: its past was rewritten"


def _object(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise EnvelopeMalformed("a head is a signed envelope")
    return value


def _hashes(value: object) -> tuple[bytes, ...]:
    if not isinstance(value, list) or len(value) > LONGEST_PROOF:
        raise ProofError(f"a proof is a list of at most {LONGEST_PROOF} hashes")
    try:
        hashes = tuple(bytes.fromhex(str(one)) for one in value)
    except ValueError as error:
        raise ProofError("a proof's hashes are in hex") from error
    if any(len(one) != HASH_BYTES for one in hashes):
        raise ProofError(f"a hash has {HASH_BYTES} bytes")
    return hashes
