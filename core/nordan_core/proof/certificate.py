"""Residency certificates: signed once, verified anywhere, offline.

The sealer completes and signs one when a job's acts are sealed; `nordan certificate verify` and anybody else checks it
with two public keys and the atlas. The form is an in-toto statement in a DSSE envelope. Verifying never raises: what
cannot be read is a failed check with a sentence.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from nordan_core.domain.errors import NordanError
from nordan_core.proof import derogations, logged
from nordan_core.proof import law as legal
from nordan_core.proof.canonical import canonical_json, from_canonical, sha256_hex
from nordan_core.proof.checkpoint import check_in_office, verify_checkpoint
from nordan_core.proof.dsse import envelope_from_bytes, open_envelope, sign_envelope, signer_of, unproven_payload
from nordan_core.proof.errors import ProofError
from nordan_core.proof.growth import growth_faults, read_growth
from nordan_core.proof.keys import KeyRing, SigningKey
from nordan_core.proof.law import Law
from nordan_core.proof.records import Certificate
from nordan_core.proof.redaction import redact
from nordan_core.proof.report import Check, VerificationReport
from nordan_core.proof.succession import Purpose, Statement, follow
from nordan_core.residency.places import Atlas

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://nordan.example/attestation/residency/v1"

Keys = KeyRing
#: What a check may stumble over when a trusted key signed nonsense. All become failed checks.
_STUMBLES = (NordanError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError)


def complete(certificate: Certificate, atlas: Atlas, earlier: Iterable[Atlas] = ()) -> Certificate:
    """Return the certificate with every gap and assumption that follows from it, after those given.

    `atlas` is the one that it names, `earlier` are others under which it was judged.

    Raises:
        ProofError, PolicyError: its policies or facts are missing or cannot be read.
    """
    law = Law(certificate, atlas, earlier)
    gaps = tuple(dict.fromkeys((*certificate.gaps, *legal.gaps_of(law))))
    assumptions = tuple(dict.fromkeys((*certificate.assumptions, *legal.assumptions_of(law))))
    return replace(certificate, gaps=gaps, assumptions=assumptions)


def sign_certificate(certificate: Certificate, key: SigningKey) -> dict[str, object]:
    """Return the signed envelope of a certificate; complete it first.

    Raises:
        NotCanonical: it holds something that JSON does not carry.
    """
    return sign_envelope(PAYLOAD_TYPE, _statement(certificate), key)


def sign_redacted(
    certificate: Certificate, atlas: Atlas, key: SigningKey, earlier: Iterable[Atlas] = ()
) -> dict[str, object]:
    """Return the signed envelope of what may be shown to third parties of a completed certificate.

    Raises:
        ProofError, PolicyError: it is of an older log, or its policies or facts cannot be read.
    """
    shown = redact(certificate, sha256_hex(_statement(certificate)))
    return sign_certificate(complete(shown, atlas, earlier), key)


def _statement(certificate: Certificate) -> bytes:
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": _subjects(certificate),
        "predicateType": PREDICATE_TYPE,
        "predicate": certificate.document(),
    }
    return canonical_json(statement)


def open_certificate(envelope: Mapping[str, object], keys: Keys) -> Certificate:
    """Return the certificate of an envelope signed by one of the keys; nothing beyond signature and form is checked.

    Raises:
        ProofError: signature, statement or certificate is not as it should be.
    """
    return _certificate_in(open_envelope(envelope, PAYLOAD_TYPE, keys))


def verify_certificate(
    envelope: Mapping[str, object] | bytes,
    *,
    grant_keys: Keys,
    certificate_keys: Keys,
    atlas: Atlas,
    earlier: Iterable[Atlas] = (),
    growth: bytes | None = None,
) -> VerificationReport:
    """Check a certificate, given as an envelope or as the bytes of its file. Never raises on bad input.

    `grant_keys` and `certificate_keys` are the trusted public keys by id (see `keys.trusted`), `atlas` the one that
    the certificate names, `earlier` others under which it was judged, if law moved meanwhile. Later keys that these
    introduced, by statements in the certificate, are trusted too. `growth` is the file of a proof between a head that
    the reader kept and the certificate's.
    """
    try:
        document = envelope_from_bytes(envelope) if isinstance(envelope, bytes) else envelope
        statements = _statements_in(document)
        pinned = certificate_keys
        certificate_keys = follow(certificate_keys, statements, Purpose.CERTIFICATE)
        grant_keys = follow(grant_keys, statements, Purpose.GRANT)
        payload = open_envelope(document, PAYLOAD_TYPE, certificate_keys)
        is_led_to = signer_of(document) not in pinned
    except _STUMBLES as error:
        return VerificationReport((Check("signature", ok=False, detail=str(error)),))
    how = ", which one that you trust leads to" if is_led_to else ""
    signed = Check("signature", ok=True, detail=f"signed by a trusted certificate key{how}")
    try:
        certificate = _certificate_in(payload)
    except _STUMBLES as error:
        return VerificationReport((signed, Check("statement", ok=False, detail=str(error))))
    office = _run("signature", signed.detail, lambda: _office_faults(document, certificate, certificate_keys))
    formed = Check("statement", ok=True, detail="an in-toto statement of residency about this job and its outputs")
    checks = _checks(
        certificate, Law(certificate, atlas, earlier), grant_keys=grant_keys, certificate_keys=certificate_keys
    )
    if growth is not None:
        said = "the log under this certificate and the head that you kept are one log"
        checks += (_run("growth", said, lambda: _growth_faults(certificate, growth, certificate_keys)),)
    return VerificationReport((office, formed, *checks), certificate.gaps, certificate.assumptions, certificate)


def _checks(certificate: Certificate, law: Law, *, grant_keys: Keys, certificate_keys: Keys) -> tuple[Check, ...]:
    """Run the checks: first what binds the paper to its sources, then what the sources say."""
    return (
        _run("atlas", "judged under the atlas given", lambda: legal.atlas_faults(law)),
        _run("checkpoint", "the log's head is signed", lambda: logged.checkpoint_faults(certificate, certificate_keys)),
        _run("entries", "every entry is in the log", lambda: logged.inclusion_faults(certificate, certificate_keys)),
        _run("acts", "the log tells of the same attempts", lambda: logged.act_faults(certificate)),
        _run("order", "the instants are in a possible order", lambda: logged.order_faults(certificate)),
        _run("grants", "every attempt had a grant for its place", lambda: logged.grant_faults(certificate, grant_keys)),
        _run("policies", "every policy follows from its layers", lambda: legal.policy_faults(law)),
        _run(
            "derogations",
            "every derogation used was approved by two others",
            lambda: derogations.derogation_faults(law),
        ),
        _run("facts", "the facts are about the places named", lambda: legal.facts_faults(law)),
        _run("judgements", "judged again, every start was lawful", lambda: legal.judgement_faults(law)),
        _run("sessions", "only people in allowed places were let in", lambda: legal.session_faults(law)),
        _run("bounds", "every attempt ended within its stated bound", lambda: legal.bound_faults(law)),
        _run("outputs", "the outputs are at least as tight", lambda: legal.output_faults(law)),
        _run("gaps", "gaps and assumptions are stated", lambda: legal.gap_faults(law)),
    )


def _office_faults(envelope: Mapping[str, object], certificate: Certificate, keys: Keys) -> Iterable[str]:
    """Whoever signed the certificate must not have been retired before the log's head that it rests on."""
    check_in_office(signer_of(envelope), verify_checkpoint(certificate.audit.checkpoint, keys).size, keys)
    return ()


