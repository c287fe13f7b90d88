"""`nordan regions` and `nordan offers`: what there is and what it costs."""

from __future__ import annotations

from typing import Annotated

import typer

from nordan_cli import render
from nordan_cli.client import connect
from nordan_cli.decode import decode_items
from nordan_cli.models import Pool, Region
from nordan_cli.options import Limit
from nordan_cli.render import Format, Output


def regions(ctx: typer.Context, *, limit: Limit = 1000, output: Output = Format.TABLE) -> None:
    """List regions."""
    with connect(ctx) as api:
        answer = {"items": api.items("regions", limit=limit)}
        now = api.run.clock.now()

    def draw() -> str:
        found = decode_items(Region, answer)
        rows = ((one.code, one.territory, one.operator, one.executor, render.ago(one.seen_at, now)) for one in found)
        return render.table(("region", "territory", "operator", "executor", "seen"), rows) if found else "no regions"

    render.show(answer, output, draw)


def offers(
    ctx: typer.Context,
    *,
    gpu: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    region: Annotated[str | None, typer.Option(help="Only this region.")] = None,
    limit: Limit = 1000,
    output: Output = Format.TABLE,
) -> None:
    """List pools and their prices."""
    with connect(ctx) as api:
        pools = api.items("pools", limit=limit)
    kept = [pool for pool in pools if gpu in (None, pool.get("accelerator")) and region in (None, pool.get("region"))]
    answer = {"items": kept}

    def draw() -> str:
        found = sorted(decode_items(Pool, answer), key=lambda one: (one.price_eur_per_gpu_h or 0.0, one.name))
        rows = (
            (one.name, one.region, one.provider, one.accelerator, _shape(one), one.gpus_free, _price(one))
            for one in found
        )
        titles = ("pool", "region", "provider", "gpu", "nodes", "free", "EUR/GPU-h")
        return render.table(titles, rows) if found else "no such pools"

    render.show(answer, output, draw)


def _shape(pool: Pool) -> str:
    made_up = " made up" if pool.has_made_up_gpus else ""
    return f"{pool.nodes} x {pool.gpus_per_node}{made_up}"


def _price(pool: Pool) -> str:
    return "" if pool.price_eur_per_gpu_h is None else f"{pool.price_eur_per_gpu_h:.2f}"
