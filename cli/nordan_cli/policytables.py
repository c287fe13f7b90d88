"""What the verbs of `nordan policy` print: JSON for programs, tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from nordan_cli import render
from nordan_core.residency.compare import Comparison, FacetChange
from nordan_core.residency.effective_text import effective_document
from nordan_core.residency.exposure import forbidden_territories
from nordan_core.residency.facets import PLACE_FACETS, Policy
from nordan_core.residency.lint import Remark, Severity
from nordan_core.residency.places import Atlas
from nordan_core.residency.policy import facet_document, policy_digest, policy_document
from nordan_core.residency.reading import print_instant
from nordan_core.residency.sets import SetExpression
from nordan_core.residency.trial import PoolTrial, Trial
from nordan_core.residency.verdicts import FacetRefusal, Verdict

Json = dict[str, Any]  # Any: JSON

#: What each facet asks, as the reference has it.
ASKS = {
    "process": "where computation happens",
    "store": "where bytes and logs rest",
    "describe": "where names, commands, states and bills are known",
    "access": "where people with privileged access sit, and readers",
    "key": "where keys rest",
    "forbid_exposure": "states that must not be able to compel an operator, with their dependencies",
    "certifications": "certificates that provider and region must hold, in force, for computing and storage",
    "seal_min": "least SEAL level for each of SOV-1 to SOV-8",
    "ownership_max": "most that owners from outside a group may hold, in per cent",
    "encryption": "who holds the keys of data at rest, at least",
    "compute": "what shields data in use, at least",
    "tenancy": "who else may be on the machines, at most",
    "evidence": "how well the place must be proved",
    "class": "how much harm disclosure would do",
    "egress": "endpoints that a job may reach",
    "valid_until": "the first instant at which everything is denied",
    "non_derogable": "facets that no derogation may widen",
}
_LONGEST_CELL = 60


def lint_answer(remarks: Sequence[Remark]) -> Json:
    """Return the remarks as JSON, with a count for each severity."""
    counts = {severity.value: sum(one.severity is severity for one in remarks) for severity in Severity}
    items = [
        {"severity": one.severity.value, "code": one.code, "facet": one.facet, "message": one.message}
        for one in remarks
    ]
    return {"counts": counts, "remarks": items}


def lint_text(remarks: Sequence[Remark]) -> str:
    """Return the remarks as a table."""
    if not remarks:
        return "nothing to remark"
    rows = [(one.severity.value, one.facet, one.code, one.message) for one in remarks]
    return render.table(("severity", "facet", "code", "remark"), rows)


def explain_answer(policy: Policy, atlas: Atlas, instant: datetime) -> Json:
    """Return each stated facet with its meaning, the policy's canonical form and its digest."""
    facets = [_meaning(policy, facet, atlas, instant) for facet in policy.stated()]
    return {
        "digest": policy_digest(policy),
        "policy": policy_document(policy),
        "at": print_instant(instant),
        "atlas": _atlas(atlas),
        "facets": facets,
    }


def explain_text(policy: Policy, atlas: Atlas, instant: datetime) -> str:
    """Return what each facet asks, and what it means at the instant."""
    rows = []
    for facet in policy.stated():
        meaning = _meaning(policy, facet, atlas, instant)
        places = " ".join(meaning.get("territories", ()))
        rows.append((facet, _said(meaning["says"]), ASKS[facet], places, meaning["changes"]))
    unstated = ", ".join(facet for facet in ASKS if facet not in policy.stated())
    return render.sections(
        ("", render.table(("facet", "says", "which is", "places at that instant", "until"), rows) if rows else ""),
        ("", f"not stated: {unstated}" if unstated else ""),
        ("", f"sha256 {policy_digest(policy)}, atlas {atlas.version}, at {print_instant(instant)}"),
    )


def diff_answer(found: Comparison) -> Json:
    """Return the changes as JSON."""
    return {"direction": found.direction.value, "changes": [_change(one) for one in found.changes]}


def diff_text(found: Comparison) -> str:
    """Return the changes as a table, and the direction of the whole."""
    if not found.changes:
        return "the two say the same"
    rows = [(one.facet, one.direction.value, _said(one.before), _said(one.after), _moved(one)) for one in found.changes]
    table = render.table(("facet", "change", "before", "after", "places"), rows)
    return render.sections(("", table), ("", f"as a whole: {found.direction}"))


