"""`nordan admin audit`: the log of acts, and its signed head."""

from __future__ import annotations

from typing import Annotated

import typer

from nordan_cli import render
from nordan_cli.client import connect
from nordan_cli.decode import decode_items
from nordan_cli.models import AuditEntry
from nordan_cli.options import Limit
from nordan_cli.render import Format, Output


def audit(
    ctx: typer.Context,
    *,
    checkpoint: Annotated[bool, typer.Option("--checkpoint", help="Only the signed head, as JSON.")] = False,
    limit: Limit = 100,
    output: Output = Format.TABLE,
) -> None:
    """Show the audit log's entries."""
    with connect(ctx) as api:
        if checkpoint:
            render.show(api.get("audit/checkpoint"), Format.JSON, str)
            return
        answer = {"items": api.items("audit/entries", limit=limit)}

    def draw() -> str:
        entries = decode_items(AuditEntry, answer)
        rows = ((one.index, one.at, one.act, one.subject, one.actor) for one in entries)
        return render.table(("index", "at", "act", "subject", "actor"), rows)

    render.show(answer, output, draw)
