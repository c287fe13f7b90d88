"""`nordan connect`: the way to an inference job. Requests go to the region's gateway, not to the control plane."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from nordan_cli import client, references, render
from nordan_cli.decode import decode
from nordan_cli.models import Access
from nordan_cli.options import Project
from nordan_cli.references import JobArgument
from nordan_cli.render import Format, Output


def connect(
    ctx: typer.Context,
    job: JobArgument,
    *,
    curl: Annotated[bool, typer.Option("--curl", help="Print a curl command that reaches it.")] = False,
    output: Output = Format.TABLE,
    project: Project = None,
) -> None:
    """Show where an inference job answers, and a token for it."""
    with client.connect(ctx, project) as api:
        answer = api.ask(api.within("jobs", references.job_id(api, job), verb="connect"))
        now = api.run.clock.now()
    access = decode(Access, answer)
    if curl:
        typer.echo(f"curl -H {shlex.quote(f'Authorization: Bearer {access.token}')} {shlex.quote(access.url)}")
        return
    pairs = (("url", access.url), ("token", access.token), ("expires", render.ago(access.expires_at, now)))
    render.show(answer, output, lambda: render.fields(pairs))
