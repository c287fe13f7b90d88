"""Salted commitments."""

import hashlib

import pytest

from nordan_core.proof.errors import NotCanonical
from nordan_core.proof.leaf import SALT_BYTES, commitment, new_salt

ENTRY = {"id": "ent_1", "act": "job_submitted"}


def test_a_commitment_is_the_hash_of_salt_and_canonical_entry() -> None:
    salt = bytes(range(32))
    want = hashlib.sha256(salt + b'{"act":"job_submitted","id":"ent_1"}').digest()
    assert commitment(salt, ENTRY) == want


def test_the_same_entry_is_not_recognised_under_another_salt() -> None:
    assert commitment(new_salt(), ENTRY) != commitment(new_salt(), ENTRY)


@pytest.mark.parametrize("length", [0, SALT_BYTES - 1, SALT_BYTES + 1])
def test_a_salt_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(NotCanonical):
        commitment(b"s" * length, ENTRY)
