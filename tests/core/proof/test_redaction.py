"""Redacted certificates: the same statement holds, and nothing that was left out can be read or guessed from it."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from nordan_core.proof.canonical import sha256_hex
from nordan_core.proof.certificate import complete, sign_certificate, sign_redacted
from nordan_core.proof.errors import ProofError
from nordan_core.proof.leaf import WHOLE, field_salt
from nordan_core.proof.records import Certificate, EntryRecord
from nordan_core.proof.redaction import COMMITTED, FIELDS, SHOWN, leaf_data, redact
from support.certificates import (
    ATLAS,
    CERTIFICATE_KEY,
    Story,
    a_pool,
    acts_of,
    failing,
    logged,
    verified,
    verify_envelope,
)

#: All that the story's tenant named or did, and who did it.
PRIVATE = (
    "patients",
    "digits",
    "default",
    "prj_1",
    "art_1",
    "art_2",
    "model",
    "key_1",
    "org_1",
    "training",
    "node_lost",
)


def a_certificate() -> Certificate:
    """The story, with an interactive session in the last attempt."""
    story = Story().certificate()
    last = story.attempts[-1]
    body = {"attempt": last.attempt_id, "rank": 0, "territory": "FR", "session": "exs_1"}
    acts = acts_of(story)
    opened = {**acts[-1], "id": "aud_exec", "act": "exec_opened", "body": body}
    assert last.started_at is not None
    opened["at"] = last.started_at.isoformat()
    return complete(replace(logged(story, [*acts, opened]), assumptions=()), ATLAS)


def a_redacted(certificate: Certificate | None = None) -> Certificate:
    return complete(redact(certificate or a_certificate(), "00" * 32), ATLAS)


def test_the_same_statement_verifies_by_every_check() -> None:
    full = a_certificate()
    report = verify_envelope(sign_redacted(full, ATLAS, CERTIFICATE_KEY))
    assert failing(report) == {}
    assert {check.name for check in report.checks} == {check.name for check in verified(full).checks}
    assert report.certificate is not None
    assert report.certificate.redacted == FIELDS
    assert report.gaps == full.gaps


def test_nothing_that_a_tenant_named_is_in_it() -> None:
    whole = json.dumps(a_certificate().document())
    paper = b64decode(str(sign_redacted(a_certificate(), ATLAS, CERTIFICATE_KEY)["payload"])).decode()
    for word in PRIVATE:
        assert word in whole, f"{word} says nothing: the full one does not hold it"
        assert f'"{word}"' not in paper
    assert "somebody in FR" in paper


def test_no_salt_that_would_open_more_is_in_it() -> None:
    """Neither the entries' own salts nor those of fields that are not shown."""
    full = a_certificate()
    paper = json.dumps(a_redacted(full).document())
    for record in full.audit.entries:
        assert record.salt not in paper
        salt = bytes.fromhex(record.salt)
        for path in ("actor", "organisation", "id", "body.digest", "body.inputs", "body.spec_digest", "body.reason"):
            assert field_salt(salt, path).hex() not in paper


def test_digests_of_data_and_command_are_commitments() -> None:
    """A digest of something that can be guessed tells whether the guess is right; a commitment does not."""
    full, shown = a_certificate(), a_redacted()
    text = json.dumps(shown.document())
    digests = [full.job.spec_digest, *(one.digest for one in full.inputs), *(one.digest for one in full.outputs)]
    for digest in digests:
        assert digest not in text
    assert shown.job.spec_digest.startswith(COMMITTED)
    assert all(one.digest.startswith(COMMITTED) for one in shown.outputs)


def test_its_subject_is_the_full_certificate() -> None:
    """So that its owner can show that one later, and nobody can pass off another."""
    full = a_certificate()
    payload = b64decode(str(sign_certificate(full, CERTIFICATE_KEY)["payload"]))
    redacted: dict[str, Any] = json.loads(b64decode(str(sign_redacted(full, ATLAS, CERTIFICATE_KEY)["payload"])))
    assert redacted["subject"] == [{"name": "certificate:job_1", "digest": {"sha256": sha256_hex(payload)}}]


