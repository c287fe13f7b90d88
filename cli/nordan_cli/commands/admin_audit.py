"""`nordan admin audit`: the log of acts and its signed heads, shown, compared, exported and verified offline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from nordan_cli import render
from nordan_cli.client import PAGE_SIZE, Answer, Api, connect
from nordan_cli.decode import decode_items
from nordan_cli.errors import Failed, WrongUse
from nordan_cli.models import AuditEntry
from nordan_cli.options import Limit, OutFile
from nordan_cli.render import Format, Output
from nordan_cli.trust import read_bytes, read_trust
from nordan_core.proof.canonical import canonical_json
from nordan_core.proof.checkpoint import Checkpoint, verify_checkpoint
from nordan_core.proof.errors import ProofError
from nordan_core.proof.growth import growth_faults, growth_of
from nordan_core.proof.keys import PublicKey

app = typer.Typer(
    help="Show, compare, export and verify the log of acts.", invoke_without_command=True, rich_markup_mode=None
)
KeysFile = Annotated[Path, typer.Option("--keys", metavar="FILE", help="Public keys, of: certificate keys.")]


@app.callback()
def audit(
    ctx: typer.Context,
    *,
    checkpoint: Annotated[bool, typer.Option("--checkpoint", help="Only the signed head, as JSON.")] = False,
    after: Annotated[int, typer.Option(min=-1, help="Only entries behind this index.")] = -1,
    limit: Limit = 100,
    output: Output = Format.TABLE,
) -> None:
    """Show the audit log's entries, in the order in which they were sealed."""
    if ctx.invoked_subcommand is not None:
        return
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


@app.command("compare")
def compare(
    ctx: typer.Context,
    head: Annotated[Path, typer.Argument(metavar="HEAD", help="A head that you kept, of: admin audit --checkpoint.")],
    *,
    keys_file: KeysFile,
    new: Annotated[
        int | None, typer.Option(min=1, metavar="SIZE", help="Compare with this head, not with the newest.")
    ] = None,
    to: OutFile = None,
) -> None:
    """Check that the log has only grown since a head that you kept: nothing before it was rewritten or taken away.

    With --out the proof is kept, for certificate verify --growth. Exits with 1 when the log is another one.
    """
    keys = read_trust(keys_file).certificate_keys
    kept = _kept_head(head, keys)
    with connect(ctx) as api:
        document = api.get("audit/consistency", old=kept.size, new=new)
    try:
        growth = growth_of(document, keys)
        faults = list(growth_faults(growth))
        if growth.old != kept:
            faults.append(f"the server's head of {kept.size} entries is not the one that you kept")
    except ProofError as error:
        faults = [str(error)]
    if faults:
        raise Failed("; ".join(faults))
    if to is not None:
        to.write_bytes(canonical_json(document) + b"\n")
    typer.echo(f"the log of {growth.new.size} entries begins with the {kept.size} that you kept the head of")


def _kept_head(path: Path, keys: Mapping[str, PublicKey]) -> Checkpoint:
    """Read a head as the server printed it, or its bare envelope.

    Raises:
        WrongUse: the file holds none, or one that no trusted key signed.
    """
    try:
        document = json.loads(read_bytes(path))
        return verify_checkpoint(document.get("envelope", document), keys)
    except (ValueError, RecursionError, AttributeError) as error:
        raise WrongUse(f"{path} holds no head of a log; nordan admin audit --checkpoint prints one") from error
    except ProofError as error:
        raise WrongUse(f"{path}: {error}") from error


def _entries(api: Api, after: int, limit: int) -> list[Answer]:
    found: list[Answer] = []
    where: int | None = after
    while where is not None and len(found) < limit:
        page = api.get("audit/entries", after=where, limit=min(PAGE_SIZE, limit - len(found)))
        found += page.get("items", [])
        where = page.get("next_after")
    return found
