"""`nordan admin regions | pools | nodes`: places as an operator sees them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from nordan_cli import render
from nordan_cli.client import connect, path_of
from nordan_cli.commands import market
from nordan_cli.decode import decode_items
from nordan_cli.errors import WrongUse
from nordan_cli.invocation import note
from nordan_cli.models import Node
from nordan_cli.options import Limit, OutFile
from nordan_cli.render import Format, Output

SECRET_MODE = 0o600

regions = typer.Typer(help="List regions and let them join.", invoke_without_command=True, rich_markup_mode=None)


@regions.callback()
def all_regions(ctx: typer.Context, *, output: Output = Format.TABLE) -> None:
    """List regions and let them join."""
    if ctx.invoked_subcommand is None:
        market.regions(ctx, output=output)


regions.command("list")(market.regions)


@regions.command("join")
def join(
    ctx: typer.Context,
    code: Annotated[str, typer.Argument(metavar="CODE", help="Region.")],
    *,
    gateway_url: Annotated[str, typer.Option(help="Where clients reach its gateway.")],
    broker_url_file: Annotated[
        Path, typer.Option(metavar="FILE", help="File with its broker's URL: it has a password.")
    ],
    tenancy: Annotated[list[str] | None, typer.Option(help="What its executor keeps apart; may be repeated.")] = None,
    to: OutFile = None,
) -> None:
    """Let a region join: prints what its processes need, a secret among it. An earlier credential ends."""
    asked: dict[str, object] = {"gateway_url": gateway_url, "broker_url": _secret(broker_url_file)}
    if tenancy:
        asked["offers_tenancy"] = tenancy
    with connect(ctx) as api:
        answer = api.post(path_of("regions", code, verb="join"), asked)
    text = json.dumps(answer, indent=2)
    if to is None:
        typer.echo(text)
        return
    _write_secret(to, f"{text}\n")
    note(f"{to}: what {code} needs to join; a secret, for its machines only")


def pools(ctx: typer.Context, *, limit: Limit = 1000, output: Output = Format.TABLE) -> None:
    """List pools."""
    market.offers(ctx, limit=limit, output=output)


def nodes(
    ctx: typer.Context,
    *,
    pool: Annotated[str | None, typer.Option(help="Only this pool.")] = None,
    limit: Limit = 1000,
    output: Output = Format.TABLE,
) -> None:
    """List nodes."""
    with connect(ctx) as api:
        items = api.items("nodes", limit=limit)
    answer = {"items": [one for one in items if pool in (None, one.get("pool"))]}

    def draw() -> str:
        rows = ((one.name, one.pool, one.state, one.gpus, one.gpus_free) for one in decode_items(Node, answer))
        return render.table(("node", "pool", "state", "gpus", "free"), rows)

    render.show(answer, output, draw)


def _secret(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUse(f"cannot read {path}: {error}") from error


def _write_secret(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, SECRET_MODE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, SECRET_MODE)
        file.write(text)
