"""Signed heads of the audit log."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from nordan_core.proof.canonical import canonical_json
from nordan_core.proof.checkpoint import PAYLOAD_TYPE, Checkpoint, sign_checkpoint, verify_checkpoint
from nordan_core.proof.dsse import sign_envelope
from nordan_core.proof.errors import EnvelopeMalformed, SignatureInvalid
from nordan_core.proof.keys import SigningKey, trusted
from nordan_core.proof.merkle import EMPTY_ROOT

KEY = SigningKey.create()
KEYS = trusted(KEY.public)
HEAD = Checkpoint("cell.example", 0, EMPTY_ROOT, datetime(2026, 11, 21, 12, 0, 0, 5, tzinfo=UTC))
DOCUMENT = {"origin": "o", "size": 1, "root": "00" * 32, "at": "2026-11-21T12:00:00+00:00"}


def test_a_checkpoint_reads_back_as_it_was_signed() -> None:
    assert verify_checkpoint(sign_checkpoint(HEAD, KEY), KEYS) == HEAD


def test_instants_are_written_in_utc() -> None:
    there = replace(HEAD, at=HEAD.at.astimezone(timezone(timedelta(hours=2))))
    assert sign_checkpoint(there, KEY) == sign_checkpoint(HEAD, KEY)


def test_a_naive_instant_is_not_signed() -> None:
    with pytest.raises(ValueError, match="time zone"):
        sign_checkpoint(replace(HEAD, at=HEAD.at.replace(tzinfo=None)), KEY)


def test_a_foreign_checkpoint_is_refused() -> None:
    with pytest.raises(SignatureInvalid):
        verify_checkpoint(sign_checkpoint(HEAD, SigningKey.create()), KEYS)


@pytest.mark.parametrize(
    "document",
    [
        [],
        {**DOCUMENT, "extra": 1},
        {**DOCUMENT, "size": -1},
        {**DOCUMENT, "size": True},
        {**DOCUMENT, "root": "00"},
        {**DOCUMENT, "root": "zz" * 32},
        {**DOCUMENT, "at": "2026-11-21T12:00:00"},
        {**DOCUMENT, "at": "yesterday"},
        {**DOCUMENT, "origin": 5},
    ],
)
def test_a_signed_document_of_another_form_is_no_checkpoint(document: object) -> None:
    envelope = sign_envelope(PAYLOAD_TYPE, canonical_json(document), KEY)
    with pytest.raises(EnvelopeMalformed):
        verify_checkpoint(envelope, KEYS)
