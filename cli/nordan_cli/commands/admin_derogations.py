"""`nordan admin derogations`: ask for leave to fall short of one facet, approve it, take it back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
import yaml

from nordan_cli import jobfile, render
from nordan_cli.client import Answer, connect
from nordan_cli.decode import decode, decode_items
from nordan_cli.models import Derogation
from nordan_cli.options import Limit, Project
from nordan_cli.render import Format, Output

app = typer.Typer(
    help="Leave to fall short of one facet: asked by one, approved by two others.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Id = Annotated[str, typer.Argument(metavar="ID", help="The derogation's id.")]


@app.command("request")
def request(
    ctx: typer.Context,
    file: Annotated[Path, typer.Option("-f", "--file", metavar="FILE", help="What is asked for, YAML or JSON.")],
    *,
    output: Output = Format.TABLE,
    project: Project = None,
) -> None:
    """Ask for a derogation. It changes nothing until two other members have approved it."""
    asked = jobfile.load(file)
    with connect(ctx, project) as api:
        answer = api.post(api.within("derogations"), asked)
    _show(answer, output)


@app.command("list")
def list_derogations(
    ctx: typer.Context, *, limit: Limit = 200, output: Output = Format.TABLE, project: Project = None
) -> None:
    """List the project's derogations, newest first."""
    with connect(ctx, project) as api:
        answer: Answer = {"items": api.items(api.within("derogations"), limit=limit)}

    def draw() -> str:
        found = decode_items(Derogation, answer)
        rows = (
            (one.id, one.state, one.text.facet, " ".join(one.text.subjects), one.text.not_after, _uses(one))
            for one in found
        )
        return render.table(("id", "state", "facet", "for", "until", "uses"), rows)

    render.show(answer, output, draw)


@app.command("get")
def get(ctx: typer.Context, derogation: Id, *, output: Output = Format.TABLE, project: Project = None) -> None:
    """Show a derogation's exact text, the digest to approve, and who said what."""
    with connect(ctx, project) as api:
        answer = api.get(api.within("derogations", derogation))
    _show(answer, output)


@app.command("approve")
def approve(
    ctx: typer.Context,
    derogation: Id,
    *,
    digest: Annotated[str, typer.Option(help="Digest of the text that you have read, as `get` shows it.")],
    output: Output = Format.TABLE,
    project: Project = None,
) -> None:
    """Approve a text. Two members other than who asked have to; keys that one member made are one member."""
    with connect(ctx, project) as api:
        answer = api.post(api.within("derogations", derogation, verb="approve"), {"digest": digest})
    _show(answer, output)


@app.command("withdraw")
def withdraw(ctx: typer.Context, derogation: Id, *, output: Output = Format.TABLE, project: Project = None) -> None:
    """Take your own approval back, as long as it is the only one; after the second, `revoke` takes back the whole."""
    with connect(ctx, project) as api:
        answer = api.post(api.within("derogations", derogation, verb="withdraw"), {})
    _show(answer, output)


@app.command("revoke")
def revoke(ctx: typer.Context, derogation: Id, *, output: Output = Format.TABLE, project: Project = None) -> None:
    """Take a derogation back. Work that rests on it is fenced."""
    with connect(ctx, project) as api:
        answer = api.ask(api.within("derogations", derogation, verb="revoke"))
    _show(answer, output)


def _show(answer: Answer, output: Format) -> None:
    one = decode(Derogation, answer)

    def draw() -> str:
        said = [("id", one.id), ("state", one.state), ("digest", one.digest), ("uses", _uses(one))]
        said += [("approved by", each.by) for each in one.approvals]
        text = yaml.safe_dump(answer["text"], sort_keys=False, allow_unicode=True).rstrip()
        return render.sections(("", render.fields(said)), ("text", text))

    render.show(answer, output, draw)


def _uses(one: Derogation) -> str:
    return f"{one.uses} of {one.text.max_uses}"
