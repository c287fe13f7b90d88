"""Audit entries as leaves."""

import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from nordan_core.proof.errors import NotCanonical, TreeError
from nordan_core.proof.leaf import BY_FIELD, SALT_BYTES, WHOLE, commitment, entry_document, form_of
from nordan_core.proof.merkle import leaf_hash

AT = datetime(2026, 11, 21, 12, 0, 0, 5, tzinfo=UTC)
SALT = bytes(range(SALT_BYTES))


def an_entry(at: datetime = AT) -> dict[str, object]:
    return entry_document(
        entry_id="aud_1", act="job_accepted", subject="job_1", actor="key_1", at=at, organisation=None, body={"a": 1}
    )


def test_the_older_form_is_the_hash_of_salt_and_canonical_entry() -> None:
    text = (
        b'{"act":"job_accepted","actor":"key_1","at":"2026-11-21T12:00:00.000005+00:00","body":{"a":1},'
        b'"id":"aud_1","organisation":null,"subject":"job_1"}'
    )
    assert commitment(SALT, an_entry(), WHOLE) == hashlib.sha256(SALT + text).digest()


def test_a_leaf_by_field_is_made_as_the_reference_says() -> None:
    """By hand, so that another verifier can be written from the page alone."""
    fields = {**{name: value for name, value in an_entry().items() if name != "body"}, "body.a": 1}
    hashes = {}
    for path in sorted(fields):
        salt = hashlib.sha256(b"nordan audit field salt\0" + SALT + path.encode()).digest()[:16]
        text = json.dumps(fields[path], separators=(",", ":")).encode()
        hashes[path] = hashlib.sha256(b"nordan audit field\0" + salt + text).hexdigest()
    named = json.dumps(hashes, separators=(",", ":")).encode()
    assert commitment(SALT, an_entry()) == hashlib.sha256(b"nordan audit leaf by field\0" + named).digest()


def test_an_entry_without_a_body_has_a_leaf() -> None:
    assert commitment(SALT, {**an_entry(), "body": {}}) != commitment(SALT, an_entry())


@pytest.mark.parametrize("name", ["act", "subject", "actor", "at", "id", "organisation"])
def test_each_field_counts(name: str) -> None:
    assert commitment(SALT, {**an_entry(), name: "another"}) != commitment(SALT, an_entry())


def test_the_form_of_a_leaf_is_found_again() -> None:
    for form in (WHOLE, BY_FIELD):
        assert form_of(SALT, an_entry(), leaf_hash(commitment(SALT, an_entry(), form))) == form
    with pytest.raises(TreeError):
        form_of(SALT, an_entry(), leaf_hash(commitment(SALT[::-1], an_entry())))


def test_there_are_no_other_forms() -> None:
    with pytest.raises(NotCanonical):
        commitment(SALT, an_entry(), 3)


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
