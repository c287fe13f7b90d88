"""`nordan admin declassifications`: ask with evidence that what a job made may be wider, approve it, take it back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
import yaml

from nordan_cli import jobfile, render
from nordan_cli.client import Answer, connect
from nordan_cli.decode import decode, decode_items
from nordan_cli.models import Declassification
from nordan_cli.options import Limit, Project
from nordan_cli.render import Format, Output

app = typer.Typer(
    help="A wider policy for what a job made: asked by one, approved by two others.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Id = Annotated[str, typer.Argument(metavar="ID", help="The declassification's id.")]


@app.command("request")
def request(
    ctx: typer.Context,
    artifact: Annotated[str, typer.Argument(metavar="ARTIFACT", help="Id of an output or a checkpoint.")],
    *,
    file: Annotated[
        Path, typer.Option("-f", "--file", metavar="FILE", help="Policy, evidence and reason, YAML or JSON.")
    ],
    output: Output = Format.TABLE,
    project: Project = None,
) -> None:
    """Ask for a wider policy. It changes nothing until two other members have approved it."""
    asked = jobfile.load(file)
    with connect(ctx, project) as api:
        answer = api.post(api.within("artifacts", artifact, verb="declassify"), asked)
    _show(answer, output)


@app.command("list")
def list_declassifications(
    ctx: typer.Context, *, limit: Limit = 200, output: Output = Format.TABLE, project: Project = None
) -> None:
    """List the project's declassifications, newest first."""
    with connect(ctx, project) as api:
        answer: Answer = {"items": api.items(api.within("declassifications"), limit=limit)}

    def draw() -> str:
        found = decode_items(Declassification, answer)
        rows = ((one.id, one.state, one.text.artifact, len(one.approvals)) for one in found)
        return render.table(("id", "state", "artifact", "approvals"), rows)

    render.show(answer, output, draw)


@app.command("get")
def get(ctx: typer.Context, declassification: Id, *, output: Output = Format.TABLE, project: Project = None) -> None:
    """Show the exact text, the digest to approve, and who said what."""
    with connect(ctx, project) as api:
        answer = api.get(api.within("declassifications", declassification))
    _show(answer, output)


@app.command("approve")
def approve(
    ctx: typer.Context,
    declassification: Id,
    *,
    digest: Annotated[str, typer.Option(help="Digest of the text that you have read, as `get` shows it.")],
    output: Output = Format.TABLE,
    project: Project = None,
) -> None:
    """Approve a text. The second member's approval gives the artifact its new policy."""
    with connect(ctx, project) as api:
        answer = api.post(api.within("declassifications", declassification, verb="approve"), {"digest": digest})
    _show(answer, output)


@app.command("withdraw")
def withdraw(
    ctx: typer.Context, declassification: Id, *, output: Output = Format.TABLE, project: Project = None
) -> None:
    """Take your own approval back, as long as it is the only one; after the second, `revoke` takes back the whole."""
    with connect(ctx, project) as api:
        answer = api.post(api.within("declassifications", declassification, verb="withdraw"), {})
    _show(answer, output)


@app.command("revoke")
def revoke(ctx: typer.Context, declassification: Id, *, output: Output = Format.TABLE, project: Project = None) -> None:
    """Take a declassification back. The artifact has its former policy again; what was made of it meanwhile has not."""
    with connect(ctx, project) as api:
        answer = api.ask(api.within("declassifications", declassification, verb="revoke"))
    _show(answer, output)


def _show(answer: Answer, output: Format) -> None:
    one = decode(Declassification, answer)

    def draw() -> str:
        said = [("id", one.id), ("state", one.state), ("digest", one.digest)]
        said += [("approved by", each.by) for each in one.approvals]
        text = yaml.safe_dump(answer["text"], sort_keys=False, allow_unicode=True).rstrip()
        return render.sections(("", render.fields(said)), ("text", text))

    render.show(answer, output, draw)
