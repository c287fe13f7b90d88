"""A declassification: the only way in which what was made becomes wider than the meet of what it was made from.

Here is what such a text says and which are acceptable. Two approvals over its digest are the store's to keep; once they
are there, the artifact has the new policy, and so has what is made of it from then on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from nordan_core.residency.canonical import digest_of
from nordan_core.residency.errors import PolicyError
from nordan_core.residency.facets import EMPTY, Policy, attribute_of, meet
from nordan_core.residency.places import Atlas
from nordan_core.residency.policy import parse_policy, policy_document
from nordan_core.residency.reading import read_mapping, read_text

LONGEST_TEXT = 4_000
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FIELDS = (
    *("id", "project", "artifact", "bytes", "from", "to", "evidence"),
    *("basis", "reason", "ticket", "requested_by"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Declassification:
    """What was asked for: a policy in place of another, for the bytes of one artifact."""

    id: str
    project: str
    artifact: str
    bytes: str
    """SHA-256 of the artifact's manifest: what the evidence is about."""
    before: Policy
    after: Policy
    evidence: str
    """SHA-256 of the document that shows why it may be wider."""
    evidence_title: str
    basis: str
    reason: str
    ticket: str
    requested_by: str
    digest: str = field(init=False)
    """SHA-256 of the exact text: what approvers approve."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", digest_of(declassification_document(self)))


def declassification_document(one: Declassification) -> dict[str, object]:
    """Return the exact text as JSON values."""
    return {
        "id": one.id,
        "project": one.project,
        "artifact": one.artifact,
        "bytes": one.bytes,
        "from": policy_document(one.before),
        "to": policy_document(one.after),
        "evidence": {"digest": one.evidence, "title": one.evidence_title},
        "basis": one.basis,
        "reason": one.reason,
        "ticket": one.ticket,
        "requested_by": one.requested_by,
    }


def parse_declassification(document: Mapping[str, object], atlas: Atlas) -> Declassification:
    """Return the declassification that a text states.

    Raises:
        PolicyError: for the first fault, with its field: no evidence, a policy that widens nothing, or one that
            touches what nobody may widen.
    """
    entry = read_mapping(document, "", _FIELDS)
    evidence = read_mapping(entry.get("evidence"), "evidence", ("digest", "title"))
    one = Declassification(
        id=read_text(entry.get("id"), "id"),
        project=read_text(entry.get("project"), "project"),
        artifact=read_text(entry.get("artifact"), "artifact"),
        bytes=_digest(entry.get("bytes"), "bytes"),
        before=_policy(entry, "from", atlas),
        after=_policy(entry, "to", atlas),
        evidence=_digest(evidence.get("digest"), "evidence.digest"),
        evidence_title=_prose(evidence, "title", "evidence."),
        basis=_prose(entry, "basis"),
        reason=_prose(entry, "reason"),
        ticket=_prose(entry, "ticket"),
        requested_by=read_text(entry.get("requested_by"), "requested_by"),
    )
    _check_widens(one)
    return one


def widened(one: Declassification, facets: Iterable[str]) -> list[str]:
    """Return those of some facets that the text makes wider or leaves out, sorted."""
    alone = {facet: (_only(one.after, facet), _only(one.before, facet)) for facet in sorted(facets)}
    return [facet for facet, (after, before) in alone.items() if meet(after, before) != after]


def _check_widens(one: Declassification) -> None:
    if meet(one.before, one.after) == one.after:
        raise PolicyError("to", "nothing in it is wider than now, so there is nothing to declassify")
    closed = one.before.non_derogable or frozenset()
    for facet in widened(one, closed | ({"non_derogable"} if closed else frozenset())):
        raise PolicyError(f"to.{facet}", f"{facet} is non-derogable here; nobody may widen it or leave it out")


def _only(policy: Policy, facet: str) -> Policy:
    return Policy(**{attribute_of(facet): policy.facet(facet)}) if policy.facet(facet) is not None else EMPTY


def _policy(entry: Mapping[str, object], field: str, atlas: Atlas) -> Policy:
    try:
        return parse_policy(read_mapping(entry.get(field), ""), atlas)
    except PolicyError as error:
        raise error.under(field) from None


def _digest(value: object, field: str) -> str:
    text = read_text(value, field)
    if not _DIGEST.fullmatch(text):
        raise PolicyError(field, "give a SHA-256 as 64 hexadecimal digits in lower case")
    return text


def _prose(entry: Mapping[str, object], field: str, under: str = "") -> str:
    text = read_text(entry.get(field), f"{under}{field}")
    if len(text) > LONGEST_TEXT:
        raise PolicyError(f"{under}{field}", f"{len(text)} characters, at most {LONGEST_TEXT}")
    return text
