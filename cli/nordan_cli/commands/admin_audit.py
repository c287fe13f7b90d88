"""`nordan admin audit`: the log of acts, and its signed head."""

from __future__ import annotations

from typing import Annotated

import typer

from nordan_cli import render
from nordan_cli.client import PAGE_SIZE, Answer, Api, connect
from nordan_cli.decode import decode_items
from nordan_cli.models import AuditEntry
from nordan_cli.options import Limit
from nordan_cli.render import Format, Output


def audit(
    ctx: typer.Context,
    *,
    checkpoint: Annotated[bool, typer.Option("--checkpoint", help="Only the signed head, as JSON.")] = False,
    after: Annotated[int, typer.Option(min=-1, help="Only entries behind this index.")] = -1,
    limit: Limit = 100,
    output: Output = Format.TABLE,
) -> None:
    """Show the audit log's entries, in the order in which they were sealed."""
    with connect(ctx) as api:
        if checkpoint:
            render.show(api.get("audit/checkpoint"), Format.JSON, str)
            return
        answer = {"items": _entries(api, after, limit)}

    def draw() -> str:
        entries = decode_items(AuditEntry, answer)
        rows = ((one.index, one.at, one.act, one.subject, one.actor) for one in entries)
        return render.table(("index", "at", "act", "subject", "actor"), rows)

    render.show(answer, output, draw)


def _entries(api: Api, after: int, limit: int) -> list[Answer]:
    found: list[Answer] = []
    where: int | None = after
    while where is not None and len(found) < limit:
        page = api.get("audit/entries", after=where, limit=min(PAGE_SIZE, limit - len(found)))
        found += page.get("items", [])
        where = page.get("next_after")
    return found
