"""Find the job that a person means: by id, by the end or beginning of one, or by name (the newest of that name)."""

from __future__ import annotations

from typing import Annotated

import typer

from nordan_cli.client import Answer, Api
from nordan_cli.decode import decode
from nordan_cli.errors import Failed
from nordan_cli.models import Job
from nordan_core.domain.ids import is_id, is_name

#: How far back parts of ids are searched.
SEARCHED_JOBS = 1000
#: Fewer characters of an id would match by chance.
SHORTEST_PART = 4

JobArgument = Annotated[
    str, typer.Argument(metavar="JOB", help="Id, a unique end or beginning of one, or a name (the newest job's).")
]


def job_id(api: Api, reference: str) -> str:
    """Return the id of the job that is meant; a full id is taken as it is.

    Raises:
        Failed: none or several jobs match.
    """
    if is_id(reference, "job"):
        return reference
    if is_name(reference) and (named := api.items(api.within("jobs"), limit=1, name=reference)):
        return str(named[0]["id"])
    jobs = api.items(api.within("jobs"), limit=SEARCHED_JOBS)
    parts = [str(job["id"]) for job in jobs if _is_part(reference, str(job["id"]))]
    if len(parts) == 1:
        return parts[0]
    if parts:
        raise Failed(f"{reference!r} fits {len(parts)} jobs: {', '.join(parts[:5])}; give more of the id")
    searched = f" among the newest {SEARCHED_JOBS}" if len(jobs) >= SEARCHED_JOBS else ""
    raise Failed(f"project {api.project} has no job {reference!r}{searched}; nordan list shows them")


def fetch(api: Api, identity: str) -> tuple[Answer, Job]:
    """Return a job as the server sent it, and what we read of it."""
    answer = api.get(api.within("jobs", identity))
    return answer, decode(Job, answer)


def _is_part(reference: str, identity: str) -> bool:
    if len(reference.removeprefix("job_")) < SHORTEST_PART:
        return False
    return identity.endswith(reference) or identity.startswith((reference, f"job_{reference}"))