def test_an_older_log_cannot_be_redacted() -> None:
    full = a_certificate()
    entries = tuple(replace(one, form=WHOLE) for one in full.audit.entries)
    with pytest.raises(ProofError, match="whole"):
        redact(replace(full, audit=replace(full.audit, entries=entries)), "00" * 32)


def _entries(certificate: Certificate, change: Callable[[EntryRecord], EntryRecord]) -> Certificate:
    entries = tuple(change(one) for one in certificate.audit.entries)
    return replace(certificate, audit=replace(certificate.audit, entries=entries))


def _hide(path: str) -> Callable[[EntryRecord], EntryRecord]:
    """Hide what must be shown, by a commitment that is right."""

    def hide(record: EntryRecord) -> EntryRecord:
        if path not in record.opened:
            return record
        entry = dict(record.entry)
        place: Any = entry if "." not in path else entry.setdefault("body", dict(record.entry["body"]))  # type: ignore[call-overload]
        name = path.removeprefix("body.")
        if place is not entry:
            place = entry["body"] = dict(place)
        place[name] = COMMITTED + "00" * 32
        return replace(record, entry=entry, opened={one: salt for one, salt in record.opened.items() if one != path})

    return hide


@pytest.mark.parametrize("path", ["act", "subject", "at", "body.attempt", "body.region", "body.fence"])
def test_what_the_checks_go_by_may_not_be_hidden(path: str) -> None:
    report = verified(_entries(a_redacted(), _hide(path)))
    assert "does not show" in failing(report)["entries"]


def _shift(record: EntryRecord) -> EntryRecord:
    body = dict(record.entry["body"])  # type: ignore[call-overload]
    return replace(record, entry={**record.entry, "body": {**body, "region": "se-bor-1"}})


TAMPERED: dict[str, tuple[Callable[[], Certificate], str]] = {
    "a shown field was changed": (lambda: _entries(a_redacted(), _shift), "entries"),
    "whole entries in a redacted paper": (
        lambda: replace(a_certificate(), redaction_of="00" * 32),
        "entries",
    ),
    "redacted entries in a full paper": (lambda: replace(a_redacted(), redaction_of=""), "entries"),
    "another place": (
        lambda: replace(a_redacted(), attempts=tuple(replace(one, region="se-bor-1") for one in a_redacted().attempts)),
        "acts",
    ),
    "an attempt left out": (lambda: replace(a_redacted(), attempts=a_redacted().attempts[1:]), "acts"),
    "an output left out": (lambda: replace(a_redacted(), outputs=()), "acts"),
    "another output": (
        lambda: replace(
            a_redacted(),
            outputs=tuple(replace(one, digest=COMMITTED + "00" * 32) for one in a_redacted().outputs),
        ),
        "acts",
    ),
    "a gap left out": (lambda: replace(a_redacted(), gaps=()), "gaps"),
    "another job document": (
        lambda: replace(a_redacted(), job=replace(a_redacted().job, spec_digest=COMMITTED + "00" * 32)),
        "acts",
    ),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_a_redacted_certificate_that_lies_is_refused(case: str) -> None:
    build, check = TAMPERED[case]
    assert check in failing(verified(build()))


def test_an_unlawful_place_is_found_in_the_redacted_one_too() -> None:
    story = Story(pools=(a_pool(territory="DE", access_territories=["DE"]),))
    report = verify_envelope(sign_redacted(story.certificate(), ATLAS, CERTIFICATE_KEY))
    assert "not lawful" in failing(report)["judgements"]


@pytest.mark.parametrize("value", ["zz", COMMITTED + "zz", 5, None])
def test_a_commitment_that_is_no_hash_is_a_failed_check(value: object) -> None:
    broken = _entries(a_redacted(), lambda one: replace(one, entry={**one.entry, "actor": value}))
    assert "entries" in failing(verified(broken))
    with pytest.raises((ProofError, ValueError)):
        leaf_data(broken.audit.entries[0])


def test_every_shown_field_is_one_that_entries_have() -> None:
    """So that a name that was mistyped in the list does not go unseen."""
    paths = {path for one in a_redacted().audit.entries for path in one.opened}
    assert paths - SHOWN == set()
    assert SHOWN - paths <= {"body.facts", "body.verdict", "body.epoch", "body.facts_version"}
