"""DSSE envelopes with one Ed25519 signature: the form of everything that Nordan signs.

Called by `tokens`, `checkpoint` and `certificate`. The envelope's form and its pre-authentication encoding are
securesystemslib's; keys are ours, because its verifier parses the PEM text again for each signature. Only one
spelling of an envelope is accepted, so that no byte of it can change unnoticed.
"""

import base64
import binascii
from collections.abc import Mapping

from securesystemslib.dsse import Envelope

from nordan_core.proof.canonical import canonical_json, from_canonical
from nordan_core.proof.errors import (
    EnvelopeMalformed,
    NotCanonical,
    PayloadTypeMismatch,
    SignatureInvalid,
)
from nordan_core.proof.keys import PublicKey, SigningKey

_FIELDS = frozenset({"payload", "payloadType", "signatures"})
_SIGNATURE_FIELDS = frozenset({"keyid", "sig"})


def sign_envelope(payload_type: str, payload: bytes, key: SigningKey) -> dict[str, object]:
    """Return the envelope document of a payload: `payload`, `payloadType` and one signature."""
    signature = key.sign(Envelope(payload, payload_type, {}).pae())
    return {
        "payload": _base64(payload),
        "payloadType": payload_type,
        "signatures": [{"keyid": key.public.key_id, "sig": _base64(signature)}],
    }


def open_envelope(envelope: Mapping[str, object], payload_type: str, keys: Mapping[str, PublicKey]) -> bytes:
    """Return the payload, once its type and its signature by one of the keys are established.

    Raises:
        EnvelopeMalformed: the value is not an envelope with exactly one signature.
        PayloadTypeMismatch: it holds another type of payload (checked first, still unproven then).
        SignatureInvalid: the key is not among `keys`, or did not sign this.
    """
    opened = _parse(envelope)
    if opened.payload_type != payload_type:
        raise PayloadTypeMismatch(want=payload_type, have=opened.payload_type)
    [signature] = opened.signatures.values()
    key = keys.get(signature.keyid)
    if key is None:
        raise SignatureInvalid(f"signed by the key {signature.keyid[:12]}…, which is not trusted here")
    if not key.verifies(bytes.fromhex(signature.signature), opened.pae()):
        raise SignatureInvalid(f"the signature by {signature.keyid[:12]}… does not fit the payload")
    return opened.payload


def signer_of(envelope: Mapping[str, object]) -> str:
    """Return the id of the key that an envelope says it was signed by; proven only once it was opened.

    Raises:
        EnvelopeMalformed: the value is not an envelope with exactly one signature.
    """
    [signature] = _parse(envelope).signatures.values()
    return str(signature.keyid)


def unproven_payload(envelope: Mapping[str, object], payload_type: str) -> bytes:
    """Return the payload of an envelope whoever signed it: to find what it is to be checked with, and no more.

    Raises:
        EnvelopeMalformed: the value is not an envelope with exactly one signature.
        PayloadTypeMismatch: it holds another type of payload.
    """
    opened = _parse(envelope)
    if opened.payload_type != payload_type:
        raise PayloadTypeMismatch(want=payload_type, have=opened.payload_type)
    return opened.payload


def envelope_bytes(envelope: Mapping[str, object]) -> bytes:
    """Return the one text of an envelope, as files and tokens hold it."""
    return canonical_json(envelope)


def envelope_from_bytes(data: bytes) -> dict[str, object]:
    """Read an envelope's text back; one newline at the end is accepted, as files have it.

    Raises:
        EnvelopeMalformed: the bytes are not the canonical JSON of an object.
    """
    try:
        value = from_canonical(data.removesuffix(b"\n"))
    except NotCanonical as error:
        raise EnvelopeMalformed(f"the file is not a signed envelope: {error}") from error
    if not isinstance(value, dict):
        raise EnvelopeMalformed("the file is not a signed envelope: it holds no JSON object")
    return value


def _parse(envelope: Mapping[str, object]) -> Envelope:
    """Parse strictly: what would be written back must equal what came in."""
    document = _checked_form(envelope)
    try:
        opened = Envelope.from_dict(document)
        again = opened.to_dict()
    except (ValueError, binascii.Error, UnicodeError) as error:
        raise EnvelopeMalformed(f"the envelope's base64 is broken: {error}") from error
    if again != envelope:
        raise EnvelopeMalformed("the envelope's base64 is not in its canonical form")
    return opened


def _checked_form(envelope: Mapping[str, object]) -> dict[str, object]:
    """Return a copy (the library's parser empties what it is given) of an envelope with the right fields."""
    if not isinstance(envelope, Mapping) or set(envelope) != _FIELDS:
        raise EnvelopeMalformed("an envelope has exactly the fields payload, payloadType and signatures")
    payload, payload_type, signatures = (envelope[f] for f in ("payload", "payloadType", "signatures"))
    if not isinstance(payload, str) or not isinstance(payload_type, str):
        raise EnvelopeMalformed("an envelope's payload and payloadType are strings")
    if not isinstance(signatures, list) or len(signatures) != 1:
        raise EnvelopeMalformed("an envelope of ours has exactly one signature")
    [signature] = signatures
    if not isinstance(signature, dict) or set(signature) != _SIGNATURE_FIELDS:
        raise EnvelopeMalformed("a signature has exactly the fields keyid and sig")
    if not all(isinstance(value, str) for value in signature.values()):
        raise EnvelopeMalformed("a signature's keyid and sig are strings")
    return {"payload": payload, "payloadType": payload_type, "signatures": [dict(signature)]}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
