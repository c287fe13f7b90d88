"""Audit entries as leaves: the one document of an entry, and the salted commitment that enters the tree.

The sealer commits each entry under a salt of its own; the tree, its checkpoints and every proof hold commitments
only. Whoever is shown salt and entry can check them; without the salt, guessing the entry gains nothing.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime

from nordan_core.proof.canonical import canonical_json
from nordan_core.proof.errors import NotCanonical

#: 128 bits: enough that nobody finds an entry by trying. The length is fixed, so that no byte can move between
#: salt and entry.
SALT_BYTES = 16


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


def commitment(salt: bytes, entry: Mapping[str, object]) -> bytes:
    """Return the leaf data of an entry: SHA-256 over the salt followed by the entry's canonical JSON.

    Raises:
        NotCanonical: the entry has no canonical JSON, or the salt is not `SALT_BYTES` long.
    """
    if len(salt) != SALT_BYTES:
        raise NotCanonical(f"a salt has {SALT_BYTES} bytes, not {len(salt)}")
    return hashlib.sha256(salt + canonical_json(entry)).digest()
