"""`nordan exec`: a command inside a running job, from a pipe or at a terminal."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from nordan_cli import references
from nordan_cli.client import connect
from nordan_cli.options import Project
from nordan_cli.references import JobArgument
from nordan_cli.visit import Visit, Wish

INTERRUPTED = 130


def exec_(
    ctx: typer.Context,
    job: JobArgument,
    command: Annotated[list[str], typer.Argument(metavar="COMMAND...", help="Behind --, with its arguments.")],
    *,
    attempt: Annotated[int | None, typer.Option(min=1, help="Which attempt; the newest if unsaid.")] = None,
    rank: Annotated[int, typer.Option(min=0, help="Which process of the gang.")] = 0,
    interactive: Annotated[
        bool, typer.Option("--interactive", "-i", help="Pass the keyboard on; input from a pipe or a file always is.")
    ] = False,
    tty: Annotated[bool, typer.Option("--tty", "-t", help="Give the command a terminal; Ctrl-C goes to it.")] = False,
    term: Annotated[str, typer.Option(envvar="TERM", hidden=True)] = "",
    project: Project = None,
) -> None:
    """Run a command inside a running job.

    As the job's user, in its folder and environment; -it for a shell. Exits with the command's code, 128 and the
    number for a signal, 255 when the session was cut. Every session stands in the audit log and in the certificate.
    """
    with connect(ctx, project) as api:
        wish = Wish(
            job=references.job_id(api, job),
            command=tuple(command),
            attempt=attempt,
            rank=rank,
            is_tty=tty,
            passes_input=interactive or tty or not sys.stdin.isatty(),
            term=term,
        )
        try:
            code = Visit(api, wish).run()
        except KeyboardInterrupt:
            code = INTERRUPTED
    raise typer.Exit(code)
