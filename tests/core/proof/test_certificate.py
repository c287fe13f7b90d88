"""Residency certificates: an honest one verifies offline, and nothing in it can be changed."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nordan_core.proof.canonical import canonical_json
from nordan_core.proof.certificate import (
    PAYLOAD_TYPE,
    PREDICATE_TYPE,
    STATEMENT_TYPE,
    complete,
    open_certificate,
    sign_certificate,
    verify_certificate,
)
from nordan_core.proof.dsse import envelope_bytes, open_envelope, sign_envelope
from nordan_core.proof.errors import ProofError, SignatureInvalid
from nordan_core.proof.keys import SigningKey, trusted
from nordan_core.proof.records import Certificate
from nordan_core.residency.layers import Layer, LayerKind, effective
from nordan_core.residency.policy import parse_policy
from support.certificates import (
    ATLAS,
    CERTIFICATE_KEY,
    GRANT_KEY,
    Story,
    a_pool,
    failing,
    verified,
    verify_envelope,
)

HONEST = Story().certificate()
ENVELOPE = sign_certificate(HONEST, CERTIFICATE_KEY)
FILE = envelope_bytes(ENVELOPE)
KEYS = trusted(CERTIFICATE_KEY.public)
STATEMENT = json.loads(open_envelope(ENVELOPE, PAYLOAD_TYPE, KEYS))


def test_an_honest_certificate_passes_every_check() -> None:
    report = verify_envelope(ENVELOPE)
    assert failing(report) == {}
    assert report.ok
    assert report.certificate == HONEST
    assert [check.name for check in report.checks] == [
        *("signature", "statement", "atlas", "checkpoint", "entries", "acts", "order"),
        *("grants", "policies", "derogations", "facts", "judgements", "sessions", "bounds", "outputs", "gaps"),
    ]


def test_it_verifies_from_the_bytes_of_its_file_too() -> None:
    assert verify_envelope(FILE).ok
    assert verify_envelope(FILE + b"\n").ok


def test_it_survives_a_database_that_reorders_keys() -> None:
    assert verify_envelope(dict(reversed(ENVELOPE.items()))).ok


def test_it_is_an_in_toto_statement_about_the_job_and_its_outputs() -> None:
    assert (STATEMENT["_type"], STATEMENT["predicateType"]) == (STATEMENT_TYPE, PREDICATE_TYPE)
    assert STATEMENT["subject"] == [
        {"name": "job:job_1", "digest": {"sha256": HONEST.job.spec_digest}},
        {"name": "artifact:art_2", "digest": {"sha256": HONEST.outputs[0].digest}},
    ]


def test_gaps_and_assumptions_are_reported() -> None:
    report = verify_envelope(ENVELOPE)
    assert any(gap.startswith("egress:") for gap in report.gaps)
    assert sum("made up" in gap for gap in report.gaps) == 2
    assert any("evidence E1" in assumption for assumption in report.assumptions)


def test_completing_twice_adds_nothing_and_keeps_what_was_given() -> None:
    given_one = replace(HONEST, gaps=("storage: keys are the provider's",))
    once = complete(given_one, ATLAS)
    assert once.gaps[0] == "storage: keys are the provider's"
    assert complete(once, ATLAS) == once


def test_a_job_that_never_started_has_a_certificate_without_attempts() -> None:
    assert verified(Story(pools=()).certificate()).ok


def test_a_job_that_was_retried_in_another_region_verifies() -> None:
    elsewhere = a_pool(region="se-bor-1", pool="se-bor-1-h200", territory="SE")
    assert failing(verified(Story(pools=(a_pool(), elsewhere)).certificate())) == {}


def test_a_certificate_reads_back_as_it_was_signed() -> None:
    assert open_certificate(ENVELOPE, KEYS) == HONEST


def test_opening_refuses_a_foreign_certificate() -> None:
    with pytest.raises(SignatureInvalid):
        open_certificate(sign_certificate(HONEST, SigningKey.create()), KEYS)


def test_completing_needs_the_policies_and_facts_that_are_named() -> None:
    with pytest.raises(ProofError, match="not in the certificate"):
        complete(replace(HONEST, facts={}), ATLAS)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_changing_any_byte_of_the_file_is_noticed() -> None:
    """Every one of them, each by one of its eight bits in turn."""
    for position in range(len(FILE)):
        changed = bytearray(FILE)
        changed[position] ^= 1 << position % 8
        report = verify_envelope(bytes(changed))
        assert not report.ok, f"byte {position}"
        assert report.checks[0].name == "signature"


def test_cutting_the_file_short_is_noticed() -> None:
    for length in range(0, len(FILE), 997):
        assert not verify_envelope(FILE[:length]).ok


def test_the_whole_paper_signed_by_a_foreign_key_is_refused_by_its_signature() -> None:
    assert set(failing(verified(HONEST, SigningKey.create()))) == {"signature"}


def test_the_grant_key_cannot_sign_certificates_nor_the_certificate_key_grants() -> None:
    assert set(failing(verified(HONEST, GRANT_KEY))) == {"signature"}
    swapped = verify_certificate(ENVELOPE, grant_keys=KEYS, certificate_keys=KEYS, atlas=ATLAS)
    assert set(failing(swapped)) == {"grants"}


def test_another_atlas_is_not_the_one_that_judged() -> None:
    other = replace(ATLAS, digest="0" * 64)
    report = verify_certificate(ENVELOPE, grant_keys=trusted(GRANT_KEY.public), certificate_keys=KEYS, atlas=other)
    assert "judged under the atlas" in failing(report)["atlas"]


@pytest.mark.parametrize("envelope", [{}, {"payload": 1}, b"", b"{}", b"[1]", b"\xff", {"signatures": [{}]}])
def test_what_is_no_envelope_fails_its_signature_and_raises_nothing(envelope: dict[str, object] | bytes) -> None:
    report = verify_envelope(envelope)
    assert set(failing(report)) == {"signature"}
    assert report.certificate is None


def signed_statement(statement: object) -> dict[str, object]:
    return sign_envelope(PAYLOAD_TYPE, canonical_json(statement), CERTIFICATE_KEY)


STATEMENTS: dict[str, object] = {
    "no object": [],
    "no subject": {key: value for key, value in STATEMENT.items() if key != "subject"},
    "another type": {**STATEMENT, "_type": "https://in-toto.io/Statement/v0.1"},
    "another predicate": {**STATEMENT, "predicateType": "https://slsa.dev/provenance/v1"},
    "an empty predicate": {**STATEMENT, "predicate": {}},
    "a predicate that is text": {**STATEMENT, "predicate": "all is well"},
    "an unknown field": {**STATEMENT, "predicate": {**STATEMENT["predicate"], "note": "trust me"}},
    "an unknown field deeper down": {
        **STATEMENT,
        "predicate": {**STATEMENT["predicate"], "job": {**STATEMENT["predicate"]["job"], "note": ""}},
    },
    "a naive instant": {
        **STATEMENT,
        "predicate": {
            **STATEMENT["predicate"],
            "job": {**STATEMENT["predicate"]["job"], "submitted_at": "2026-11-21T12:00:00"},
        },
    },
    "a subject left out": {**STATEMENT, "subject": STATEMENT["subject"][:1]},
    "a subject added": {**STATEMENT, "subject": [*STATEMENT["subject"], STATEMENT["subject"][0]]},
}


@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS.keys())
def test_a_trusted_signature_over_another_form_fails_the_statement(statement: object) -> None:
    assert set(failing(verify_envelope(signed_statement(statement)))) == {"statement"}


def leaves_of(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in leaves_of(item, (*path, key))]
    if isinstance(value, list):
        return [leaf for index, item in enumerate(value) for leaf in leaves_of(item, (*path, index))]
    return [path]


LEAVES = leaves_of(STATEMENT["predicate"])
JUNK: st.SearchStrategy[object] = (
    st.none() | st.booleans() | st.integers(-5, 10**20) | st.text(max_size=5) | st.just([]) | st.just({})
)


@given(st.sampled_from(LEAVES), JUNK)
def test_junk_signed_by_the_right_key_is_reported_and_never_raises(path: tuple[str | int, ...], junk: object) -> None:
    statement = json.loads(canonical_json(STATEMENT))
    place = statement["predicate"]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = junk
    verify_envelope(signed_statement(statement))


def test_a_document_with_other_instants_but_the_same_meaning_reads_the_same() -> None:
    assert Certificate.from_json(canonical_json(HONEST.document())) == HONEST


def test_a_policy_that_says_less_than_is_needed_makes_no_lawful_certificate() -> None:
    silent = effective(
        [Layer(LayerKind.INPUT, "patients", parse_policy({"egress": "unenforced"}, ATLAS))], has_content=True
    )
    failed = failing(verified(Story(policy=silent).certificate()))
    assert set(failed) == {"judgements"}
    assert "must be stated" in failed["judgements"]
