"""`nordan admin`: the world, tenants, keys, regions and the audit log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nordan_cli import jobfile, render
from nordan_cli.client import connect, path_of
from nordan_cli.commands import (
    admin_atlas,
    admin_audit,
    admin_declassifications,
    admin_derogations,
    admin_nodes,
    admin_places,
)
from nordan_cli.decode import decode, decode_items
from nordan_cli.invocation import note
from nordan_cli.keymodels import ApiKey, IssuedKey
from nordan_cli.models import Applied, Named, PolicyVersion
from nordan_cli.options import Limit, Project, seconds
from nordan_cli.render import Format, Output
from nordan_cli.verbs import AdminGroup
from nordan_core.domain.tenants import Role

_HELP = "Administer: world, organisations, projects, keys, derogations, regions, audit."


def _group(help_text: str) -> typer.Typer:
    return typer.Typer(help=help_text, no_args_is_help=True, rich_markup_mode=None)


app = typer.Typer(cls=AdminGroup, help=_HELP, no_args_is_help=True, rich_markup_mode=None)
organisations = _group("Tenants.")
projects = _group("Workspaces of a tenant.")
keys = _group("API keys.")
for _name, _commands in (("organisations", organisations), ("projects", projects), ("keys", keys)):
    app.add_typer(_commands, name=_name)
app.add_typer(admin_derogations.app, name="derogations")
app.add_typer(admin_declassifications.app, name="declassifications")
app.add_typer(admin_places.regions, name="regions")
app.add_typer(admin_nodes.pools, name="pools")
app.command("nodes")(admin_nodes.nodes)
app.command("cordon")(admin_nodes.cordon)
app.command("drain")(admin_nodes.drain)
app.command("uncordon")(admin_nodes.uncordon)
app.add_typer(admin_atlas.app, name="atlas")
app.add_typer(admin_audit.app, name="audit")

FloorFile = Annotated[Path | None, typer.Option("--floor", metavar="FILE", help="Policy that holds for all in it.")]


@app.command("apply")
def apply(
    ctx: typer.Context,
    file: Annotated[Path, typer.Option("-f", "--file", metavar="FILE", help="World documents, parted by ---.")],
    *,
    output: Output = Format.TABLE,
) -> None:
    """Make the world be as the documents say: all of them, or none."""
    documents = jobfile.load_all(file)
    with connect(ctx) as api:
        answer = api.ask("admin:apply", {"documents": documents})
    results = decode_items(Applied, answer.get("results"))
    render.show(
        answer,
        output,
        lambda: render.table(("kind", "name", ""), ((one.kind, one.name, one.action) for one in results)),
    )


@organisations.command("create")
def create_organisation(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Name.")],
    *,
    floor: FloorFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Make a tenant."""
    _create(ctx, "organisations", {"name": name, **_floor(floor)}, output)


@organisations.command("list")
def list_organisations(ctx: typer.Context, *, limit: Limit = 1000, output: Output = Format.TABLE) -> None:
    """List tenants."""
    _list(ctx, "organisations", limit, output)


