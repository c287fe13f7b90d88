"""Signed envelopes."""

from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from securesystemslib.dsse import Envelope
from securesystemslib.signer import (  # type: ignore[attr-defined]  # exported, but without __all__
    CryptoSigner,
    SSlibKey,
)

from nordan_core.proof.dsse import envelope_bytes, envelope_from_bytes, open_envelope, sign_envelope
from nordan_core.proof.errors import (
    EnvelopeError,
    EnvelopeMalformed,
    PayloadTypeMismatch,
    SignatureInvalid,
)
from nordan_core.proof.keys import PublicKey, SigningKey, trusted

KEY = SigningKey.create()
KEYS = trusted(KEY.public)
TYPE = "application/vnd.nordan.test+json"


def signed(payload: bytes = b"\xfb\xff?>{}") -> dict[str, Any]:  # Any: tests bend it out of shape
    return sign_envelope(TYPE, payload, KEY)


def test_a_signed_payload_comes_out_again_and_the_envelope_is_left_alone() -> None:
    envelope = signed(b"payload")
    before = envelope_bytes(envelope)
    assert open_envelope(envelope, TYPE, KEYS) == b"payload"
    assert envelope_bytes(envelope) == before


def test_securesystemslib_verifies_our_envelopes() -> None:
    public = SSlibKey(KEY.public.key_id, "ed25519", "ed25519", {"public": raw_hex(KEY.public)})
    assert Envelope.from_dict(signed()).verify([public], threshold=1)


def test_we_verify_envelopes_of_securesystemslib() -> None:
    signer = CryptoSigner.generate_ed25519()
    public = PublicKey.from_pem(raw_to_pem(signer.public_key.keyval["public"]))
    envelope = Envelope(b"payload", TYPE, {})
    envelope.sign(signer)
    document = envelope.to_dict()
    keys = {document["signatures"][0]["keyid"]: public}
    assert open_envelope(document, TYPE, keys) == b"payload"


def test_another_payload_type_is_refused_with_both_named() -> None:
    with pytest.raises(PayloadTypeMismatch) as caught:
        open_envelope(signed(), "application/vnd.nordan.other+json", KEYS)
    assert (caught.value.want, caught.value.have) == ("application/vnd.nordan.other+json", TYPE)


def test_the_payload_type_is_part_of_what_is_signed() -> None:
    with pytest.raises(SignatureInvalid):
        open_envelope({**signed(), "payloadType": "x"}, "x", KEYS)


def test_a_foreign_key_is_refused() -> None:
    foreign = SigningKey.create()
    with pytest.raises(SignatureInvalid, match="not trusted"):
        open_envelope(sign_envelope(TYPE, b"payload", foreign), TYPE, KEYS)


def test_a_foreign_signature_under_a_trusted_name_is_refused() -> None:
    envelope: dict[str, Any] = sign_envelope(TYPE, b"payload", SigningKey.create())
    envelope["signatures"][0]["keyid"] = KEY.public.key_id
    with pytest.raises(SignatureInvalid, match="does not fit"):
        open_envelope(envelope, TYPE, KEYS)


def test_changing_any_byte_of_the_text_is_noticed() -> None:
    text = envelope_bytes(signed(b'{"a":1}'))
    for position in range(len(text)):
        for mask in (0x01, 0x20, 0x80):
            changed = bytearray(text)
            changed[position] ^= mask
            with pytest.raises(EnvelopeError):
                open_envelope(envelope_from_bytes(bytes(changed)), TYPE, KEYS)


def test_one_newline_at_the_end_is_all_the_freedom_a_file_has() -> None:
    text = envelope_bytes(signed())
    assert envelope_from_bytes(text + b"\n") == signed()
    for other in (b" " + text, text + b"\n\n", text + b" ", b"[]", b""):
        with pytest.raises(EnvelopeMalformed):
            envelope_from_bytes(other)


MALFORMED: dict[str, Any] = {
    "no payload": {"payloadType": TYPE, "signatures": []},
    "an extra field": {**signed(), "extra": 1},
    "no signature": {**signed(), "signatures": []},
    "two signatures": {**signed(), "signatures": signed()["signatures"] * 2},
    "signatures of another type": {**signed(), "signatures": "none"},
    "a signature that is no object": {**signed(), "signatures": ["sig"]},
    "an extra field in the signature": {**signed(), "signatures": [{**signed()["signatures"][0], "x": "y"}]},
    "a signature that is no text": {**signed(), "signatures": [{"keyid": KEY.public.key_id, "sig": 5}]},
    "a payload that is no text": {**signed(), "payload": 5},
    "a payload outside base64": {**signed(), "payload": "*"},
    "a payload outside ASCII": {**signed(), "payload": "é"},
    "url-safe base64": {**signed(), "payload": signed()["payload"].replace("+", "-").replace("/", "_")},
    "no object": [],
}


@pytest.mark.parametrize("envelope", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_envelope_is_refused(envelope: Any) -> None:
    with pytest.raises(EnvelopeMalformed):
        open_envelope(envelope, TYPE, KEYS)


def raw_hex(public: PublicKey) -> str:
    return public._der[-32:].hex()


def raw_to_pem(value: str) -> str:
    if value.startswith("-----"):
        return value
    prefix = SigningKey.create().public._der[:-32]
    key = serialization.load_der_public_key(prefix + bytes.fromhex(value))
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
