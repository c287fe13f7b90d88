"""`nordan logs`: what a job wrote, from the gateway of the region where it ran."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from nordan_cli import attach, references
from nordan_cli.client import Api, connect
from nordan_cli.decode import decode
from nordan_cli.errors import Failed
from nordan_cli.gateway import Gateway
from nordan_cli.models import Access, Attempt, Job
from nordan_cli.options import Project
from nordan_cli.references import JobArgument


def logs(
    ctx: typer.Context,
    job: JobArgument,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until the job ends, later attempts too.")] = False,
    attempt: Annotated[int | None, typer.Option(min=1, help="Which attempt; the newest if unsaid.")] = None,
    rank: Annotated[int, typer.Option(min=0, help="Which process of the gang.")] = 0,
    project: Project = None,
) -> None:
    """Print what a job wrote."""
    with connect(ctx, project) as api:
        identity = references.job_id(api, job)
        if follow:
            attach.Follower(api, identity, rank=rank, attempt=attempt).run()
            return
        _, found = references.fetch(api, identity)
        _print(api, found, _chosen(found, attempt), rank)


def _print(api: Api, job: Job, attempt: Attempt, rank: int) -> None:
    path = api.within("jobs", job.id, "logs")
    access = decode(Access, api.get(path, attempt=attempt.number, rank=rank))
    with Gateway(api.run, access) as gateway:
        for piece in gateway.log(attempt.id, rank):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()


def _chosen(job: Job, number: int | None) -> Attempt:
    if number is None:
        last = job.last_attempt
        if last is None:
            raise Failed(f"{job.name} is {job.state} and has not started; nordan logs --follow waits for it")
        return last
    for attempt in job.attempts:
        if attempt.number == number:
            return attempt
    raise Failed(f"{job.name} has {len(job.attempts)} attempts, none of them number {number}")