def check_answer(trial: Trial, atlas: Atlas) -> Json:
    """Return every pool's verdict, the control plane's, and the effective policy that they were judged by."""
    cell = trial.control_plane
    return {
        "allowed": trial.is_allowed,
        "at": print_instant(trial.instant),
        "atlas": _atlas(atlas),
        "effective": effective_document(trial.of),
        "control_plane": None if cell is None else {"territory": cell[0].territory, **_verdict(cell[1])},
        "pools": [{"pool": one.facts.pool, "region": one.facts.region, **_verdict(one.verdict)} for one in trial.pools],
        "never": None if trial.never is None else trial.never.sentence,
    }


def check_text(trial: Trial) -> str:
    """Return the verdicts as a table, each refusal on a line of its own."""
    rows = [cells for one in trial.pools for cells in _rows(one)]
    table = render.table(("region", "pool", "lawful", "facet", "wanted", "found", "good until"), rows)
    gaps = dict.fromkeys(gap for one in trial.pools if one.verdict.allowed for gap in one.verdict.gaps)
    return render.sections(
        ("", table if rows else "the world has no pools"),
        ("", "\n".join(_remarks(trial))),
        ("what certificates would list as gaps", "\n".join(gaps)),
    )


def _remarks(trial: Trial) -> Iterator[str]:
    lawful = sum(one.verdict.allowed for one in trial.pools)
    yield f"{lawful} of {len(trial.pools)} pools allowed; class {trial.of.class_.word}"
    if trial.never is not None:
        yield trial.never.sentence
    if trial.control_plane is not None:
        for refusal in trial.control_plane[1].refusals:
            yield f"the control plane would refuse such a job: {refusal.message}"


def _rows(one: PoolTrial) -> list[tuple[object, ...]]:
    until = "" if one.verdict.good_until is None else print_instant(one.verdict.good_until)
    head = (one.facts.region, one.facts.pool, "allowed" if one.verdict.allowed else "refused")
    if one.verdict.allowed:
        return [(*head, "", "", "", until)]
    first, *others = dict.fromkeys((refusal.facet, refusal.want, refusal.have) for refusal in one.verdict.refusals)
    return [(*head, *first, until), *(("", "", "", *other, "") for other in others)]


def _verdict(verdict: Verdict) -> Json:
    return {
        "allowed": verdict.allowed,
        "good_until": None if verdict.good_until is None else print_instant(verdict.good_until),
        "refusals": [_refusal(one) for one in verdict.refusals],
        "gaps": list(verdict.gaps),
    }


def _refusal(one: FacetRefusal) -> Json:
    return {"facet": one.facet, "wanted": one.want, "found": one.have, "message": one.message}


def _change(one: FacetChange) -> Json:
    return {
        "facet": one.facet,
        "direction": one.direction.value,
        "before": one.before,
        "after": one.after,
        "added": list(one.added),
        "removed": list(one.removed),
    }


def _moved(one: FacetChange) -> str:
    return _cut(" ".join([*(f"+{code}" for code in one.added), *(f"-{code}" for code in one.removed)]))


def _meaning(policy: Policy, facet: str, atlas: Atlas, instant: datetime) -> Json:
    meaning: Json = {"facet": facet, "says": facet_document(policy, facet), "asks": ASKS[facet], "changes": None}
    if facet in PLACE_FACETS and (expression := policy.places(facet)) is not None:
        change = expression.next_change(atlas, instant)
        plain = expression.expand(atlas, instant)
        meaning["territories"] = sorted(plain)
        if some := sorted(_for_some(expression, atlas, instant) - plain):
            meaning["for_some_recipients"] = some
        meaning["changes"] = None if change is None else print_instant(change)
    elif facet == "forbid_exposure":
        meaning["territories"] = sorted(forbidden_territories(policy.forbid_exposure or (), atlas))
    return meaning


def _for_some(expression: SetExpression, atlas: Atlas, instant: datetime) -> frozenset[str]:
    """Return the territories that adequacy decisions name and that are allowed for the recipients they cover."""
    named = {one.territory for one in atlas.adequacy if one.attestation and one.holds_at(instant)}
    return expression.expand(atlas, instant, frozenset(code for code in named if code))


def _atlas(atlas: Atlas) -> Json:
    return {"version": atlas.version, "digest": atlas.digest}


def _said(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return _cut(", ".join(f"{key}: {_said(item)}" for key, item in value.items()))
    if isinstance(value, list):
        return _cut(_bracketed(value))
    return str(value)


def _bracketed(values: Iterable[object]) -> str:
    return f"[{', '.join(_said(one) for one in values)}]"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_CELL else f"{text[: _LONGEST_CELL - 3]}..."