def _statements_in(envelope: Mapping[str, object]) -> list[Statement]:
    """Return what a certificate says about keys, before anything about it is proven: each statement proves itself."""
    payload = from_canonical(unproven_payload(envelope, PAYLOAD_TYPE))
    predicate = payload.get("predicate") if isinstance(payload, dict) else None
    found = predicate.get("successions", []) if isinstance(predicate, dict) else []
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _growth_faults(certificate: Certificate, proof: bytes, keys: Keys) -> Iterable[str]:
    growth = read_growth(proof, keys)
    head = verify_checkpoint(certificate.audit.checkpoint, keys)
    yield from growth_faults(growth)
    if head not in (growth.old, growth.new):
        about = f"{growth.old.size} and {growth.new.size}"
        yield f"the proof is about heads of {about} entries, not about that of {head.size}"


def _run(name: str, holds: str, check: Callable[[], Iterable[str]]) -> Check:
    try:
        faults = list(check())
    except _STUMBLES as error:
        faults = [str(error) or type(error).__name__]
    return Check(name, not faults, "; ".join(faults) if faults else holds)


def _certificate_in(payload: bytes) -> Certificate:
    statement = from_canonical(payload)
    if not isinstance(statement, dict) or set(statement) != {"_type", "subject", "predicateType", "predicate"}:
        raise ProofError("the signed payload is no in-toto statement")
    if statement["_type"] != STATEMENT_TYPE or statement["predicateType"] != PREDICATE_TYPE:
        raise ProofError(f"the statement is a {statement['predicateType']}, not a residency certificate")
    try:
        certificate = Certificate.from_json(canonical_json(statement["predicate"]))
    except ValueError as error:
        raise ProofError(f"the certificate has another form than this version reads: {error}") from error
    if statement["subject"] != _subjects(certificate):
        raise ProofError("the statement's subjects are not the job and the outputs that it speaks of")
    return certificate


def _subjects(certificate: Certificate) -> list[dict[str, object]]:
    """Return the job and its outputs as in-toto subjects; of a redacted certificate, the full one of that job."""
    if certificate.redaction_of:
        return [{"name": f"certificate:{certificate.job.id}", "digest": {"sha256": certificate.redaction_of}}]
    named = [(f"job:{certificate.job.id}", certificate.job.spec_digest)]
    named += [(f"artifact:{output.artifact_id}", output.digest) for output in certificate.outputs]
    return [{"name": name, "digest": {"sha256": digest}} for name, digest in named]
