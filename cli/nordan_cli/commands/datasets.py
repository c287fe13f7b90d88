"""`nordan dataset`: labelled data, put straight into a region through its gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nordan_cli import localfiles, policies, render, staging
from nordan_cli.client import Answer, Api, connect
from nordan_cli.commands import catalogue
from nordan_cli.decode import decode, decode_items
from nordan_cli.errors import Failed, Problem
from nordan_cli.models import Access, Dataset
from nordan_cli.options import Limit, Project
from nordan_cli.render import Format, Output
from nordan_cli.text import plain

app = typer.Typer(help="Put, list, show and copy datasets.", no_args_is_help=True, rich_markup_mode=None)


@app.command("put")
def put(
    ctx: typer.Context,
    source: Annotated[Path, typer.Argument(metavar="FILE|FOLDER", help="What to put.")],
    *,
    name: Annotated[str, typer.Option(help="Name of the dataset; an existing one gets a new version.")],
    region: Annotated[str, typer.Option(help="Region that keeps the bytes.")],
    policy: policies.PolicyFile = None,
    residency: policies.Residency = None,
    forbid_exposure: policies.ForbidExposure = None,
    egress: policies.Egress = None,
    klass: policies.Class = None,
    output: Output = Format.TABLE,
    project: Project = None,
) -> None:
    """Put a file or a folder into a region, under a policy that everything made of it inherits."""
    stated = policies.build(policy, residency=residency, forbid_exposure=forbid_exposure, egress=egress, klass=klass)
    files = localfiles.tree(source)
    with connect(ctx, project) as api:
        _ensure(api, name, stated)
        access = decode(Access, api.ask(api.within("datasets", name, verb="put"), {"region": region}))
        stored = staging.upload(api, access, files, f"{name} to {region}")
    answer = {"artifact_id": stored.artifact_id, "digest": stored.digest, "dataset": name, "region": region}
    told = f"{len(files.files)} file{'s' if len(files.files) != 1 else ''}, {render.size(files.size_bytes)}"
    render.show(answer, output, lambda: f"{name} in {region}: {told}\n{stored.artifact_id} sha256:{stored.digest}")


@app.command("list")
def list_datasets(
    ctx: typer.Context, *, limit: Limit = 100, output: Output = Format.TABLE, project: Project = None
) -> None:
    """List datasets."""
    with connect(ctx, project) as api:
        answer: Answer = {"items": api.items(api.within("datasets"), limit=limit)}
        now = api.run.clock.now()

    def draw() -> str:
        found = decode_items(Dataset, answer)
        rows = ((one.name, one.id, len(one.versions), _regions(one), render.ago(one.created_at, now)) for one in found)
        return render.table(("name", "id", "versions", "regions", "age"), rows) if found else "no datasets"

    render.show(answer, output, draw)


@app.command("get")
def get(
    ctx: typer.Context,
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Name or id.")],
    *,
    output: Output = Format.TABLE,
    project: Project = None,
) -> None:
    """Show a dataset: its policy, its versions and where they are."""
    with connect(ctx, project) as api:
        answer = api.get(api.within("datasets", dataset))
        now = api.run.clock.now()
    found = decode(Dataset, answer)

    def draw() -> str:
        titles = ("artifact", "digest", "size", "regions", "age")
        rows = [
            (one.id, one.digest[:12], render.size(one.size_bytes), one.places, render.ago(one.created_at, now))
            for one in found.versions
        ]
        about = (("dataset", f"{found.name}  {found.id}"), ("created", render.ago(found.created_at, now)))
        summary = render.fields(about)
        policy = render.fields((facet, plain(value)) for facet, value in found.policy.items())
        return render.sections(
            ("", summary), ("Policy", policy), ("Versions", render.table(titles, rows) if rows else "none")
        )

    render.show(answer, output, draw)


@app.command("copy")
def copy(
    ctx: typer.Context,
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Name or id.")],
    *,
    region: Annotated[str, typer.Option(help="Region that is to hold the bytes as well.")],
    project: Project = None,
) -> None:
    """Bring a dataset's newest version into one more region, from where it is: a transfer, judged and logged as one."""
    with connect(ctx, project) as api:
        found = decode(Dataset, api.get(api.within("datasets", dataset)))
        if not found.versions:
            raise Failed(f"dataset {found.name} has no version yet; nordan dataset put makes one")
        staging.copy(api, found.versions[0], region)
    typer.echo(f"{found.name} is in {region} too")


@app.command("lineage")
def lineage(
    ctx: typer.Context,
    dataset: Annotated[str, typer.Argument(metavar="NAME", help="Name of the dataset.")],
    *,
    output: Output = Format.TABLE,
    project: Project = None,
) -> None:
    """Show everything made of a dataset."""
    with connect(ctx, project) as api:
        answer = api.get(api.within("datasets", dataset, "lineage"))
    render.show(answer, output, lambda: catalogue.draw_lineage(answer))


@app.command("where")
def where(
    ctx: typer.Context,
    dataset: Annotated[str, typer.Argument(metavar="NAME", help="Name of the dataset.")],
    *,
    output: Output = Format.TABLE,
    project: Project = None,
) -> None:
    """Show where its policy lets it be computed on and rest, pool by pool, and why not elsewhere."""
    with connect(ctx, project) as api:
        answer = api.get(api.within("datasets", dataset, "where"))
    render.show(answer, output, lambda: catalogue.draw_where(answer))


def _ensure(api: Api, name: str, policy: dict[str, Any]) -> None:
    """Make the dataset if it is new; an existing one keeps its policy, and another one stated here is refused."""
    if not policy and _exists(api, name):
        return
    try:
        api.post(api.within("datasets"), {"name": name, "policy": policy})
    except Problem as problem:
        if problem.code == "dataset_exists":
            problem.detail += "; a new version does not change it: leave the policy out, or choose another name"
        raise


def _exists(api: Api, name: str) -> bool:
    try:
        api.get(api.within("datasets", name))
    except Problem as problem:
        if problem.status != 404:
            raise
        return False
    return True


def _regions(dataset: Dataset) -> tuple[str, ...]:
    return tuple(sorted({region for version in dataset.versions for region in version.regions}))
