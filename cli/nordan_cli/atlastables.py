"""What another atlas would change, as tables for people: first the law, then whom it touches."""

from __future__ import annotations

from collections.abc import Sequence

from nordan_cli import render
from nordan_cli.atlasmodels import AtlasDiff, AtlasRefusal, AtlasSigner, NamedAtlas

#: Rows of one table; the whole of it is in `-o json`.
MOST = 40


def signer(one: AtlasSigner | None) -> str:
    """Return whose an atlas is, for people."""
    if one is None:
        return ""
    return "a release of Nordan" if one.release else f"the key {one.key[:16]}…"


def versions_text(items: Sequence[NamedAtlas]) -> str:
    """Return atlases as a table."""
    rows = ((one.version, one.digest, signer(one.signed_by), one.applied_at) for one in items)
    return render.table(("version", "digest", "signed by", "applied"), rows)


def diff_text(found: AtlasDiff) -> str:
    """Return the whole comparison."""
    head = (
        ("in force", f"{found.in_force.version} {found.in_force.digest}"),
        ("offered", f"{found.offered.version} {found.offered.digest}"),
        ("signed by", signer(found.offered.signed_by)),
        ("newer", "yes" if found.is_newer else "no, so it cannot be applied"),
    )
    lacking = [(one.where, one.message) for one in found.lacking]
    law = [(one.kind, one.name, one.before or "nothing", one.after or "nothing") for one in found.changes]
    pools = [(one.pool, one.refused, one.allowed, one.attempts) for one in found.pools]
    attempts = [(one.attempt, one.project, one.pool, one.now, _because(one.refusals)) for one in found.attempts]
    data = [(one.project, one.region, one.now, _because(one.refusals)) for one in found.data]
    return render.sections(
        ("", render.fields(head)),
        ("Lacks what is in use, so it cannot be applied", _table(("where", "what"), lacking)),
        ("Law", _table(("kind", "name", "before", "after"), law) or "says the same"),
        ("Policies", _table(("policy", "refused", "allowed"), _policies(found))),
        ("Pools", _table(("pool", "refused for", "allowed for", "attempts"), pools)),
        ("Live attempts", _table(("attempt", "project", "pool", "now", "because"), attempts)),
        ("Stored data", _table(("project", "region", "now", "because"), data)),
        ("", _summary(found)),
    )


def _policies(found: AtlasDiff) -> list[tuple[object, ...]]:
    layers = [(f"{one.kind} {one.name}", one.refused, one.allowed) for one in found.layers]
    layers += [
        (f"{one.digest[:12]}… of {one.project}, jobs: {len(one.jobs)}", one.refused, one.allowed)
        for one in found.policies
    ]
    return [(name, " ".join(refused), " ".join(allowed)) for name, refused, allowed in layers]


def _summary(found: AtlasDiff) -> str:
    fenced, closed = (sum(one.now == "refused" for one in items) for items in (found.attempts, found.data))
    return f"attempts to be fenced, unless a derogation covers them: {fenced}; places of data to be closed: {closed}"


def _because(refusals: Sequence[AtlasRefusal]) -> str:
    return "; ".join(f"{one.facet} wants {one.want}, found {one.have}" for one in refusals)


def _table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    if not rows:
        return ""
    more = len(rows) - MOST
    return render.table(titles, rows[:MOST]) + (f"\nand {more} more, in -o json" if more > 0 else "")
