"""Whose atlas it is: the packaged one, and one of somebody's own."""

from typing import Any

import pytest

from nordan_core.atlas.loader import default_atlas_bytes, default_atlas_signature
from nordan_core.proof.atlas_signature import (
    PAYLOAD_TYPE,
    check_atlas,
    packaged_signature,
    read_signature,
    release_keys,
    sign_atlas,
    signature_bytes,
)
from nordan_core.proof.detached import sign_beside
from nordan_core.proof.dsse import sign_envelope
from nordan_core.proof.errors import EnvelopeMalformed, PayloadTypeMismatch, SignatureInvalid
from nordan_core.proof.keys import SigningKey, trusted

KEY = SigningKey.create()
DATA = default_atlas_bytes()


def test_the_packaged_atlas_was_signed_for_a_release() -> None:
    key = check_atlas(DATA, packaged_signature(), release_keys())
    assert key.key_id in release_keys()


def test_a_signature_by_a_key_of_ones_own_counts_for_whoever_trusts_it() -> None:
    signature = read_signature(signature_bytes(sign_atlas(DATA, KEY)))
    assert check_atlas(DATA, signature, trusted(KEY.public)) == KEY.public
    with pytest.raises(SignatureInvalid, match="not trusted here"):
        check_atlas(DATA, signature, release_keys())


def test_one_changed_byte_of_the_packaged_atlas_is_refused() -> None:
    for place in (0, len(DATA) // 2, len(DATA) - 1):
        changed = DATA[:place] + bytes([DATA[place] ^ 1]) + DATA[place + 1 :]
        with pytest.raises(SignatureInvalid, match="does not fit"):
            check_atlas(changed, packaged_signature(), release_keys())
    with pytest.raises(SignatureInvalid):
        check_atlas(DATA + b"\n", packaged_signature(), release_keys())


def test_a_signature_over_anything_else_is_none_over_an_atlas() -> None:
    with pytest.raises(PayloadTypeMismatch):
        check_atlas(DATA, sign_beside("application/vnd.in-toto+json", DATA, KEY), trusted(KEY.public))


BENT: dict[str, Any] = {
    "nothing": {},
    "a whole envelope": sign_envelope(PAYLOAD_TYPE, DATA, KEY),
    "two signatures": {"payloadType": PAYLOAD_TYPE, "signatures": 2 * list(sign_atlas(DATA, KEY)["signatures"])},  # type: ignore[call-overload]
    "no signature": {"payloadType": PAYLOAD_TYPE, "signatures": []},
    "base64 that is none": {"payloadType": PAYLOAD_TYPE, "signatures": [{"keyid": KEY.public.key_id, "sig": "*"}]},
}


@pytest.mark.parametrize("signature", BENT.values(), ids=BENT)
def test_what_is_no_signature_is_refused(signature: dict[str, Any]) -> None:
    with pytest.raises(EnvelopeMalformed):
        check_atlas(DATA, signature, trusted(KEY.public))


def test_the_packaged_signature_has_the_one_spelling() -> None:
    assert signature_bytes(packaged_signature()) == default_atlas_signature()
