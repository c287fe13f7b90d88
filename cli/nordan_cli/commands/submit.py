"""`nordan submit`: from a document or flags to a queued job, its files already where it may run."""

from __future__ import annotations

from typing import Annotated

import typer

from nordan_cli import attach, jobs, render, staging
from nordan_cli.client import Answer, Api, connect
from nordan_cli.decode import decode
from nordan_cli.errors import Problem
from nordan_cli.invocation import note
from nordan_cli.jobflags import with_draft
from nordan_cli.jobs import Draft
from nordan_cli.models import Submitted
from nordan_cli.options import Project
from nordan_cli.render import Format, Output

INTERRUPTED = 130

Attach = Annotated[
    bool, typer.Option("--attach", "-a", "--follow", help="Stay: print states and logs, exit with the job's code.")
]


@with_draft
def submit(
    ctx: typer.Context,
    draft: Draft,
    *,
    attached: Attach = False,
    output: Output = Format.TABLE,
    project: Project = None,
) -> None:
    """Submit a job from a document, or from flags and a command.

    Prints the job's id. With --attach it stays until the job has ended and exits with the job's code; Ctrl-C leaves the
    job running.
    """
    with connect(ctx, project) as api:
        answer = _submit(api, draft)
        job = decode(Submitted, answer).id
        render.show(answer, output, lambda: job)
        if attached:
            raise typer.Exit(_follow(api, job))


def _submit(api: Api, draft: Draft) -> Answer:
    try:
        staging.stage(api, draft)
        return api.submit(api.within("jobs"), draft.document)
    except Problem as problem:
        raise jobs.suggest(problem) from None


def _follow(api: Api, job: str) -> int:
    try:
        return attach.exit_code(attach.Follower(api, job).run())
    except KeyboardInterrupt:
        note(f"\ndetached; the job goes on. Again: nordan logs --follow {job}   Stop it: nordan cancel {job}")
        return INTERRUPTED
