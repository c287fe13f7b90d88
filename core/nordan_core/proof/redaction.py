"""Redacted certificates: the same statement for somebody who is not to learn whose job it was or what it did.

The sealer makes one beside each certificate and signs it, so that its reader needs nothing but the usual keys. What
the checks need stays: places, policies, facts, instants, grants, and of each audit entry the fields that say so. The
rest is left out; of entries it stays as the commitments that their leaves are made of, so they lie in the same log.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from nordan_core.proof.errors import ProofError
from nordan_core.proof.leaf import BY_FIELD, field_commitment, field_salt, fields_of, leaf_of
from nordan_core.proof.records import Certificate, Document, EntryRecord, InputRecord, OutputRecord

#: Stands where a value was left out that nothing depends on.
LEFT_OUT = "redacted"
#: Begins a commitment that stands where a value was left out.
COMMITTED = "commitment:"
#: Fields of an entry that the checks go by: they are shown whenever they are there, or the paper is refused.
SHOWN = frozenset(
    {
        *("act", "subject", "at"),
        *("body.attempt", "body.number", "body.fence", "body.region", "body.pool", "body.result", "body.kind"),
        *("body.policy_digest", "body.epoch", "body.facts", "body.facts_version", "body.verdict", "body.territory"),
    }
)
#: What a redacted certificate lacks, in the words that a reader is told.
FIELDS = (
    "job.project",
    "job.kind",
    "job.spec_digest",
    "policies: names of projects, datasets and the job",
    "attempts: reasons of their ends",
    "inputs: names, ids and digests",
    "outputs: names, ids and digests",
    "audit.entries: who acted, for which organisation, and all that the checks do not need",
)


def redact(certificate: Certificate, of: str) -> Certificate:
    """Return the certificate without what its statement does not need; `of` is the digest of the full one's payload.

    Gaps and assumptions are those that follow from the full one: complete it again before it is signed.

    Raises:
        ProofError: its entries are of an older log, whose leaves can only be shown whole; or it rests on a derogation,
            which holds by its exact text, and that names the project, what is covered, and who asked and approved.
    """
    if certificate.derogations or any(one.get("derogations") for one in certificate.policies.values()):
        raise ProofError("a certificate that rests on a derogation can only be shown whole")
    entries = tuple(_redacted_entry(one) for one in certificate.audit.entries)
    accepted = next((one.entry for one in entries if one.entry.get("act") == "job_accepted"), {})
    return replace(
        certificate,
        job=replace(
            certificate.job,
            project=LEFT_OUT,
            kind=None,
            spec_digest=str(_body(accepted).get("spec_digest", LEFT_OUT)),
        ),
        policies={digest: _without_names(document) for digest, document in certificate.policies.items()},
        attempts=tuple(replace(one, reason=None) for one in certificate.attempts),
        inputs=tuple(
            InputRecord(f"input {number}", LEFT_OUT, LEFT_OUT, one.policy_digest)
            for number, one in enumerate(certificate.inputs, start=1)
        ),
        outputs=tuple(_redacted_outputs(certificate, entries)),
        assumptions=(),
        audit=replace(certificate.audit, entries=entries),
        redacted=FIELDS,
        redaction_of=of,
    )


def leaf_data(record: EntryRecord) -> bytes:
    """Return the leaf data of a redacted entry, from what it shows and what it commits to.

    Raises:
        ProofError: it hides what the checks go by. ValueError: a commitment is no hash.
    """
    commitments: dict[str, bytes] = {}
    for path, value in fields_of(record.entry):
        if path in record.opened:
            commitments[path] = field_commitment(bytes.fromhex(record.opened[path]), value)
        elif path in SHOWN or not is_committed(value):
            raise ProofError(f"entry {record.index} does not show its {path}")
        else:
            commitments[path] = bytes.fromhex(str(value).removeprefix(COMMITTED))
    return leaf_of(commitments)


def is_committed(value: object) -> bool:
    """Tell whether a value was left out of an entry, and stands there as its commitment."""
    return isinstance(value, str) and value.startswith(COMMITTED)


def _redacted_entry(record: EntryRecord) -> EntryRecord:
    if record.form != BY_FIELD:
        raise ProofError(f"entry {record.index} is of an older log and can only be shown whole")
    salt = bytes.fromhex(record.salt)
    entry: dict[str, object] = {}
    body: dict[str, object] = {}
    opened: dict[str, str] = {}
    for path, value in fields_of(record.entry):
        own = field_salt(salt, path)
        if path in SHOWN:
            opened[path], shown = own.hex(), value
        else:
            shown = COMMITTED + field_commitment(own, value).hex()
        if path.startswith("body."):
            body[path.removeprefix("body.")] = shown
        else:
            entry[path] = shown
    return replace(record, salt="", entry={**entry, "body": body}, opened=opened)


def _redacted_outputs(certificate: Certificate, entries: Sequence[EntryRecord]) -> Iterator[OutputRecord]:
    """Yield outputs whose digest is the commitment that the log's entry of it holds."""
    stored = [
        (full.entry, shown.entry)
        for full, shown in zip(certificate.audit.entries, entries, strict=True)
        if full.entry.get("act") == "artifact_stored"
    ]
    for number, output in enumerate(certificate.outputs, start=1):
        place = next(
            place
            for place, (full, _) in enumerate(stored)
            if (_body(full).get("digest"), _body(full).get("attempt")) == (output.digest, output.attempt_id)
        )
        _, shown = stored.pop(place)
        digest = str(_body(shown)["digest"])
        yield OutputRecord(f"output {number}", LEFT_OUT, digest, output.policy, output.attempt_id)


def _without_names(document: Document) -> Document:
    """Return an effective policy whose layers are named by number; its digest does not depend on their names."""
    layers = document.get("layers")
    if not isinstance(layers, list):
        return document
    return {
        **document,
        "layers": [{**one, "name": f"{one['kind']} {number:03}"} for number, one in enumerate(layers, start=1)],
    }


def _body(entry: Document) -> Mapping[str, object]:
    body = entry.get("body")
    return body if isinstance(body, Mapping) else {}
