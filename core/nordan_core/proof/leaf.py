"""Audit entries as leaves: the one document of an entry, and the salted commitment that enters the tree.

The sealer commits each entry under a salt of its own; the tree, its checkpoints and every proof hold commitments
only. Whoever is shown salt and entry can check them; without the salt, guessing the entry gains nothing.
"""

import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from nordan_core.proof.canonical import canonical_json
from nordan_core.proof.errors import NotCanonical, TreeError
from nordan_core.proof.merkle import leaf_hash

#: 128 bits: enough that nobody finds an entry by trying. The length is fixed, so that no byte can move between
#: salt and entry.
SALT_BYTES = 16
#: The forms of a leaf.
WHOLE, BY_FIELD = 1, 2
#: Keep the kinds of hash apart. Longer than a salt, and no JSON, so that no leaf of one form opens as the other.
_LEAF, _FIELD, _SALT = b"nordan audit leaf by field\x00", b"nordan audit field\x00", b"nordan audit field salt\x00"


def entry_document(
    *,
    entry_id: str,
    act: str,
    subject: str,
    actor: str,
    at: datetime,
    organisation: str | None,
    body: Mapping[str, object],
) -> dict[str, object]:
    """Return an audit entry as the document that is committed, proved and shown.

    Raises:
        NotCanonical: `at` is naive.
    """
    if at.tzinfo is None:
        raise NotCanonical("an audit entry's instant needs a time zone")
    return {
        "id": entry_id,
        "act": act,
        "subject": subject,
        "actor": actor,
        "at": at.astimezone(UTC).isoformat(),
        "organisation": organisation,
        "body": dict(body),
    }


def commitment(salt: bytes, entry: Mapping[str, object], form: int = BY_FIELD) -> bytes:
    """Return the leaf data of an entry under its salt.

    `WHOLE`, the form of older logs: SHA-256 over salt and canonical JSON. `BY_FIELD`: SHA-256 over a commitment to
    each field, each under a salt of its own that follows from the entry's, so that some can be shown without others.

    Raises:
        NotCanonical: the entry has no canonical JSON, the salt is not `SALT_BYTES` long, or there is no such form.
    """
    if len(salt) != SALT_BYTES:
        raise NotCanonical(f"a salt has {SALT_BYTES} bytes, not {len(salt)}")
    if form == WHOLE:
        return hashlib.sha256(salt + canonical_json(entry)).digest()
    if form != BY_FIELD:
        raise NotCanonical(f"there is no form {form} of a leaf")
    return leaf_of({path: field_commitment(field_salt(salt, path), value) for path, value in fields_of(entry)})


def form_of(salt: bytes, entry: Mapping[str, object], leaf: bytes) -> int:
    """Return the form in which an entry gives this hash of a leaf.

    Raises:
        TreeError: it gives it in none.
    """
    for form in (BY_FIELD, WHOLE):
        if leaf_hash(commitment(salt, entry, form)) == leaf:
            return form
    raise TreeError(f"the entry {entry.get('id')} is not what its leaf was made of")


def leaf_of(commitments: Mapping[str, bytes]) -> bytes:
    """Return the leaf data of an entry of which a commitment to each field is known; it binds the paths, too."""
    named = {path: digest.hex() for path, digest in commitments.items()}
    return hashlib.sha256(_LEAF + canonical_json(named)).digest()


def fields_of(entry: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Yield an entry's fields by path: `act`, `subject` …, and `body.NAME` for each field of its body."""
    for name, value in entry.items():
        if name == "body" and isinstance(value, Mapping):
            yield from ((f"body.{inner}", one) for inner, one in value.items())
        else:
            yield name, value


def field_salt(salt: bytes, path: str) -> bytes:
    """Return the salt of one field: whoever knows it can open that field and no other."""
    # Cut off, so that nobody can hash on from it to the salt of a longer path.
    return hashlib.sha256(_SALT + salt + path.encode("utf-8")).digest()[:SALT_BYTES]


def field_commitment(salt: bytes, value: object) -> bytes:
    """Return the commitment to a field's value under the field's own salt; the leaf binds it to its path.

    Raises:
        NotCanonical: the value has no canonical JSON.
    """
    return hashlib.sha256(_FIELD + salt + canonical_json(value)).digest()
