"""`nordan artifact`: what jobs left, fetched from the region that holds it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from nordan_cli import references, render, staging
from nordan_cli.client import Answer, Api, connect
from nordan_cli.commands import catalogue
from nordan_cli.decode import decode, decode_items
from nordan_cli.errors import Failed
from nordan_cli.gateway import Gateway
from nordan_cli.invocation import is_watched
from nordan_cli.models import Access, Artifact, StoredFile
from nordan_cli.options import Folder, Project
from nordan_cli.progress import Transfer
from nordan_cli.references import JobArgument
from nordan_cli.render import Format, Output
from nordan_core.domain.contents import is_safe_path
from nordan_core.domain.ids import is_id

app = typer.Typer(help="List, fetch and copy what jobs left.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_artifacts(
    ctx: typer.Context, job: JobArgument, *, output: Output = Format.TABLE, project: Project = None
) -> None:
    """List a job's checkpoints and outputs."""
    with connect(ctx, project) as api:
        answer = _of_job(api, references.job_id(api, job))
        now = api.run.clock.now()

    def draw() -> str:
        found = decode_items(Artifact, answer)
        titles = ("name", "kind", "artifact", "size", "regions", "age")
        rows = (
            (one.name, one.kind, one.id, render.size(one.size_bytes), one.places, render.ago(one.created_at, now))
            for one in found
        )
        return render.table(titles, rows) if found else "no artifacts yet; outputs are published when a job succeeds"

    render.show(answer, output, draw)


@app.command("get")
def get(
    ctx: typer.Context,
    artifact: Annotated[str, typer.Argument(metavar="ARTIFACT", help="Id, or JOB/NAME.")],
    *,
    directory: Folder = Path(),
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there already.")] = False,
    project: Project = None,
) -> None:
    """Fetch an artifact's files; each is checked against its digest."""
    with connect(ctx, project) as api:
        found = decode(Artifact, api.get(api.within("artifacts", _id(api, artifact))))
        access = decode(Access, api.ask(api.within("artifacts", found.id, verb="read")))
        with Gateway(api.run, access) as gateway:
            wanted = _wanted(gateway.manifest(found.digest), directory, force=force)
            total = sum(file.size_bytes for file, _ in wanted)
            label = f"{found.name or found.id}"
            with Transfer(label, total, clock=api.run.clock, is_watched=is_watched()) as transfer:
                for file, target in wanted:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    gateway.fetch(found.digest, file, target, transfer.advance)
    for _, target in wanted:
        typer.echo(str(target))


@app.command("copy")
def copy(
    ctx: typer.Context,
    artifact: Annotated[str, typer.Argument(metavar="ARTIFACT", help="Id, or JOB/NAME.")],
    *,
    region: Annotated[str, typer.Option(help="Region that is to hold the bytes as well.")],
    project: Project = None,
) -> None:
    """Bring an artifact's bytes into one more region, from where they are: a transfer, judged and logged as one."""
    with connect(ctx, project) as api:
        found = decode(Artifact, api.get(api.within("artifacts", _id(api, artifact))))
        staging.copy(api, found, region)
    typer.echo(f"{found.id} is in {region} too")


@app.command("lineage")
def lineage(
    ctx: typer.Context,
    artifact: Annotated[str, typer.Argument(metavar="ARTIFACT", help="Id, or JOB/NAME.")],
    *,
    output: Output = Format.TABLE,
    project: Project = None,
) -> None:
    """Show everything made of an artifact, and everything that it was made from."""
    with connect(ctx, project) as api:
        answer = api.get(api.within("artifacts", _id(api, artifact), "lineage"))
    render.show(answer, output, lambda: catalogue.draw_lineage(answer))


@app.command("where")
def where(
    ctx: typer.Context,
    artifact: Annotated[str, typer.Argument(metavar="ARTIFACT", help="Id, or JOB/NAME.")],
    *,
    output: Output = Format.TABLE,
    project: Project = None,
) -> None:
    """Show where its policy lets it be computed on and rest, pool by pool, and why not elsewhere."""
    with connect(ctx, project) as api:
        answer = api.get(api.within("artifacts", _id(api, artifact), "where"))
    render.show(answer, output, lambda: catalogue.draw_where(answer))


def _wanted(files: tuple[StoredFile, ...], directory: Path, *, force: bool) -> list[tuple[StoredFile, Path]]:
    """Return the files to fetch and where to; those that are here already are left out.

    Raises:
        Failed: a path would leave the folder, or another file stands in the way.
    """
    root = directory.resolve()
    wanted = []
    for file in files:
        target = directory / file.path
        if not is_safe_path(file.path) or not target.parent.resolve().is_relative_to(root):
            raise Failed(f"the artifact names {file.path!r}, which lies outside {directory}; nothing was fetched")
        if target.is_symlink() or target.exists():
            if not target.is_symlink() and target.is_file() and _digest(target) == file.digest:
                continue
            if not force or not target.is_file():
                raise Failed(f"{target} is there already and differs; --force replaces files, or choose another -d")
        wanted.append((file, target))
    return wanted


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _id(api: Api, reference: str) -> str:
    if is_id(reference, "art"):
        return reference
    job, slash, name = reference.rpartition("/")
    if not slash:
        raise Failed(f"{reference!r} is not an artifact; give its id, or JOB/NAME as nordan artifact list shows them")
    artifacts = decode_items(Artifact, _of_job(api, references.job_id(api, job)))
    for one in artifacts:
        if one.name == name:
            return one.id
    names = ", ".join(one.name for one in artifacts) or "none"
    raise Failed(f"job {job!r} has no artifact {name!r}; it has: {names}")


def _of_job(api: Api, identity: str) -> Answer:
    return api.get(api.within("jobs", identity, "artifacts"))
