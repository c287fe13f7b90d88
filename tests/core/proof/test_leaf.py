"""Audit entries as leaves."""

import hashlib
from datetime import UTC, datetime, timedelta, timezone

import pytest

from nordan_core.proof.errors import NotCanonical
from nordan_core.proof.leaf import SALT_BYTES, commitment, entry_document

AT = datetime(2026, 11, 21, 12, 0, 0, 5, tzinfo=UTC)
SALT = bytes(range(SALT_BYTES))


def an_entry(at: datetime = AT) -> dict[str, object]:
    return entry_document(
        entry_id="aud_1", act="job_accepted", subject="job_1", actor="key_1", at=at, organisation=None, body={"a": 1}
    )


def test_a_commitment_is_the_hash_of_salt_and_canonical_entry() -> None:
    text = (
        b'{"act":"job_accepted","actor":"key_1","at":"2026-11-21T12:00:00.000005+00:00","body":{"a":1},'
        b'"id":"aud_1","organisation":null,"subject":"job_1"}'
    )
    assert commitment(SALT, an_entry()) == hashlib.sha256(SALT + text).digest()


def test_an_entry_is_the_same_document_whatever_zone_the_database_answers_in() -> None:
    assert an_entry(AT.astimezone(timezone(timedelta(hours=-5)))) == an_entry()


def test_the_same_entry_is_not_recognised_under_another_salt() -> None:
    assert commitment(SALT, an_entry()) != commitment(SALT[::-1], an_entry())


@pytest.mark.parametrize("length", [0, SALT_BYTES - 1, SALT_BYTES + 1])
def test_a_salt_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(NotCanonical):
        commitment(b"s" * length, an_entry())


def test_a_naive_instant_is_refused() -> None:
    with pytest.raises(NotCanonical):
        an_entry(AT.replace(tzinfo=None))
