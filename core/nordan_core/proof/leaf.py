"""Salted commitments: how an audit entry enters the tree without being readable there.

The sealer commits each entry under a salt of its own; the tree, its checkpoints and every proof hold commitments
only. Whoever is shown salt and entry can check them; without the salt, guessing the entry gains nothing.
"""

import hashlib
import secrets
from collections.abc import Mapping

from nordan_core.proof.canonical import canonical_json
from nordan_core.proof.errors import NotCanonical

SALT_BYTES = 32


def new_salt() -> bytes:
    """Return a fresh salt from the operating system's randomness."""
    return secrets.token_bytes(SALT_BYTES)


def commitment(salt: bytes, entry: Mapping[str, object]) -> bytes:
    """Return the leaf data of an entry: SHA-256 over the salt followed by the entry's canonical JSON.

    The salt's length is fixed, so that no byte can move between salt and entry.

    Raises:
        NotCanonical: the entry has no canonical JSON, or the salt is not `SALT_BYTES` long.
    """
    if len(salt) != SALT_BYTES:
        raise NotCanonical(f"a salt has {SALT_BYTES} bytes, not {len(salt)}")
    return hashlib.sha256(salt + canonical_json(entry)).digest()
