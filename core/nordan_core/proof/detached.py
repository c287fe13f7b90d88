"""Signatures beside a file: a DSSE envelope without its payload, so that the file itself stays as it is.

Used for atlases, which people read and compare. What is signed is the same as in an envelope: the type and every byte.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping

from nordan_core.proof.dsse import open_envelope, sign_envelope
from nordan_core.proof.errors import EnvelopeMalformed
from nordan_core.proof.keys import PublicKey, SigningKey

_FIELDS = frozenset({"payloadType", "signatures"})


def sign_beside(payload_type: str, data: bytes, key: SigningKey) -> dict[str, object]:
    """Return the signature of some bytes: `payloadType` and one signature."""
    envelope = sign_envelope(payload_type, data, key)
    return {name: envelope[name] for name in sorted(_FIELDS)}


def check_beside(
    signature: Mapping[str, object], data: bytes, payload_type: str, keys: Mapping[str, PublicKey]
) -> PublicKey:
    """Return the one of the keys that signed exactly these bytes as this type.

    Raises:
        EnvelopeMalformed: the value is no signature of this form.
        PayloadTypeMismatch: something else was signed.
        SignatureInvalid: the key is not among `keys`, or did not sign this.
    """
    if not isinstance(signature, Mapping) or set(signature) != _FIELDS:
        raise EnvelopeMalformed("a signature beside a file has exactly the fields payloadType and signatures")
    open_envelope({**signature, "payload": base64.b64encode(data).decode("ascii")}, payload_type, keys)
    return keys[key_id_in(signature)]


def key_id_in(signature: Mapping[str, object]) -> str:
    """Return the id of the key that a signature claims, unproven; nothing where it claims none."""
    listed = signature.get("signatures")
    first = listed[0] if isinstance(listed, list) and listed else None
    return str(first.get("keyid", "")) if isinstance(first, Mapping) else ""
