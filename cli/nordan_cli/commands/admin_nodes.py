"""`nordan admin pools | nodes | cordon | drain | uncordon`: capacity as an operator sees it and holds it back."""

from __future__ import annotations

from typing import Annotated

import typer

from nordan_cli import render
from nordan_cli.client import Api, connect, path_of
from nordan_cli.commands import market
from nordan_cli.decode import decode, decode_items
from nordan_cli.errors import WrongUse
from nordan_cli.models import Held, Node
from nordan_cli.options import Limit, seconds
from nordan_cli.render import Format, Output
from nordan_cli.verbs import PoolsGroup

#: More nodes or pools than any cell has.
_ALL = 1_000_000

pools = typer.Typer(
    help="List pools, and find some in a cluster.", cls=PoolsGroup, invoke_without_command=True, rich_markup_mode=None
)


@pools.callback()
def all_pools(ctx: typer.Context, *, limit: Limit = 1000, output: Output = Format.TABLE) -> None:
    """List pools, and find some in a cluster."""
    if ctx.invoked_subcommand is None:
        market.offers(ctx, limit=limit, output=output)


pools.command("list")(market.offers)


def nodes(
    ctx: typer.Context,
    *,
    pool: Annotated[str | None, typer.Option(help="Only this pool.")] = None,
    limit: Limit = 1000,
    output: Output = Format.TABLE,
) -> None:
    """List nodes: what is free on each, and why one takes no work."""
    with connect(ctx) as api:
        items = api.items("nodes", limit=limit)
    answer = {"items": [one for one in items if pool in (None, one.get("pool"))]}

    def draw() -> str:
        found = decode_items(Node, answer)
        foreign = any(one.foreign.gpus for one in found)
        head = ("node", "pool", "state", "gpus", "free", *(("foreign",) if foreign else ()), "reason")
        rows = (
            (one.name, one.pool, one.state, one.gpus, one.gpus_free)
            + ((one.foreign.gpus,) if foreign else ())
            + (one.reason,)
            for one in found
        )
        return render.table(head, rows)

    render.show(answer, output, draw)


Target = Annotated[str, typer.Argument(metavar="NODE|POOL", help="A node, POOL/NODE, or a pool: all its nodes.")]
Why = Annotated[str, typer.Option("--reason", help="Why, for whoever looks at the nodes later.")]


def cordon(ctx: typer.Context, target: Target, *, reason: Why = "", output: Output = Format.TABLE) -> None:
    """Keep new work away from a node or a pool; what runs there goes on."""
    _hold(ctx, target, "cordon", {"reason": reason}, output)


def drain(
    ctx: typer.Context,
    target: Target,
    *,
    stop: Annotated[
        str | None, typer.Option("--stop", metavar="TIME", help="Stop what runs there, after this grace: 60s.")
    ] = None,
    reason: Why = "",
    output: Output = Format.TABLE,
) -> None:
    """Empty a node or a pool: no new work; what runs goes on to its end.

    With --stop it gets SIGTERM now and SIGKILL after the grace, ends as preempted, and is tried again elsewhere.
    """
    wanted: dict[str, object] = {"reason": reason}
    if stop is not None:
        wanted["grace_s"] = seconds(stop)
    _hold(ctx, target, "drain", wanted, output)


def uncordon(ctx: typer.Context, target: Target, *, output: Output = Format.TABLE) -> None:
    """Let a node or a pool take work again.

    A pool's nodes that were cordoned by themselves stay so, and what their cluster says of them still counts.
    """
    _hold(ctx, target, "uncordon", {}, output)


def _hold(ctx: typer.Context, target: str, verb: str, wanted: dict[str, object], output: Format) -> None:
    with connect(ctx) as api:
        pool, node = _found(api, target)
        parts = ("pools", pool) if node is None else ("pools", pool, "nodes", node)
        answer = api.ask(path_of(*parts, verb=verb), wanted)
    held = decode(Held, answer)
    what = f"pool {held.pool}" if held.node is None else f"node {held.node} of {held.pool}"
    render.show(answer, output, lambda: f"{what}: {held.hold or 'takes work'}, {held.attempts} attempts run there")


def _found(api: Api, target: str) -> tuple[str, str | None]:
    """Return pool and node that a person means; a name that is both a pool's and a node's is the pool."""
    pool, slash, node = target.partition("/")
    if slash:
        return pool, node
    if any(one.get("name") == target for one in api.items("pools", limit=_ALL)):
        return target, None
    pools_of = sorted(str(one.get("pool")) for one in api.items("nodes", limit=_ALL) if one.get("name") == target)
    if not pools_of:
        raise WrongUse(f"no pool and no node has the name {target!r}; nordan admin nodes lists them")
    if len(pools_of) > 1:
        raise WrongUse(
            f"{target!r} is a node of several pools; say {' or '.join(f'{one}/{target}' for one in pools_of)}"
        )
    return pools_of[0], target
