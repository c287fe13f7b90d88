"""`nordan admin cluster`: put a region's rules into its cluster, tell what differs, verify nodes.

An entry point of the CLI. Everything is sent with the operator's own kubeconfig; the region's account could not.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, cast

import typer
import yaml

from nordan_core.clock import SystemClock
from nordan_core.domain.errors import OperatorError
from nordan_workers.cluster import nodes
from nordan_workers.cluster.api import open_cluster
from nordan_workers.cluster.facts import JOBS_NAMESPACE, KUBE_SCHEDULER, REGION_NAMESPACE, ClusterFacts
from nordan_workers.cluster.generate import objects
from nordan_workers.cluster.install import Line, check, install, remove
from nordan_workers.cluster.options import Options, chosen_before, noted
from nordan_workers.cluster.probes import unmet, wait_until_met
from nordan_workers.cluster.rest import Caller, region_facts

app = typer.Typer(
    help="Keep a region's Kubernetes cluster inside its law.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


class Format(StrEnum):
    """How a report is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


Region = Annotated[str, typer.Option(help="The region that the cluster serves.")]
Kubeconfig = Annotated[Path | None, typer.Option(help="The cluster's kubeconfig; where kubectl looks if unsaid.")]
Context = Annotated[str | None, typer.Option(help="Context of the kubeconfig; the current one if unsaid.")]
Output = Annotated[Format, typer.Option("-o", "--format", help="How to print the answer.")]
Registry = Annotated[
    list[str] | None, typer.Option(metavar="PREFIX", help="Where images may come from: registry.example/. Repeatable.")
]
AnyRegistry = Annotated[
    bool, typer.Option("--any-registry", help="Let images come from anywhere; check shows the gap.")
]
JobsNamespace = Annotated[str, typer.Option(help="Namespace of the jobs' pods.")]
RegionNamespace = Annotated[
    str | None, typer.Option(help=f"Namespace of the region's own parts. [default: {REGION_NAMESPACE}]")
]
Account = Annotated[
    list[str] | None,
    typer.Option(metavar="USER", help="User name of the region's own parts in the cluster. Repeatable."),
]
Scheduler = Annotated[
    list[str] | None, typer.Option(metavar="USER", help=f"Who binds other pods. [default: {KUBE_SCHEDULER}]")
]
Exempt = Annotated[
    list[str] | None, typer.Option(metavar="NAMESPACE", help="A namespace of your platform without rules. Repeatable.")
]
Expose = Annotated[
    list[str] | None,
    typer.Option(metavar="NAMESPACE/NAME", help="A Service or Ingress open to the outside. Repeatable."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Store nothing; with -o yaml print what would be applied.")]


@app.command("install")
def install_command(
    ctx: typer.Context,
    *,
    region: Region,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    registry: Registry = None,
    any_registry: AnyRegistry = False,
    namespace: JobsNamespace = JOBS_NAMESPACE,
    region_namespace: RegionNamespace = None,
    account: Account = None,
    scheduler: Scheduler = None,
    exempt_namespace: Exempt = None,
    expose: Expose = None,
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
) -> None:
    """Put the region's rules into its cluster and wait until they are in force.

    An option that is not given keeps what the cluster was installed with.
    """
    known = region_facts(_caller(ctx), region)
    asked = Options(
        registries=_tuple(registry),
        is_any_registry=any_registry or None,
        region_namespace=region_namespace,
        accounts=_tuple(account),
        schedulers=_tuple(scheduler),
        exempt=_tuple(exempt_namespace),
        exposed=_tuple(expose),
    )
    with open_cluster(kubeconfig, context) as cluster:
        options = asked.over(chosen_before(cluster, namespace))
        facts = options.facts(known.code, known.territory, known.pools, namespace)
        wanted = noted(objects(facts), options)
        if dry_run:
            _show(check(cluster, facts), output, wanted)
            return
        lines = install(cluster, facts, wanted)
        _show(lines, output)
        left = wait_until_met(cluster, facts, SystemClock(), time.sleep)
    if left:
        raise OperatorError("these rules are not in force yet:\n" + "\n".join(f"  {one}" for one in left))
    typer.echo(_summary(facts), err=True)


@app.command("check")
def check_command(
    ctx: typer.Context,
    *,
    region: Region,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    namespace: JobsNamespace = JOBS_NAMESPACE,
    output: Output = Format.TABLE,
) -> None:
    """Tell what differs from the region's rules, and whether they are in force; ends with 1 when something does."""
    known = region_facts(_caller(ctx), region)
    with open_cluster(kubeconfig, context) as cluster:
        facts = chosen_before(cluster, namespace).facts(known.code, known.territory, known.pools, namespace)
        lines = check(cluster, facts)
        left = unmet(cluster, facts)
    _show(lines, output)
    wrong = [line for line in lines if not line.is_right]
    if wrong or left:
        told = [f"{len(wrong)} of {len(lines)} objects differ"] if wrong else []
        raise OperatorError("\n".join([*told, *(f"not in force: {one}" for one in left)]))
    typer.echo(_summary(facts), err=True)


@app.command("verify")
def verify_command(
    ctx: typer.Context,
    node: Annotated[list[str], typer.Argument(help="Nodes of the cluster.")],
    *,
    region: Region,
    pool: Annotated[str, typer.Option(help="The pool that the nodes belong to.")],
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Vouch for nodes: label them for the region and pool, and take away the mark of unverified facts."""
    known = region_facts(_caller(ctx), region)
    if pool not in known.pools:
        raise OperatorError(f"region {region} has no pool {pool!r}; it has: {', '.join(known.pools) or 'none'}")
    with open_cluster(kubeconfig, context) as cluster:
        for name in node:
            nodes.verify(cluster, name, region, known.territory, pool)
            typer.echo(f"{name} is a node of {pool} in {known.territory}")


@app.command("remove")
def remove_command(
    ctx: typer.Context,
    *,
    region: Region,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    namespace: JobsNamespace = JOBS_NAMESPACE,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Take the region's rules out of its cluster. The namespace of jobs stays, with what runs there."""
    if not yes:
        typer.confirm(f"Nothing will keep pods of this cluster inside the law of {region}. Go on?", abort=True)
    known = region_facts(_caller(ctx), region)
    with open_cluster(kubeconfig, context) as cluster:
        facts = chosen_before(cluster, namespace).facts(known.code, known.territory, known.pools, namespace)
        _show(remove(cluster, facts), Format.TABLE)


def _caller(ctx: typer.Context) -> Caller:
    caller = ctx.find_root().obj
    if not hasattr(caller, "settle"):
        raise OperatorError("this command is started as nordan admin cluster")
    return cast("Caller", caller)  # the CLI's own run; its type may not be imported


def _tuple(values: Sequence[str] | None) -> tuple[str, ...] | None:
    return tuple(values) if values else None


def _show(lines: Iterable[Line], output: Format, wanted: Sequence[object] = ()) -> None:
    if output is Format.YAML and wanted:
        typer.echo(yaml.safe_dump_all(wanted, sort_keys=False), nl=False)
        return
    answer = {"items": [{**asdict(line), "state": line.state.value, "fields": list(line.fields)} for line in lines]}
    if output is Format.JSON:
        typer.echo(json.dumps({"objects": list(wanted)} if wanted else answer, indent=2))
    elif output is Format.YAML:
        typer.echo(yaml.safe_dump(answer, sort_keys=False), nl=False)
    else:
        typer.echo(_table(("KIND", "NAME", "STATE", "FIELDS"), [_row(line) for line in lines]))


def _row(line: Line) -> tuple[str, ...]:
    return (line.kind, line.name, line.state.value, ", ".join(line.fields))


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[place]) for row in (titles, *rows)) for place in range(len(titles))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (titles, *rows)
    )


def _summary(facts: ClusterFacts) -> str:
    images = "any registry (a gap)" if facts.registries is None else ", ".join(facts.registries)
    return (
        f"the rules of {facts.region} ({facts.territory}) are in force; images from {images}; "
        f"not judged: {', '.join(facts.exempted)}"
    )