@projects.command("create")
def create_project(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Name.")],
    *,
    organisation: Annotated[str | None, typer.Option(help="Tenant; your own if unsaid.")] = None,
    floor: FloorFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Make a workspace. Without a floor it gets the control plane's template."""
    owner = {} if organisation is None else {"organisation": organisation}
    _create(ctx, "projects", {"name": name, **owner, **_floor(floor)}, output)


@projects.command("list")
def list_projects(ctx: typer.Context, *, limit: Limit = 1000, output: Output = Format.TABLE) -> None:
    """List the workspaces that your key can see."""
    _list(ctx, "projects", limit, output)


@projects.command("policies")
def show_policies(
    ctx: typer.Context, *, project: Project = None, output: Output = Format.TABLE, limit: Limit = 1000
) -> None:
    """Show what the floors and datasets of a project said at each time, and whose key made them say so."""
    with connect(ctx, project) as api:
        answer = {"items": api.items(api.within("policies"), limit=limit)}
    found = decode_items(PolicyVersion, answer)
    rows = ((one.kind, one.name, one.number, one.at, one.author, one.digest[:12]) for one in found)
    render.show(answer, output, lambda: render.table(("kind", "name", "version", "at", "author", "digest"), rows))


@keys.command("create")
def create_key(
    ctx: typer.Context,
    organisation: Annotated[str, typer.Argument(help="Whose key it is.")],
    *,
    role: Annotated[Role, typer.Option(help="What it may do.")],
    project: Project = None,
    territory: Annotated[str | None, typer.Option(metavar="CODE", help="Where its holder sits: FR.")] = None,
    expires_in: Annotated[str | None, typer.Option("--expires-in", metavar="TIME", help="Life: 90d.")] = None,
    member: Annotated[str | None, typer.Option(metavar="ID", help="A key whose holder gets this one, too.")] = None,
    output: Output = Format.TABLE,
) -> None:
    """Make an API key. It is shown this once.

    Without --territory its holder reads no logs and artifacts above class internal: nobody knows where they sit.
    Without --member a key that an administrator makes is a new member's; with it, both keys have one word.
    """
    asked: dict[str, object] = {"role": role, "project": project, "territory": territory, "member": member}
    asked["expires_in_s"] = None if expires_in is None else seconds(expires_in)
    with connect(ctx) as api:
        body = {name: value for name, value in asked.items() if value is not None}
        answer = api.post(path_of("organisations", organisation, "keys"), body)
    issued = decode(IssuedKey, answer)
    note("the key is shown this once; keep it safe")
    render.show(answer, output, lambda: render.fields((("id", issued.id), ("key", issued.key))))


@keys.command("list")
def list_keys(
    ctx: typer.Context,
    organisation: Annotated[str, typer.Argument(help="Whose keys.")],
    *,
    limit: Limit = 1000,
    output: Output = Format.TABLE,
) -> None:
    """List the API keys that were not revoked, oldest first. Their secrets are kept nowhere."""
    with connect(ctx) as api:
        answer = {"items": api.items(path_of("organisations", organisation, "keys"), limit=limit)}
        now = api.run.clock.now()
    rows = (
        (one.id, one.role, one.project, one.territory, one.made_by, render.ago(one.created_at, now), one.expires_at)
        for one in decode_items(ApiKey, answer)
    )
    titles = ("id", "role", "project", "territory", "made by", "age", "expires")
    render.show(answer, output, lambda: render.table(titles, rows))


@keys.command("revoke")
def revoke_key(
    ctx: typer.Context,
    organisation: Annotated[str, typer.Argument(help="Whose key it is.")],
    key: Annotated[str, typer.Argument(metavar="ID", help="The key's id, not the key.")],
) -> None:
    """Make an API key worthless at once."""
    with connect(ctx) as api:
        api.delete(path_of("organisations", organisation, "keys", key))
    typer.echo(f"{key} revoked")


def _create(ctx: typer.Context, path: str, body: dict[str, object], output: Format) -> None:
    with connect(ctx) as api:
        answer = api.post(path, body)
    made = decode(Named, answer)
    render.show(answer, output, lambda: f"{made.name} {made.id}")


def _list(ctx: typer.Context, path: str, limit: int, output: Format) -> None:
    with connect(ctx) as api:
        answer = {"items": api.items(path, limit=limit)}
        now = api.run.clock.now()
    found = decode_items(Named, answer)
    rows = ((one.name, one.id, one.organisation, render.ago(one.created_at, now)) for one in found)
    render.show(answer, output, lambda: render.table(("name", "id", "organisation", "age"), rows))


def _floor(file: Path | None) -> dict[str, object]:
    return {} if file is None else {"floor": jobfile.load(file)}
