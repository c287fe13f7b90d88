"""`nordan admin pools import`: describe pools by the nodes of a cluster. An entry point of the CLI.

It reads with the operator's own kubeconfig. Documents go the same way as any others: through `nordan admin apply`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from nordan_core.domain.errors import OperatorError
from nordan_workers.cluster.describing import FoundPool, Wanted, as_yaml, find_pools, node_labels
from nordan_workers.executors.kubernetes.client import Cluster, ClusterRefused, ClusterUnreachable
from nordan_workers.executors.kubernetes.config import from_kubeconfig

app = typer.Typer(add_completion=False, rich_markup_mode=None)
_PAGE = 500


@app.command()
def import_pools(
    ctx: typer.Context,
    *,
    kubeconfig: Annotated[Path, typer.Option(metavar="FILE", help="How to reach the cluster.")],
    selector: Annotated[str, typer.Option(help="Labels of the nodes: nvidia.com/gpu.present=true.")],
    region: Annotated[str, typer.Option(help="The region that the cluster serves.")],
    provider: Annotated[str, typer.Option(help="The entity that brings the nodes.")],
    pool: Annotated[str | None, typer.Option(help="Name of the pool; else made of region and accelerator.")] = None,
    price: Annotated[str | None, typer.Option(metavar="EUR", help="Price of a GPU-hour.")] = None,
    valid_until: Annotated[str | None, typer.Option(metavar="DATE", help="Until when the facts hold.")] = None,
    accelerator: Annotated[str | None, typer.Option(help="Model, where no label tells it.")] = None,
    gpu_memory_mib: Annotated[int | None, typer.Option(metavar="MIB", help="Memory of a GPU, as above.")] = None,
    gpu_resource: Annotated[str, typer.Option(help="Name under which nodes offer GPUs.")] = "nvidia.com/gpu",
    made_up: Annotated[bool, typer.Option("--made-up", help="The GPUs are made up, for tests.")] = False,
    territory: Annotated[
        str | None, typer.Option(metavar="CODE", help="Where the nodes stand: FR; for labels.")
    ] = None,
    label: Annotated[bool, typer.Option("--label", help="Give the nodes the labels of their pool.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Apply the documents instead of printing them.")] = False,
) -> None:
    """Describe pools by the nodes of a cluster: one for each accelerator and number of GPUs.

    Prints World documents to review and apply. What no node tells, such as the price, stays empty.
    With --label the nodes are also given the labels by which they belong to their pool.
    """
    if label and territory is None:
        raise OperatorError("--label needs --territory: a node's labels say where it stands")
    wanted = Wanted(
        region=region,
        provider=provider,
        pool=pool,
        accelerator=accelerator,
        gpu_memory_mib=gpu_memory_mib,
        price_eur_per_gpu_h=price,
        facts_valid_until=valid_until,
        gpu_resource=gpu_resource,
        has_made_up_gpus=made_up,
    )
    with _opened(kubeconfig) as cluster:
        found = _found(cluster, selector, wanted)
        text = as_yaml(found, territory, region)
        if apply:
            _check_said(found)
            _apply(ctx, text)
        else:
            typer.echo(text, nl=False)
        if label and territory is not None:
            _label(cluster, found, territory, region)


@contextmanager
def _opened(kubeconfig: Path) -> Iterator[Cluster]:
    cluster = Cluster(from_kubeconfig(kubeconfig))
    try:
        yield cluster
    except ClusterUnreachable as error:
        raise OperatorError(f"the cluster of {kubeconfig} does not answer: {error}") from error
    except ClusterRefused as error:
        raise OperatorError(f"the cluster of {kubeconfig} refused: {error.message or error}") from error
    finally:
        cluster.close()


def _found(cluster: Cluster, selector: str, wanted: Wanted) -> tuple[FoundPool, ...]:
    nodes = _all(cluster, "/api/v1/nodes", labelSelector=selector)
    if not nodes:
        raise OperatorError(f"no node has the labels {selector!r}; kubectl get nodes --show-labels lists them")
    pods = _all(cluster, "/api/v1/pods", fieldSelector="spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed")
    found = find_pools(nodes, pods, wanted)
    if left_out := len(nodes) - sum(len(one.nodes) for one in found):
        typer.echo(f"{left_out} of {len(nodes)} nodes offer no {wanted.gpu_resource} and are left out", err=True)
    return found


def _all(cluster: Cluster, path: str, **query: str) -> list[dict[str, Any]]:  # Any: JSON
    items: list[dict[str, Any]] = []  # Any: JSON
    params = {"limit": str(_PAGE), **query}
    while True:
        page = cluster.get(path, **params)
        items.extend(page.get("items") or ())
        if not (rest := (page.get("metadata") or {}).get("continue")):
            return items
        params["continue"] = rest


def _check_said(found: tuple[FoundPool, ...]) -> None:
    options = {
        "accelerator": "--accelerator",
        "gpu_memory_mib": "--gpu-memory-mib",
        "price_eur_per_gpu_h": "--price",
        "facts_valid_until": "--valid-until",
    }
    missing = sorted({options[field] for one in found for field in one.unsaid})
    if missing:
        raise OperatorError(f"no node tells {', '.join(missing)}: give them, or print the documents and fill them in")


def _apply(ctx: typer.Context, text: str) -> None:
    """Apply documents with the CLI's own command, which knows where to and with which key."""
    admin = ctx.parent.parent if ctx.parent is not None else None
    command = admin.command.get_command(admin, "apply") if admin is not None else None  # type: ignore[attr-defined]  # a group
    if command is None:
        raise OperatorError("--apply works as a part of nordan admin pools import")
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(text)
        file.flush()
        command.main(["--file", file.name], prog_name="apply", standalone_mode=False, parent=admin)


def _label(cluster: Cluster, found: tuple[FoundPool, ...], territory: str, region: str) -> None:
    for one in found:
        labels = node_labels(region, territory, one.name)
        for node in one.nodes:
            cluster.patch(f"/api/v1/nodes/{node}", {"metadata": {"labels": labels}})
            typer.echo(f"{node} belongs to {one.name}", err=True)
