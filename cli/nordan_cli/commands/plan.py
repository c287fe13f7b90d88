"""`nordan plan`: where a job may run, and why not elsewhere. Nothing is submitted, no file leaves this machine."""

from __future__ import annotations

from datetime import datetime

import typer

from nordan_cli import jobs, render
from nordan_cli.client import connect
from nordan_cli.decode import decode
from nordan_cli.errors import Problem
from nordan_cli.jobflags import with_draft
from nordan_cli.jobs import Draft
from nordan_cli.models import Plan, PlanRow
from nordan_cli.options import Project
from nordan_cli.render import Format, Output
from nordan_cli.text import plain

NEVER = 1
_TITLES = ("region", "pool", "lawful", "facet", "wanted", "offered", "data", "fits", "EUR/GPU-h", "start")


@with_draft
def plan(ctx: typer.Context, draft: Draft, *, output: Output = Format.TABLE, project: Project = None) -> None:
    """Show where a job may run, and why not elsewhere; submits nothing.

    Exits with 0 when the job could start now or wait for its turn, with 1 when it could never run.
    """
    with connect(ctx, project) as api:
        try:
            answer = api.ask(api.within("jobs", verb="plan"), draft.document)
        except Problem as problem:
            raise jobs.suggest(problem) from None
        now = api.run.clock.now()
    found = decode(Plan, answer)
    render.show(answer, output, lambda: describe(found, now))
    if found.never is not None or not (found.startable or found.can_wait):
        raise typer.Exit(NEVER)


def describe(found: Plan, now: datetime) -> str:
    """Return the table of pools, each refusal on a line of its own, and what follows from it."""
    rows = [cells for row in found.regions for cells in _rows(row, now)]
    return render.sections(("", render.table(_TITLES, rows) if rows else ""), ("", _summary(found)))


def _rows(row: PlanRow, now: datetime) -> list[tuple[object, ...]]:
    price = "" if row.price_eur_per_gpu_h is None else f"{row.price_eur_per_gpu_h:.2f}"
    tail = (_word(row.holds_inputs), _word(row.fits_now), price, render.ago(row.estimated_start, now))
    word = "allowed" if row.allowed else "refused"
    if not row.refusals:
        return [(row.region, row.pool, word, "", "", "", *tail)]
    # Two endpoints of one pool may be refused in the same words; once tells it.
    first, *others = dict.fromkeys(
        (refusal.facet or refusal.code, refusal.want, refusal.have or refusal.message) for refusal in row.refusals
    )
    return [(row.region, row.pool, word, *first, *tail), *(("", "", "", *other, "", "", "", "") for other in others)]


def _summary(found: Plan) -> str:
    regions = {row.region for row in found.regions}
    lawful = {row.region for row in found.regions if row.allowed}
    ready = {row.region for row in found.regions if row.allowed and row.holds_inputs}
    lines = [f"{len(lawful)} of {len(regions)} regions allowed, {len(ready)} of them with the data; {_outcome(found)}"]
    lines += [f"{row.pool}: allowed by {', '.join(row.derogations)} alone" for row in found.regions if row.derogations]
    never = found.never or {}
    lines += [f"{name}: {plain(value)}" for name, value in never.items() if name != "code" and value]
    return "\n".join(lines)


def _outcome(found: Plan) -> str:
    if found.startable:
        return "the job could start now"
    if found.can_wait:
        return "the job would wait"
    return f"the job could never run ({found.never.get('code')})" if found.never else "no region holds the data"


def _word(claim: bool) -> str:
    return "yes" if claim else "no"
