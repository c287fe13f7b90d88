"""`lineage` and `where`, of `nordan dataset` and `nordan artifact`: where data went, and where they may go."""

from __future__ import annotations

from nordan_cli import render
from nordan_cli.client import Answer
from nordan_cli.decode import decode_items
from nordan_cli.models import Kin, PoolWord, SaidOfPool


def draw_lineage(answer: Answer) -> str:
    """Return what was made of something, and what it was made from, nearest first."""
    return render.sections(
        ("", _lines(answer, "derived")), ("made from", _lines(answer, "sources") if answer.get("sources") else "")
    )


def draw_where(answer: Answer) -> str:
    """Return a line for each pool: whether data may be computed on there, and rest there, and why not."""
    found = decode_items(PoolWord, answer)
    rows = ((one.pool, one.region, _word(one.run), _word(one.rest), _why(one)) for one in found)
    return render.table(("pool", "region", "run", "rest", "why not"), rows)


def _lines(answer: Answer, which: str) -> str:
    found = decode_items(Kin, answer.get(which))
    rows = (
        (
            "  " * one.depth + one.name,
            one.kind,
            one.id,
            one.job,
            one.regions,
            one.policy_digest[:12],
            " ".join(each.id for each in one.declassifications if each.state == "approved"),
        )
        for one in found
    )
    return render.table(("name", "kind", "artifact", "job", "regions", "policy", "declassified by"), rows)


def _word(said: SaidOfPool) -> str:
    return "yes" if said.allowed else "no"


def _why(one: PoolWord) -> str:
    facets = [refusal.facet for said in (one.run, one.rest) for refusal in said.refusals]
    return " ".join(dict.fromkeys(facets))
